//! `pgmonkey import`, including the defects of the Python tool's import.

use std::io::Write;
use std::process::{Child, ChildStdin};

use pgmonkey_testserver::{Cluster, StopMode};

use super::FILE;
use super::desk::{Desk, signal};

/// More than is read at once, so that a copy begins before the file ends.
fn many_rows() -> String {
    (0..100_000).map(|n| format!("{n},row {n}\n")).collect()
}

#[test]
fn d43_b26_rows_and_their_count() {
    let desk = Desk::new();
    desk.sql("CREATE TABLE t (id int, name text); INSERT INTO t VALUES (0, 'before')");
    let ended = desk.import("t", "id,name\n1,one\n2,two\n", &[]).worked();
    let ended = ended.says("data.csv: utf-8, separated by comma, with a header");
    let schema = &desk.schema;
    let all = format!("{}{}", ended.stdout, ended.stderr);
    assert!(!all.contains("two"), "the output contains row data: {all}");
    // The number of imported rows, not of the table's rows.
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(lines[0].starts_with("2 rows, "), "d43: {lines:?}");
    assert_eq!(
        lines[1],
        format!("Data from data.csv copied to {schema}.t.")
    );
    assert_eq!(lines[2..], ["Import complete."]);
    assert_eq!(desk.rows("t"), ["(0,before)", "(1,one)", "(2,two)"]);
}

#[test]
fn quiet_says_nothing() {
    let desk = Desk::new();
    let ended = desk
        .import("t", "a\n1\n\n", &["--create", "--quiet"])
        .worked();
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
}

#[test]
fn the_python_tools_call_works() {
    let desk = Desk::and("connection_type: async_pool\n");
    desk.write("data.csv", "A,B\n1,2\n");
    let args = [
        "pgimport",
        "--table",
        "t",
        "--import_file",
        "data.csv",
        "--connconfig",
        FILE,
    ];
    let ended = desk.program.run(&args).worked();
    let ended = ended
        .prints("Import complete.")
        .says("Detected connection type: async_pool.");
    ended.says("switching to 'normal' connection");
    assert_eq!(desk.columns("t"), ["a text", "b text"]);
    let short = [
        "pgimport", "--tab", "t", "--import", "data.csv", "--conn", FILE,
    ];
    desk.program.run(&short).worked();
    assert_eq!(desk.rows("t").len(), 2);
}

#[test]
fn d01_what_is_missing_is_a_failure() {
    let desk = Desk::new();
    let ended = desk.run(&["import", "t", "nothing.csv"]).failed();
    assert_eq!(ended.stdout, "");
    ended.says("nothing.csv");
    desk.write("data.csv", "a\n1\n");
    let args = ["import", "t", "data.csv", "-c", "nothing.yaml"];
    desk.program.run(&args).failed().says("nothing.yaml");
    for wrong in [
        &["import"][..],
        &["import", "t"],
        &["import", "t", "a", "b"],
        &["import", "t", "a", "--jobs", "0"],
    ] {
        assert_eq!(desk.run(wrong).code, 2, "{wrong:?}");
    }
}

