//! The CLI as a user calls it: its output and its exit code.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pgmonkey_tests::Fixture;

mod bench;
mod config;
mod desk;
mod embedded;
mod export;
mod generated;
mod help;
mod import;
mod progress;
mod protocol;
mod reports;
mod schema;
mod secrets;
mod server;
mod shapes;
mod stuck;
mod trial;
mod values;

/// The file that [`Program::on`] writes, for the server.
pub(crate) const FILE: &str = "pgmonkey.yaml";

/// The CLI in a directory of its own, with only the environment that a test sets.
pub(crate) struct Program {
    folder: tempfile::TempDir,
    env: Vec<(String, String)>,
    /// Texts that no stream may ever contain.
    secrets: Vec<String>,
}

/// The result of a call.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Program {
    /// In an empty directory.
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder can be made"),
            env: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// In a directory with [`FILE`] for the fixture's server, with additional `sections`.
    pub(crate) fn on(fixture: &Fixture, sections: &str) -> Self {
        let program = Self::new().hiding(fixture.server().password());
        program.write(FILE, &fixture.yaml(sections));
        program
    }

    /// The same with a text that its output must not contain.
    pub(crate) fn hiding(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }

    /// The same with a variable in its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The text of a file in the directory.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file that can be read")
    }

    /// Writes a file in the directory that only its owner can read.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file can be written");
        set_mode(&path, 0o600);
    }

    /// Changes the mode of a file in the directory.
    pub(crate) fn chmod(&self, name: &str, mode: u32) {
        set_mode(&self.path(name), mode);
    }

    /// The command with these arguments, for tests that start it themselves.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgmonkey_program"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Calls it without standard input.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.run_with(args, "")
    }

    /// Calls it with this standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Ended {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("it was asked for");
        let input = input.to_owned();
        // On a thread: a CLI that does not read must not block the test. It may exit before it has
        // read everything, so an error is ignored.
        let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().expect("the program ends");
        writer.join().expect("writing does not panic");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
        let ended = Ended {
            code: output.status.code().expect("it was not killed"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        for secret in self.secrets.iter().filter(|secret| !secret.is_empty()) {
            let shown = ended.stdout.contains(secret) || ended.stderr.contains(secret);
            assert!(!shown, "`{args:?}` shows a secret");
        }
        assert!(
            !ended.stderr.contains("panicked at"),
            "{args:?}: {}",
            ended.stderr
        );
        ended
    }
}

impl Ended {
    /// Checks that it succeeded.
    #[track_caller]
    pub(crate) fn worked(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// Checks that it failed with exit code 1.
    #[track_caller]
    pub(crate) fn failed(self) -> Self {
        assert_eq!(self.code, 1, "{self:?}");
        self
    }

    /// The result as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that standard output contains this.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no `{text}`: {self:#?}");
        self
    }

    /// Checks that standard error contains this.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no `{text}`: {self:#?}");
        self
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).expect("a mode can be set");
}
