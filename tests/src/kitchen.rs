//! Runs the recipes of the book: programs with a file, on a schema of their own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Fixture, LONG};

/// A recipe's environment: a directory with its `pgmonkey.yaml`, and a schema with its tables.
pub struct Kitchen {
    /// Its part of a server.
    pub on: Fixture,
    /// Its schema.
    pub schema: String,
    /// Where the recipe runs.
    pub folder: TempDir,
}

impl Kitchen {
    /// An environment on the plain server with these tables.
    pub fn new(tables: &str) -> Self {
        Self::with(Fixture::new(), tables)
    }

    /// An environment on the fixture's server.
    pub fn with(on: Fixture, tables: &str) -> Self {
        let schema = format!("s_{}", on.name);
        on.run(&format!(
            "CREATE SCHEMA {schema}; SET search_path = {schema}; {tables}; RESET search_path"
        ));
        let kitchen = Self {
            on,
            schema,
            folder: tempfile::tempdir().expect("a folder"),
        };
        let settings = format!("{{ search_path: {} }}", kitchen.schema);
        let pool = "{ min_size: 2, max_size: 4 }";
        kitchen.write(&kitchen.on.yaml(&format!(
            "sync_settings: {settings}\nasync_settings: {settings}\n\
             pool_settings: {pool}\nasync_pool_settings: {pool}\n"
        )));
        kitchen
    }

    /// Replaces `pgmonkey.yaml`.
    pub fn write(&self, yaml: &str) {
        std::fs::write(self.folder.path().join("pgmonkey.yaml"), yaml).expect("it can be written");
    }

    /// Queries a number in a separate session; `$schema` stands for the recipe's.
    pub fn number(&self, sql: &str) -> i64 {
        self.on.number(&sql.replace("$schema", &self.schema), &[])
    }

    /// Ends the recipe's sessions on the server, waits until they are gone, and returns their
    /// number. The recipe may have new ones by then.
    pub fn end_sessions(&self) -> i64 {
        self.on.kill()
    }

    /// The recipe, in its directory.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path());
        command
    }

    /// Runs a recipe to its end.
    pub fn cook(&self, program: &str, args: &[&str]) -> Output {
        let output = self.command(program).args(args).output();
        output.expect("the recipe can be run")
    }
}

impl Drop for Kitchen {
    fn drop(&mut self) {
        self.on.run(&format!("DROP SCHEMA {} CASCADE", self.schema));
    }
}

/// A recipe that runs until it is stopped.
pub struct Running {
    child: Child,
    /// Its output after the first line.
    rest: BufReader<ChildStdout>,
    /// The first line of its output.
    pub line: String,
}

impl Running {
    /// Starts it and waits for its first line.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the recipe can be run");
        let mut rest = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        rest.read_line(&mut line).expect("it writes a line");
        Self { child, rest, line }
    }

    /// Sends the signal to end, as Docker, Kubernetes and systemd do.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", "TERM", &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Its error output, once it has ended successfully.
    pub fn ended_well(mut self) -> String {
        let end = Instant::now() + LONG;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it was started") {
                break status;
            }
            assert!(Instant::now() < end, "it did not end within {LONG:?}");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut complaints = String::new();
        let errors = self.child.stderr.take().expect("it is piped");
        let read = BufReader::new(errors).read_to_string(&mut complaints);
        read.expect("it is text");
        let mut rest = String::new();
        self.rest.read_to_string(&mut rest).expect("it is text");
        assert!(status.success(), "{status}: {rest}{complaints}");
        complaints
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A failed test must not leave the process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The output of a recipe that succeeded.
pub fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The status and body of one response.
pub fn ask(address: &str, method: &str, path: &str) -> Result<(u16, String), std::io::Error> {
    let (head, text) = ask_with(address, method, path, "")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.unwrap_or_default(), text))
}

/// The head and body of the response to a request with further header lines, each with its line end.
pub fn ask_with(
    address: &str,
    method: &str,
    path: &str,
    lines: &str,
) -> Result<(String, String), std::io::Error> {
    let mut stream = TcpStream::connect(address)?;
    let length = if method == "POST" {
        "Content-Length: 0\r\n"
    } else {
        ""
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: here\r\n{length}{lines}Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok((head.to_owned(), text.to_owned()))
}
