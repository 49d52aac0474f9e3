//! Parses the fields of rows: those of a file's first rows, for detection, and those that have to
//! be rewritten. The rest of the file is never parsed.

use super::dialect::Dialect;

/// A field's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field<T = String> {
    pub(crate) text: T,
    pub(crate) quoted: bool,
}

/// The first rows of `sample`, including blank lines, without comments. Unless it is the whole
/// file, its last row is left out.
pub(crate) fn rows(sample: &[u8], dialect: Dialect, whole: bool, most: usize) -> Vec<Vec<Field>> {
    let mut rows = Vec::new();
    let mut at = 0;
    while at < sample.len() && rows.len() < most {
        if let Some(length) = comment(&sample[at..], dialect) {
            at += length;
            continue;
        }
        match row(&sample[at..], dialect) {
            (fields, length, true) => {
                rows.push(fields);
                at += length;
            }
            (fields, _, false) => {
                if whole {
                    rows.push(fields);
                }
                break;
            }
        }
    }
    rows
}

/// The length of the comment line at the front of the text, if there is one.
pub(crate) fn comment(text: &[u8], dialect: Dialect) -> Option<usize> {
    dialect.comment.filter(|byte| text.first() == Some(byte))?;
    Some(line(text))
}

/// The length of the first line with its end.
pub(crate) fn line(text: &[u8]) -> usize {
    let end = memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len());
    let both = text[end..].starts_with(b"\r\n");
    (end + 1 + usize::from(both)).min(text.len())
}

/// The first row, its length, and whether its line end was found.
pub(crate) fn row(text: &[u8], dialect: Dialect) -> (Vec<Field>, usize, bool) {
    let (fields, length, whole) = raw(text, dialect);
    let field = |field: Field<Vec<u8>>| Field {
        text: match String::from_utf8(field.text) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        },
        quoted: field.quoted,
    };
    (fields.into_iter().map(field).collect(), length, whole)
}

/// The same in bytes.
pub(super) fn raw(text: &[u8], dialect: Dialect) -> (Vec<Field<Vec<u8>>>, usize, bool) {
    let mut parser = Parser::new(dialect);
    let mut at = 0;
    while at < text.len() {
        let (byte, next) = (text[at], text.get(at + 1).copied());
        at += 1;
        if dialect.escape == Some(byte) && parser.is_escaped(next) {
            let both = text[at..].starts_with(b"\r\n");
            let length = 1 + usize::from(both);
            parser.field.extend_from_slice(&text[at..at + length]);
            at += length;
        } else if parser.inside {
            if Some(byte) != dialect.quote {
                parser.field.push(byte);
            } else if next == Some(byte) {
                parser.field.push(byte);
                at += 1;
            } else {
                parser.inside = false;
            }
        } else if Some(byte) == dialect.quote && parser.is_at_begin() {
            parser.open();
        } else if byte == dialect.delimiter {
            parser.finish();
        } else if byte == b'\n' || byte == b'\r' {
            at += usize::from(byte == b'\r' && next == Some(b'\n'));
            parser.finish();
            return (parser.fields, at, true);
        } else if !(parser.quoted && dialect.trim && dialect.is_blank(byte)) {
            parser.field.push(byte);
        }
    }
    parser.finish();
    (parser.fields, at, false)
}

/// The state within a row.
struct Parser {
    dialect: Dialect,
    fields: Vec<Field<Vec<u8>>>,
    field: Vec<u8>,
    quoted: bool,
    /// Within quotes.
    inside: bool,
}

impl Parser {
    fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            fields: Vec::new(),
            field: Vec::new(),
            quoted: false,
            inside: false,
        }
    }

    /// Whether the escape makes the next character an ordinary one. Otherwise it is text itself.
    fn is_escaped(&self, next: Option<u8>) -> bool {
        let Dialect {
            delimiter, escape, ..
        } = self.dialect;
        next.is_some_and(|next| {
            [delimiter, b'\n', b'\r'].contains(&next)
                || [self.dialect.quote, escape].contains(&Some(next))
        })
    }

    /// Whether a quote would open the field.
    fn is_at_begin(&self) -> bool {
        let blank = || self.field.iter().all(|byte| self.dialect.is_blank(*byte));
        !self.quoted && (self.field.is_empty() || (self.dialect.trim && blank()))
    }

    fn open(&mut self) {
        self.field.clear();
        (self.quoted, self.inside) = (true, true);
    }

    fn finish(&mut self) {
        let mut text = std::mem::take(&mut self.field);
        let quoted = std::mem::take(&mut self.quoted);
        if self.dialect.trim && !quoted {
            let blank = |byte: &u8| self.dialect.is_blank(*byte);
            let end = text.iter().rposition(|byte| !blank(byte));
            text.truncate(end.map_or(0, |at| at + 1));
            let begin = text.iter().position(|byte| !blank(byte));
            text.drain(..begin.unwrap_or(0));
        }
        self.fields.push(Field { text, quoted });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str, dialect: Dialect) -> Vec<Vec<(String, bool)>> {
        let rows = rows(text.as_bytes(), dialect, true, 9);
        let fields = |row: Vec<Field>| row.into_iter().map(|field| (field.text, field.quoted));
        rows.into_iter().map(|row| fields(row).collect()).collect()
    }

    fn field(text: &str, quoted: bool) -> (String, bool) {
        (text.to_owned(), quoted)
    }

    #[test]
    fn fields_are_taken_apart() {
        assert_eq!(
            texts("a,\"b\"\"\n\",\r\n\r\n1,\"\"", Dialect::COMMA),
            [
                vec![field("a", false), field("b\"\n", true), field("", false)],
                vec![field("", false)],
                vec![field("1", false), field("", true)]
            ]
        );
    }

    #[test]
    fn escapes_blanks_and_comments() {
        let escape = Dialect {
            escape: Some(b'\\'),
            ..Dialect::COMMA
        };
        assert_eq!(
            texts("\"say \\\"hi\\\", \\\\ \\n\",a\\,b,\\N", escape),
            [vec![
                field("say \"hi\", \\ \\n", true),
                field("a,b", false),
                field("\\N", false)
            ]]
        );
        let trim = Dialect {
            trim: true,
            ..Dialect::COMMA
        };
        assert_eq!(
            texts(" \"a, b\" ,\t c d ,", trim),
            [vec![
                field("a, b", true),
                field("c d", false),
                field("", false)
            ]]
        );
        let comment = Dialect {
            comment: Some(b'#'),
            ..Dialect::COMMA
        };
        assert_eq!(texts("# it's \"\na\n#", comment), [vec![field("a", false)]]);
    }
}
