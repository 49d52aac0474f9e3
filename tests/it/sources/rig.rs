//! Two servers prepared for the rows, and the two programs that run the rows.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pgmonkey_testserver::{Cluster, StopMode, free_port};

use super::row::{Outcome, Row};
use crate::tls::psql;

/// The query that identifies a session; psql alone sets a name of its own if there is none.
const FACTS: &str = "SELECT current_user || '@' || current_database() || ':' \
     || coalesce(inet_server_port()::text, 'socket') \
     || ' app=' || replace(current_setting('application_name'), 'psql', '') \
     || ' geqo=' || current_setting('geqo') || ' tz=' || current_setting('TimeZone') \
     || ' style=' || current_setting('DateStyle') || ' mem=' || current_setting('work_mem') \
     || ' path=' || current_setting('search_path') || ' enc=' || current_setting('client_encoding')";

/// The order of the four types' outcomes.
const TYPES: [&str; 4] = ["normal", "pool", "async", "async_pool"];

/// The same on both servers, except for the passwords.
const ROLES: &str = r#"CREATE ROLE app LOGIN PASSWORD 'secret-<s>';
    CREATE ROLE other LOGIN PASSWORD 'other-<s>';
    CREATE ROLE "o:d\d" LOGIN PASSWORD 'p:w\d''" %40/?#é';
    CREATE ROLE "<me>" LOGIN PASSWORD 'mine-<s>'"#;

const DATABASES: [&str; 4] = ["app", "shop", "d:b\\x", "<me>"];

/// The directories where builds of libpq look for a socket if no host is named.
const USUAL_SOCKETS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// The servers and `psql`.
pub(super) struct Rig {
    psql: PathBuf,
    a: Cluster,
    b: Cluster,
    closed: u16,
    me: String,
}

impl Rig {
    /// `None` with a message if there is no psql, or if the operating system user has the name of a
    /// role that the servers have anyway.
    pub(super) fn new() -> anyhow::Result<Option<Self>> {
        let me = me()?;
        if ["postgres", "app", "other"].contains(&me.as_str()) {
            eprintln!("SKIPPED, nothing was compared: run it as another user than {me}");
            return Ok(None);
        }
        let a = Cluster::builder().start()?;
        let Some(psql) = psql(&a) else {
            eprintln!("SKIPPED, nothing was compared: there is no psql on this machine");
            return Ok(None);
        };
        let rig = Self {
            psql,
            a,
            b: Cluster::builder().start()?,
            closed: free_port()?,
            me,
        };
        for (cluster, name) in [(&rig.a, "a"), (&rig.b, "b")] {
            cluster.psql(&rig.fill(ROLES, Path::new("")).replace("<s>", name))?;
            for database in DATABASES {
                let database = rig.fill(database, Path::new(""));
                cluster.psql(&format!("CREATE DATABASE \"{database}\""))?;
            }
        }
        Ok(Some(rig))
    }

    /// The first server, and the second.
    pub(super) fn servers(&self) -> [&Cluster; 2] {
        [&self.a, &self.b]
    }

    /// Makes the first server listen on the usual sockets too; `false` with a message if it may
    /// not.
    pub(super) fn listens_on_usual_sockets(&self) -> anyhow::Result<bool> {
        let own = self
            .a
            .socket_dir()
            .unwrap_or(Path::new("/nowhere"))
            .to_string_lossy();
        self.a.stop(StopMode::Fast)?;
        let all = format!("{own}, {}", USUAL_SOCKETS.join(", "));
        self.a.set("unix_socket_directories", &all)?;
        let is_there = self.a.start_again().is_ok();
        if is_there && self.psql_has_usual_sockets()? {
            return Ok(true);
        }
        if is_there {
            eprintln!("SKIPPED, the usual sockets: this psql was built for another directory");
            return Ok(false);
        }
        eprintln!("SKIPPED, no session over the usual sockets: the server may not listen there");
        self.a.set("unix_socket_directories", &own)?;
        self.a.start_again()?;
        Ok(false)
    }

    /// Whether psql looks for sockets where the rows expect it to: without a server there, it says
    /// where it looked.
    fn psql_has_usual_sockets(&self) -> anyhow::Result<bool> {
        let output = Command::new(&self.psql)
            .args(["-X", "-w", "-p", "1"])
            .env_clear()
            .output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        Ok(error.contains(&format!("\"{}/.s.PGSQL.1\"", USUAL_SOCKETS[0])))
    }

    /// Runs the rows, prints them as a table (`=` repeats the column before), and panics with those
    /// that failed.
    pub(super) fn compare(&self, rows: Vec<Row>) -> anyhow::Result<()> {
        let mut wrong = Vec::new();
        println!("name | psql | {}", TYPES.join(" | "));
        for row in &rows {
            let (theirs, ours) = self.outcomes(row)?;
            let columns: Vec<&Outcome> = std::iter::once(&theirs).chain(&ours).collect();
            let shown: Vec<String> = (0..columns.len()).map(|at| show(&columns, at)).collect();
            let line = format!("{} | {}", row.name, shown.join(" | "));
            println!("{line}");
            if let Some(expected) = self.fault(row, &theirs, &ours) {
                wrong.push(format!("{line}\n    {expected}"));
            }
        }
        let count = wrong.len();
        assert!(wrong.is_empty(), "{count} rows:\n{}", wrong.join("\n"));
        Ok(())
    }

