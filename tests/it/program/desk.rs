//! Support for the tests of `import` and `export`: a schema of their own on the CLI's search path,
//! and access to it.

use std::process::{Child, Stdio};
use std::sync::Mutex;

use pgmonkey_tests::Fixture;
use pgmonkey_testserver::Endpoint;

use super::{Ended, FILE, Program};

/// One test's schema, and the CLI with a configuration for it.
pub(crate) struct Desk {
    pub(crate) on: Fixture,
    pub(crate) program: Program,
    /// The schema's name.
    pub(crate) schema: String,
    client: Mutex<postgres::Client>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self::with("", Fixture::new())
    }

    /// With more settings in the configuration.
    pub(crate) fn and(sections: &str) -> Self {
        Self::with(sections, Fixture::new())
    }

    /// On a server of the test's own.
    pub(crate) fn at(server: Endpoint) -> Self {
        Self::with("", Fixture::on(server))
    }

    fn with(sections: &str, on: Fixture) -> Self {
        let schema = format!("{}_s", on.name);
        let settings = format!("sync_settings: {{ search_path: {schema} }}\n{sections}");
        let program = Program::on(&on, &settings);
        let mut client = postgres::Client::connect(&on.server().url(), postgres::NoTls)
            .expect("the test server answers");
        let own = format!("CREATE SCHEMA {schema}; SET search_path = {schema}");
        client.batch_execute(&own).expect("a schema can be made");
        Self {
            on,
            program,
            schema,
            client: Mutex::new(client),
        }
    }

    /// Runs statements in the schema.
    pub(crate) fn sql(&self, statements: &str) {
        let mut client = self.client.lock().expect("one test");
        client
            .batch_execute(statements)
            .expect("the test's own statements are right");
    }

    /// The result of a query: its first column as text, NULL as `<null>`.
    pub(crate) fn texts(&self, query: &str) -> Vec<String> {
        let mut client = self.client.lock().expect("one test");
        let rows = client
            .query(query, &[])
            .expect("the test's own query is right");
        let text = |row: &postgres::Row| row.get::<_, Option<String>>(0);
        rows.iter()
            .map(|row| text(row).unwrap_or_else(|| "<null>".to_owned()))
            .collect()
    }

    /// All rows of a table, each as the server writes it.
    pub(crate) fn rows(&self, table: &str) -> Vec<String> {
        self.texts(&format!("SELECT t::text FROM {table} t ORDER BY 1"))
    }

    /// The columns of a table with their types.
    pub(crate) fn columns(&self, table: &str) -> Vec<String> {
        self.texts(&format!(
            "SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute \
             WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum"
        ))
    }

    /// The tables of the schema.
    pub(crate) fn tables(&self) -> Vec<String> {
        self.texts(&format!(
            "SELECT relname::text FROM pg_class WHERE relnamespace = '{}'::regnamespace \
             AND relkind = 'r' ORDER BY 1",
            self.schema
        ))
    }

    /// Imports a file with this text.
    pub(crate) fn import(&self, table: &str, text: impl AsRef<[u8]>, options: &[&str]) -> Ended {
        self.write("data.csv", text);
        self.run(&[&["import", table, "data.csv"], options].concat())
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.program.path(name), bytes).expect("a file can be written");
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.program.path(name)).expect("a file that can be read")
    }

    /// Runs the CLI with the configuration.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.program.run(&[args, &["--config", FILE]].concat())
    }

    /// Runs it with this standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Ended {
        self.program
            .run_with(&[args, &["--config", FILE]].concat(), input)
    }

    /// Starts it, for tests that interrupt it.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = self.program.command(&[args, &["--config", FILE]].concat());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().expect("the program starts")
    }

    /// The names in the CLI's directory.
    pub(crate) fn files(&self) -> Vec<String> {
        let folder = std::fs::read_dir(self.program.path("")).expect("the folder is there");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry
                .expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        };
        let mut names: Vec<String> = folder.map(name).collect();
        names.sort();
        names
    }

    /// Waits until the server runs a `COPY` for the CLI.
    pub(crate) fn until_copying(&self) {
        self.on.until("a copy is under way", || {
            self.on.number(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 \
                 AND state = 'active' AND query LIKE 'COPY%'",
                &[&self.on.name],
            ) > 0
        });
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // A server that the test stopped needs no clean-up.
        if let Ok(client) = self.client.get_mut() {
            let _ = client.batch_execute(&format!("DROP SCHEMA {} CASCADE", self.schema));
        }
    }
}

/// Sends a signal to a process that the test has started.
pub(crate) fn signal(child: &Child, name: &str) {
    let sent = std::process::Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status()
        .expect("kill is there");
    assert!(sent.success(), "a process that runs can be sent {name}");
}
