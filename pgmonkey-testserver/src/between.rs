//! Programs between clients and servers: poolers and proxies that are installed on this machine.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::account::Account;
use crate::cleanup::{Watchdog, signal};

mod haproxy;
mod pgbouncer;
mod pgpool;

pub use haproxy::Haproxy;
pub use pgbouncer::Pgbouncer;
pub use pgpool::Pgpool;

const START_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// Ends the program whose files are in `$1` with the signal `$2`, its whole process group if that
/// does not help, and removes the files. The pid may have been reused by another process, hence the
/// check of the command line.
const TEAR_DOWN: &str = r#"
runs() {
  { read -r pid; } 2>/dev/null <"$1/pid" || return 1
  { tr '\0' ' ' <"/proc/$pid/cmdline" || ps -o command= -p "$pid"; } 2>/dev/null |
    grep -qF "$1/"
}
tries=0
while [ "$tries" -lt 200 ] && runs "$1"; do
  case $tries in
    0) kill -s "$2" "$pid" ;;
    100) kill -s KILL -- "-$pid" ;;
  esac
  sleep 0.05
  tries=$((tries + 1))
done
rm -rf "$1"
"#;

/// Writes the pid before anything can end this process.
const WITH_PID: &str = r#"echo $$ >"$1/pid" && shift && exec "$@""#;

/// One such program. It is ended when this is dropped and when this process exits, in any way.
#[derive(Debug)]
struct Program {
    path: PathBuf,
    args: Vec<String>,
    dir: PathBuf,
    account: Account,
    child: Option<Child>,
    watchdog: Option<Watchdog>,
}

impl Program {
    /// Prepares a directory for its files, in which it runs. `end` is the signal that ends it.
    fn new(path: &Path, end: &str) -> anyhow::Result<Self> {
        let account = Account::choose()?;
        let dir = tempfile::Builder::new()
            .prefix("pgmonkey-between-")
            .tempdir_in("/tmp")?
            .keep();
        let watchdog = Watchdog::start(TEAR_DOWN, [dir.as_os_str(), end.as_ref()])?;
        account.own(&dir)?;
        Ok(Self {
            path: path.to_owned(),
            args: Vec::new(),
            dir,
            account,
            child: None,
            watchdog: Some(watchdog),
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.file(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        self.account.own(&path)
    }

    fn copy(&self, from: &Path, name: &str) -> anyhow::Result<()> {
        let text = fs::read_to_string(from);
        let text = text.with_context(|| format!("cannot read {}", from.display()))?;
        self.write(name, &text)
    }

    /// Starts it, with its output in the file `output`. One argument must contain its directory.
    fn start(&mut self, args: &[&str]) -> anyhow::Result<()> {
        self.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self.spawn()
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let mut output = File::options();
        let output = output.create(true).append(true).open(self.file("output"))?;
        let mut command = self.account.command(Path::new("sh"));
        command
            .args(["-c", WITH_PID, "sh"])
            .arg(&self.dir)
            .arg(&self.path)
            .args(&self.args)
            .current_dir(&self.dir)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = command.spawn();
        let child = child.with_context(|| format!("cannot run {}", self.path.display()))?;
        self.child = Some(child);
        Ok(())
    }

    fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Waits until `is_ready`; the error includes what the program wrote.
    fn wait(&mut self, is_ready: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while !is_ready(self) {
            let ended = match &mut self.child {
                Some(child) => child.try_wait()?,
                None => bail!("{} was stopped", self.path.display()),
            };
            if ended.is_some() || Instant::now() > deadline {
                let ended = ended.map_or_else(String::new, |status| format!(" ({status})"));
                bail!(
                    "{} does not start{ended}: {}",
                    self.path.display(),
                    self.output()
                );
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn output(&self) -> String {
        let bytes = fs::read(self.file("output")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        signal(self.pid().context("the program was stopped")?, name)
    }

    /// Sends the signal with this name, and waits until the program has ended.
    fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        self.signal(name)?;
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An exited child exists until its parent waits for it, and the script waits for its end.
        let watchdog = self.watchdog.take().map(|dog| thread::spawn(|| drop(dog)));
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
        let _ = watchdog.map(thread::JoinHandle::join);
    }
}

/// The path of an installed program: the one that `variable` names, or one on `PATH` or where
/// packages put services.
fn find(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(program) = std::env::var_os(variable) {
        return Some(program.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|program| program.is_file())
}
