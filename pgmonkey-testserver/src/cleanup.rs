//! Cleans up after a process that can no longer do so itself.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, ensure};

/// Reads until the pipe closes, which the kernel does when the parent exits, however it exits.
/// HUP, INT and TERM are ignored: they are sent to whole process groups and meant for others.
const PRELUDE: &str = "trap '' HUP INT TERM
while read -r line; do
  [ \"$line\" = disarm ] && exit 0
done
";

/// Runs a shell script when this process exits: normally, by a panic, or by SIGKILL.
///
/// An `sh` in a separate process group holds the reading end of a pipe and waits for it to close.
/// Dropping the watchdog runs the script at once and waits for it.
///
/// # Examples
///
/// ```
/// use pgmonkey_testserver::Watchdog;
///
/// let dir = tempfile::tempdir()?;
/// let left_over = dir.path().join("left-over");
/// std::fs::write(&left_over, "x")?;
/// let watchdog = Watchdog::start("rm -f \"$1\"", [left_over.as_os_str()])?;
/// assert!(left_over.exists());
/// drop(watchdog);
/// assert!(!left_over.exists());
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Debug)]
pub struct Watchdog {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    /// Starts a watchdog that will run `script` with the positional parameters `args` (from `$1`).
    ///
    /// # Errors
    ///
    /// When `sh` cannot be run.
    pub fn start<'a>(
        script: &str,
        args: impl IntoIterator<Item = &'a OsStr>,
    ) -> anyhow::Result<Self> {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("{PRELUDE}{script}"))
            .arg("watchdog")
            .args(args)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot run `sh`")?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// Ends it without running its script.
    pub fn disarm(mut self) {
        if let Some(pipe) = &mut self.pipe {
            // Fails only if the watchdog has already exited, which is the goal.
            let _ = pipe.write_all(b"disarm\n");
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.child.wait();
    }
}

/// A temporary directory that is removed when this is dropped or this process exits, in any way.
///
/// # Examples
///
/// ```
/// let scratch = pgmonkey_testserver::ScratchDir::new()?;
/// std::fs::write(scratch.path().join("note"), "x")?;
/// let path = scratch.path().to_path_buf();
/// drop(scratch);
/// assert!(!path.exists());
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Debug)]
pub struct ScratchDir {
    path: PathBuf,
    _watchdog: Watchdog,
}

impl ScratchDir {
    /// Creates a directory that only this user can read.
    ///
    /// # Errors
    ///
    /// When it cannot be created in the system's temporary directory.
    pub fn new() -> anyhow::Result<Self> {
        let made = tempfile::Builder::new()
            .prefix("pgmonkey-scratch-")
            .tempdir()
            .context("cannot make a temporary directory")?;
        let watchdog = Watchdog::start("rm -rf \"$1\"", [made.path().as_os_str()])?;
        Ok(Self {
            path: made.keep(),
            _watchdog: watchdog,
        })
    }

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Sends the signal with this name (`INT`, `TERM`, `KILL`, …) to a process group.
///
/// # Errors
///
/// When there is no such group or it belongs to another user.
pub fn signal_group(group: u32, name: &str) -> anyhow::Result<()> {
    kill(name, &format!("-{group}"))
}

/// Sends the signal with this name to one process.
///
/// # Errors
///
/// When there is no such process or it belongs to another user.
pub fn signal(process: u32, name: &str) -> anyhow::Result<()> {
    kill(name, &process.to_string())
}

/// Uses the shell built-in: the program `kill` is missing on small systems, and the system call
/// needs unsafe code.
fn kill(name: &str, target: &str) -> anyhow::Result<()> {
    let output = Command::new("sh")
        .args(["-c", "kill -s \"$1\" -- \"$2\"", "kill", name, target])
        .output()
        .context("cannot run `sh`")?;
    ensure!(
        output.status.success(),
        "cannot send SIG{name} to {target}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disarmed_watchdog_does_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kept");
        std::fs::write(&file, "x").unwrap();
        Watchdog::start("rm -f \"$1\"", [file.as_os_str()])
            .unwrap()
            .disarm();
        assert!(file.exists());
    }

    #[test]
    fn a_signal_to_nobody_is_an_error() {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let error = signal(child.id(), "TERM").unwrap_err().to_string();
        assert!(error.contains("SIGTERM"), "{error}");
    }

    #[test]
    fn a_whole_group_can_be_ended() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 60 & wait"])
            .process_group(0)
            .spawn()
            .unwrap();
        signal_group(child.id(), "KILL").unwrap();
        assert!(!child.wait().unwrap().success());
    }
}
