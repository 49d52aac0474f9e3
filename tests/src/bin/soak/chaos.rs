//! The faults injected into the server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgmonkey_testserver::{Cluster, StopMode};

/// The time between two killed sessions.
const KILL: Duration = Duration::from_millis(300);
/// The time between two restarts.
const RESTART: Duration = Duration::from_secs(8);

/// Kills sessions and restarts the server, in the fast and the immediate mode, until `stop`;
/// returns how often.
pub(crate) fn run(cluster: &Cluster, stop: &AtomicBool) -> anyhow::Result<String> {
    let (mut kills, mut restarts) = (0, 0);
    let mut restarted = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        std::thread::sleep(KILL);
        if restarted.elapsed() >= RESTART {
            let how = [StopMode::Fast, StopMode::Immediate][restarts % 2];
            cluster.stop(how)?;
            std::thread::sleep(Duration::from_millis(200));
            cluster.start_again()?;
            restarted = Instant::now();
            restarts += 1;
            continue;
        }
        let killed = cluster.psql(
            "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() \
             ORDER BY random() LIMIT 1) one",
        )?;
        kills += killed.trim().parse::<u32>().unwrap_or(0);
    }
    Ok(format!("{kills} sessions killed, {restarts} restarts"))
}
