//! `pgmonkey export`, including the defects of the Python tool's export.

use std::io::Read;

use pgmonkey_testserver::{Cluster, StopMode};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::FILE;
use super::desk::{Desk, signal};

/// Endless rows that arrive slowly.
const SLOW: &str =
    "SELECT n, repeat('x', 1000), pg_sleep(0.001) FROM generate_series(1, 10000000) n";

#[test]
fn d43_rows_and_their_count() {
    let desk = Desk::new();
    desk.sql("CREATE TABLE t (n int, a text, b text); INSERT INTO t VALUES (1, NULL, ''), (2, 'x,\"y\"', E'two\\nlines')");
    let ended = desk.run(&["export", "t", "t.csv"]).worked();
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(lines[0].starts_with("2 rows, "), "d43: {lines:?}");
    assert_eq!(
        lines[1..],
        ["Data from t exported to t.csv.", "Export complete."]
    );
    assert_eq!(
        desk.program.read("t.csv"),
        "n,a,b\n1,,\"\"\n2,\"x,\"\"y\"\"\",\"two\nlines\"\n"
    );
    let quiet = desk.run(&["export", "t", "t.csv", "--quiet"]).worked();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let bare = desk
        .run(&[
            "export",
            "t",
            "-",
            "--no-header",
            "--null",
            "NULL",
            "--delimiter",
            ";",
            "--columns",
            "b,a",
        ])
        .worked();
    assert_eq!(bare.stdout, ";NULL\n\"two\nlines\";\"x,\"\"y\"\"\"\n");
    assert!(bare.stderr.contains("2 rows, "), "{bare:?}");
}

#[test]
fn the_python_tools_call_works() {
    let desk = Desk::new();
    desk.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let args = [
        "pgexport",
        "--table",
        "t",
        "--connconfig",
        FILE,
        "--export_file",
        "out.csv",
    ];
    desk.program.run(&args).worked().prints("Export complete.");
    assert_eq!(desk.program.read("out.csv"), "a\n1\n");
    desk.program
        .run(&["pgexport", "--table", "t", "--conn", FILE])
        .worked();
    assert_eq!(desk.program.read("t.csv"), "a\n1\n");
}

#[test]
fn d01_what_is_missing_is_a_failure() {
    let desk = Desk::new();
    desk.program
        .run(&["export", "t", "t.csv", "-c", "nothing.yaml"])
        .failed()
        .says("nothing.yaml");
    desk.run(&["export", "nothing", "t.csv"])
        .failed()
        .says("there is no table or view nothing");
    let ended = desk.run(&["export", "--query", "SELEC 1", "-"]).failed();
    let told = "error: syntax error at or near \"SELEC\" (SQLSTATE 42601)\n";
    assert_eq!(ended.stderr, told);
    desk.sql("CREATE TABLE here (a int)");
    let ended = desk.run(&["export", "here", "no/folder/t.csv"]).failed();
    let told = "could not create no/folder/t.csv: no such directory\n";
    assert!(ended.stderr.ends_with(told), "{ended:?}");
    for wrong in [
        &["export"][..],
        &["export", "--query", "SELECT 1"],
        &["export", "a", "b", "c"],
    ] {
        assert_eq!(desk.run(wrong).code, 2, "{wrong:?}");
    }
}

#[test]
fn d30_the_first_run_exports() {
    let desk = Desk::new();
    desk.sql("CREATE TABLE t (a int)");
    desk.run(&["export", "t", "t.csv"]).worked();
    assert_eq!(desk.files(), [FILE, "t.csv"]);
}

#[test]
fn d36_two_tables_are_two_files() {
    let desk = Desk::new();
    desk.sql("CREATE TABLE a (a int); CREATE TABLE b (b int)");
    let schema = &desk.schema;
    for table in ["a", "b"] {
        desk.run(&["export", &format!("{schema}.{table}")]).worked();
        assert_eq!(
            desk.program.read(&format!("{schema}.{table}.csv")),
            format!("{table}\n")
        );
    }
}