    fn outcomes(&self, row: &Row) -> anyhow::Result<(Outcome, Vec<Outcome>)> {
        let home = tempfile::tempdir()?;
        for file in &row.files {
            let path = home.path().join(file.path);
            fs::create_dir_all(path.parent().expect("it is in the home directory"))?;
            fs::write(&path, self.fill(&file.content, home.path()))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
        }
        Ok((self.theirs(row, home.path())?, self.ours(row, home.path())?))
    }

    fn theirs(&self, row: &Row, home: &Path) -> anyhow::Result<Outcome> {
        let conninfo: Vec<String> = self
            .settings(row, home)
            .map(|(key, value)| {
                let value = value.replace('\\', "\\\\").replace('\'', "\\'");
                format!("{key}='{value}'")
            })
            .collect();
        let output = self
            .command(&self.psql, row, home)
            .args(["-X", "-w", "-A", "-t", "-q", "-c", FACTS, "-d"])
            .arg(conninfo.join(" "))
            .stdin(Stdio::null())
            .output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().replace('\n', "; ");
        Ok(match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        })
    }

    fn ours(&self, row: &Row, home: &Path) -> anyhow::Result<Vec<Outcome>> {
        // JSON is YAML, and has only one way to write a text.
        let settings: serde_json::Map<String, serde_json::Value> = self
            .settings(row, home)
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        let mut child = self
            .command(Path::new(env!("CARGO_BIN_EXE_connects")), row, home)
            .arg(FACTS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().expect("piped");
        let file = serde_json::json!({ "connection_settings": settings });
        stdin.write_all(file.to_string().as_bytes())?;
        drop(stdin);
        let output = child.wait_with_output()?;
        let text = String::from_utf8(output.stdout)?;
        let outcomes: Vec<Outcome> = text.lines().filter_map(outcome).collect();
        anyhow::ensure!(outcomes.len() == 4, "{}: {text}", row.name);
        Ok(outcomes)
    }

    /// No variable of this process reaches the programs.
    fn command(&self, program: &Path, row: &Row, home: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", home).current_dir(home);
        for (name, value) in &row.variables {
            command.env(name, self.fill(value, home));
        }
        command
    }

    fn settings<'a>(
        &'a self,
        row: &'a Row,
        home: &'a Path,
    ) -> impl Iterator<Item = (&'static str, String)> + 'a {
        let own = row.settings.iter();
        std::iter::once(("sslmode", "disable".to_owned()))
            .chain(own.map(move |(key, value)| (*key, self.fill(value, home))))
    }

    fn fill(&self, text: &str, home: &Path) -> String {
        let socket = self.a.socket_dir().unwrap_or(Path::new("/nowhere"));
        text.replace("<a>", &self.a.port().to_string())
            .replace("<b>", &self.b.port().to_string())
            .replace("<closed>", &self.closed.to_string())
            .replace("<home>", &home.to_string_lossy())
            .replace("<socket>", &socket.to_string_lossy())
            .replace("<me>", &self.me)
    }

    /// The expectation for the first program that did something else.
    fn fault(&self, row: &Row, theirs: &Outcome, ours: &[Outcome]) -> Option<String> {
        let own = row.ours.as_ref().unwrap_or(&row.expected);
        if !self.fits(&row.expected, theirs) {
            return Some(format!("expected of psql: {:?}", row.expected));
        }
        TYPES.into_iter().zip(ours).find_map(|(who, outcome)| {
            let same = row.ours.is_some() || outcome.is_err() || outcome == theirs;
            let fits = same && self.fits(own, outcome);
            (!fits).then(|| format!("expected of {who}: {own:?}"))
        })
    }

    fn fits(&self, wanted: &Outcome, found: &Outcome) -> bool {
        match (wanted, found) {
            (Ok(wanted), Ok(text)) | (Err(wanted), Err(text)) => {
                text.contains(&self.fill(wanted, Path::new("<home>")))
            }
            _ => false,
        }
    }
}

fn outcome(line: &str) -> Option<Outcome> {
    let ok = line.strip_prefix("ok ").map(|text| Ok(text.to_owned()));
    ok.or_else(|| line.strip_prefix("no ").map(|text| Err(text.to_owned())))
}

fn show(columns: &[&Outcome], at: usize) -> String {
    match columns[at] {
        same if at > 0 && same == columns[at - 1] => "=".to_owned(),
        Ok(facts) => facts.clone(),
        Err(words) => format!("REFUSED {words}"),
    }
}

/// The user of the operating system.
fn me() -> anyhow::Result<String> {
    let output = Command::new("id").arg("-un").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
