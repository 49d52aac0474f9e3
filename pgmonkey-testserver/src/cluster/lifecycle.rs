//! Starting and stopping the server process.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::{Cluster, POLL, START_LIMIT};
use crate::cleanup::signal;

const STOP_LIMIT: Duration = Duration::from_secs(60);

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Waits for all clients to disconnect.
    Smart,
    /// Rolls back all transactions and closes all sessions.
    Fast,
    /// Exits at once, as in a crash; recovers at the next start.
    Immediate,
    /// The server gets no chance to do anything. Its processes end soon after it; until then it
    /// cannot be started again.
    Kill,
}

impl StopMode {
    fn signal(self) -> &'static str {
        match self {
            Self::Smart => "TERM",
            Self::Fast => "INT",
            Self::Immediate => "QUIT",
            Self::Kill => "KILL",
        }
    }
}

impl Cluster {
    /// Stops the server and waits until it has exited; does nothing if it is already stopped.
    ///
    /// # Errors
    ///
    /// When it is still running after a minute, for example with [`StopMode::Smart`] and open
    /// sessions.
    pub fn stop(&self, mode: StopMode) -> anyhow::Result<()> {
        let mut server = self.server();
        let Some(child) = server.as_mut() else {
            return Ok(());
        };
        signal(child.id(), mode.signal())?;
        let deadline = Instant::now() + STOP_LIMIT;
        while child.try_wait()?.is_none() {
            ensure!(
                Instant::now() < deadline,
                "the server is still running {STOP_LIMIT:?} after it was told to stop ({mode:?})"
            );
            thread::sleep(POLL);
        }
        *server = None;
        Ok(())
    }

    /// Starts the stopped server on the same port with the same data.
    ///
    /// # Errors
    ///
    /// When it is already running or does not start.
    pub fn start_again(&self) -> anyhow::Result<()> {
        ensure!(self.pid().is_none(), "the server is already running");
        self.launch()
    }

    /// Stops the server ([`StopMode::Fast`]) and starts it again.
    ///
    /// # Errors
    ///
    /// Those of [`stop`](Self::stop) and [`start_again`](Self::start_again).
    pub fn restart(&self) -> anyhow::Result<()> {
        self.stop(StopMode::Fast)?;
        self.start_again()
    }

    pub(super) fn launch(&self) -> anyhow::Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.root.join("server.log"))?;
        let child = self
            .command("postgres")
            .arg("-D")
            .arg(self.data_dir())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot run postgres")?;
        *self.server() = Some(child);
        self.wait_ready()
    }

    /// The server writes into its pid file when it is ready, so no client is needed.
    fn wait_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while !self.is_ready()? {
            ensure!(
                Instant::now() < deadline,
                "the server is not ready after {START_LIMIT:?}: {}",
                self.log_tail()
            );
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn is_ready(&self) -> anyhow::Result<bool> {
        let mut server = self.server();
        let child = server.as_mut().context("the server is stopped")?;
        if let Some(status) = child.try_wait()? {
            *server = None;
            bail!("the server exited ({status}): {}", self.log_tail());
        }
        let text = fs::read_to_string(self.data_dir().join("postmaster.pid")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let pid = child.id().to_string();
        Ok(lines.first() == Some(&pid.as_str()) && lines.get(7) == Some(&"ready"))
    }
}
