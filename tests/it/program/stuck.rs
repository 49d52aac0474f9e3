//! Hints where people are stuck.

use pgmonkey_testserver::{Cluster, Pgbouncer, plain_or_start};

use super::desk::Desk;
use super::{FILE, Program};

#[test]
fn row_level_security_on_an_import_is_explained() {
    let desk = Desk::new();
    let role = format!("{}_low", desk.on.name);
    desk.sql(&format!(
        "CREATE TABLE t (a int); ALTER TABLE t ENABLE ROW LEVEL SECURITY; \
         CREATE ROLE {role}; GRANT ALL ON t TO {role}; GRANT USAGE ON SCHEMA {} TO {role}",
        desk.schema
    ));
    let file = desk.program.read(FILE);
    let file = file.replace(
        "sync_settings: {",
        &format!("sync_settings: {{ role: {role},"),
    );
    desk.program.write(FILE, &file);
    let ended = desk.import("t", "a\n1\n", &[]).failed();
    ended
        .says("row-level security")
        .says("hint: ")
        .says("BYPASSRLS");
    desk.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_timeout_of_the_file_itself_is_named() {
    let desk = Desk::new();
    let file = desk.program.read(FILE);
    let own = file.replace(
        "sync_settings: {",
        "sync_settings: { statement_timeout: '50',",
    );
    desk.program.write(FILE, &own);
    let query = "SELECT pg_sleep(1) FROM generate_series(1, 60)";
    let ended = desk.run(&["export", "--query", query, "out.csv"]).failed();
    ended
        .says("statement timeout")
        .says("the file's own `sync_settings` set statement_timeout to 50");
}

#[test]
fn one_statement_is_taken_as_psql_takes_it() {
    let desk = Desk::new();
    for query in [
        "SELECT 1 AS a;",
        "SELECT 1 AS a; -- one; row",
        "SELECT 1 AS a /* ; */ ;\n",
    ] {
        desk.run(&["export", "--query", query, "out.csv"]).worked();
        assert_eq!(desk.program.read("out.csv"), "a\n1\n", "{query}");
    }
    desk.run(&["export", "--query", "SET x.y = 1; SELECT 1", "two.csv"])
        .failed()
        .says("--query contains more than one statement")
        .says("hint: ");
    assert!(!desk.files().contains(&"two.csv".to_owned()));
}

#[test]
fn bytes_of_any_encoding_are_exported_as_they_are() {
    let server = Cluster::builder().start().expect("a server");
    server
        .psql("CREATE DATABASE bytes ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        .expect("the administrator may");
    let program = Program::new().hiding(server.endpoint().password());
    let yaml = server.endpoint().config_yaml("normal");
    let other = |line: &str| match line.contains("dbname: ") {
        true => "  dbname: bytes\n".to_owned(),
        false => format!("{line}\n"),
    };
    program.write(FILE, &yaml.lines().map(other).collect::<String>());
    let query = "SELECT chr(233) AS a";
    let export = |encoding: &[&str]| {
        let args = ["export", "--query", query, "out.csv", "--config", FILE];
        program.run(&[&args[..], encoding].concat())
    };
    export(&[]).failed().says("hint: ").says("--encoding raw");
    export(&["--encoding", "raw"]).worked();
    let bytes = std::fs::read(program.path("out.csv")).expect("written");
    assert_eq!(bytes, b"a\n\xe9\n");
    let import = [
        "import",
        "t",
        "out.csv",
        "--config",
        FILE,
        "--encoding",
        "raw",
    ];
    assert_eq!(program.run(&import).code, 2);
}

#[test]
fn a_pooler_that_refuses_options_is_explained() {
    let Some(pgbouncer) = Pgbouncer::find() else {
        println!("skipped: no pgbouncer on this machine (`apt-get install pgbouncer`)");
        return;
    };
    let plain = plain_or_start().expect("a server");
    let pooler = Pgbouncer::start(&pgbouncer, plain, &[]).expect("it starts");
    let server = pooler.endpoint();
    let program = Program::new().hiding(server.password());
    let text = format!(
        "connection_settings: {{ host: {}, port: {}, user: {}, password: '{}', dbname: {}, \
         sslmode: prefer, options: '-c geqo=off' }}\n",
        server.host(),
        server.port(),
        server.user(),
        server.password(),
        server.dbname(),
    );
    program.write(FILE, &text);
    let ended = program.run(&["config", "test", FILE]).failed();
    ended.says("hint: PgBouncer refuses `options`");
}
