//! Client and server on one core, where there is the least noise.

use std::process::Command;

use anyhow::{Context, ensure};
use pgmonkey::{Config, Pool};

/// Pins this process, and the server of `config`, to one core. Open sessions stay where they are;
/// new ones inherit the setting from the server.
pub(crate) fn pin(config: &Config) -> anyhow::Result<()> {
    // Kept open until its process has been found.
    let pool = Pool::new(config)?;
    let row = pool.query_one("SELECT pg_backend_pid()", &[])?;
    let backend: i32 = row.get(0);
    let stat = std::fs::read_to_string(format!("/proc/{backend}/stat"))
        .context("the server is not on this machine")?;
    // After the name in brackets: the state, then the parent.
    let parent = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().nth(1));
    let server = parent.context("no parent in the server's stat")?;
    for process in [server, &std::process::id().to_string()] {
        let pinned = Command::new("taskset")
            .args(["--all-tasks", "--cpu-list", "--pid", "0", process])
            .output()
            .context("taskset of util-linux")?;
        ensure!(pinned.status.success(), "taskset: {pinned:?}");
    }
    Ok(())
}
