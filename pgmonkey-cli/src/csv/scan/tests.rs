//! Rows in all their forms, cut at every place.

use proptest::prelude::*;

use super::super::record;
use super::*;

const COMMA: Dialect = Dialect::COMMA;

fn scan(
    dialect: Dialect,
    width: usize,
    blank: Blank,
    text: &str,
    cut: usize,
) -> Result<(String, Scanner, Rows), RowError> {
    scan_as(dialect, width, blank, Meaning::default(), text, cut)
}

fn scan_as(
    dialect: Dialect,
    width: usize,
    blank: Blank,
    meaning: Meaning,
    text: &str,
    cut: usize,
) -> Result<(String, Scanner, Rows), RowError> {
    let mut scanner = Scanner::new(dialect, width, blank, meaning, 1);
    let mut rows = Rows::default();
    let data = text.as_bytes();
    let mut from = 0;
    let mut to = 0;
    while to < data.len() {
        to = (to + cut).min(data.len());
        from += scanner.take(&data[from..to], to == data.len(), &mut rows)?;
    }
    assert_eq!(from, data.len(), "everything is taken at the end");
    let bytes = String::from_utf8(rows.bytes.clone()).expect("UTF-8 as in the input");
    Ok((bytes, scanner, rows))
}

fn sent(width: usize, text: &str) -> String {
    let sent = scan(COMMA, width, Blank::Skipped, text, 3)
        .expect("right")
        .0;
    assert_eq!(
        sent,
        scan(COMMA, width, Blank::Skipped, text, 1000)
            .expect("right")
            .0
    );
    sent
}

fn wrong(width: usize, text: &str) -> RowError {
    scan(COMMA, width, Blank::Skipped, text, 4).expect_err("wrong")
}

#[test]
fn clean_rows_go_on_as_they_are() {
    for text in ["a,b\n1,2\n", "\"a\nb\",\"\"\"\"\n,\n\"\",\n", "é,😀\n"] {
        assert_eq!(sent(2, text), text);
    }
}

#[test]
fn line_ends_become_one_kind_but_not_within_quotes() {
    assert_eq!(
        sent(2, "a,b\r\n1,\"x\r\ny\"\r3,4"),
        "a,b\n1,\"x\r\ny\"\n3,4\n"
    );
}

#[test]
fn d34_rows_of_empty_fields_are_rows_and_blank_lines_are_not() {
    let (text, scanner, rows) =
        scan(COMMA, 2, Blank::Skipped, "\n1,2\n\n  \n,\n", 100).expect("right");
    assert_eq!(text, "1,2\n,\n");
    assert_eq!((scanner.left_out().blank, rows.count), (3, 2));
    assert_eq!(rows.places, [(0, 2), (1, 5)]);
}

#[test]
fn a_blank_line_is_null_where_there_is_one_column() {
    let scanned = scan(COMMA, 1, Blank::Null, "a\n\n\"\"\n \n", 100).expect("right");
    assert_eq!(scanned.0, "a\n\n\"\"\n \n");
    assert_eq!(sent(1, "a\n\nb\n"), "a\nb\n");
}

#[test]
fn quotes_within_a_field_are_text() {
    assert_eq!(
        sent(2, "5\" pipe,3\nx,a\"\n"),
        "\"5\"\" pipe\",3\nx,\"a\"\"\"\n"
    );
    assert_eq!(sent(2, "\"a,\"\"b\",c\"d\n"), "\"a,\"\"b\",\"c\"\"d\"\n");
    let none = Dialect {
        quote: None,
        ..COMMA
    };
    let scanned = scan(none, 2, Blank::Skipped, "\"a,b\"\n\u{1},x\n", 100).expect("right");
    assert_eq!(scanned.0, "\"a,b\"\n\u{1}\u{1}\u{1}\u{1},x\n");
}

#[test]
fn the_end_of_the_data_is_not_in_the_data() {
    assert_eq!(sent(1, "\\.\n\\N\n"), "\"\\.\"\n\\N\n");
}

#[test]
fn d34_long_and_short_rows_are_errors() {
    let width = |found, expected| RowErrorKind::Width { found, expected };
    assert_eq!(
        wrong(2, "a,b\n\n\"x\ny\",2\n1\n"),
        RowError {
            line: 5,
            field: 1,
            kind: width(1, 2)
        }
    );
    assert_eq!(
        wrong(2, "a,b\n1,2,3\n"),
        RowError {
            line: 2,
            field: 2,
            kind: width(3, 2)
        }
    );
}

#[test]
fn quotes_that_do_not_match_are_errors() {
    assert_eq!(
        wrong(2, "a,b\n1,\"x\n2,3\n"),
        RowError {
            line: 2,
            field: 1,
            kind: RowErrorKind::OpenQuote
        }
    );
    assert_eq!(
        wrong(2, "a,b\n1,\"x\n\"y\n"),
        RowError {
            line: 3,
            field: 1,
            kind: RowErrorKind::TextAfterQuote
        }
    );
}