#[test]
fn d13_references_are_resolved() {
    let desk = Desk::new();
    let file = desk.program.read(FILE);
    let password = desk.on.server().password().to_owned();
    desk.program.write(
        "refs.yaml",
        &file.replace(&format!("'{password}'"), "'${PW}'"),
    );
    desk.write("data.csv", "a\n1\n");
    let args = [
        "import",
        "t",
        "data.csv",
        "-c",
        "refs.yaml",
        "--create",
        "--resolve-env",
    ];
    let mut command = desk.program.command(&args);
    let output = command.env("PW", &password).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn d30_b29_the_first_run_imports() {
    let desk = Desk::new();
    desk.import("t", "a;b\n1;2\n", &["--create"])
        .worked()
        .says("separated by semicolon");
    assert_eq!(desk.rows("t"), ["(1,2)"]);
    assert!(!desk.files().contains(&"data.yaml".to_owned()));
}

#[test]
fn b30_a_settings_file_is_honoured() {
    let desk = Desk::new();
    desk.program.write(
        "data.yaml",
        "delimiter: ';'\nhas_headers: false\nencoding: iso-8859-1\n",
    );
    desk.import("t", b"Jos\xe9;2\n", &[])
        .worked()
        .says("data.yaml");
    assert_eq!(desk.columns("t"), ["column_1 text", "column_2 text"]);
    assert_eq!(desk.rows("t"), ["(José,2)"]);
    // Options take precedence.
    desk.import(
        "t2",
        "a,b\n1,2\n",
        &["--delimiter", ",", "--header", "--encoding", "utf-8"],
    )
    .worked();
    assert_eq!(desk.columns("t2"), ["a text", "b text"]);
    desk.program
        .write("data.yaml", "auto_create_table: false\n");
    desk.import("t3", "a\n1\n", &[])
        .failed()
        .says("there is no table");
    desk.program
        .write("data.yaml", "delimiter: ','\nhas_header: true\n");
    desk.import("t3", "a\n1\n", &[]).failed().says("has_header");
}

#[test]
fn settings_are_written_and_read_back() {
    let desk = Desk::new();
    let text = b"A;B\nJos\xe9 est all\xe9 \xe0 la plage;2\n";
    desk.import(
        "t",
        text,
        &["--create", "--write-settings", "--encoding", "latin-1"],
    )
    .worked();
    let settings = desk.program.read("data.yaml");
    for line in [
        "delimiter: ';'",
        "encoding: iso-8859-1",
        "has_headers: true",
        "auto_create_table: true",
    ] {
        assert!(settings.contains(line), "{settings}");
    }
    desk.import("t", text, &[]).worked();
    assert_eq!(desk.rows("t").len(), 2);
    assert_eq!(desk.rows("t")[0], "(\"José est allé à la plage\",2)");
}

#[test]
fn d10_the_text_false_is_false() {
    let desk = Desk::new();
    desk.program.write("data.yaml", "has_headers: 'false'\n");
    desk.import("t", "x,y\n", &[]).worked();
    assert_eq!(desk.rows("t"), ["(x,y)"]);
}

#[test]
fn d14_odd_files_are_told_in_words() {
    let desk = Desk::new();
    desk.program.write("data.yaml", "");
    desk.import("t", "a\n1\n", &[]).worked();
    desk.program.write("data.yaml", "- a\n- b\n");
    desk.import("t", "a\n1\n", &[])
        .worked()
        .says("not used as a settings file");
    desk.program.write("data.yaml", "has_headers: maybe\n");
    desk.import("t", "a\n1\n", &[]).failed().says("data.yaml");
    desk.program.write("empty.yaml", "");
    desk.import("t", "a\n1\n", &["--no-settings"]).worked();
}

#[test]
fn d31_b18_utf8_is_utf8_and_marks_are_no_text() {
    let desk = Desk::new();
    desk.import("small", "id,name\n1,Jos\u{e9}\n", &["--create"])
        .worked();
    assert_eq!(desk.rows("small"), ["(1,José)"]);
    let late = format!("id,name\n{}2,Jos\u{e9}\n", "1,plain\n".repeat(40_000));
    desk.import("late", &late, &["--create"]).worked();
    assert_eq!(desk.texts("SELECT name FROM late WHERE id = '2'"), ["José"]);
    let utf16 = |text: &str| -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(u16::to_le_bytes).collect()
    };
    let utf32 = |text: &str| -> Vec<u8> {
        let units = std::iter::once('\u{feff}').chain(text.chars());
        units.flat_map(|c| u32::from(c).to_be_bytes()).collect()
    };
    let text = "id,name\n1,José 🐒\n2,x\n";
    for (table, bytes) in [
        ("m8", format!("\u{feff}{text}").into_bytes()),
        ("m16", utf16(text)),
        ("m32", utf32(text)),
    ] {
        desk.import(table, &bytes, &["--create"])
            .worked()
            .says("by its byte order mark");
        assert_eq!(desk.columns(table), ["id text", "name text"]);
        assert_eq!(desk.rows(table), ["(1,\"José 🐒\")", "(2,x)"]);
    }
    // The same with the encoding named.
    desk.import(
        "n8",
        format!("\u{feff}{text}"),
        &["--create", "--encoding", "utf-8"],
    )
    .worked();
    assert_eq!(desk.columns("n8"), ["id text", "name text"]);
}

