//! The recipes of the book are the programs that run here.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pgmonkey_tests::{Fixture, LONG, Outcome};
use tempfile::TempDir;

mod observed;
mod pages;
mod readme;
mod rolled_back;
mod shared_pool;
mod web;
mod worker;

/// A recipe's environment: a directory with its `pgmonkey.yaml`, and a schema with its tables.
struct Kitchen {
    on: Fixture,
    schema: String,
    folder: TempDir,
}

impl Kitchen {
    fn new(tables: &str) -> Self {
        let on = Fixture::new();
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

    fn write(&self, yaml: &str) {
        std::fs::write(self.folder.path().join("pgmonkey.yaml"), yaml).expect("it can be written");
    }

    fn number(&self, sql: &str) -> i64 {
        self.on.number(&sql.replace("$schema", &self.schema), &[])
    }

    /// Ends the recipe's sessions on the server, waits until they are gone, and returns their
    /// number. The recipe may have new ones by then.
    fn end_sessions(&self) -> i64 {
        self.on.kill()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path());
        command
    }

    /// Runs a recipe to its end.
    fn cook(&self, program: &str, args: &[&str]) -> Output {
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
struct Running {
    child: Child,
    /// Its output after the first line.
    rest: BufReader<std::process::ChildStdout>,
    /// The first line of its output.
    line: String,
}

impl Running {
    fn start(command: &mut Command) -> Self {
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
    fn terminate(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", "TERM", &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Its error output, once it has ended successfully.
    fn ended_well(mut self) -> String {
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

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn values_of_other_crates_and_own_types_are_the_same_when_read() -> Outcome {
    let kitchen = Kitchen::new("SELECT");
    let output = kitchen.cook(env!("CARGO_BIN_EXE_recipe_types"), &[]);
    assert!(output.status.success(), "{output:?}");
    let expected = r#"numeric: 19.99
NULL: None
json: ["id","name"]
in the array: 2
composite: Spot { room: "left", height: 2 }
"#;
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    Ok(())
}

#[test]
fn a_script_moves_all_or_nothing_and_says_so_by_its_exit_code() -> Outcome {
    let kitchen = Kitchen::new(
        "CREATE TABLE orders (id int, placed date); CREATE TABLE orders_archive (id int, placed date); \
         INSERT INTO orders SELECT n, current_date - n FROM generate_series(1, 100) n",
    );
    let script = env!("CARGO_BIN_EXE_recipe_script");
    assert_eq!(said(&kitchen.cook(script, &["30"])), "70 orders moved\n");
    assert_eq!(
        kitchen.number("SELECT count(*) FROM $schema.orders_archive"),
        70
    );

    kitchen
        .on
        .run(&format!("DROP TABLE {}.orders_archive", kitchen.schema));
    let failed = kitchen.cook(script, &["10"]);
    assert_eq!(failed.status.code(), Some(1));
    let reason = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(
        reason.contains("orders_archive") && reason.contains("42P01"),
        "{reason}"
    );
    assert_eq!(kitchen.number("SELECT count(*) FROM $schema.orders"), 30);
    kitchen
        .on
        .until("no session is left", || kitchen.on.sessions() == 0);
    Ok(())
}

fn accounts() -> Kitchen {
    Kitchen::new(
        "CREATE TABLE accounts (name text, money int); \
         INSERT INTO accounts VALUES ('alice', 100), ('bob', 50)",
    )
}

#[test]
fn every_way_to_have_a_transaction() -> Outcome {
    let kitchen = accounts();
    let output = kitchen.cook(env!("CARGO_BIN_EXE_recipe_transactions"), &[]);
    assert_eq!(said(&output), "acme: alice has 98\nalice: 98\nbob: 66\n");
    Ok(())
}

#[test]
fn every_way_to_have_a_transaction_in_a_task() -> Outcome {
    let kitchen = accounts();
    let output = kitchen.cook(env!("CARGO_BIN_EXE_recipe_transactions_async"), &[]);
    assert_eq!(said(&output), "alice: 98\nbob: 66\n");
    Ok(())
}

#[test]
fn a_repository_is_written_once() -> Outcome {
    let kitchen = accounts();
    let output = kitchen.cook(env!("CARGO_BIN_EXE_recipe_repository"), &[]);
    assert_eq!(
        said(&output),
        "Some(100)\nthere is no such account\nSome(93)\n"
    );
    Ok(())
}

#[test]
fn one_handle_from_a_storm_to_the_end() -> Outcome {
    let kitchen = Kitchen::new("SELECT 1");
    let text = said(&kitchen.cook(env!("CARGO_BIN_EXE_recipe_lifecycle"), &[]));
    assert!(text.starts_with("16 callers, 1 handle\n"), "{text}");
    assert!(text.ends_with("closed 1\n"), "{text}");
    kitchen
        .on
        .until("no session is left", || kitchen.on.sessions() == 0);
    Ok(())
}

#[test]
fn a_password_out_of_a_token_file() -> Outcome {
    let kitchen = Kitchen::new("SELECT 1");
    let server = kitchen.on.server();
    let secret = format!("'{}'", server.password().replace('\'', "''"));
    kitchen.write(&kitchen.on.yaml("").replace(&secret, "'not this one'"));
    let program = env!("CARGO_BIN_EXE_recipe_credentials");

    let failed = kitchen.cook(program, &[]);
    let reason = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(reason.contains("the password provider failed"), "{reason}");

    let token = format!("{}\n", server.password());
    std::fs::write(kitchen.folder.path().join("token"), token)?;
    let text = said(&kitchen.cook(program, &[]));
    assert_eq!(text.trim(), server.user());
    Ok(())
}

#[test]
fn a_file_the_environment_and_the_program() -> Outcome {
    let kitchen = Kitchen::new("SELECT 1");
    let server = kitchen.on.server();
    kitchen.write(
        "connection_settings: { host: '${DB_HOST}', port: 1, dbname: '${DB_NAME:-postgres}', \
         user: { from_env: DB_USER }, password: { from_file: secret }, sslmode: disable }",
    );
    std::fs::write(kitchen.folder.path().join("secret"), server.password())?;
    let output = kitchen
        .command(env!("CARGO_BIN_EXE_recipe_environment"))
        .env("DB_HOST", server.host())
        .env("DB_USER", server.user())
        .env("DB_NAME", server.dbname())
        .env(
            "PGMONKEY_CONNECTION_SETTINGS__PORT",
            server.port().to_string(),
        )
        .output()?;
    let text = said(&output);
    assert!(text.ends_with("\nshop\n"), "{text}");
    assert!(!text.contains(server.password()), "{text}");
    Ok(())
}