#[test]
fn values_that_a_type_would_change_are_errors() {
    let meaning = Meaning {
        kinds: vec![Kind::Text, Kind::Bigint],
        nulls: vec![b"".to_vec(), b"NA".to_vec()],
        one_column: false,
    };
    let scan = |text: &str| {
        let whole = scan_as(COMMA, 2, Blank::Skipped, meaning.clone(), text, 1000);
        let parts = scan_as(COMMA, 2, Blank::Skipped, meaning.clone(), text, 2);
        let (whole, parts) = (whole.map(|found| found.0), parts.map(|found| found.0));
        assert_eq!(whole, parts);
        whole
    };
    assert_eq!(
        scan("NA,NA\r\n007,\"7\"\n\"NA\",\n").as_deref(),
        Ok(",\n007,\"7\"\n\"NA\",\n")
    );
    for (text, line, value) in [
        ("a,1\n\"b\nc\",02139\n", 3, "02139"),
        ("a,\"NA\"", 1, "NA"),
        ("a,\"\"\n", 1, ""),
    ] {
        let kind = RowErrorKind::Value {
            value: value.into(),
            kind: Kind::Bigint,
        };
        let field = 1;
        assert_eq!(scan(text), Err(RowError { line, field, kind }), "{text}");
    }
    // A row of the wrong width has its values in the wrong columns.
    let width = scan("a,b,1\n").expect_err("three fields");
    assert!(matches!(width.kind, RowErrorKind::Width { .. }));
}

#[test]
fn a_blank_before_a_quote_is_an_error() {
    assert_eq!(
        wrong(2, "a,b\n1, \"x\"\n"),
        RowError {
            line: 2,
            field: 1,
            kind: RowErrorKind::BlankBeforeQuote
        }
    );
    assert_eq!(sent(2, "a, 5\" pipe\n"), "a,\" 5\"\" pipe\"\n");
    let trim = Dialect {
        trim: true,
        ..COMMA
    };
    let text = " 1 , \"x, \"\r\n\t,\ty \n";
    for cut in [1, 5, 100] {
        let scanned = scan(trim, 2, Blank::Skipped, text, cut).expect("right");
        assert_eq!(scanned.0, "1,\"x, \"\n,y\n");
    }
}

#[test]
fn escapes_are_removed() {
    let escape = Dialect {
        escape: Some(b'\\'),
        ..COMMA
    };
    let text = "\"say \\\"hi\\\"\",\\N\na\\,b,c\\\r\nd\n\"\\\\\",\\n\n";
    for cut in [1, 2, 100] {
        let (sent, _, rows) = scan(escape, 2, Blank::Skipped, text, cut).expect("right");
        assert_eq!(
            sent,
            "\"say \"\"hi\"\"\",\\N\n\"a,b\",\"c\r\nd\"\n\"\\\",\\n\n"
        );
        assert_eq!((rows.count, rows.lines), (3, 4));
    }
}

#[test]
fn comments_are_left_out() {
    let comment = Dialect {
        comment: Some(b'#'),
        ..COMMA
    };
    for cut in [1, 3, 100] {
        let text = "# it's \"\r\n1,#\n#\n2,x\n#";
        let (sent, scanner, rows) = scan(comment, 2, Blank::Skipped, text, cut).expect("right");
        assert_eq!(sent, "1,#\n2,x\n");
        assert_eq!(rows.places, [(0, 2), (1, 4)]);
        assert_eq!(scanner.left_out().comments, 3);
    }
}

proptest! {
    /// What is sent means to the server what the parser finds in the file.
    #[test]
    fn what_is_sent_has_the_same_values(text in "[a,\"\\\\\\. #\t\r\n]{0,40}", escape: bool, trim: bool, cut in 1usize..9) {
        let dialect = Dialect { escape: escape.then_some(b'\\'), trim, ..COMMA };
        let rows = record::rows(text.as_bytes(), dialect, true, 100);
        let rows: Vec<_> = rows.into_iter().filter(|row| row.len() == 2).collect();
        if let Ok((sent, ..)) = scan(dialect, 2, Blank::Skipped, &text, cut) {
            let read = record::rows(sent.as_bytes(), COMMA, true, 100);
            // Quotes matter only around nothing: without them it is NULL.
            let values = |rows: Vec<Vec<record::Field>>| -> Vec<Option<String>> {
                let fields = rows.into_iter().flatten();
                fields.map(|field| (field.quoted || !field.text.is_empty()).then_some(field.text)).collect()
            };
            prop_assert_eq!(values(read), values(rows), "{:?}", sent);
        }
    }

    #[test]
    fn b27_every_cut_gives_the_same_rows(text in "[a,\"\\\\.\r\n ]{0,60}", width in 1usize..4, cut in 1usize..20) {
        let whole = scan(COMMA, width, Blank::Skipped, &text, 1000);
        let parts = scan(COMMA, width, Blank::Skipped, &text, cut);
        match (whole, parts) {
            (Ok((_, _, whole)), Ok((_, _, parts))) => prop_assert_eq!(whole, parts),
            (Err(whole), Err(parts)) => prop_assert_eq!(whole, parts),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