#[test]
fn d31_what_is_guessed_is_said_and_what_is_broken_is_an_error() {
    let desk = Desk::new();
    let western = b"id,name\n1,Jos\xe9 est all\xe9 \xe0 Besan\xe7on\n";
    desk.import("w", western, &["--create"])
        .worked()
        .says("windows-1252 as the most likely");
    assert_eq!(desk.rows("w"), ["(1,\"José est allé à Besançon\")"]);
    let mut late = b"id,name\n".to_vec();
    late.extend_from_slice("1,plain\n".repeat(80_000).as_bytes());
    late.extend_from_slice(b"2,Jos\xe9 est all\xe9 \xe0 Besan\xe7on\n");
    desk.import("l", &late, &["--create"])
        .worked()
        .says("read as windows-1252");
    assert_eq!(
        desk.texts("SELECT name FROM l WHERE id = '2'"),
        ["José est allé à Besançon"]
    );
    let broken = b"id,name\n1,Jos\xc3\xa9\n2,\xff\n";
    let ended = desk.import("b", broken, &["--create"]).failed();
    ended
        .says("data.csv:3: character 3: the bytes ff are not utf-8")
        .says("--encoding");
    assert!(!desk.tables().contains(&"b".to_owned()));
    desk.import("b", "a\n1\n", &["--encoding", "klingon"])
        .says("klingon");
}

#[test]
fn d32_the_connection_file_is_no_settings_file() {
    let desk = Desk::new();
    desk.program.write("data.yaml", &desk.program.read(FILE));
    desk.write("data.csv", "a;b\n1;2\n");
    let args = ["import", "t", "data.csv", "-c", "data.yaml", "--create"];
    desk.program
        .run(&args)
        .worked()
        .says("it is the connection file");
    assert_eq!(desk.columns("t"), ["a text", "b text"]);
    desk.program.write("data.yaml", "services: { db: {} }\n");
    desk.import("t", "a;b\n3;4\n", &[])
        .worked()
        .says("not used as a settings file");
}

#[test]
fn d33_delimiters_are_what_they_are_meant_to_be() {
    let desk = Desk::new();
    desk.import("tab", "a\tb\n1\t2\n", &["--create", "--delimiter", "\\t"])
        .worked();
    assert_eq!(desk.columns("tab"), ["a text", "b text"]);
    desk.program.write("data.yaml", "delimiter: '\\t'\n");
    desk.import("tab2", "a\tb\n1\t2\n", &[]).worked();
    assert_eq!(desk.columns("tab2"), ["a text", "b text"]);
    desk.program.write("data.yaml", "delimiter: ';'\n");
    let text = "text\nHello, world\nplain\n";
    desk.import("one", text, &[])
        .failed()
        .says("--single-column");
    desk.import("one", text, &["--single-column"]).worked();
    assert_eq!(desk.rows("one"), ["(\"Hello, world\")", "(plain)"]);
    std::fs::remove_file(desk.program.path("data.yaml")).expect("it is there");
    desk.import("two", text, &["--create", "--single-column"])
        .worked()
        .says("one column");
    assert_eq!(desk.rows("two"), ["(\"Hello, world\")", "(plain)"]);
    assert_eq!(desk.import("x", "a\n", &["--delimiter", "ab"]).code, 2);
}

#[test]
fn d34_nothing_is_lost_without_a_word() {
    let desk = Desk::new();
    desk.sql("CREATE TABLE t (n int, a text, b text)");
    desk.import("t", "n,a,b\n,,\n1,\"\",\n\n2,x,\"\"\n", &[])
        .worked()
        .says("1 blank line ignored");
    assert_eq!(
        desk.texts("SELECT format('%s|%s|%s', coalesce(n::text, 'null'), coalesce(a, 'null'), coalesce(b, 'null')) FROM t ORDER BY 1"),
        ["1||null", "2|x|", "null|null|null"]
    );
    let long = desk.import("t", "n,a,b\n3,x,y\n4,x,y,z\n", &[]).failed();
    long.says("data.csv:3: column 4: too many; the row has 4 fields and the file has 3");
    let short = desk.import("t", "n,a,b\n3,x,y\n\"\n5\",x\n", &[]).failed();
    short.says("data.csv:3: column 3 (b): missing; the row has 2 fields and the file has 3");
    assert_eq!(desk.rows("t").len(), 3);
    let none = desk
        .import("t", "n,a,b\n4,NULL,\"NULL\"\n", &["--null", "NULL"])
        .worked();
    drop(none);
    assert_eq!(desk.texts("SELECT a FROM t WHERE n = 4"), ["<null>"]);
    assert_eq!(desk.texts("SELECT b FROM t WHERE n = 4"), ["NULL"]);
}

