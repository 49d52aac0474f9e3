//! The end of a row, and what has to be done with it.

use super::super::types::Kind;
use super::{RowError, RowErrorKind, Scanner};

/// One row of the data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// Without its line end.
    pub(super) length: usize,
    /// With its line end.
    pub(super) end: usize,
    pub(super) fields: usize,
    /// Line breaks within fields.
    pub(super) breaks: u64,
    /// Ends with a line feed only, as rows sent to the server do.
    pub(super) newline: bool,
    /// The server would read it differently, so it is rewritten.
    pub(super) odd: bool,
    /// A comment, which is no row.
    pub(super) comment: bool,
    /// The first value that its column's type would change.
    pub(super) changed: Option<Changed>,
}

/// A value in a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Changed {
    pub(super) field: usize,
    pub(super) begin: usize,
    pub(super) end: usize,
    /// The line breaks before it.
    pub(super) breaks: u64,
}

impl Row {
    fn new(odd: bool) -> Self {
        Self {
            length: 0,
            end: 0,
            fields: 1,
            breaks: 0,
            newline: false,
            odd,
            comment: false,
            changed: None,
        }
    }
}

impl Scanner {
    /// The first row of `data`, if it is complete.
    pub(super) fn next(&self, data: &[u8], last: bool) -> Result<Option<Row>, RowError> {
        if self.dialect.comment.is_some() && data.first() == self.dialect.comment.as_ref() {
            return Ok(comment(data, last));
        }
        let mut row = Row::new(self.dialect.trim);
        let mut field = 0;
        let mut at = self.begin(data, field);
        loop {
            at += self.special(&data[at..]);
            let Some(&byte) = data.get(at) else {
                row.length = at;
                row.end = at;
                self.close(data, field, at, &mut row);
                return Ok(last.then_some(row));
            };
            match byte {
                b'\n' | b'\r' => {
                    self.close(data, field, at, &mut row);
                    row.length = at;
                    row.newline = byte == b'\n';
                    let next = data.get(at + 1);
                    row.end = at + 1 + usize::from(byte == b'\r' && next == Some(&b'\n'));
                    // The line feed of a carriage return may follow.
                    return Ok((row.newline || last || next.is_some()).then_some(row));
                }
                _ if byte == self.dialect.delimiter => {
                    self.close(data, field, at, &mut row);
                    row.fields += 1;
                    field = at + 1;
                    at = self.begin(data, field);
                }
                _ if self.dialect.escape == Some(byte) => {
                    row.odd = true;
                    match self.escaped(data, at, last, &mut row) {
                        Some(end) => at = end,
                        None => return Ok(None),
                    }
                }
                _ if at == self.begin(data, field) && self.dialect.quote.is_some() => {
                    match self.quoted(data, at, last, &mut row)? {
                        Some(end) => at = end,
                        None => return Ok(None),
                    }
                }
                _ => {
                    self.check_blank(&data[field..at], &row)?;
                    row.odd = true;
                    at += 1;
                }
            }
        }
    }

    /// Where the text of a field begins: after the blanks, if they are trimmed.
    fn begin(&self, data: &[u8], field: usize) -> usize {
        match self.dialect.trim {
            true => field + self.blanks(&data[field..]),
            false => field,
        }
    }

    /// How many blanks the data begins with.
    pub(super) fn blanks(&self, data: &[u8]) -> usize {
        let blank = |byte: &&u8| self.dialect.is_blank(**byte);
        data.iter().take_while(blank).count()
    }

    /// Refuses a quote after blanks at the begin of a field: it may be text or the quote of the field.
    fn check_blank(&self, before: &[u8], row: &Row) -> Result<(), RowError> {
        let blank = !before.is_empty() && self.blanks(before) == before.len();
        match blank && self.dialect.quote.is_some() {
            true => Err(RowError {
                line: self.line + row.breaks,
                field: row.fields - 1,
                kind: RowErrorKind::BlankBeforeQuote,
            }),
            false => Ok(()),
        }
    }

