//! A standby server that replicates the first server and can be promoted.

use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::making::{TEAR_DOWN, endpoint, new_root, succeed};
use super::{Cluster, POLL};
use crate::cleanup::{Watchdog, signal};
use crate::endpoint::Endpoint;

const PROMOTION_LIMIT: Duration = Duration::from_secs(30);
const STREAMING_LIMIT: Duration = Duration::from_secs(30);

impl Cluster {
    /// Creates a streaming standby of this running server: same user, password and databases, but
    /// a separate port, stopped separately. About a second and a half.
    ///
    /// # Errors
    ///
    /// When the server is not running, has no `pg_basebackup` beside it, or the standby does not
    /// start and stream within 30 seconds.
    pub fn standby(&self) -> anyhow::Result<Self> {
        let root = new_root(&self.account)?;
        let watchdog = Watchdog::start(TEAR_DOWN, [root.as_os_str()])?;
        let standby = Self {
            endpoint: Endpoint {
                password: self.password().to_owned(),
                ..endpoint(&root)
            },
            kind: self.kind,
            root,
            account: self.account,
            binaries: self.binaries.clone(),
            certificates: self.certificates.clone(),
            server: Mutex::new(None),
            watchdog: Some(watchdog),
        };
        self.copy_to(&standby)?;
        standby.set("unix_socket_directories", &standby.root.to_string_lossy())?;
        let before = self.streaming()?;
        let standby = standby.start_on_any_port()?;
        // A primary that stops before it knows the standby keeps its last transactions to itself.
        let deadline = Instant::now() + STREAMING_LIMIT;
        while self.streaming()? <= before {
            ensure!(
                Instant::now() < deadline,
                "the standby did not stream within {STREAMING_LIMIT:?}"
            );
            std::thread::sleep(POLL);
        }
        Ok(standby)
    }

    /// How many standbys follow this server.
    fn streaming(&self) -> anyhow::Result<u32> {
        let count = self.psql(
            "SELECT count(*) FROM pg_stat_replication \
             WHERE state = 'streaming' AND application_name = 'walreceiver'",
        )?;
        count.parse().context("a number of standbys")
    }

    /// Promotes a standby to primary and waits until it accepts writes. Its sessions stay open.
    ///
    /// # Errors
    ///
    /// When the server is stopped or is not a standby, or still is one after 30 seconds.
    pub fn promote(&self) -> anyhow::Result<()> {
        ensure!(self.is_standby(), "the server is not a standby");
        std::fs::write(self.data_dir().join("promote"), "")?;
        signal(self.pid().context("the server is stopped")?, "USR1")?;
        let deadline = Instant::now() + PROMOTION_LIMIT;
        while self.is_standby() || self.psql("SELECT pg_is_in_recovery()")? == "t" {
            ensure!(
                Instant::now() < deadline,
                "the standby was not promoted within {PROMOTION_LIMIT:?}"
            );
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn is_standby(&self) -> bool {
        self.data_dir().join("standby.signal").exists()
    }

    fn copy_to(&self, standby: &Self) -> anyhow::Result<()> {
        let mut command = self.command("pg_basebackup");
        command
            .args(["-R", "-X", "stream", "-c", "fast", "-w"])
            .arg("-D")
            .arg(standby.data_dir())
            .args(["-h", self.host(), "-p", &self.port().to_string()])
            .args(["-U", self.user()])
            .env("PGPASSWORD", self.password())
            .stdin(Stdio::null());
        let output = command.output().context("cannot run pg_basebackup")?;
        succeed("pg_basebackup", &output)
    }
}