#[test]
fn d35_headers_become_columns() {
    let desk = Desk::new();
    let header = "2020,größe,名前,First Name,first-name,\n1,2,3,4,5,6\n";
    let ended = desk.import("t", header, &["--create", "--header"]).worked();
    ended
        .says("columns 4 and 5 are both first_name")
        .says("column 6 has no header");
    let names = [
        "_2020",
        "gr__e",
        "__",
        "first_name",
        "first_name_2",
        "column_6",
    ];
    assert_eq!(desk.columns("t"), names.map(|name| format!("{name} text")));
    desk.import("kept", "Name,ID\nx,1\n", &["--create", "--keep-case"])
        .worked();
    assert_eq!(desk.columns("kept"), ["Name text", "ID text"]);
    desk.program
        .write("data.yaml", "enforce_lowercase: false\n");
    desk.import("kept2", "Name,ID\nx,1\n", &[]).worked();
    assert_eq!(desk.columns("kept2"), ["Name text", "ID text"]);
    std::fs::remove_file(desk.program.path("data.yaml")).expect("it is there");
    let long = "x".repeat(70);
    desk.import("long", format!("{long},{long}\n1,2\n"), &["--create"])
        .worked();
    desk.import(
        "long",
        format!("{},{}_2\n1,2\n", "x".repeat(63), "x".repeat(61)),
        &[],
    )
    .worked();
}

#[test]
fn d35_a_table_takes_a_file_by_the_names_of_its_columns() {
    let desk = Desk::new();
    desk.sql(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, \"Full Name\" text, made date DEFAULT '2001-02-03', \
         twice int GENERATED ALWAYS AS (id * 2) STORED, \"größe\" int)",
    );
    let ended = desk.import("t", "GRÖßE,full_name\n5,x\n", &[]).worked();
    ended.says("not in the file, so set to their defaults: id, made");
    desk.import("t", "größe,Full Name,id\n6,y,7\n", &[])
        .worked();
    assert_eq!(
        desk.rows("t"),
        ["(1,x,2001-02-03,2,5)", "(7,y,2001-02-03,14,6)"]
    );
    desk.import("t", "größe,nmae\n1,2\n", &[])
        .failed()
        .says("no column for the header nmae")
        .says("Full Name");
    desk.import("t", "id,twice\n1,2\n", &[])
        .failed()
        .says("is generated");
    desk.import("t", "id,ID\n1,2\n", &[])
        .failed()
        .says("both match the column id");
    desk.import("t", "größe,full_name\n1,2\n", &["-d", ";"])
        .failed()
        .says("seems to be separated by comma");
    // Without a header, columns are matched by position.
    desk.sql("CREATE TABLE u (a int, b text)");
    desk.import("u", "1,x\n2,y\n", &[])
        .worked()
        .says("without a header");
    assert_eq!(desk.rows("u"), ["(1,x)", "(2,y)"]);
    desk.import("u", "1\n2\n", &["--no-header"])
        .failed()
        .says("has 2: a, b");
}

#[test]
fn b25_names_are_taken_as_they_are() {
    let desk = Desk::new();
    let schema = &desk.schema;
    desk.sql("CREATE TABLE \"My.Table\" (a text); CREATE TABLE \"Users\" (a text)");
    desk.import("\"My.Table\"", "a\n1\n", &[]).worked();
    desk.import("Users", "a\n1\n", &[]).worked();
    desk.import("users", "a\n1\n", &[])
        .failed()
        .says("there is a")
        .says("\"Users\"");
    desk.import(&format!("{schema}.Users"), "a\n2\n", &[])
        .worked();
    assert_eq!(desk.rows("\"Users\""), ["(1)", "(2)"]);
    // B25: the first of two dots ends the schema.
    desk.import("a.b.c", "a\n1\n", &[])
        .failed()
        .says("there is no table b.c in the schema a");
    // A name cannot break out of its quotes.
    let evil = "x\"; DROP TABLE \"Users\"; --";
    assert_eq!(desk.import(evil, "a\n1\n", &["--create"]).code, 0);
    let header = "a\"; DROP TABLE \"\"Users\"\"; --\n1\n";
    desk.import("t", header, &["--create", "--single-column"])
        .worked();
    assert!(desk.tables().contains(&"Users".to_owned()));
}