    /// The end of an escape and the character after it.
    fn escaped(&self, data: &[u8], at: usize, last: bool, row: &mut Row) -> Option<usize> {
        let length = match (data.get(at + 1), data.get(at + 2)) {
            (Some(b'\r'), Some(b'\n')) => 3,
            (Some(b'\r'), None) if !last => return None,
            (Some(_), _) => 2,
            (None, _) if last => 1,
            (None, _) => return None,
        };
        let broken = matches!(data.get(at + 1), Some(b'\n' | b'\r'));
        row.breaks += u64::from(broken);
        Some(at + length)
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
        let field = row.fields - 1;
        let error = |line, kind| RowError { line, field, kind };
        let special = |data: &[u8]| match self.dialect.escape {
            Some(escape) => memchr::memchr3(quote, b'\n', escape, data),
            None => memchr::memchr2(quote, b'\n', data),
        };
        let mut at = open + 1;
        loop {
            let Some(found) = special(&data[at..]) else {
                return match last {
                    true => Err(error(self.line, RowErrorKind::OpenQuote)),
                    false => Ok(None),
                };
            };
            at += found + 1;
            if data[at - 1] == b'\n' {
                row.breaks += 1;
                continue;
            }
            if data[at - 1] != quote {
                row.odd = true;
                match self.escaped(data, at - 1, last, row) {
                    Some(end) => at = end,
                    None => return Ok(None),
                }
                continue;
            }
            if data.get(at) == Some(&quote) {
                at += 1;
                continue;
            }
            let blanks = match self.dialect.trim {
                true => self.blanks(&data[at..]),
                false => 0,
            };
            at += blanks;
            return match data.get(at) {
                Some(next) if [self.dialect.delimiter, b'\n', b'\r'].contains(next) => Ok(Some(at)),
                Some(_) => {
                    let line = self.line + row.breaks;
                    Err(error(line, RowErrorKind::TextAfterQuote))
                }
                None if last => Ok(Some(at)),
                None => Ok(None),
            };
        }
    }

    /// Looks at the field that ends here: whether it is a word for NULL that the server does not
    /// know, and whether its column's type keeps it.
    #[inline]
    fn close(&self, data: &[u8], begin: usize, end: usize, row: &mut Row) {
        if self.looks {
            self.look(data, begin, end, row);
        }
    }

    fn look(&self, data: &[u8], mut begin: usize, mut end: usize, row: &mut Row) {
        let field = row.fields - 1;
        if self.dialect.trim {
            begin = self.begin(&data[..end], begin);
            while end > begin && self.dialect.is_blank(data[end - 1]) {
                end -= 1;
            }
        }
        let quote = self.dialect.quote;
        let quoted = end > begin + 1 && quote.is_some() && quote.as_ref() == data.get(begin);
        if quoted {
            (begin, end) = (begin + 1, end - 1);
        } else {
            let text = &data[begin..end];
            match self.meaning.nulls.iter().position(|null| null == text) {
                Some(0) => return,
                Some(_) => {
                    row.odd = true;
                    return;
                }
                None => {}
            }
        }
        let kind = self.meaning.kinds.get(field).copied();
        if row.changed.is_none() && !kind.unwrap_or(Kind::Text).keeps(&data[begin..end]) {
            row.changed = Some(Changed {
                field,
                begin,
                end,
                breaks: row.breaks,
            });
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
}

/// A line that is a comment, if it is complete.
fn comment(data: &[u8], last: bool) -> Option<Row> {
    let end = memchr::memchr2(b'\n', b'\r', data);
    let length = end.unwrap_or(data.len());
    let both = data[length..].starts_with(b"\r\n");
    let open = match data.get(length) {
        None => true,
        Some(b'\r') => data.len() == length + 1,
        Some(_) => false,
    };
    let row = Row {
        length,
        end: (length + 1 + usize::from(both)).min(data.len()),
        comment: true,
        ..Row::new(false)
    };
    (last || !open).then_some(row)
}
