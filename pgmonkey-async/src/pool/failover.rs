//! Watches the hosts of a pool's sessions: asks those at which a statement has been silent for a
//! while, and resolves names again.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use pgmonkey_connect::failover::{Failover, FailoverStep, Name, Suspect};
use pgmonkey_connect::{limits, pool};

use crate::pool::Shared;
use crate::runtimes;
use crate::session::connect::resolve;
use crate::session::hosts;

impl Shared {
    /// Begins to watch the sessions' hosts, unless that is under way or there is nothing to watch.
    #[inline]
    pub(crate) fn watch_hosts(self: &Arc<Self>) {
        if let Some(failover) = self.factory.connect_target.failover()
            && failover.starts()
        {
            self.start_host_watch(failover);
        }
    }

    /// The rounds run in the library's own runtime, for the reasons of the maintenance.
    fn start_host_watch(self: &Arc<Self>, failover: &Arc<Failover>) {
        let (pool, failover) = (Arc::downgrade(self), Arc::clone(failover));
        runtimes::drivers().spawn(async move {
            while let Some(pause) = keep(&pool, &failover) {
                tokio::time::sleep(pause).await;
            }
        });
    }

    /// Asks the suspect and, if it does not answer, the other hosts.
    async fn probe(self: Arc<Self>, suspect: Suspect) {
        let (target, provider) = (&self.factory.connect_target, &self.factory.provider);
        if hosts::ask(target, provider.as_ref(), suspect).await > 0 {
            self.end_misplaced();
        }
    }

    async fn resolve_again(self: &Arc<Self>, failover: &Failover, name: &Name) {
        let deadline = Instant::now() + limits::STATEMENT;
        let found = resolve(&name.name, name.port, Some(deadline)).await;
        if failover.resolved(name, &found.unwrap_or_default()) {
            self.end_misplaced();
        }
    }

    /// Ends idle sessions at once that must not be handed out again.
    pub(super) fn end_misplaced(self: &Arc<Self>) {
        if self.is_kept {
            pool::tick(self, None, |over| pool::end_all(&**self, over));
        }
    }
}

/// Does one round; returns the pause until the next one, if there will be another. Hosts are asked
/// by tasks of their own.
fn keep(pool: &Weak<Shared>, failover: &Arc<Failover>) -> Option<Duration> {
    let pool = pool.upgrade().filter(|pool| !pool.core.is_closed())?;
    loop {
        let (pool, failover) = (Arc::clone(&pool), Arc::clone(failover));
        match failover.step(Instant::now()) {
            FailoverStep::Pause(pause) => return Some(pause),
            FailoverStep::End => return None,
            FailoverStep::Probe(suspect) => {
                runtimes::openings().spawn(pool.probe(suspect));
            }
            FailoverStep::Resolve(names) => {
                runtimes::openings().spawn(async move {
                    for name in &names {
                        pool.resolve_again(&failover, name).await;
                    }
                });
            }
        }
    }
}
