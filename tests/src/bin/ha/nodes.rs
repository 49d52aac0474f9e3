//! When a node became the primary.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use postgres::{Config, NoTls};

/// How often each node is asked, which is how exact the moment is.
const EVERY: Duration = Duration::from_millis(20);

/// Asks all nodes, on a thread for each: one that is frozen does not answer.
pub(crate) struct Nodes {
    promoted_at: Arc<Mutex<Option<Instant>>>,
}

impl Nodes {
    pub(crate) fn watch(nodes: Vec<String>) -> anyhow::Result<Self> {
        let promoted_at = Arc::default();
        for node in nodes {
            let config: Config = node.parse().with_context(|| format!("node {node}"))?;
            let promoted_at = Arc::clone(&promoted_at);
            std::thread::spawn(move || ask(&config, &promoted_at));
        }
        Ok(Self { promoted_at })
    }

    pub(crate) fn forget_promotion(&self) {
        *self.promoted() = None;
    }

    /// The first promotion since the last one was forgotten.
    pub(crate) fn promoted_at(&self) -> Option<Instant> {
        *self.promoted()
    }

    fn promoted(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.promoted_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Never returns.
fn ask(config: &Config, promoted_at: &Mutex<Option<Instant>>) {
    let mut was_standby = false;
    loop {
        let Ok(mut client) = config.connect(NoTls) else {
            std::thread::sleep(EVERY);
            continue;
        };
        while let Ok(row) = client.query_one("SELECT pg_is_in_recovery()", &[]) {
            let is_standby: bool = row.get(0);
            if was_standby && !is_standby {
                let mut promoted = promoted_at.lock().unwrap_or_else(PoisonError::into_inner);
                promoted.get_or_insert(Instant::now());
            }
            was_standby = is_standby;
            std::thread::sleep(EVERY);
        }
    }
}
