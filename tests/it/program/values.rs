//! What `import` makes of values: inferred types keep what they took, and files of many shapes
//! are read as other programs read them.

use proptest::prelude::*;

use super::desk::Desk;

/// A cell of a table; `None` is NULL.
type Cell = Option<String>;

/// Writes rows with a header: quotes where they are needed, `""` for an empty text.
fn written(rows: &[Vec<Cell>]) -> String {
    let width = rows[0].len();
    let names: Vec<String> = (0..width).map(|index| format!("c{index}")).collect();
    let mut text = names.join(",") + "\n";
    for row in rows {
        let cells: Vec<String> = row.iter().map(quoted).collect();
        text += &(cells.join(",") + "\n");
    }
    text
}

fn quoted(cell: &Cell) -> String {
    match cell {
        None => String::new(),
        Some(text) if text.is_empty() || text.contains([',', ';', '|', '\t', '"', '\n', ' ']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Some(text) => text.clone(),
    }
}

/// Reads what the server writes.
fn parsed(text: &str) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    let (mut row, mut field) = (Vec::new(), String::new());
    let (mut quotes, mut inside) = (false, false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if inside && letters.peek() == Some(&'"') => {
                field.push('"');
                letters.next();
            }
            '"' => (quotes, inside) = (true, !inside),
            ',' | '\n' if !inside => {
                let text = std::mem::take(&mut field);
                row.push((std::mem::take(&mut quotes) || !text.is_empty()).then_some(text));
                if letter == '\n' {
                    rows.push(std::mem::take(&mut row));
                }
            }
            other => field.push(other),
        }
    }
    rows
}

/// The value without what is only spelling: the case of a boolean or a UUID, `T` in a timestamp,
/// seconds that are zero, the zone in which a moment is written.
fn meant(text: &str, kind: &str) -> String {
    match kind {
        "boolean" => text.to_lowercase()[..1].to_owned(),
        "uuid" => text.to_lowercase(),
        "timestamp without time zone" => moment(text).to_string(),
        "timestamp with time zone" => {
            let at = 10 + text[10..].rfind(['Z', '+', '-']).expect("a zone");
            let (clock, zone) = text.split_at(at);
            let digits: Vec<i128> = zone[1..]
                .replace(':', "")
                .as_bytes()
                .chunks(2)
                .map(|pair| {
                    std::str::from_utf8(pair)
                        .expect("ASCII")
                        .parse()
                        .expect("digits")
                })
                .collect();
            let minutes = digits.first().unwrap_or(&0) * 60 + digits.get(1).unwrap_or(&0);
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            (moment(clock) - sign * minutes * 60_000_000).to_string()
        }
        _ => text.to_owned(),
    }
}

