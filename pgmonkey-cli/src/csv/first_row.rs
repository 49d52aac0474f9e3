//! Detects whether the first row of a file is a header.

use super::header;
use super::record::Field;

/// Words for a missing value: they say nothing about a column.
const MISSING: [&str; 10] = [
    "", "na", "n/a", "null", "\\n", "none", "nan", "-", "?", "unknown",
];

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
///
/// One strong witness is enough: a text over a column of numbers, years or dates that rise from
/// column to column over other values, or the numbers of the columns.
pub(crate) fn has_header(rows: &[Vec<Field>], known: Option<&[String]>) -> (bool, HeaderEvidence) {
    let Some((first, body)) = rows.split_first() else {
        return (true, HeaderEvidence::Custom);
    };
    if known.is_some_and(|known| names_columns(first, known)) {
        return (true, HeaderEvidence::Table);
    }
    let columns: Vec<Column<'_>> = first
        .iter()
        .enumerate()
        .map(|(index, head)| Column::new(&head.text, index, body))
        .collect();
    let text_over_values =
        |column: &Column<'_>| column.values && !is_missing(column.head) && !is_value(column.head);
    if columns.iter().any(text_over_values) || rises(&columns) || counts(&columns) {
        return (true, HeaderEvidence::Content);
    }
    match columns.iter().any(|column| is_value(column.head)) {
        true => (false, HeaderEvidence::Content),
        false => (true, HeaderEvidence::Custom),
    }
}

/// Whether at least half of the fields are names of columns. A header with a column that the table
/// lacks is reported as such.
fn names_columns(first: &[Field], known: &[String]) -> bool {
    let texts: Vec<String> = first.iter().map(|field| field.text.clone()).collect();
    if header::matched(&texts, known).is_ok() {
        return true;
    }
    let named = |text: &&String| {
        let name = header::clean(text);
        let same = |column: &String| column == *text || header::clean(column) == name;
        known.iter().any(same)
    };
    let count = texts.iter().filter(named).count();
    count > 0 && count * 2 >= texts.len()
}

/// One column of the first rows.
struct Column<'a> {
    head: &'a str,
    /// Whether it has values below its head, and all of them are numbers, dates or times.
    values: bool,
    /// Whether a value below is of the head's kind: a year, or a date.
    alike: bool,
    /// Whether there is a text below that is no value.
    text: bool,
}

impl<'a> Column<'a> {
    fn new(head: &'a str, index: usize, body: &'a [Vec<Field>]) -> Self {
        let below = || {
            let fields = body.iter().filter_map(|row| row.get(index));
            fields
                .map(|field| field.text.as_str())
                .filter(|text| !is_missing(text))
        };
        let moment = moment(head);
        let alike = |text: &str| moment.is_some() && is_moment_like(text, head);
        Self {
            head,
            values: below().next().is_some() && below().all(is_value),
            alike: below().any(alike),
            text: below().any(|text| !is_value(text)),
        }
    }
}

