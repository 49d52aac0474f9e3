//! The program runs against a real server, with its four workers.

#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pgmonkey_testserver::{Endpoint, plain_or_start};
use postgres::{Client, NoTls};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The program and its tables, removed at the end of the test.
struct Running {
    child: Child,
    address: String,
    schema: String,
    admin: Client,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start(server: &Endpoint) -> Result<Self, Box<dyn std::error::Error>> {
        let schema = format!("s_actix_{}", std::process::id());
        let mut admin = Client::connect(&server.url(), NoTls)?;
        admin.batch_execute(&format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {schema}.visits (page text PRIMARY KEY, count bigint)"
        ))?;
        let folder = tempfile::tempdir()?;
        let quote = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let yaml = format!(
            "connection_settings: {{ host: {}, port: {}, user: {}, password: {}, dbname: {}, \
             application_name: {schema}, sslmode: disable }}\n\
             async_settings: {{ search_path: {schema} }}\n\
             async_pool_settings: {{ min_size: 1, max_size: 4 }}\n",
            quote(server.host()),
            server.port(),
            quote(server.user()),
            quote(server.password()),
            quote(server.dbname()),
        );
        std::fs::write(folder.path().join("pgmonkey.yaml"), yaml)?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_pgmonkey-recipes-actix"))
            .arg("127.0.0.1:0")
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ");
        Ok(Self {
            address: address.expect("it says where it listens").to_owned(),
            child,
            schema,
            admin,
            _folder: folder,
        })
    }

    fn ask(&self, method: &str) -> (u16, String) {
        ask(&self.address, method).expect("an answer")
    }

    fn sessions(&mut self) -> i64 {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
        let row = self.admin.query_one(count, &[&self.schema]);
        row.expect("the server answers").get(0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A failed test must not leave the process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let drop = format!("DROP SCHEMA {} CASCADE", self.schema);
        let _ = self.admin.batch_execute(&drop);
    }
}

/// The status and body of one response.
fn ask(address: &str, method: &str) -> Result<(u16, String), std::io::Error> {
    let mut stream = TcpStream::connect(address)?;
    let request = format!(
        "{method} /visits/home HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let text = answer.split_once("\r\n\r\n").map(|(_, text)| text);
    Ok((
        status.unwrap_or_default(),
        text.unwrap_or_default().to_owned(),
    ))
}

#[test]
fn four_workers_share_one_pool() -> Outcome {
    let mut running = Running::start(plain_or_start()?)?;
    assert_eq!(running.ask("GET"), (200, "0\n".to_owned()));
    let address = running.address.clone();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let (status, text) = ask(&address, "POST").expect("an answer");
                    assert_eq!(status, 200, "{text}");
                }
            });
        }
    });
    assert_eq!(running.ask("GET"), (200, "160\n".to_owned()));
    let sessions = running.sessions();
    assert!((1..=4).contains(&sessions), "{sessions}");

    // Sessions ended by the server fail no request.
    let end =
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = $1";
    assert!(!running.admin.query(end, &[&running.schema])?.is_empty());
    for _ in 0..8 {
        assert_eq!(running.ask("GET"), (200, "160\n".to_owned()));
    }

    let table = format!("{}.visits", running.schema);
    let rename = format!("ALTER TABLE {table} RENAME TO moved");
    running.admin.batch_execute(&rename)?;
    assert_eq!(running.ask("GET"), (500, "failed\n".to_owned()));

    let pid = running.child.id().to_string();
    let sent = Command::new("kill").args(["-s", "TERM", &pid]).status()?;
    assert!(sent.success());
    let end = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Some(status) = running.child.try_wait()? {
            break status;
        }
        assert!(Instant::now() < end, "it did not end");
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut complaints = String::new();
    let mut errors = running.child.stderr.take().expect("it is piped");
    errors.read_to_string(&mut complaints)?;
    assert!(
        status.success() && complaints.contains("42P01"),
        "{status}: {complaints}"
    );
    while running.sessions() > 0 {
        assert!(Instant::now() < end, "sessions are left");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