#[test]
fn d37_quotes_and_encodings() {
    let desk = Desk::new();
    desk.sql("CREATE TABLE t (a text); INSERT INTO t VALUES ('é,''x')");
    let bytes = |options: &[&str]| {
        desk.run(&[&["export", "t", "t.csv"], options].concat())
            .worked();
        desk.bytes("t.csv")
    };
    assert_eq!(bytes(&["--quote", "'"]), "a\n'é,''x'\n".as_bytes());
    assert_eq!(bytes(&["--encoding", "cp1252"]), b"a\n\"\xe9,'x\"\n");
    assert_eq!(
        bytes(&["--encoding", "utf-8-sig"]),
        "\u{feff}a\n\"é,'x\"\n".as_bytes()
    );
    let utf16: Vec<u8> = "\u{feff}a\n\"é,'x\"\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(bytes(&["--encoding", "utf-16"]), utf16);
    desk.program.write(
        "t.yaml",
        "delimiter: '\\t'\nquotechar: \"'\"\nencoding: latin-1\n",
    );
    assert_eq!(bytes(&[]), b"a\n'\xe9,''x'\n");
}

#[test]
fn d38_what_fails_leaves_the_file_as_it_was() {
    let desk = Desk::new();
    desk.sql("CREATE TABLE t (a text); INSERT INTO t VALUES ('plain'), ('10 €')");
    desk.program.write("t.csv", "precious\n");
    let ended = desk
        .run(&["export", "t", "t.csv", "--encoding", "ascii"])
        .failed();
    ended
        .says("line 3 contains '€' (U+20AC)")
        .says("--encoding utf-8");
    let query = "SELECT 1 / (3 - n) FROM generate_series(1, 5) n";
    let ended = desk.run(&["export", "--query", query, "t.csv"]).failed();
    let ended = ended.says("division by zero");
    assert!(
        !ended.stderr.contains("current transaction is aborted"),
        "{ended:?}"
    );
    desk.run(&["export", "--query", "SELEC 1", "t.csv"])
        .failed()
        .says("syntax error");
    desk.run(&["export", "t", "no/such/folder.csv"])
        .failed()
        .says("no/such/folder.csv");
    assert_eq!(desk.program.read("t.csv"), "precious\n");
    assert_eq!(desk.files(), [FILE, "t.csv"]);
}

#[test]
fn everything_that_has_rows() {
    let desk = Desk::new();
    desk.sql(
        "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a * 2) STORED); INSERT INTO t VALUES (1);
         CREATE VIEW v AS SELECT a, b FROM t;
         CREATE MATERIALIZED VIEW m AS SELECT a FROM t;
         CREATE TABLE p (a int) PARTITION BY RANGE (a);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
         INSERT INTO p VALUES (5);
         CREATE TABLE parent (a int); CREATE TABLE child (c int) INHERITS (parent);
         INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 3);
         CREATE TABLE \"odd \"\"name\" (\"a b\" int); CREATE TABLE nothing (a int, b int)",
    );
    for (name, text) in [
        ("t", "a\n1\n"),
        ("v", "a,b\n1,2\n"),
        ("m", "a\n1\n"),
        ("p", "a\n5\n"),
        ("parent", "a\n1\n2\n"),
        ("\"odd \"\"name\"", "a b\n"),
        ("nothing", "a,b\n"),
    ] {
        assert_eq!(
            desk.run(&["export", name, "-"]).worked().stdout,
            text,
            "{name}"
        );
    }
    let query = "SELECT a AS \"x y\", ';' AS z FROM t WHERE a = 1 -- one";
    assert_eq!(
        desk.run(&["export", "--query", query, "-"]).worked().stdout,
        "x y,z\n1,;\n"
    );
    desk.run(&["export", "t", "-", "--columns", "c"])
        .failed()
        .says("has no column c");
}

