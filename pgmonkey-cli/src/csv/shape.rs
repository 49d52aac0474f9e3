//! What the rows of a file agree on: its delimiter, its quotes and the number of its columns.

use super::dialect::{CANDIDATES, Dialect};
use super::record::{self, Field};

/// How many rows are examined.
const SAMPLE: usize = 1000;

/// How a file is separated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// No row holds a candidate for a delimiter.
    OneColumn,
    /// Most rows have as many fields as each other.
    Separated(u8),
    /// Rows hold this candidate, but they do not agree on a number of fields.
    Unclear(u8),
}

/// The number of fields that most rows have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreement {
    pub(crate) width: usize,
    /// How many rows have it, of how many.
    pub(crate) alike: usize,
    pub(crate) all: usize,
}

impl Agreement {
    fn is_majority(self) -> bool {
        self.alike * 2 > self.all
    }
}

/// The number of fields that most of the rows have; `first` if there is a tie.
pub(crate) fn agreement(rows: &[Vec<Field>], first: usize) -> Option<Agreement> {
    let mut counts: Vec<(usize, usize)> = Vec::new();
    for width in rows.iter().map(Vec::len) {
        match counts.iter_mut().find(|(known, _)| *known == width) {
            Some((_, count)) => *count += 1,
            None => counts.push((width, 1)),
        }
    }
    let rank = |(width, count): &(usize, usize)| (*count, *width == first, *width);
    let (width, alike) = counts.into_iter().max_by_key(rank)?;
    Some(Agreement {
        width,
        alike,
        all: rows.len(),
    })
}

/// Detects the delimiter of a file by what its rows agree on. The first row may differ from them: a
/// title, or a header with another number of fields. `dialect` says the rest.
pub(crate) fn detect(sample: &[u8], whole: bool, dialect: Dialect) -> Shape {
    let mut best: Option<((bool, usize), u8)> = None;
    let mut most: Option<(usize, u8)> = None;
    for delimiter in CANDIDATES {
        let dialect = Dialect {
            delimiter,
            ..dialect
        };
        let rows = rows(sample, whole, dialect);
        let split = rows.iter().filter(|row| row.len() > 1).count();
        if split > most.map_or(0, |(split, _)| split) {
            most = Some((split, delimiter));
        }
        let Some(first) = rows.first().map(Vec::len) else {
            continue;
        };
        // Lines on top that are not split do not count: the table begins below them.
        let top = rows.iter().take_while(|row| row.len() == 1).count();
        let agreed = agreement(&rows, first).filter(|found| found.width > 1);
        let below = || agreement(&rows[top..], first).filter(|found| found.width > 1);
        let body = || agreement(&rows[1..], first).filter(|found| found.width > 1);
        let majority = |found: &Agreement| found.is_majority();
        let agreed = agreed.filter(majority);
        let agreed = agreed.or_else(|| below().filter(majority));
        let Some(agreed) = agreed.or_else(|| body().filter(majority)) else {
            continue;
        };
        let rank = (agreed.width == first, agreed.alike * 1000 / rows.len());
        if best.is_none_or(|(known, _)| rank > known) {
            best = Some((rank, delimiter));
        }
    }
    match (best, most) {
        (Some((_, delimiter)), _) => Shape::Separated(delimiter),
        (None, Some((_, delimiter))) => Shape::Unclear(delimiter),
        (None, None) => Shape::OneColumn,
    }
}