#[test]
fn what_csv_is_made_of() {
    let desk = Desk::new();
    let text = "\n\na,b\r\n\"x\r\ny\",\"say \"\"hi\"\"\"\r5\" pipe,\\N\n\\.,\n";
    desk.import("t", text, &["--create"]).worked();
    assert_eq!(
        desk.texts(
            "SELECT a || '|' || coalesce(b, 'null') AS r FROM t ORDER BY (a || '') COLLATE \"C\""
        ),
        ["5\" pipe|\\N", "\\.|null", "x\r\ny|say \"hi\""]
    );
    desk.import("o", "text\n\\.\n\\N\n", &["--create"]).worked();
    assert_eq!(desk.rows("o").len(), 2);
    desk.import("q", "a,b\n'x,y',\"z\n", &["--create", "--quote", "'"])
        .worked();
    assert_eq!(desk.texts("SELECT a || '|' || b FROM q"), ["x,y|\"z"]);
    desk.program.write("data.yaml", "quotechar: null\n");
    desk.import("n", "a,b\n\"x,y\"\n", &[]).worked();
    assert_eq!(desk.texts("SELECT a || '|' || b FROM n"), ["\"x|y\""]);
}

#[test]
fn what_csv_is_not() {
    let desk = Desk::new();
    desk.import("t", "", &["--create"])
        .failed()
        .says("no rows, not even a header");
    desk.import("t", "\n\n", &["--create"])
        .failed()
        .says("no rows, not even a header");
    let open = desk
        .import("t", "a,b\n1,\"x\n2,y\n", &["--create"])
        .failed();
    open.says("data.csv:2: column 2 (b): a quote is opened here and never closed");
    let behind = desk.import("t", "a,b\n1,\"x\"y\n", &["--create"]).failed();
    behind.says("data.csv:2: column 2 (b): text after a closing quote");
    desk.import("t", "a,b\n1,x\n2,\0\n", &["--create"])
        .failed()
        .says("data.csv:3");
    assert!(desk.tables().is_empty());
    desk.import("t", "a,b\n", &["--create"])
        .worked()
        .prints("0 rows");
    assert_eq!(desk.columns("t"), ["a text", "b text"]);
}

#[test]
fn an_error_of_the_server_names_the_place_and_leaves_nothing() {
    let desk = Desk::and("");
    desk.sql("CREATE TABLE t (id int PRIMARY KEY, age int); INSERT INTO t VALUES (0, 0)");
    let text = "id,age\n1,1\n\n\"2\",\"2\"\n3,old\n";
    let ended = desk.import("t", text, &[]).failed();
    assert_eq!(ended.stdout, "");
    ended
        .says("data.csv:5: column 2 (age): ")
        .says("invalid input syntax for type integer");
    let many: String = (1..200_000).map(|n| format!("{n},{n}\n")).collect();
    let ended = desk
        .import("t", format!("age,id\n{many}7,77\n"), &[])
        .failed();
    ended.says("data.csv:200001: ");
    assert_eq!(desk.rows("t"), ["(0,0)"]);
    let inferred = desk.import(
        "new",
        format!("id,x\n{}a,b\n", "1,2\n".repeat(20_000)),
        &["--infer-types"],
    );
    inferred
        .failed()
        .says("data.csv:20002: column 1 (id): ")
        .says("--create, which makes every column text");
    assert_eq!(desk.tables(), ["t"]);
}

#[test]
fn d41_autocommit_makes_no_difference() {
    let desk = Desk::new();
    let file = desk
        .program
        .read(FILE)
        .replace("sslmode: disable", "sslmode: disable, autocommit: true");
    desk.program.write(FILE, &file);
    desk.import("t", "a,b\n1,2\n1\n", &["--create"]).failed();
    assert!(desk.tables().is_empty());
}

#[test]
fn types_are_inferred() {
    let desk = Desk::new();
    let text =
        "id,price,on_,at,ok,code,note\n1,1.50,2024-02-29,2024-02-29 10:00:00,true,007,x\n2,,,,,,\n";
    desk.import("t", text, &["--infer-types"])
        .worked()
        .says("price numeric");
    assert_eq!(
        desk.columns("t"),
        [
            "id bigint",
            "price numeric",
            "on_ date",
            "at timestamp without time zone",
            "ok boolean",
            "code text",
            "note text"
        ]
    );
}

