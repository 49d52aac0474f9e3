//! One pass over the rows of a file, which are sent to the server mostly unchanged.
//!
//! The server parses CSV itself. This pass does what the server does not: it counts rows and lines,
//! removes blank lines, normalizes line ends, and treats quotes in the middle of a field as text,
//! as every other CSV reader does.

use super::dialect::Dialect;

/// The quote character passed to the server for a file without quotes. No text contains it.
pub(crate) const NO_QUOTE: u8 = 1;

/// What is wrong with a row, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RowError {
    /// The line of the file, from 1.
    pub(crate) line: u64,
    /// The field of the row, from 0; the one after the last for a row that ends too early.
    pub(crate) field: usize,
    pub(crate) kind: RowErrorKind,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RowErrorKind {
    /// The row has another number of fields than the first row.
    Width { found: usize, expected: usize },
    /// A quoted field continues after its closing quote.
    TextAfterQuote,
    /// The file ends within a quoted field.
    OpenQuote,
}

/// Rows that are ready to be sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u64,
    /// The number of lines in `bytes`, as the server counts them.
    pub(crate) lines: u64,
    /// Pairs of a line of `bytes`, counted from 0, and the line of the file that it corresponds to.
    pub(crate) places: Vec<(u64, u64)>,
}

/// The meaning of a blank line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blank {
    /// Ignored.
    Skipped,
    /// A row whose single field is NULL, as PostgreSQL writes it.
    Null,
}

/// Scans the rows of a file.
#[derive(Debug)]
pub(crate) struct Scanner {
    dialect: Dialect,
    width: usize,
    blank: Blank,
    classes: [bool; 256],
    /// The line of the file on which the next row begins.
    line: u64,
    skipped: u64,
}

impl Scanner {
    pub(crate) fn new(dialect: Dialect, width: usize, blank: Blank, line: u64) -> Self {
        let mut classes = [false; 256];
        for byte in [dialect.delimiter, b'\n', b'\r', dialect.wire_quote()] {
            classes[usize::from(byte)] = true;
        }
        Self {
            dialect,
            width,
            blank,
            classes,
            line,
            skipped: 0,
        }
    }

    /// The line of the file on which the next row begins.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// How many blank lines were ignored.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Takes the complete rows at the front of `data` and returns their length in bytes. With
    /// `last`, the end of `data` ends a row.
    pub(crate) fn take(
        &mut self,
        data: &[u8],
        last: bool,
        rows: &mut Rows,
    ) -> Result<usize, RowError> {
        let mut clean = 0; // rows from here to `begin` are unchanged
        let mut begin = 0;
        while begin < data.len() {
            let Some(row) = self.row(&data[begin..], last)? else {
                break;
            };
            let end = begin + row.end;
            let text = &data[begin..begin + row.length];
            let action = self.judge(&row, text)?;
            let lines = if row.breaks == 0 { 1 } else { row.breaks + 1 };
            if matches!(action, Action::Keep) && row.newline {
                self.place(rows);
            } else {
                rows.bytes.extend_from_slice(&data[clean..begin]);
                clean = end;
                match action {
                    Action::Skip => self.skipped += 1,
                    Action::Keep => {
                        self.place(rows);
                        rows.bytes.extend_from_slice(text);
                        rows.bytes.push(b'\n');
                    }
                    Action::Rewrite => {
                        self.place(rows);
                        self.rewrite(text, &mut rows.bytes);
                        rows.bytes.push(b'\n');
                    }
                }
            }
            if !matches!(action, Action::Skip) {
                rows.count += 1;
                rows.lines += lines;
            }
            self.line += lines;
            begin = end;
        }
        rows.bytes.extend_from_slice(&data[clean..begin]);
        Ok(begin)
    }

    /// Records the place of the next row, unless it follows from the previous one.
    fn place(&self, rows: &mut Rows) {
        let follows = |(at, line): &(u64, u64)| line + (rows.lines - at) == self.line;
        if !rows.places.last().is_some_and(follows) {
            rows.places.push((rows.lines, self.line));
        }
    }

    fn judge(&self, row: &Row, text: &[u8]) -> Result<Action, RowError> {
        let blank = row.fields == 1 && text.iter().all(|b| matches!(b, b' ' | b'\t'));
        if blank && (text.is_empty() || self.width > 1) {
            return Ok(match self.blank {
                Blank::Null if self.width == 1 => Action::Keep,
                _ => Action::Skip,
            });
        }
        if row.fields != self.width {
            return Err(RowError {
                line: self.line,
                field: row.fields.min(self.width),
                kind: RowErrorKind::Width {
                    found: row.fields,
                    expected: self.width,
                },
            });
        }
        // Alone on a line it would mark the end of the data.
        Ok(match row.stray || text == b"\\." {
            true => Action::Rewrite,
            false => Action::Keep,
        })
    }