/// Detects single quotes: no field has double ones, and all values of a column are within them.
pub(crate) fn quote(sample: &[u8], whole: bool, dialect: Dialect) -> u8 {
    let rows = rows(sample, whole, dialect);
    if rows.iter().flatten().any(|field| field.quoted) {
        return b'"';
    }
    let single = |field: &&Field| field.text.len() > 1 && is_within(&field.text, '\'');
    let width = rows.iter().map(Vec::len).max().unwrap_or_default();
    // The first row may be a header without quotes.
    let column = |index: usize| {
        let column = rows.iter().skip(1).filter_map(|row| row.get(index));
        let mut values = column.filter(|field| !field.text.is_empty()).peekable();
        values.peek().is_some() && values.all(|field| single(&field))
    };
    // All fields of the first row are, or all values of a column.
    let first = rows
        .first()
        .is_some_and(|row| row.iter().all(|f| single(&f)));
    match first || (0..width).any(column) {
        true => b'\'',
        false => b'"',
    }
}

fn is_within(text: &str, quote: char) -> bool {
    text.starts_with(quote) && text.ends_with(quote)
}

/// The first rows without the blank ones.
fn rows(sample: &[u8], whole: bool, dialect: Dialect) -> Vec<Vec<Field>> {
    let mut rows = record::rows(sample, dialect, whole, SAMPLE);
    rows.retain(|row| !is_blank(row));
    rows
}

/// Whether the row is a blank line.
pub(crate) fn is_blank(row: &[Field]) -> bool {
    matches!(row, [only] if only.text.trim().is_empty() && !only.quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Shape {
        detect(text.as_bytes(), true, Dialect::COMMA)
    }

    fn separated(delimiter: char) -> Shape {
        Shape::Separated(u8::try_from(delimiter).expect("ASCII"))
    }

    #[test]
    fn delimiters_are_found() {
        assert_eq!(found("a,b\n1,2\n"), separated(','));
        assert_eq!(found("price;size\n1,5;2,5\n3,5;4,5\n"), separated(';'));
        assert_eq!(found("1,5;2,5\n3,5;4,5\n"), separated(';'));
        assert_eq!(found("a\tb c\n1\tx, y\n"), separated('\t'));
        assert_eq!(found("a|b\n\"x|y\"|2\n"), separated('|'));
        assert_eq!(found("a,b,c\n1,2,3\n1,2\n1,2,3\n"), separated(','));
        assert_eq!(found("\n\na,b\n"), separated(','));
        assert_eq!(found("a,b,n\n1,2,x; y\n3,4,y; z\n"), separated(','));
    }

    #[test]
    fn the_rows_decide_and_not_the_first_one() {
        for text in [
            "a,b,c\n1,2,3,\n4,5,6,\n",
            "a,b,c\n1,2,3,\n",
            "Monthly report 2024\n\nid,name,qty\n1,apple,3\n2,pear,4\n",
            "# one\n# two\n# three\n# four\na,b\n1,2\n3,4\n",
            "x\n1,2\n3,4\n5,6\n",
        ] {
            assert_eq!(found(text), separated(','), "{text}");
        }
    }

    #[test]
    fn d33_text_with_commas_is_unclear() {
        assert_eq!(
            found("text\nHello, world\nno comma\n"),
            Shape::Unclear(b',')
        );
        assert_eq!(
            found("Dear Sir, hello\nno\nnone\nnothing, really, at all\n"),
            Shape::Unclear(b',')
        );
        assert_eq!(
            found("a,b\n1\n1,2,3\n1,2,3,4\n1,2,3,4,5\n"),
            Shape::Unclear(b',')
        );
        assert_eq!(found("name\nx\n\"a, b\"\n"), Shape::OneColumn);
        assert_eq!(found(""), Shape::OneColumn);
    }

    #[test]
    fn single_quotes_are_found() {
        let found = |text: &str| char::from(quote(text.as_bytes(), true, Dialect::COMMA));
        assert_eq!(found("'id','name'\n'1','O''Neil, x'\n"), '\'');
        assert_eq!(found("id,name\n1,'x'\n2,'y'\n"), '\'');
        assert_eq!(found("id,name\n1,'x'\n2,O'Neil\n"), '"');
        assert_eq!(found("id,name\n1,'x'\n2,\"'y'\"\n"), '"');
        assert_eq!(found("id,name\n"), '"');
    }
}
