//! CSV files of many shapes: read right, or refused with the reason; never read as something else.

use std::io::Write;

use super::desk::Desk;

/// The rows of a table, as another reader finds them in the file.
fn reference(text: &[u8], delimiter: u8) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(true)
        .from_reader(text);
    let rows = reader.records().map(|row| {
        let row = row.expect("the project's own file is right");
        row.iter().collect::<Vec<_>>().join("\u{1}")
    });
    let mut rows: Vec<String> = rows.collect();
    rows.sort();
    rows
}

/// The rows of the table `t`, written the same way.
fn loaded(desk: &Desk) -> Vec<String> {
    let names = desk.texts(
        "SELECT quote_ident(attname) FROM pg_attribute \
         WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum",
    );
    let columns: Vec<String> = names
        .iter()
        .map(|name| format!("coalesce({name}, '')"))
        .collect();
    let mut rows = desk.texts(&format!(
        "SELECT concat_ws(E'\\x01', {}) FROM t",
        columns.join(", ")
    ));
    rows.sort();
    rows
}

/// The contents of files as they are published: headers, and fields by row.
fn contents() -> Vec<(&'static str, Vec<Vec<String>>)> {
    let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect::<Vec<_>>();
    let body = |cells: &[&str], rows: i32| {
        (0..rows)
            .map(|n| {
                let cells = cells.iter().map(|cell| cell.replace('#', &n.to_string()));
                cells.collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    let table = |head: &[&str], cells: &[&str], rows| {
        let mut all = vec![row(head)];
        all.extend(body(cells, rows));
        all
    };
    vec![
        (
            "plain",
            table(&["id", "name", "city"], &["#", "name #", "Paris"], 40),
        ),
        ("numbers", table(&["id", "x", "y"], &["#", "#.5", "-#"], 40)),
        (
            "texts only",
            table(&["name", "city"], &["ann#", "york"], 40),
        ),
        (
            "quotes",
            table(&["id", "text"], &["#", "say \"hi\", #\nnew line"], 40),
        ),
        (
            "empty fields",
            table(&["id", "a", "b"], &["#", "", "x"], 40),
        ),
        (
            "dates on top",
            table(
                &["Province", "Lat", "1/22/20", "1/23/20", "1/24/20"],
                &["P#", "3#.1", "#", "5", "7"],
                40,
            ),
        ),
        (
            "years on top",
            table(
                &["Country", "2019", "2020", "2021"],
                &["C#", "#", "1.5", ""],
                40,
            ),
        ),
        ("one year", table(&["Country", "2020"], &["C#", "#"], 40)),
        ("numbered", table(&["", "0", "1"], &["#", "x", "y #"], 40)),
        ("accents", table(&["größe", "名前"], &["é#", "猿"], 40)),
        (
            "doubled",
            table(&["a", "a", "", "A"], &["#", "2", "3", "x"], 40),
        ),
        ("few rows", table(&["id", "name"], &["#", "x"], 1)),
    ]
}

#[test]
fn files_of_many_shapes_are_read_as_another_reader_reads_them() {
    let desk = Desk::new();
    let mut count = 0;
    for (name, rows) in contents() {
        for delimiter in *b",;\t|" {
            for (end, always) in [("\n", false), ("\r\n", true)] {
                let style = if always {
                    csv::QuoteStyle::Always
                } else {
                    csv::QuoteStyle::Necessary
                };
                let mut writer = csv::WriterBuilder::new()
                    .delimiter(delimiter)
                    .quote_style(style)
                    .terminator(if end == "\n" {
                        csv::Terminator::Any(b'\n')
                    } else {
                        csv::Terminator::CRLF
                    })
                    .from_writer(Vec::new());
                for row in &rows {
                    writer.write_record(row).expect("in memory");
                }
                let text = writer.into_inner().expect("in memory");
                desk.sql("DROP TABLE IF EXISTS t");
                desk.import("t", &text, &["--create"]).worked();
                assert_eq!(
                    loaded(&desk),
                    reference(&text, delimiter),
                    "{name} {delimiter} {end:?}"
                );
                // What was created, the same command can fill again.
                desk.import("t", &text, &["--create"]).worked();
                assert_eq!(loaded(&desk).len(), 2 * (rows.len() - 1), "{name}");
                count += 1;
            }
        }
    }
    assert!(count > 90);
}

#[test]
fn a_guess_that_fails_says_so() {
    let desk = Desk::new();
    for (text, says) in [
        (
            "a,b,c\n1,2,3,\n4,5,6,\n7,8,9,\n",
            &[
                "data.csv:1: the first row has 3 fields, but most rows have 4",
                "the rows end with a comma",
                "add a comma to the header",
            ][..],
        ),
        (
            "a,b,c,\n1,2,3\n4,5,6\n",
            &[
                "has 4 fields, but most rows have 3",
                "the header ends with a comma",
            ],
        ),
        (
            "Monthly report 2024\n\nid,name,qty\n1,apple,3\n2,pear,4\n3,plum,5\n",
            &[
                "data.csv:1: the first row has 1 field, but most rows have 3",
                "title",
                "--skip 2 begins with line 3",
            ],
        ),
        (
            "Report,,\n,,\nid,name,qty\n1,apple,3\n",
            &["looks like a title", "--skip 2 begins with line 3"],
        ),
        (
            "# made by x\n# on monday\nid,name\n1,x\n2,y\n",
            &["comment", "--comment '#'"],
        ),
        (
            "mpg,cyl\nMazda,21,6\nDatsun,22,4\n",
            &["a column has no name", "\"Mazda\""],
        ),
        (
            "\"Name\",     \"Sex\", \"Age\"\n\"Alex\",       \"M\",   41\n",
            &["data.csv:1:", "blank before an opening quote", "--trim"],
        ),
        (
            "a,b,c\n1\n1,2,3\n1,2,3,4\n1,2\n1,2,3,4,5\n",
            &["the delimiter is unclear", "1 to 5 fields", "--delimiter"],
        ),
        (
            "text\nHello, world\nplain\n",
            &["the delimiter is unclear", "--single-column"],
        ),
    ] {
        let mut ended = desk.import("t", text, &["--create"]).failed();
        for part in says {
            ended.stderr = ended.stderr.replace('\n', " ");
            ended = ended.says(part);
        }
        assert!(desk.tables().is_empty(), "{text}");
    }
    // A delimiter that is no delimiter of the file.
    desk.import("t", "a;b\n1;2\n", &["--create", "-d", ","])
        .failed()
        .says("separated by comma, the rows have one field each, but some contain a semicolon");
    // Also where no row of the sample holds one.
    let long = format!(
        "text\n{}Hello, world\n",
        "no comma in this line\n".repeat(20_000)
    );
    desk.import("t", &long, &["--create"])
        .failed()
        .says("data.csv:20002: column 1 (text): a comma");
    assert!(desk.tables().is_empty());
    desk.import("t", &long, &["--create", "--single-column"])
        .worked();
    assert_eq!(desk.rows("t").len(), 20_001);
    // A table of one column says so itself.
    desk.import("t", "text\nHello, world\nplain\n", &[])
        .worked();
}

#[test]
fn options_for_files_of_other_programs() {
    let desk = Desk::new();
    let check = |name: &str, text: &str, options: &[&str], rows: &[&str]| {
        desk.sql("DROP TABLE IF EXISTS t");
        let options = [&["--create"], options].concat();
        desk.import("t", text, &options).worked();
        assert_eq!(desk.rows("t"), rows, "{name}");
    };
    let mysql = "\"id\",\"txt\"\n\"1\",\"say \\\"hi\\\", ok\"\n\"2\",\\N\n\"3\",\"a\\\nb\"\n";
    check(
        "mysql",
        mysql,
        &["--escape", "\\"],
        &["(1,\"say \"\"hi\"\", ok\")", "(2,)", "(3,\"a\nb\")"],
    );
    assert_eq!(desk.texts("SELECT txt FROM t WHERE id = '2'"), ["<null>"]);
    check(
        "hive",
        "id,txt\n1,a\\,b\n",
        &["--escape", "\\"],
        &["(1,\"a,b\")"],
    );
    let blanks = "\"Name\",     \"Sex\", \"Age\"\n\"Alex, B\",       \"M\" ,   41 \n";
    check("blanks", blanks, &["--trim"], &["(\"Alex, B\",M,41)"]);
    assert_eq!(desk.columns("t"), ["name text", "sex text", "age text"]);
    check(
        "title",
        "Report\n\"by x\nid,name\n1,a\n",
        &["--skip", "2"],
        &["(1,a)"],
    );
    check(
        "comments",
        "# it's \"\nid,name\n1,a\n#2,b\n3,#\n",
        &["--comment", "#"],
        &["(1,a)", "(3,#)"],
    );
    check(
        "single quotes",
        "'id','name'\n'1','O''Neil, x'\n",
        &[],
        &["(1,\"O'Neil, x\")"],
    );
    check(
        "excel",
        "sep=;\nid;name\n1;a,b,c\n",
        &[],
        &["(1,\"a,b,c\")"],
    );
    let tabs = "sep=\t\r\nid\tname\r\n1\ta;b\r\n";
    check("excel tab", tabs, &[], &["(1,a;b)"]);
    // Lines and columns are those of the file.
    desk.sql("DROP TABLE t; CREATE TABLE t (id int, name text)");
    let text = "title\n# c\nid,name\n1,a\n# d\nx,b\n";
    desk.import("t", text, &["--skip", "1", "--comment", "#"])
        .failed()
        .says("data.csv:6: column 1 (id)");
    for wrong in ["", "ab", "a"] {
        assert_eq!(desk.import("t", "a\n", &["--escape", wrong]).code, 2);
    }
}

#[test]
fn a_header_is_never_loaded_as_a_row() {
    let desk = Desk::new();
    let jhu =
        "Province/State,Country/Region,Lat,Long,1/22/20,1/23/20\nAnhui,China,31.8,117.2,1,9\n";
    desk.import("t", jhu, &["--create"]).worked();
    assert_eq!(desk.rows("t").len(), 1);
    assert_eq!(desk.columns("t")[4], "_1_22_20 text");
    // By position, into a table whose names do not match.
    desk.sql("CREATE TABLE p (a text, b text, c text)");
    for text in [
        "country,2020,2021\nFR,1,2\n",
        "name,n,m\nx,1,2\n",
        "0,1,2\nx,y,z\n",
        "x,y,z\na,b,c\n",
    ] {
        desk.import("p", text, &[])
            .failed()
            .says("has no column for the header");
        assert!(desk.rows("p").is_empty(), "{text}");
    }
    desk.import("p", "1,2,3\n4,5,6\n", &[]).worked();
    assert_eq!(desk.rows("p").len(), 2);
}

#[test]
fn what_is_no_csv_is_named() {
    let desk = Desk::new();
    for (bytes, says) in [
        (
            &b"PK\x03\x04\x14\0\x06\0[Content_Types].xml"[..],
            "an Excel workbook (xlsx)",
        ),
        (b"PK\x03\x04\x14\0data.csv", "a zip archive"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "an Excel workbook (xls)",
        ),
        (b"PAR1\x15\0\x15", "a Parquet file"),
        (b"%PDF-1.7\n%", "a PDF document"),
        (b"\n<!DOCTYPE html>\n<html>", "a web page (HTML)"),
    ] {
        let ended = desk.import("t", bytes, &["--create"]).failed();
        ended
            .says("data.csv: not a CSV file but")
            .says(says)
            .says("hint: ");
    }
    assert!(desk.tables().is_empty());
    for program in ["xz", "bzip2"] {
        let mut child = std::process::Command::new(program)
            .arg("-c")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("the compressor is there");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(b"a,b\n1,2\n").expect("it reads");
        drop(stdin);
        let bytes = child.wait_with_output().expect("it ends").stdout;
        desk.sql("DROP TABLE IF EXISTS t");
        desk.import("t", bytes, &["--create"])
            .worked()
            .says(program);
        assert_eq!(desk.rows("t"), ["(1,2)"]);
    }
}

#[test]
fn the_same_command_fills_what_create_made() {
    let desk = Desk::new();
    let long = "x".repeat(70);
    for header in [
        "a,a,a,,,A",
        "2020,b b,b-b,b_b,,é",
        &format!("{long},{long},{long}y,c,d,e"),
        "column_2,,column_2_2,x,x_2,x",
    ] {
        desk.sql("DROP TABLE IF EXISTS t");
        let text = format!("{header}\n1,2,3,4,5,6\n");
        for options in [
            &["--create", "--header"][..],
            &["--create", "--header"],
            &["--header"],
        ] {
            desk.import("t", &text, options).worked();
        }
        assert_eq!(desk.rows("t"), ["(1,2,3,4,5,6)"; 3], "{header}");
    }
}

#[test]
fn sequences_behind_the_imported_ids_are_told_and_mended() {
    let desk = Desk::new();
    desk.sql(
        "CREATE TABLE t (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, a text); \
         CREATE TABLE s (id serial PRIMARY KEY, n bigint GENERATED ALWAYS AS IDENTITY (INCREMENT -1), a text)",
    );
    desk.import("t", "id,a\n1,x\n7,y\n", &[])
        .worked()
        .says("t_id_seq of the column id is behind: its next value is 1, the column has 7")
        .says("--reset-sequences");
    desk.import("t", "id,a\n8,z\n", &["--reset-sequences"])
        .worked()
        .says("is set to 8");
    desk.sql("INSERT INTO t (a) VALUES ('next')");
    assert_eq!(desk.texts("SELECT max(id)::text FROM t"), ["9"]);
    // Nothing is said where nothing is behind.
    let ended = desk.import("t", "id,a\n5,z\n", &[]).worked();
    assert!(!ended.stderr.contains("sequence"), "{ended:?}");
    let ended = desk.import("t", "a\nz\n", &[]).worked();
    assert!(!ended.stderr.contains("sequence"), "{ended:?}");
    let text = "id,n,a\n3,-4,x\n";
    let ended = desk
        .import("s", text, &["--reset-sequences", "--jobs", "2"])
        .worked();
    ended
        .says("s_id_seq is set to 3")
        .says("s_n_seq is set to -4");
    desk.sql("INSERT INTO s (a) VALUES ('next')");
    assert_eq!(desk.texts("SELECT n::text FROM s WHERE a = 'next'"), ["-5"]);
}