/// The microseconds since the year 0 of a date and a time.
fn moment(text: &str) -> i128 {
    let number = |text: &str| text.parse::<i128>().expect("digits");
    let (year, month, day) = (
        number(&text[..4]),
        number(&text[5..7]),
        number(&text[8..10]),
    );
    let leap = |year: i128| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [
        31,
        28 + i128::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let before = usize::try_from(month - 1).expect("a month");
    let days = (0..year)
        .map(|year| 365 + i128::from(leap(year)))
        .sum::<i128>()
        + lengths[..before].iter().sum::<i128>()
        + day;
    let (clock, fraction) = text[11..].split_once('.').unwrap_or((&text[11..], ""));
    let parts: Vec<i128> = clock.split(':').map(number).collect();
    let seconds = parts[0] * 3600 + parts[1] * 60 + parts.get(2).unwrap_or(&0);
    (days * 86_400 + seconds) * 1_000_000 + number(&format!("{fraction:0<6}"))
}

/// Texts of one kind, and texts that look like it.
fn texts() -> impl Strategy<Value = Vec<String>> {
    let kinds = prop_oneof![
        Just("-?[0-9]{1,20}"),
        Just("0|-0|1|-1|007|\\+5|1E5|1e-3|12345678901234567890123"),
        Just("-?[0-9]{1,4}\\.[0-9]{0,4}"),
        Just("true|false|t|f|True|FALSE"),
        Just("t|f|yes|no|on|1|0"),
        Just("[fm]"),
        Just("[0-9]{4}-[01][0-9]-[0-3][0-9]"),
        Just("20[0-9]{2}-0[1-9]-1[0-9][T ][0-2][0-9]:[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,8})?)?"),
        Just("20[0-9]{2}-0[1-9]-1[0-9][T ]1[0-9]:[0-5][0-9]:00(Z|[+-]1[0-9]|\\+0[0-9]:?[0-5]0)"),
        Just("[0-9a-fA-F]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        Just("NA|NULL|\\\\N|nan|NaN|Infinity|-"),
        Just("[ a-c,\"é\\\\.]{0,4}"),
        Just("0[0-9]/0[0-9]/2024|[0-9]{5}| [0-9]|[0-9] "),
    ];
    kinds.prop_flat_map(|kind| prop::collection::vec(kind, 1..8))
}

/// A table: each column has texts of one kind, and perhaps those of another.
fn table() -> impl Strategy<Value = Vec<Vec<Cell>>> {
    let cell = (any::<prop::sample::Index>(), 0_u8..20);
    let column = (texts(), texts(), prop::collection::vec(cell, 8));
    prop::collection::vec(column, 2..6).prop_map(|columns| {
        let cell = |row: usize, (main, other, picks): &(Vec<String>, Vec<String>, Vec<_>)| {
            let (pick, chance): &(prop::sample::Index, u8) = &picks[row];
            match chance {
                0 => None,
                1 => Some(String::new()),
                2 if row == 7 => Some(pick.get(other).clone()),
                _ => Some(pick.get(main).clone()),
            }
        };
        (0..8)
            .map(|row| columns.iter().map(|column| cell(row, column)).collect())
            .collect()
    })
}

#[test]
fn inferred_types_keep_what_they_took() {
    let desk = Desk::new();
    let config = ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let kinds = std::cell::RefCell::new(std::collections::BTreeSet::new());
    proptest!(config, |(rows in table())| {
        desk.sql("DROP TABLE IF EXISTS t");
        let options = ["--infer-types", "--header", "-d", ","];
        desk.import("t", written(&rows), &options).worked();
        desk.run(&["export", "t", "out.csv", "--no-header"]).worked();
        let back = parsed(&desk.program.read("out.csv"));
        prop_assert_eq!(back.len(), rows.len());
        for (index, column) in desk.columns("t").iter().enumerate() {
            let kind = column.split_once(' ').expect("a name and a type").1;
            kinds.borrow_mut().insert(kind.to_owned());
            for (before, after) in rows.iter().zip(&back) {
                let meant = |cell: &Cell| cell.as_ref().map(|text| meant(text, kind));
                prop_assert_eq!(meant(&before[index]), meant(&after[index]), "{}", column);
            }
        }
    });
    // The property says something only if types were found.
    assert!(kinds.borrow().len() > 4, "{kinds:?}");
}

#[test]
fn every_row_is_checked_against_the_inferred_type() {
    let desk = Desk::new();
    let rows: String = (0..12_000)
        .map(|n| {
            let (zip, day) = (99501 + n % 400, 1 + n % 28);
            let active = if n % 2 == 0 { "true" } else { "false" };
            format!("{n},{zip},90755{n:05},2024-05-{day:02},{active},{n}.50\n")
        })
        .collect();
    let first = "id,zip,phone,when,active,amount\n";
    for (last, column, kind, value) in [
        (
            "1,02139,1,2024-01-01,t,1",
            "column 2 (zip)",
            "bigint",
            "\"02139\"",
        ),
        (
            "1,2,+16175550100,2024-01-01,t,1",
            "column 3 (phone)",
            "bigint",
            "\"+16175550100\"",
        ),
        (
            "1,2,3,03/04/2024,t,1",
            "column 4 (when)",
            "date",
            "\"03/04/2024\"",
        ),
        (
            "1,2,3,\"Mar 4, 2024\",t,1",
            "column 4 (when)",
            "date",
            "\"Mar 4, 2024\"",
        ),
        ("1,2,3,,yes,1", "column 5 (active)", "boolean", "\"yes\""),
        ("1,2,3,,t,1E3", "column 6 (amount)", "numeric", "\"1E3\""),
        ("1,2,3,,t, 7 ", "column 6 (amount)", "numeric", "\" 7 \""),
        ("1,2,-0,,t,7", "column 3 (phone)", "bigint", "\"-0\""),
    ] {
        let ended = desk.import("t", format!("{first}{rows}{last}\n"), &["--infer-types"]);
        let ended = ended.failed().says(&format!(
            "data.csv:12002: {column}: {kind} would change the value {value}"
        ));
        ended.says("text").says("CREATE TABLE");
        assert!(desk.tables().is_empty(), "something was imported");
    }
    // What the hint says works.
    let text = format!("{first}{rows}1,02139,1,2024-01-01,t,1\n");
    let failed = desk.import("t", &text, &["--infer-types"]).failed();
    let hint = failed.stderr.replace('\n', " ");
    let at = hint.find("CREATE TABLE").expect("the statement");
    desk.sql(&hint[at..]);
    desk.import("t", &text, &["--infer-types"]).worked();
    assert_eq!(
        desk.texts("SELECT zip FROM t WHERE zip LIKE '0%'"),
        ["02139"]
    );
    assert!(desk.columns("t").contains(&"phone bigint".to_owned()));
    // The same command has the same promise once the table exists.
    let odd = format!("{first}1,02139,+1,2024-01-01,t,1\n");
    desk.import("t", odd, &["--infer-types"])
        .failed()
        .says("data.csv:2: column 3 (phone): bigint would change the value \"+1\"");
}

#[test]
fn values_that_no_type_keeps_are_text() {
    let desk = Desk::new();
    for (values, kind) in [
        ("1E5\n3E7\n", "text"),
        ("12345678901234567890123\n", "numeric"),
        (
            "9999-12-31T23:59:59.9999999Z\n2024-01-01T00:00:00Z\n",
            "text",
        ),
        ("f\nf\n", "text"),
        ("f\nt\n", "boolean"),
        ("-0\n1\n", "text"),
    ] {
        desk.sql("DROP TABLE IF EXISTS t");
        let text = format!("a\n{values}");
        desk.import("t", text, &["--infer-types", "--header"])
            .worked();
        assert_eq!(desk.columns("t"), [format!("a {kind}")], "{values}");
        let back = desk.texts("SELECT a::text FROM t");
        if kind != "boolean" {
            assert_eq!(back.join("\n") + "\n", values);
        }
    }
}

#[test]
fn words_for_null_belong_to_inference() {
    let desk = Desk::new();
    let text = "id,age,name\n1,NA,\"NA\"\n2,33,\n3,NULL,x\n4,\\N,y\n";
    desk.import("t", text, &["--infer-types"]).worked();
    assert_eq!(desk.columns("t"), ["id bigint", "age text", "name text"]);
    let options = [
        "--infer-types",
        "--null",
        "NA",
        "--null",
        "",
        "--null",
        "NULL",
        "--null",
        "\\N",
    ];
    desk.import("t2", text, &options).worked();
    assert_eq!(desk.columns("t2"), ["id bigint", "age bigint", "name text"]);
    assert_eq!(desk.rows("t2"), ["(1,,NA)", "(2,33,)", "(3,,x)", "(4,,y)"]);
    assert_eq!(desk.texts("SELECT name FROM t2 WHERE id = 2"), ["<null>"]);
    // Nothing is read as NULL without a word, but the word is offered.
    desk.import("t3", "id,age\n1,NA\n2,33\n", &["--infer-types"])
        .worked()
        .says("age would be bigint but for NA: --null 'NA' reads that as NULL");
    assert_eq!(
        desk.run(&["export", "t", "x.csv", "--null", "a", "--null", "b"])
            .code,
        2
    );
}