/// Whether years or dates rise, or fall, from column to column, and the values below are no years
/// or dates. One is enough if the other heads are texts.
fn rises(columns: &[Column<'_>]) -> bool {
    let moments: Vec<Option<i64>> = columns
        .iter()
        .map(|column| moment(column.head).filter(|_| !column.alike))
        .collect();
    let runs = moments.split(Option::is_none).filter(|run| run.len() > 1);
    let text = |column: &Column<'_>| !is_value(column.head);
    let others = columns.iter().filter(|column| !text(column)).count();
    let one = |column: &Column<'_>| column.values && !column.alike && moment(column.head).is_some();
    if others == 1 && columns.len() > 1 && columns.iter().any(one) {
        return true;
    }
    runs.into_iter().any(|run| {
        let pairs = || run.windows(2);
        pairs().all(|pair| pair[0] < pair[1]) || pairs().all(|pair| pair[0] > pair[1])
    })
}

/// Whether the heads are 0, 1, 2, … or 1, 2, 3, …, perhaps after an empty one, as pandas writes
/// them, over a column with text.
fn counts(columns: &[Column<'_>]) -> bool {
    let heads = || {
        let heads = columns.iter().enumerate();
        heads.skip_while(|(index, column)| *index == 0 && column.head.trim().is_empty())
    };
    let from = |first: usize| {
        let mut numbers = (first..).map(|number| number.to_string());
        heads().all(|(_, column)| numbers.next().as_deref() == Some(column.head.trim()))
    };
    heads().count() > 1 && columns.iter().any(|column| column.text) && (from(0) || from(1))
}

/// A year or a date as a number that rises with time.
fn moment(text: &str) -> Option<i64> {
    let text = text.trim();
    let mut parts = text.split(['-', '/', '.']).map(|part| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<i64>()
            .ok()
            .filter(|_| digits && part.len() < 5)
    });
    let year = |year: i64| (1000..3000).contains(&year);
    match (parts.next()?, parts.next(), parts.next(), parts.next()) {
        (Some(only), None, None, None) => (text.len() == 4 && year(only)).then_some(only * 372),
        (Some(a), Some(Some(b)), None, None) if year(a) => Some(a * 372 + b * 31),
        (Some(a), Some(Some(b)), None, None) if year(b) => Some(b * 372 + a * 31),
        (Some(a), Some(Some(b)), Some(Some(c)), None) if year(a) => Some(a * 372 + b * 31 + c),
        // Of month and day, either may come first: whichever can be the month.
        (Some(a), Some(Some(b)), Some(Some(c)), None) if c < 3000 => {
            let (month, day) = if a > 12 { (b, a) } else { (a, b) };
            (month <= 12 && day <= 31).then_some(c * 372 + month * 31 + day)
        }
        _ => None,
    }
}

/// Whether the text is a year as the head is, or a date as it is.
fn is_moment_like(text: &str, head: &str) -> bool {
    let year = |text: &str| text.trim().len() == 4;
    moment(text).is_some() && year(text) == year(head)
}

fn is_missing(text: &str) -> bool {
    MISSING.contains(&text.trim().to_ascii_lowercase().as_str())
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

#[cfg(test)]
mod tests {
    use super::super::dialect::Dialect;
    use super::super::record;
    use super::*;

    fn header(text: &str, known: Option<&[&str]>) -> bool {
        let rows = record::rows(text.as_bytes(), Dialect::COMMA, true, 100);
        let known: Option<Vec<String>> =
            known.map(|names| names.iter().map(ToString::to_string).collect());
        has_header(&rows, known.as_deref()).0
    }

    #[test]
    fn headers_are_found() {
        assert!(header("id,name\n1,x\n", None));
        assert!(header("id,name\n", None));
        assert!(header("a,b\nx,y\n", None));
        assert!(header("name,born\nx,\ny,2001-02-03\n", None));
    }

    #[test]
    fn rows_of_values_are_no_headers() {
        assert!(!header("1,x\n2,y\n", None));
        assert!(!header("2024-01-01,5\n2024-01-02,6\n", None));
        assert!(!header("x,2001,2005\ny,1999,2003\n", None));
        assert!(!header("NA,5\n3,6\n", None));
        assert!(!header("1,2,3\n4,5,6\n", None));
        assert!(!header("2020,5\n1,6\n", None));
    }

    #[test]
    fn headers_of_dates_and_years_are_headers() {
        for text in [
            "country,2020,2021\nFR,1,2\n",
            "Province/State,Country,Lat,Long,1/22/20,1/23/20,1/24/20\nAnhui,China,31.8,117.2,1,9,15\n",
            "1/22/20,1/23/20\n5,6\n",
            "2020-01,2020-02\n5,6\n",
            "31.12.2023,01.01.2024\n5,6\n",
            "0,1,2\nx,y,1\n",
            ",0,1\n0,x,5\n",
            "2021,2020,2019\n5,6,7\n",
            "country,2020\nFR,5\n",
        ] {
            assert!(header(text, None), "{text}");
        }
    }

    #[test]
    fn d35_the_table_says_whether_years_are_names() {
        let text = "2020,5\n2021,6\n";
        assert!(!header(text, None));
        assert!(header(text, Some(&["2020", "5"])));
        // As they are when the table was created from the file.
        assert!(header("2020,2021\n2020,2020\n", Some(&["_2020", "_2021"])));
    }
}
