//! HAProxy in front of servers, with a check that knows the primary.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::{Program, find};
use crate::endpoint::Endpoint;
use crate::ports::free_port;

const SETTINGS: &str = "haproxy.cfg";
const CONSOLE: &str = "console";

/// A throw-away HAProxy in TCP mode. It is stopped when this is dropped and when this process exits.
///
/// It sends each new session to the primary among its servers: the check logs in as `checker`, who
/// needs no password, and asks `pg_is_in_recovery()`. Sessions to a server that is marked down end.
#[derive(Debug)]
pub struct Haproxy {
    endpoint: Endpoint,
    program: Program,
}

impl Haproxy {
    /// The user of the check.
    pub const CHECKER: &str = "checker";

    /// Returns the path of the program: the one that `PGMONKEY_TEST_HAPROXY` names, or the
    /// installed one, if any.
    #[must_use]
    pub fn find() -> Option<PathBuf> {
        find("PGMONKEY_TEST_HAPROXY", "haproxy")
    }

    /// Starts `program` in front of `servers`, which it calls `db0`, `db1`, …
    ///
    /// # Errors
    ///
    /// When there is no server, or it does not start; the error then includes its output.
    pub fn start(program: &Path, servers: &[&Endpoint]) -> anyhow::Result<Self> {
        let first = *servers
            .first()
            .ok_or_else(|| anyhow::anyhow!("no server"))?;
        let mut program = Program::new(program, "KILL")?;
        let port = free_port()?;
        program.write(SETTINGS, &cfg(&program.file(CONSOLE), servers, port))?;
        let file = program.file(SETTINGS);
        program.start(&["-db", "-f", &file.to_string_lossy()])?;
        let endpoint = Endpoint {
            host: "127.0.0.1".to_owned(),
            port,
            socket_dir: None,
            log_file: Some(program.file("output")),
            ..first.clone()
        };
        // It has opened its ports before it answers here.
        program.wait(|program| ask(&program.file(CONSOLE), "show info").is_ok())?;
        Ok(Self { endpoint, program })
    }

    /// Its address, with the credentials of the servers.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether the check has found this server to be the primary.
    ///
    /// # Errors
    ///
    /// When HAProxy does not answer.
    pub fn is_up(&self, number: usize) -> anyhow::Result<bool> {
        let table = self.command("show stat")?;
        let line = table
            .lines()
            .find(|line| line.starts_with(&format!("primary,db{number},")));
        // The 18th column is the status; `UP 1/2` is one check before `DOWN`.
        let status = line.and_then(|line| line.split(',').nth(17));
        Ok(status.is_some_and(|status| status.starts_with("UP")))
    }

    /// Sends a command to its admin socket, and returns the answer.
    ///
    /// # Errors
    ///
    /// When HAProxy does not answer.
    pub fn command(&self, command: &str) -> anyhow::Result<String> {
        ask(&self.program.file(CONSOLE), command)
    }
}

fn ask(socket: &Path, command: &str) -> anyhow::Result<String> {
    let mut socket = UnixStream::connect(socket)?;
    writeln!(socket, "{command}")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

fn cfg(console: &Path, servers: &[&Endpoint], port: u16) -> String {
    let console = console.display();
    let parameters = format!("user\0{}\0database\0postgres\0\0", Haproxy::CHECKER);
    let startup = message(None, &[&[0, 3, 0, 0], parameters.as_bytes()].concat());
    let query = message(Some(b'Q'), b"SELECT pg_is_in_recovery()\0");
    // One column of one byte, `f`.
    let answer = message(Some(b'D'), &[0, 1, 0, 0, 0, 1, b'f']);
    let mut cfg = format!(
        "global\n    stats socket {console} level admin\ndefaults\n    mode tcp\n    \
         timeout connect 2s\n    timeout client 30m\n    timeout server 30m\n    timeout check 2s\n\
         listen primary\n    bind 127.0.0.1:{port}\n    option tcp-check\n    tcp-check connect\n    \
         tcp-check send-binary {startup}\n    tcp-check expect binary {}\n    \
         tcp-check send-binary {query}\n    tcp-check expect binary {answer}\n    \
         tcp-check send-binary {}\n    \
         default-server inter 200ms fall 2 rise 1 on-marked-down shutdown-sessions\n",
        message(Some(b'Z'), b"I"),
        message(Some(b'X'), b""),
    );
    for (number, server) in servers.iter().enumerate() {
        let (host, port) = (server.host(), server.port());
        // Writing to a `String` cannot fail.
        let _ = writeln!(cfg, "    server db{number} {host}:{port} check");
    }
    cfg
}

/// A message of the protocol in hexadecimal digits.
fn message(tag: Option<u8>, body: &[u8]) -> String {
    let length = u32::try_from(body.len() + 4).expect("short");
    let bytes = tag
        .iter()
        .chain(&length.to_be_bytes())
        .chain(body)
        .copied()
        .collect::<Vec<u8>>();
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
