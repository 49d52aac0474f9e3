//! Stopped processes of the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};

use pgmonkey_testserver::signal;

use crate::LONG;

/// Server processes that are stopped until this is dropped, or until a test hangs for too long:
/// then they resume, so that the test ends and can fail.
pub struct Stopped {
    pids: Vec<u32>,
    /// The ports of their clients.
    ports: Vec<i32>,
    hung: Arc<AtomicBool>,
    _over: Sender<()>,
}

impl Stopped {
    /// Stops the processes with these ids and client ports.
    pub(crate) fn new(backends: impl Iterator<Item = (i32, i32)>) -> Option<Self> {
        let (mut pids, mut ports) = (Vec::new(), Vec::new());
        for (pid, port) in backends {
            // The title of a PostgreSQL process names its client.
            let title = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            if !title.starts_with("postgres") || !title.contains(&format!("({port})")) {
                return None;
            }
            pids.push(u32::try_from(pid).ok()?);
            ports.push(port);
        }
        assert!(!pids.is_empty(), "there are sessions to stop");
        for pid in &pids {
            signal(*pid, "STOP").expect("a process of the test's server");
        }
        let (over, ended) = channel();
        let hung = Arc::new(AtomicBool::new(false));
        let (watched, hangs) = (pids.clone(), Arc::clone(&hung));
        std::thread::spawn(move || {
            if ended.recv_timeout(LONG) == Err(RecvTimeoutError::Timeout) {
                hangs.store(true, Ordering::SeqCst);
            }
            go_on(&watched);
        });
        Some(Self {
            pids,
            ports,
            hung,
            _over: over,
        })
    }

    /// Whether they are still stopped: nothing since then has waited for them.
    pub fn still(&self) -> bool {
        !self.hung.load(Ordering::SeqCst)
    }

    /// How many of their clients' sockets are open.
    pub fn connections(&self) -> usize {
        let sockets = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(std::fs::read_to_string);
        let sockets = sockets.iter().flatten().flat_map(|table| table.lines());
        let is_open = |line: &&str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // Closed sockets that the kernel still keeps have no inode.
            let [_, local, _, _, _, _, _, _, _, inode, ..] = fields[..] else {
                return false;
            };
            let port = local.rsplit(':').next().unwrap_or_default();
            let port = i32::from_str_radix(port, 16).unwrap_or_default();
            self.ports.contains(&port) && inode != "0"
        };
        sockets.filter(is_open).count()
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        go_on(&self.pids);
    }
}

fn go_on(pids: &[u32]) {
    for pid in pids {
        // It may have ended.
        let _ = signal(*pid, "CONT");
    }
}
