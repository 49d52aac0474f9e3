//! The faults injected into the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgmonkey_testserver::{At, Cluster, Cut, Proxy, StopMode};

/// The time between two killed sessions.
const KILL: Duration = Duration::from_millis(300);
/// The time between two restarts.
const RESTART: Duration = Duration::from_secs(8);

/// One of so many commits is cut off.
const COMMITS: u64 = 50;

/// Kills sessions, cuts them off at their commits, and restarts the server, in the fast and the
/// immediate mode, until `stop`; returns how often.
pub(crate) fn run(cluster: &Cluster, proxy: &Proxy, stop: &AtomicBool) -> anyhow::Result<String> {
    let commits = Arc::new(AtomicU64::new(1));
    let (mut kills, mut restarts) = (0, 0);
    let mut restarted = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        let at = [At::Before, At::After][kills as usize % 2];
        proxy.on_text(b"COMMIT\0", at, {
            let commits = Arc::clone(&commits);
            move || {
                let number = commits.fetch_add(1, Ordering::Relaxed);
                number.is_multiple_of(COMMITS).then_some(Cut::Fin)
            }
        });
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
    let cuts = commits.load(Ordering::Relaxed) / COMMITS;
    Ok(format!(
        "{kills} sessions killed, {cuts} cut off at their commits, {restarts} restarts"
    ))
}
