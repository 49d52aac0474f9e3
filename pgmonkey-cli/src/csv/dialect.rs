//! Detects the delimiter of a file and whether its first row is a header.

use super::record::{self, Field};

/// How fields are separated and quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    /// `None`: quotes are ordinary text.
    pub(crate) quote: Option<u8>,
}

impl Dialect {
    /// The quote character to pass to the server.
    pub(crate) fn wire_quote(self) -> u8 {
        self.quote.unwrap_or(super::scan::NO_QUOTE)
    }
}

/// The candidates for a delimiter, the rarest in ordinary text first.
pub(crate) const CANDIDATES: [u8; 4] = *b"\t;|,";
/// How many rows are examined.
const SAMPLE: usize = 1000;

/// Detects the delimiter: the one that splits the most rows into as many fields as the first one.
/// `None` is a file with one column.
pub(crate) fn delimiter(sample: &[u8], whole: bool, quote: Option<u8>) -> Option<u8> {
    let rate = |delimiter: u8| {
        let rows = record::rows(sample, Dialect { delimiter, quote }, whole, SAMPLE);
        let mut rows = rows
            .iter()
            .filter(|row| !is_blank(row))
            .map(|row| row.len());
        let width = rows.next()?;
        let (mut alike, mut all) = (1, 1);
        for row in rows {
            all += 1;
            alike += usize::from(row == width);
        }
        // Most rows have another width: the character is in the first row by chance.
        (width > 1 && alike * 2 > all).then(|| (alike * 1000 / all, delimiter))
    };
    let rated: Vec<(usize, u8)> = CANDIDATES.into_iter().filter_map(rate).collect();
    let best = rated.iter().map(|(rate, _)| *rate).max()?;
    rated
        .iter()
        .find(|(rate, _)| *rate == best)
        .map(|(_, delimiter)| *delimiter)
}

/// Why the first row is or is not taken as the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderEvidence {
    /// Its names are columns of the table.
    Table,
    /// It differs from the rows below it.
    Content,
    /// Assumed: nothing indicates the opposite.
    Custom,
}

/// Whether the first row is a header. `known` are the columns of the target table, if it exists.
pub(crate) fn has_header(rows: &[Vec<Field>], known: Option<&[String]>) -> (bool, HeaderEvidence) {
    let Some((first, body)) = rows.split_first() else {
        return (true, HeaderEvidence::Custom);
    };
    if let Some(known) = known {
        let named = |field: &Field| {
            let name = super::header::clean(&field.text);
            known
                .iter()
                .any(|column| *column == field.text || super::header::clean(column) == name)
        };
        match first.iter().filter(|field| named(field)).count() {
            count if count == first.len() => return (true, HeaderEvidence::Table),
            0 => {}
            // A header with a column that the table lacks is reported as such.
            count if count * 2 >= first.len() => return (true, HeaderEvidence::Table),
            _ => {}
        }
    }
    let mut votes = 0;
    for (index, head) in first.iter().enumerate() {
        let mut below = body.iter().filter_map(|row| row.get(index));
        let typed = |field: &Field| field.text.is_empty() || is_value(&field.text);
        let some = below.clone().any(|field| !field.text.is_empty());
        if head.text.is_empty() || !some {
            votes -= i32::from(is_value(&head.text));
        } else if below.all(typed) {
            votes += if is_value(&head.text) { -1 } else { 1 };
        } else if is_value(&head.text) {
            votes -= 1;
        }
    }
    match votes {
        0 => (true, HeaderEvidence::Custom),
        votes => (votes > 0, HeaderEvidence::Content),
    }
}

/// Whether a text is a number, a date or a time, which are unlikely column names.
fn is_value(text: &str) -> bool {
    let text = text.trim();
    let digits = text.bytes().any(|b| b.is_ascii_digit());
    digits
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || b" .,:+-/TZeE%$".contains(&b))
}

fn is_blank(row: &[Field]) -> bool {
    matches!(row, [only] if only.text.trim().is_empty())
}

/// The name of a delimiter in messages.
pub(crate) fn name(delimiter: u8) -> String {
    match delimiter {
        b'\t' => "tab".to_owned(),
        b',' => "comma".to_owned(),
        b';' => "semicolon".to_owned(),
        b'|' => "pipe".to_owned(),
        other => format!("'{}'", char::from(other).escape_default()),
    }
}

/// Parses a delimiter as the user writes it: one character, `\t` or a name.
pub(crate) fn parse(text: &str) -> Result<u8, String> {
    match text {
        "\\t" | "tab" => Ok(b'\t'),
        "comma" => Ok(b','),
        "semicolon" => Ok(b';'),
        "pipe" => Ok(b'|'),
        _ => match text.as_bytes() {
            [b'\n' | b'\r' | b'"' | 0 | 1] => Err(format!("{text:?} cannot be a delimiter")),
            [byte] if byte.is_ascii() => Ok(*byte),
            _ => Err(format!(
                "{text:?} is not a single ASCII character, as PostgreSQL requires; `\\t` is a tab"
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<char> {
        delimiter(text.as_bytes(), true, Some(b'"')).map(char::from)
    }

    fn header(text: &str, known: Option<&[&str]>) -> bool {
        let dialect = Dialect {
            delimiter: b',',
            quote: Some(b'"'),
        };
        let rows = record::rows(text.as_bytes(), dialect, true, 100);
        let known: Option<Vec<String>> =
            known.map(|names| names.iter().map(ToString::to_string).collect());
        has_header(&rows, known.as_deref()).0
    }

    #[test]
    fn delimiters_are_found() {
        assert_eq!(found("a,b\n1,2\n"), Some(','));
        assert_eq!(found("price;size\n1,5;2,5\n3,5;4,5\n"), Some(';'));
        assert_eq!(found("1,5;2,5\n3,5;4,5\n"), Some(';'));
        assert_eq!(found("a\tb c\n1\tx, y\n"), Some('\t'));
        assert_eq!(found("a|b\n\"x|y\"|2\n"), Some('|'));
        assert_eq!(found("a,b,c\n1,2,3\n1,2\n1,2,3\n"), Some(','));
        assert_eq!(found("\n\na,b\n"), Some(','));
    }

    #[test]
    fn d33_text_with_commas_is_one_column() {
        assert_eq!(found("text\nHello, world\nno comma\n"), None);
        assert_eq!(
            found("Dear Sir, hello\nno\nnone\nnothing, really, at all\n"),
            None
        );
        assert_eq!(found("name\nx\n"), None);
        assert_eq!(found(""), None);
    }

    #[test]
    fn headers_are_found() {
        assert!(header("id,name\n1,x\n", None));
        assert!(header("id,name\n", None));
        assert!(header("a,b\nx,y\n", None));
        assert!(!header("1,x\n2,y\n", None));
        assert!(!header("2024-01-01,5\n2024-01-02,6\n", None));
        assert!(header("name,born\nx,\ny,2001-02-03\n", None));
    }

    #[test]
    fn d35_the_table_says_whether_years_are_names() {
        assert!(!header("country,2020,2021\nFR,1,2\n", None));
        assert!(header(
            "country,2020,2021\nFR,1,2\n",
            Some(&["country", "2020", "2021"])
        ));
    }

    #[test]
    fn d33_a_tab_may_be_written_in_two_characters() {
        assert_eq!(parse("\\t"), Ok(b'\t'));
        assert_eq!(parse("\t"), Ok(b'\t'));
        assert_eq!(parse(";"), Ok(b';'));
        for wrong in ["", "ab", "\n", "é", "\""] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