#[test]
fn what_is_there_keeps_its_kind() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let desk = Desk::new();
    desk.sql("CREATE TABLE t (a int)");
    desk.program.write("real.csv", "old");
    desk.program.chmod("real.csv", 0o640);
    symlink("real.csv", desk.program.path("link.csv")).expect("a link can be made");
    desk.run(&["export", "t", "link.csv"]).worked();
    assert_eq!(desk.program.read("real.csv"), "a\n");
    assert!(desk.program.path("link.csv").is_symlink());
    let mode = |name: &str| {
        std::fs::metadata(desk.program.path(name))
            .expect("there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("real.csv"), 0o640);
    desk.run(&["export", "t", "/dev/null"]).worked();
    desk.run(&["export", "t", "new.csv"]).worked();
    assert_ne!(
        mode("new.csv") & 0o044,
        0,
        "the umask decides, not the temporary file"
    );
}

#[test]
fn a_reader_that_has_gone_is_no_news() {
    let desk = Desk::new();
    let mut child = desk.start(&[
        "export",
        "--query",
        "SELECT repeat('x', 1000) FROM generate_series(1, 100000)",
        "-",
    ]);
    let mut first = [0; 100];
    child
        .stdout
        .take()
        .expect("piped")
        .read_exact(&mut first)
        .expect("it writes");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    desk.on
        .until("its session is gone", || desk.on.sessions() == 0);
}

#[test]
fn an_interrupted_export_leaves_no_file() {
    for name in ["INT", "TERM", "HUP"] {
        let desk = Desk::new();
        let child = desk.start(&["export", "--query", SLOW, "t.csv"]);
        desk.until_copying();
        desk.on.until("it writes", || desk.files().len() > 1);
        assert!(!desk.files().contains(&"t.csv".to_owned()));
        signal(&child, name);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        desk.on
            .until("the query is cancelled", || desk.on.sessions() == 0);
        assert_eq!(desk.files(), [FILE]);
    }
}

#[test]
fn a_killed_export_leaves_no_file_under_the_name() {
    let desk = Desk::new();
    let child = desk.start(&["export", "--query", SLOW, "t.csv"]);
    desk.until_copying();
    desk.on.until("it writes", || desk.files().len() > 1);
    signal(&child, "KILL");
    drop(child.wait_with_output());
    assert!(
        !desk.files().contains(&"t.csv".to_owned()),
        "{:?}",
        desk.files()
    );
    desk.on
        .until("its session is gone", || desk.on.sessions() == 0);
}

#[test]
fn a_session_that_the_server_ends_says_why() {
    let desk = Desk::new();
    let child = desk.start(&["export", "--query", SLOW, "t.csv"]);
    desk.until_copying();
    desk.on.until("it writes", || desk.files().len() > 1);
    assert!(desk.on.kill() > 0);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = "terminating connection due to administrator command (SQLSTATE 57P01)";
    assert!(said.contains(reason), "{said}");
    assert_eq!(desk.files(), [FILE]);
}

#[test]
fn a_server_that_stops_leaves_no_file() {
    let cluster = Cluster::builder().start().expect("a server");
    let desk = Desk::at(cluster.endpoint().clone());
    let child = desk.start(&["export", "--query", SLOW, "t.csv"]);
    desk.until_copying();
    desk.on.until("it writes", || desk.files().len() > 1);
    cluster.stop(StopMode::Immediate).expect("it stops");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!output.stderr.is_empty());
    assert_eq!(desk.files(), [FILE]);
}

/// A generated table: the names and types of its columns, and its rows.
#[derive(Debug, Clone)]
struct Generated {
    names: Vec<String>,
    types: Vec<&'static str>,
    rows: Vec<Vec<Option<String>>>,
}