#[test]
fn b27_streams_and_compressed_files() {
    let desk = Desk::new();
    desk.run_with(&["import", "t", "-", "--create"], "a,b\n1,2\n")
        .worked()
        .prints("1 row,")
        .prints("Data from standard input copied to");
    let gzip = {
        let mut child = std::process::Command::new("gzip")
            .arg("-c")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("gzip is there");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(b"a,b\n3,4\n")
            .expect("it reads");
        child.wait_with_output().expect("it ends").stdout
    };
    desk.write("x.csv.gz", gzip);
    desk.run(&["import", "t", "x.csv.gz"]).worked().says("gzip");
    desk.run(&["export", "t", "y.csv.zst"]).worked();
    desk.sql("TRUNCATE t");
    desk.run(&["import", "t", "y.csv.zst"])
        .worked()
        .says("zstd");
    assert_eq!(desk.rows("t"), ["(1,2)", "(3,4)"]);
    let both = desk.program.run_with(&["import", "t", "-", "-c", "-"], "");
    assert_eq!(both.code, 2);
}

#[test]
fn several_sessions_load_the_same() {
    let desk = Desk::new();
    let text = format!("id,\"na\nme\"\n{}", many_rows());
    desk.import("one", &text, &["--create"]).worked();
    desk.import("four", &text, &["--create", "--jobs", "4"])
        .worked()
        .prints("100,000 rows");
    desk.import("four", &text, &["--jobs", "3"]).worked();
    assert_eq!(
        desk.texts("SELECT count(*)::text FROM (SELECT * FROM one EXCEPT SELECT * FROM four) x"),
        ["0"]
    );
    assert_eq!(
        desk.texts("SELECT count(*)::text || '|' || count(DISTINCT id)::text FROM four"),
        ["200000|100000"]
    );
    assert_eq!(desk.tables(), ["four", "one"]);
}

#[test]
fn several_sessions_load_all_or_nothing() {
    let desk = Desk::new();
    desk.sql("CREATE TABLE t (id int, name text)");
    let text = format!("id,name\n{}x,y\n", many_rows());
    let ended = desk.import("t", &text, &["--jobs", "3"]).failed();
    ended.says("data.csv:100002: column 1 (id): ");
    assert_eq!(desk.rows("t").len(), 0);
    desk.import(
        "new",
        format!("id,name\n{}1\n", many_rows()),
        &["--jobs", "2", "--create"],
    )
    .failed()
    .says("data.csv:100002");
    assert_eq!(desk.tables(), ["t"]);
}

#[test]
fn sessions_that_wait_for_each_other_are_told() {
    let desk = Desk::new();
    desk.sql("CREATE TABLE t (id int PRIMARY KEY, name text)");
    let text = format!("id,name\n{0}{0}", many_rows());
    let ended = desk.import("t", &text, &["--jobs", "2"]).failed();
    let told =
        ended.stderr.contains("wait for each other") || ended.stderr.contains("duplicate key");
    assert!(told, "{ended:?}");
    assert_eq!(desk.rows("t").len(), 0);
}

#[test]
fn sessions_that_make_a_table_longer_do_not_wait_for_each_other() {
    let desk = Desk::new();
    desk.sql("CREATE UNLOGGED TABLE t (id int, name text)");
    let row = format!("1,{}\n", "x".repeat(1000));
    let text = format!("id,name\n{}", row.repeat(80_000));
    desk.import("t", &text, &["--jobs", "6"])
        .worked()
        .prints("80,000 rows, ");
}

#[test]
fn what_may_be_partial_is_told() {
    let desk = Desk::new();
    desk.sql("CREATE TABLE t (id int, name text)");
    let row = format!("1,{}\n", "x".repeat(1000));
    let text = format!("id,name\n{}x,y\n", row.repeat(40_000));
    let ended = desk.import("t", &text, &["--allow-partial"]).failed();
    let ended = ended.says("rows committed before the error are kept");
    let kept = desk.rows("t").len();
    assert!(
        kept > 0 && ended.stderr.contains(&format!("{kept} rows")),
        "{kept} {}",
        ended.stderr
    );
}

/// Feeds an import and leaves it in the middle of a copy, which continues until the input ends.
fn half_way(desk: &Desk, options: &[&str]) -> (Child, ChildStdin) {
    half_way_with(desk, options, &many_rows())
}

fn half_way_with(desk: &Desk, options: &[&str], rows: &str) -> (Child, ChildStdin) {
    let mut child = desk.start(&[&["import", "t", "-"], options].concat());
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"id,name\n").expect("it reads");
    stdin.write_all(rows.as_bytes()).expect("it reads");
    stdin.flush().expect("it reads");
    desk.until_copying();
    (child, stdin)
}

