//! Runs other programs, and stops them when this one is stopped.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
#[cfg(feature = "checks")]
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use pgmonkey_testserver::Watchdog;

/// What a shell reports for a program ended by Ctrl-C.
const INTERRUPTED_CODE: u8 = 130;

/// Ends the process group `$1`, with SIGTERM first.
const END_GROUP: &str = r#"kill -s TERM -- "-$1"
tries=0
while [ "$tries" -lt 50 ] && kill -s 0 -- "-$1"; do
  sleep 0.1
  tries=$((tries + 1))
done
kill -s KILL -- "-$1"
"#;

/// The process group of the running program.
static RUNNING: Mutex<Option<u32>> = Mutex::new(None);
/// How often it was interrupted: counted only with the feature `checks`. Without it Ctrl-C ends this
/// process immediately, and the watchdogs clean up.
static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

/// A program that failed; xtask exits with the same code.
#[derive(Debug)]
pub(crate) struct Failed {
    line: String,
    status: ExitStatus,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` failed: {}", self.line, self.status)
    }
}

impl std::error::Error for Failed {}

/// Ctrl-C was pressed, or the process received a termination signal.
#[derive(Debug)]
struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Builds this program with the feature `checks`, and becomes it.
#[cfg(not(feature = "checks"))]
pub(crate) fn run_with_checks() -> anyhow::Result<()> {
    let run = ["run", "--package", "xtask", "--features", "checks", "--"];
    let error = cargo(&run).args(std::env::args_os().skip(1)).exec();
    Err(error).context("cannot run cargo")
}

/// Runs a program to its end, without standard input.
///
/// It gets a process group of its own, which ends with this process.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    Running::start(command)?.wait()
}

/// A program that runs.
struct Running {
    line: String,
    child: Child,
    watchdog: anyhow::Result<Watchdog>,
}

impl Running {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let line = line(command);
        // Held during the start, so that an interrupt in the meantime finds the program.
        let mut running_now = running();
        check_interrupt()?;
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run `{line}`"))?;
        let watchdog = Watchdog::start(END_GROUP, [child.id().to_string().as_ref()]);
        *running_now = Some(child.id());
        Ok(Self {
            line,
            child,
            watchdog,
        })
    }

    fn wait(mut self) -> anyhow::Result<()> {
        let status = self.child.wait();
        *running() = None;
        self.watchdog?.disarm();
        check_interrupt()?;
        match status? {
            status if status.success() => Ok(()),
            status => {
                let line = self.line;
                Err(Failed { line, status }.into())
            }
        }
    }
}

/// Cargo, in the workspace's root: below it, cargo would use the crate of that directory.
pub(crate) fn cargo(args: &[&str]) -> Command {
    // Set by cargo itself, so the same cargo is used again.
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    for (name, _) in std::env::vars_os() {
        if of_this_package(&name) {
            command.env_remove(name);
        }
    }
    command
}

/// Whether cargo set this variable to describe the package that it runs, which is xtask. Build scripts
/// that read one, such as ring's, would run again, with everything that depends on them, whenever
/// cargo is used with xtask and without in turn.
fn of_this_package(variable: &OsStr) -> bool {
    let described = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CFG_"];
    let name = variable.to_string_lossy();
    described.iter().any(|prefix| name.starts_with(prefix))
}

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent()
        .expect("this crate is a folder of the workspace")
}

/// Where cargo puts what it builds.
#[cfg(feature = "checks")]
pub(crate) fn target_dir() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root().join(set.unwrap_or_else(|| "target".into()))
}

/// The exit code: that of the program that failed, as a shell would report it.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<Interrupted>() {
        return ExitCode::from(INTERRUPTED_CODE);
    }
    let Some(Failed { status, .. }) = error.downcast_ref() else {
        return ExitCode::FAILURE;
    };
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    let code = code.and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

fn check_interrupt() -> anyhow::Result<()> {
    if INTERRUPTS.load(Ordering::SeqCst) > 0 {
        return Err(Interrupted.into());
    }
    Ok(())
}

fn running() -> MutexGuard<'static, Option<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn line(command: &Command) -> String {
    let mut words = vec![command.get_program()];
    words.extend(command.get_args());
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

#[cfg(feature = "checks")]
pub(crate) use checks::{listen_for_interrupts, run_lines, step};

/// What only the tasks of contributors use.
#[cfg(feature = "checks")]
mod checks {
    use std::io::{self, BufRead, BufReader};
    use std::process::{Command, exit};
    use std::sync::atomic::Ordering;
    use std::time::Instant;

    use anyhow::Context;
    use pgmonkey_testserver::signal_group;

    use super::{INTERRUPTED_CODE, INTERRUPTS, Running, running};

    /// Makes Ctrl-C end the running program, and then xtask in an orderly way. Between programs, and
    /// the third time, it ends xtask immediately: the watchdogs clean up.
    ///
    /// The second one is passed on as well: cargo-nextest takes it as the request not to wait for any
    /// test.
    pub(crate) fn listen_for_interrupts() -> anyhow::Result<()> {
        ctrlc::set_handler(|| {
            let earlier = INTERRUPTS.fetch_add(1, Ordering::SeqCst);
            let patient = earlier < 2;
            let signal = if patient { "INT" } else { "KILL" };
            // Not kept locked: the end of the program takes the lock as well.
            let group = *running();
            let stopping = group.is_some_and(|group| signal_group(group, signal).is_ok());
            if !(patient && stopping) {
                exit(INTERRUPTED_CODE.into());
            }
            eprintln!("interrupted, stopping");
        })
        .context("cannot listen for Ctrl-C")
    }

    /// As [`run`](super::run), with each line of its output printed and passed to `on_line`.
    pub(crate) fn run_lines(
        mut command: Command,
        mut on_line: impl FnMut(&str),
    ) -> anyhow::Result<()> {
        let (output, input) = io::pipe()?;
        command.stdout(input.try_clone()?).stderr(input);
        let running = Running::start(&mut command)?;
        // With its ends of the pipe: otherwise the output would never end.
        drop(command);
        for line in BufReader::new(output).split(b'\n') {
            let line = line.context("cannot read the output")?;
            let line = String::from_utf8_lossy(&line);
            eprintln!("{line}");
            on_line(&line);
        }
        running.wait()
    }

    /// Like [`run`](super::run), and prints the command and how long it took.
    pub(crate) fn step(
        name: &str,
        action: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        eprintln!("==> {name}");
        let begin = Instant::now();
        action().with_context(|| format!("step `{name}`"))?;
        eprintln!("    {name}: ok, {:.1} s", begin.elapsed().as_secs_f64());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_the_program_that_failed_is_passed_on() {
        let error = run(Command::new("sh").args(["-c", "exit 7"])).unwrap_err();
        let error = error.context("a step");
        assert_eq!(exit_code(&error), ExitCode::from(7));
        assert!(format!("{error:#}").contains("sh -c exit 7"), "{error:#}");
    }

    #[test]
    fn a_program_ended_by_a_signal_is_reported_as_a_shell_does() {
        let error = run(Command::new("sh").args(["-c", "kill -s KILL $$"])).unwrap_err();
        assert_eq!(exit_code(&error), ExitCode::from(137));
    }

    #[test]
    fn another_cargo_does_not_take_its_package_for_xtask() {
        let described = ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"];
        assert!(described.iter().all(|name| of_this_package(name.as_ref())));
        // The tests run under cargo, which sets them.
        let command = cargo(&["--version"]);
        let removed: Vec<_> = command
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .collect();
        assert!(removed.len() >= described.len(), "{removed:?}");
        for kept in [
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_JOBS",
            "CARGO",
        ] {
            assert!(!of_this_package(kept.as_ref()), "{kept}");
        }
    }

    #[test]
    fn the_lines_of_both_outputs_arrive_and_the_code_too() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 7"]);
        let mut lines = Vec::new();
        let error = run_lines(command, |line| lines.push(line.to_owned())).unwrap_err();
        assert_eq!(exit_code(&error), ExitCode::from(7));
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(&mut Command::new("no-such-program")).unwrap_err();
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}
