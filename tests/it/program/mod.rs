//! The program as a person calls it: what it prints where, and how it ends.

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
mod schema;
mod secrets;
mod server;
mod trial;

/// The file of the server that [`Program::on`] writes.
pub(crate) const FILE: &str = "pgmonkey.yaml";

/// The program in a folder of its own, with nothing in its environment but what a test puts there.
pub(crate) struct Program {
    folder: tempfile::TempDir,
    env: Vec<(String, String)>,
    /// What no stream may ever show.
    secrets: Vec<String>,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code.
    pub(crate) code: i32,
    /// The result.
    pub(crate) stdout: String,
    /// Everything else.
    pub(crate) stderr: String,
}

impl Program {
    /// In an empty folder.
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder can be made"),
            env: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// In a folder with [`FILE`] for a corner of a server, with more of it in `sections`.
    pub(crate) fn on(fixture: &Fixture, sections: &str) -> Self {
        let program = Self::new().hiding(fixture.server().password());
        program.write(FILE, &fixture.yaml(sections));
        program
    }

    /// The same, and this must not be seen in whatever it prints.
    pub(crate) fn hiding(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }

    /// The same with a variable in its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The text of a file in the folder.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file that can be read")
    }

    /// Writes a file in the folder that nobody else can read.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file can be written");
        set_mode(&path, 0o600);
    }

    /// Gives a file in the folder another mode.
    pub(crate) fn chmod(&self, name: &str, mode: u32) {
        set_mode(&self.path(name), mode);
    }

    /// The command with these arguments, for those who start it themselves.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgmonkey_program"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Calls it with nothing on its standard input.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.run_with(args, "")
    }

    /// Calls it with this on its standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Ended {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("it was asked for");
        let input = input.to_owned();
        // On a thread: a program that does not read must not keep the test waiting. It may end
        // before it has read all, so an error is none.
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
    /// It worked.
    #[track_caller]
    pub(crate) fn worked(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// It failed, called rightly.
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

    /// Something is in the result.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no `{text}`: {self:#?}");
        self
    }

    /// Something is said beside the result.
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
