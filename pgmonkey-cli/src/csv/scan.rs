//! One pass over the rows of a file, which are sent to the server mostly unchanged.
//!
//! The server parses CSV itself. This pass does what the server does not: it counts rows and lines,
//! removes blank lines and comments, normalizes line ends, treats quotes in the middle of a field
//! as text, as every other CSV reader does, and checks values against inferred types.

mod row;
mod writing;

use super::dialect::{CANDIDATES, Dialect};
use super::types::Kind;
use row::Row;

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
    /// A field begins with a blank and then a quote.
    BlankBeforeQuote,
    /// The file ends within a quoted field.
    OpenQuote,
    /// A row of the only column holds a delimiter.
    Delimiter(u8),
    /// The column's type would change the value.
    Value { value: Vec<u8>, kind: Kind },
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

/// What the fields of a row stand for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meaning {
    /// The types whose values are checked, one for each column, or none.
    pub(crate) kinds: Vec<Kind>,
    /// The words for NULL in fields without quotes; the server knows only the first.
    pub(crate) nulls: Vec<Vec<u8>>,
    /// Whether a row that holds a candidate for a delimiter is an error: the table has one column
    /// because no earlier row held one.
    pub(crate) one_column: bool,
}

/// How many lines were left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) blank: u64,
    pub(crate) comments: u64,
}

/// Scans the rows of a file.
#[derive(Debug)]
pub(crate) struct Scanner {
    dialect: Dialect,
    width: usize,
    blank: Blank,
    meaning: Meaning,
    /// Whether each field has to be looked at.
    looks: bool,
    classes: [bool; 256],
    /// The line of the file on which the next row begins.
    line: u64,
    left_out: LeftOut,
}

impl Scanner {
    pub(crate) fn new(
        dialect: Dialect,
        width: usize,
        blank: Blank,
        meaning: Meaning,
        line: u64,
    ) -> Self {
        let mut classes = [false; 256];
        let escape = dialect.escape.unwrap_or(b'\n');
        for byte in [
            dialect.delimiter,
            b'\n',
            b'\r',
            dialect.wire_quote(),
            escape,
        ] {
            classes[usize::from(byte)] = true;
        }
        let typed = meaning.kinds.iter().any(|kind| *kind != Kind::Text);
        Self {
            dialect,
            width,
            blank,
            looks: typed || meaning.nulls.len() > 1,
            meaning,
            classes,
            line,
            left_out: LeftOut::default(),
        }
    }

    /// The line of the file on which the next row begins.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// How many lines were left out so far.
    pub(crate) fn left_out(&self) -> LeftOut {
        self.left_out
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
            let Some(row) = self.next(&data[begin..], last)? else {
                break;
            };
            let end = begin + row.end;
            let text = &data[begin..begin + row.length];
            let action = self.judge(&row, text)?;
            let lines = row.breaks + 1;
            if matches!(action, Action::Keep) && row.newline {
                self.place(rows);
            } else {
                rows.bytes.extend_from_slice(&data[clean..begin]);
                clean = end;
                match action {
                    Action::Skip if row.comment => self.left_out.comments += 1,
                    Action::Skip => self.left_out.blank += 1,
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
        if row.comment {
            return Ok(Action::Skip);
        }
        let blank = row.fields == 1 && text.iter().all(|b| matches!(b, b' ' | b'\t'));
        if blank && (text.is_empty() || self.width > 1) {
            return Ok(match self.blank {
                Blank::Null if self.width == 1 => Action::Keep,
                _ => Action::Skip,
            });
        }
        // A missing delimiter moves values to other columns, so the width comes first.
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
        if self.meaning.one_column
            && let Some(delimiter) = self.delimiter(text)
        {
            return Err(RowError {
                line: self.line,
                field: 0,
                kind: RowErrorKind::Delimiter(delimiter),
            });
        }
        if let Some(changed) = row.changed {
            let value = text[changed.begin..changed.end].to_vec();
            let kind = self.meaning.kinds[changed.field];
            return Err(RowError {
                line: self.line + changed.breaks,
                field: changed.field,
                kind: RowErrorKind::Value { value, kind },
            });
        }
        // Alone on a line it would mark the end of the data.
        Ok(match row.odd || text == b"\\." {
            true => Action::Rewrite,
            false => Action::Keep,
        })
    }
}

impl Scanner {
    /// The candidate for a delimiter in a row without quotes.
    fn delimiter(&self, text: &[u8]) -> Option<u8> {
        if self.dialect.quote.is_some() && text.first() == self.dialect.quote.as_ref() {
            return None;
        }
        let mut found = CANDIDATES.into_iter();
        found.find(|byte| memchr::memchr(*byte, text).is_some())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Keep,
    Skip,
    Rewrite,
}

#[cfg(test)]
mod tests;