fn value(kind: &'static str) -> BoxedStrategy<String> {
    match kind {
        "text" => prop_oneof![
            "[ab,;|\"'\\\\.\t\r\n ]{0,6}",
            "\\PC{0,8}",
            Just("\\.".to_owned()),
            Just("\\N".to_owned()),
            Just("NULL".to_owned()),
            Just("🐒\n\"\"".to_owned()),
        ]
        .prop_map(|text| text.replace('\0', ""))
        .boxed(),
        "int" => any::<i32>().prop_map(|n| n.to_string()).boxed(),
        "float8" => (-1e300..1e300).prop_map(|n: f64| n.to_string()).boxed(),
        "bool" => any::<bool>().prop_map(|b| b.to_string()).boxed(),
        "date" => (1i32..9999, 1u32..13, 1u32..29)
            .prop_map(|(y, m, d)| format!("{y:04}-{m:02}-{d:02}"))
            .boxed(),
        "jsonb" => "[a-z,\"\\\\]{0,6}"
            .prop_map(|text| serde_json::json!({ "k": [text] }).to_string())
            .boxed(),
        "text[]" => "[a-z ,]{0,5}"
            .prop_map(|text| format!("{{\"{text}\",NULL}}"))
            .boxed(),
        "bytea" => proptest::collection::vec(any::<u8>(), 0..5)
            .prop_map(|bytes| {
                format!(
                    "\\x{}",
                    bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()
                )
            })
            .boxed(),
        _ => unreachable!("the types below"),
    }
}

const TYPES: [&str; 8] = [
    "text", "int", "float8", "bool", "date", "jsonb", "text[]", "bytea",
];

fn tables() -> impl Strategy<Value = Generated> {
    let width = prop_oneof![3 => 1usize..6, 1 => Just(1usize), 1 => Just(300usize)];
    let types = width.prop_flat_map(|width| {
        proptest::collection::vec(proptest::sample::select(&TYPES[..]), width)
    });
    types.prop_flat_map(|types| {
        let most = if types.len() > 100 { 3 } else { 12 };
        let row: Vec<_> = types
            .iter()
            .map(|kind| proptest::option::weighted(0.8, value(kind)))
            .collect();
        let rows = proptest::collection::vec(row, 0..most);
        let ends = proptest::collection::vec("[a-zA-Z 0-9,\"'é🐒.\n-]{0,5}", types.len());
        (Just(types), ends, rows).prop_map(|(types, ends, rows)| Generated {
            // A number in front makes the names distinct.
            names: ends
                .iter()
                .enumerate()
                .map(|(n, end)| format!("{n}_{end}").trim().to_owned())
                .collect(),
            types,
            rows,
        })
    })
}

#[test]
fn round_trip_of_any_table() {
    let desk = Desk::new();
    let config = Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    };
    let number = std::cell::Cell::new(0);
    let outcome = TestRunner::new(config).run(&tables(), |table| {
        number.set(number.get() + 1);
        let name = format!("r{}", number.get());
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let literal = |text: &Option<String>| match text {
            Some(text) => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
            None => "NULL".to_owned(),
        };
        let columns: Vec<String> = table
            .names
            .iter()
            .zip(&table.types)
            .map(|(name, kind)| format!("{} {kind}", quoted(name)))
            .collect();
        desk.sql(&format!(
            "CREATE TABLE {name} ({0}); CREATE TABLE {name}b ({0})",
            columns.join(", ")
        ));
        for row in &table.rows {
            let values: Vec<String> = row.iter().map(literal).collect();
            desk.sql(&format!(
                "INSERT INTO {name} VALUES ({})",
                values.join(", ")
            ));
        }
        desk.run(&["export", &name, "r.csv", "--quiet"]).worked();
        desk.run(&[
            "import",
            &format!("{name}b"),
            "r.csv",
            "--header",
            "--delimiter",
            ",",
            "--quiet",
        ])
        .worked();
        prop_assert_eq!(desk.rows(&name), desk.rows(&format!("{name}b")));
        // The same with everything detected.
        desk.sql(&format!("TRUNCATE {name}b"));
        if table.names.len() > 1 {
            desk.run(&["import", &format!("{name}b"), "r.csv", "--quiet"])
                .worked();
            prop_assert_eq!(desk.rows(&name), desk.rows(&format!("{name}b")));
        }
        desk.sql(&format!("DROP TABLE {name}, {name}b"));
        Ok(())
    });
    outcome.expect("what went out came back");
}
