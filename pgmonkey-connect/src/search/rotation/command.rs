//! Runs a program whose standard output is a secret.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use pgmonkey_config::{REDACTED, Secret, SecretCommand, SecretSource, is_connection_string};

use crate::printable::Line;
use crate::search::credentials::ProviderError;

/// The most that a secret may have. Tokens of clouds have some kilobytes.
const MOST: u64 = 64 * 1024;
/// The most that is read of the program's standard error.
const TOLD: u64 = 4 * 1024;
/// How often to look whether the program has ended.
const LOOK: Duration = Duration::from_millis(5);
/// How long to wait for the rest of the output once the program has ended: a process that it
/// started may keep the pipe open.
const REST: Duration = Duration::from_millis(500);

/// Runs the command without a shell and returns its output: one line of UTF-8 text.
///
/// # Errors
///
/// If it cannot be started, does not end within its `timeout` (it is killed then), fails, or prints
/// nothing or too much. The error has what it wrote to standard error, never its output.
pub(super) fn run(command: &SecretCommand) -> Result<Secret, ProviderError> {
    let fail = |what: String| -> ProviderError {
        format!("the command `{}` {what}", command.program()).into()
    };
    let deadline = Instant::now() + command.timeout;
    let mut child = start(command).map_err(|error| fail(format!("cannot be run: {error}")))?;
    let output = collect(child.stdout.take(), MOST + 1);
    let errors = collect(child.stderr.take(), TOLD);
    let ended = wait(&mut child, deadline).map_err(|error| fail(error.to_string()))?;
    let output = output.recv_timeout(REST).unwrap_or_default();
    let told = || told(&errors.recv_timeout(REST).unwrap_or_default(), &output);
    let Some(status) = ended else {
        let limit = command.timeout;
        return Err(fail(format!(
            "did not end within its timeout ({limit:?}) and was killed{}",
            told()
        )));
    };
    if !status.success() {
        return Err(fail(format!("failed ({status}){}", told())));
    }
    if output.len() as u64 > MOST {
        return Err(fail(format!(
            "printed more than {MOST} bytes, which is no password"
        )));
    }
    match SecretSource::secret_in(output.clone()) {
        Ok(Some(secret)) => Ok(secret),
        Ok(None) => Err(fail(format!("printed nothing{}", told()))),
        Err(reason) => Err(fail(format!("printed what is {reason}{}", told()))),
    }
}

fn start(command: &SecretCommand) -> io::Result<Child> {
    let mut words = command.command.iter();
    let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
    Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Waits until the program has ended; kills it at the deadline and returns `None` then.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

/// Reads a pipe to its end on a thread; keeps the first `most` bytes.
fn collect(pipe: Option<impl Read + Send + 'static>, most: u64) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    let read = move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is all there is.
            let _ = pipe.by_ref().take(most).read_to_end(&mut kept);
            let _ = sender.send(kept);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
    };
    // Without a thread, the receiver finds nothing.
    let _ = thread::Builder::new()
        .name("pgmonkey-command".to_owned())
        .spawn(read);
    receiver
}

/// The standard error for a message, without the output, should the program repeat it there.
fn told(errors: &[u8], output: &[u8]) -> String {
    let errors = String::from_utf8_lossy(errors);
    let output = String::from_utf8_lossy(output);
    let (errors, output) = (errors.trim(), output.trim());
    let shown = match output.is_empty() {
        true => errors.to_owned(),
        false => errors.replace(output, REDACTED),
    };
    match shown.is_empty() {
        true => String::new(),
        false if shown.split_whitespace().any(is_connection_string) => {
            ": its message is not shown, because it contains a connection string".to_owned()
        }
        false => format!(": {}", Line(&shown)),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Secret, String> {
        let mut command = SecretCommand::new(["sh", "-c", script]);
        command.timeout = Duration::from_secs(20);
        run(&command).map_err(|error| error.to_string())
    }

    #[test]
    fn the_output_is_the_secret() {
        for script in ["echo S3cret", "printf S3cret", "echo told >&2; echo S3cret"] {
            assert_eq!(shell(script), Ok(Secret::new("S3cret")), "{script}");
        }
    }

    #[test]
    fn what_fails_says_why_and_hides_the_output() {
        for (script, expected) in [
            (
                "echo S3cret; echo no S3cret here >&2; exit 3",
                "failed (exit status: 3): no ***",
            ),
            ("kill -9 $$", "failed (signal: 9"),
            ("true", "printed nothing"),
            ("echo expired >&2", "printed nothing: expired"),
            ("head -c 2000000 /dev/zero", "printed more than"),
            ("printf 'S3cret\\377'", "UTF-8"),
            ("echo postgres://u:S3cret@h >&2; false", "not shown"),
        ] {
            let error = shell(script).expect_err(script);
            assert!(error.contains(expected), "{script}: {error}");
            assert!(
                error.contains("`sh`") && !error.contains("S3cret"),
                "{error}"
            );
        }
        let missing = SecretCommand::new(["/nowhere/vault", "S3cret"]);
        let error = run(&missing).expect_err("no program").to_string();
        assert!(error.contains("`/nowhere/vault` cannot be run"), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let mut command = SecretCommand::new(["sh", "-c", "echo begun >&2; exec sleep 1000"]);
        command.timeout = Duration::from_millis(300);
        let error = run(&command).expect_err("killed").to_string();
        assert!(
            error.contains("did not end within its timeout (300ms)"),
            "{error}"
        );
        assert!(error.contains("begun"), "{error}");
    }

    #[test]
    fn a_process_left_behind_holds_nobody_up() {
        assert_eq!(
            shell("sleep 5 > /dev/null & echo S3cret"),
            Ok(Secret::new("S3cret"))
        );
        // It keeps the pipe open: what was printed cannot be told from a part of it.
        let error = shell("sleep 5 & echo S3cret").expect_err("no end of the output");
        assert!(error.contains("printed nothing"), "{error}");
    }
}