#[test]
fn an_interrupted_import_leaves_the_table_as_it_was() {
    for options in [&[][..], &["--jobs", "2"]] {
        for name in ["INT", "TERM"] {
            let desk = Desk::new();
            desk.sql("CREATE TABLE t (id int, name text); INSERT INTO t VALUES (0, 'before')");
            let (child, input) = half_way(&desk, options);
            signal(&child, name);
            let output = child.wait_with_output().expect("it ends");
            drop(input);
            assert_eq!(output.status.code(), Some(130), "{output:?}");
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(words.contains("interrupted"), "{words}");
            desk.on
                .until("its sessions are gone", || desk.on.sessions() == 0);
            assert_eq!(desk.rows("t"), ["(0,before)"]);
        }
    }
}

#[test]
fn an_interrupted_import_leaves_no_table_that_was_not_there() {
    let desk = Desk::new();
    let (child, input) = half_way(&desk, &["--create", "--jobs", "2"]);
    assert_eq!(desk.tables().len(), 1);
    signal(&child, "INT");
    let output = child.wait_with_output().expect("it ends");
    drop(input);
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(desk.tables().is_empty(), "{:?}", desk.tables());
}

#[test]
fn an_import_that_waits_for_a_lock_can_be_interrupted() {
    let desk = Desk::new();
    desk.sql("CREATE TABLE t (id int, name text)");
    desk.sql("BEGIN; LOCK TABLE t IN EXCLUSIVE MODE");
    // A copy that waits reads little, and its input must not block.
    let (child, input) = half_way_with(&desk, &[], &many_rows()[..400_000]);
    signal(&child, "INT");
    let output = child.wait_with_output().expect("it ends");
    drop(input);
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    // While the lock is still held.
    desk.on
        .until("the server waits no more", || desk.on.sessions() == 0);
    desk.sql("COMMIT");
    assert_eq!(desk.rows("t").len(), 0);
}

#[test]
fn a_killed_import_leaves_the_table_as_it_was() {
    for options in [&[][..], &["--jobs", "2"]] {
        let desk = Desk::new();
        desk.sql("CREATE TABLE t (id int, name text); INSERT INTO t VALUES (0, 'before')");
        let (child, input) = half_way(&desk, options);
        signal(&child, "KILL");
        drop(child.wait_with_output());
        drop(input);
        desk.on
            .until("its sessions are gone", || desk.on.sessions() == 0);
        assert_eq!(desk.rows("t"), ["(0,before)"]);
    }
}

#[test]
fn a_session_that_the_server_ends_says_why() {
    for options in [&[][..], &["--jobs", "2"]] {
        let desk = Desk::new();
        desk.sql("CREATE TABLE t (id int, name text); INSERT INTO t VALUES (0, 'before')");
        let (child, mut stdin) = half_way(&desk, options);
        assert!(desk.on.kill() > 0);
        // The rest of the input cannot be delivered.
        drop(stdin.write_all(many_rows().repeat(20).as_bytes()));
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        let reason = "terminating connection due to administrator command (SQLSTATE 57P01)";
        assert!(said.contains(reason), "{options:?}: {said}");
        assert_eq!(desk.rows("t"), ["(0,before)"]);
    }
}

#[test]
fn a_server_that_stops_leaves_the_table_as_it_was() {
    let cluster = Cluster::builder().start().expect("a server");
    let desk = Desk::at(cluster.endpoint().clone());
    desk.sql("CREATE TABLE t (id int, name text); INSERT INTO t VALUES (0, 'before')");
    // The server does not fsync, and is stopped abruptly.
    desk.sql("CHECKPOINT");
    let (child, mut stdin) = half_way(&desk, &[]);
    cluster.stop(StopMode::Immediate).expect("it stops");
    // The rest of the input cannot be delivered.
    drop(stdin.write_all(many_rows().repeat(20).as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!output.stderr.is_empty());
    cluster.start_again().expect("it starts");
    let url = cluster.endpoint().url();
    let mut client = postgres::Client::connect(&url, postgres::NoTls).expect("it answers");
    let query = format!("SELECT count(*) FROM {}.t", desk.schema);
    let count: i64 = client
        .query_one(&query, &[])
        .expect("the table is there")
        .get(0);
    assert_eq!(count, 1);
}