    /// The first row of `data`, if it is complete.
    fn row(&self, data: &[u8], last: bool) -> Result<Option<Row>, RowError> {
        let mut row = Row::default();
        let (mut at, mut field) = (0, 0);
        loop {
            at += self.special(&data[at..]);
            let Some(&byte) = data.get(at) else {
                row.length = at;
                row.end = at;
                return Ok(last.then_some(row));
            };
            match byte {
                b'\n' => {
                    (row.length, row.end, row.newline) = (at, at + 1, true);
                    return Ok(Some(row));
                }
                b'\r' => {
                    let Some(next) = data.get(at + 1) else {
                        (row.length, row.end) = (at, at + 1);
                        return Ok(last.then_some(row));
                    };
                    (row.length, row.end) = (at, at + 1 + usize::from(*next == b'\n'));
                    return Ok(Some(row));
                }
                _ if byte == self.dialect.delimiter => {
                    row.fields += 1;
                    at += 1;
                    field = at;
                }
                _ if at == field && self.dialect.quote.is_some() => {
                    match self.quoted(data, at, last, &mut row)? {
                        Some(end) => at = end,
                        None => return Ok(None),
                    }
                }
                _ => {
                    row.stray = true;
                    at += 1;
                }
            }
        }
    }

    /// The end of the quoted field that begins at `open`, if it is in `data`.
    fn quoted(
        &self,
        data: &[u8],
        open: usize,
        last: bool,
        row: &mut Row,
    ) -> Result<Option<usize>, RowError> {
        let quote = self.dialect.wire_quote();
        let error = |row: &Row, kind| RowError {
            line: self.line + row.breaks,
            field: row.fields - 1,
            kind,
        };
        let mut at = open + 1;
        loop {
            let Some(found) = memchr::memchr2(quote, b'\n', &data[at..]) else {
                return if last {
                    Err(error(&Row { breaks: 0, ..*row }, RowErrorKind::OpenQuote))
                } else {
                    Ok(None)
                };
            };
            at += found + 1;
            if data[at - 1] == b'\n' {
                row.breaks += 1;
                continue;
            }
            match data.get(at) {
                Some(next) if *next == quote => at += 1,
                Some(next) if [self.dialect.delimiter, b'\n', b'\r'].contains(next) => {
                    return Ok(Some(at));
                }
                Some(_) => return Err(error(row, RowErrorKind::TextAfterQuote)),
                None if last => return Ok(Some(at)),
                None => return Ok(None),
            }
        }
    }

    /// The number of bytes before the next special one.
    fn special(&self, data: &[u8]) -> usize {
        let mut chunks = data.chunks_exact(8);
        let mut at = 0;
        let means = |byte: &u8| self.classes[usize::from(*byte)];
        for chunk in &mut chunks {
            if let Some(found) = chunk.iter().position(means) {
                return at + found;
            }
            at += 8;
        }
        at + chunks
            .remainder()
            .iter()
            .position(means)
            .unwrap_or(chunks.remainder().len())
    }

    /// Rewrites a row, quoting fields that the server would misread.
    fn rewrite(&self, text: &[u8], out: &mut Vec<u8>) {
        let (delimiter, quote) = (self.dialect.delimiter, self.dialect.wire_quote());
        let mut at = 0;
        loop {
            let quoted = self.dialect.quote.is_some() && text.get(at) == Some(&quote);
            let mut end = at;
            let mut inside = quoted;
            if quoted {
                end += 1;
            }
            while end < text.len() && (inside || text[end] != delimiter) {
                inside ^= quoted && text[end] == quote;
                end += 1;
            }
            let field = &text[at..end];
            if quoted || (field != b"\\." && !field.contains(&quote)) {
                out.extend_from_slice(field);
            } else {
                out.push(quote);
                for byte in field {
                    out.extend(std::iter::repeat_n(*byte, 1 + usize::from(*byte == quote)));
                }
                out.push(quote);
            }
            if end == text.len() {
                return;
            }
            out.push(delimiter);
            at = end + 1;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Keep,
    Skip,
    Rewrite,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    /// Without its line end.
    length: usize,
    /// With its line end.
    end: usize,
    fields: usize,
    /// Line breaks within quotes.
    breaks: u64,
    /// Ends with a line feed only, as rows sent to the server do.
    newline: bool,
    /// Has a quote within an unquoted field.
    stray: bool,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            length: 0,
            end: 0,
            fields: 1,
            breaks: 0,
            newline: false,
            stray: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COMMA: Dialect = Dialect {
        delimiter: b',',
        quote: Some(b'"'),
    };

    fn scan(
        dialect: Dialect,
        width: usize,
        blank: Blank,
        text: &str,
        cut: usize,
    ) -> Result<(String, Scanner, Rows), RowError> {
        let mut scanner = Scanner::new(dialect, width, blank, 1);
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
        assert_eq!((scanner.skipped(), rows.count), (3, 2));
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
            delimiter: b',',
            quote: None,
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

    proptest! {
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
}
