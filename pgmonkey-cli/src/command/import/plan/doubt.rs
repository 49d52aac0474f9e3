//! What speaks against the detected format. An import that would guess fails instead.

use crate::csv::dialect::{self, Dialect};
use crate::csv::record::{self, Field};
use crate::csv::shape::{self, Shape};
use crate::error::Error;

use super::super::input::Input;
use super::{First, lines};

/// Also what the scanner says of rows.
pub(crate) const BLANK_BEFORE_QUOTE: &str = "a blank before an opening quote";
pub(crate) const TRIM: &str =
    "--trim ignores blanks around fields and quotes; --quote '' takes quotes as text";
/// How many rows below a title are looked at.
const BELOW_TITLE: usize = 10;

/// The error for rows that do not agree on a number of fields.
pub(super) fn unclear(input: &Input, dialect: Dialect, delimiter: u8, created: bool) -> Error {
    let dialect = Dialect {
        delimiter,
        ..dialect
    };
    let mut rows = record::rows(&input.buffer, dialect, input.ended, 1000);
    rows.retain(|row| !shape::is_blank(row));
    let widths = || rows.iter().map(Vec::len);
    let (least, most) = (
        widths().min().unwrap_or_default(),
        widths().max().unwrap_or_default(),
    );
    let agreed = shape::agreement(&rows, 0);
    let (width, alike) = agreed.map_or((0, 0), |found| (found.width, found.alike));
    let column = match created {
        true => ", or load each line as one value with --single-column",
        false => "",
    };
    Error::Failed {
        text: format!(
            "{}: the delimiter is unclear: separated by {}, the rows have {least} to {most} fields, and {alike} of {} have {width}",
            input.name,
            dialect::name(delimiter),
            rows.len(),
        ),
        hint: Some(format!("set the delimiter with --delimiter{column}")),
    }
}

/// Refuses a first row with another number of fields than the rows below it, and a new table of one
/// column whose rows hold a delimiter.
pub(super) fn counts(
    input: &Input,
    dialect: Dialect,
    sample: &[Vec<Field>],
    first: &First,
    exists: bool,
) -> Result<(), Error> {
    quotes(input, dialect, first)?;
    let width = first.fields.len();
    let body = sample.get(1..).unwrap_or_default();
    let agreed = shape::agreement(body, width);
    if let Some(agreed) = agreed.filter(|agreed| agreed.width != width) {
        let rows = Rows {
            first: &first.fields,
            body,
            width: agreed.width,
        };
        let (reason, hint) = rows.reason(input, dialect, first);
        let name = dialect::name(dialect.delimiter);
        return Err(Error::Failed {
            text: format!(
                "{}:{}: the first row has {}, but most rows have {} (separated by {name}){reason}",
                input.name,
                first.line,
                fields(width),
                agreed.width,
            ),
            hint: Some(hint),
        });
    }
    if width > 1 || exists {
        return Ok(());
    }
    match shape::detect(&input.buffer[first.begin..], input.ended, dialect) {
        Shape::OneColumn => Ok(()),
        Shape::Unclear(other) | Shape::Separated(other) => Err(Error::Failed {
            text: format!(
                "{}: separated by {}, the rows have one field each, but some contain a {}",
                input.name,
                dialect::name(dialect.delimiter),
                dialect::name(other),
            ),
            hint: Some(format!(
                "set another delimiter, such as --delimiter {}, or load each line as one value with --single-column",
                dialect::name(other)
            )),
        }),
    }
}

/// Refuses a blank before a quote in the header. The scanner does so in the rows.
fn quotes(input: &Input, dialect: Dialect, first: &First) -> Result<(), Error> {
    let Some(quote) = dialect.quote else {
        return Ok(());
    };
    let begins = |field: &Field| {
        let text = field.text.trim_start_matches([' ', '\t']);
        !field.quoted && text.len() < field.text.len() && text.starts_with(char::from(quote))
    };
    match first.fields.iter().position(begins) {
        None => Ok(()),
        Some(index) => Err(Error::Failed {
            text: format!(
                "{}:{}: column {}: {BLANK_BEFORE_QUOTE}",
                input.name,
                first.line,
                index + 1
            ),
            hint: Some(TRIM.to_owned()),
        }),
    }
}

fn fields(count: usize) -> String {
    match count {
        1 => "1 field".to_owned(),
        count => format!("{count} fields"),
    }
}

/// A first row that differs from most rows below it.
struct Rows<'a> {
    first: &'a [Field],
    body: &'a [Vec<Field>],
    /// The number of fields of most rows.
    width: usize,
}

impl Rows<'_> {
    /// The likely reason, and what to do.
    fn reason(&self, input: &Input, dialect: Dialect, first: &First) -> (String, String) {
        let given = self.first.len();
        let head = self.first[0].text.trim_start();
        let delimiter = dialect::name(dialect.delimiter);
        let empty = |field: Option<&Field>| field.is_some_and(|field| field.text.is_empty());
        let mut alike = self.body.iter().filter(|row| row.len() == self.width);
        if head.starts_with('#') {
            return (
                ": it looks like a comment".to_owned(),
                "--comment '#' leaves out the lines that begin with #".to_owned(),
            );
        }
        if self.width == given + 1 && alike.clone().all(|row| empty(row.last())) {
            return (
                format!(": the rows end with a {delimiter}, the header does not"),
                format!(
                    "add a {delimiter} to the header, or remove the one at the end of the rows"
                ),
            );
        }
        if given == self.width + 1 && empty(self.first.last()) {
            return (
                format!(": the header ends with a {delimiter}, the rows do not"),
                format!("remove the {delimiter} at the end of the header"),
            );
        }
        if given < self.width
            && let Some(line) = self.table_begin(input, dialect, first)
        {
            return (
                ": it looks like a title".to_owned(),
                format!(
                    "--skip {} begins with line {line}; if each line is one value, --single-column",
                    line - 1
                ),
            );
        }
        if self.width == given + 1 {
            let row = alike.next().map_or("", |row| row[0].text.as_str());
            return (
                format!(
                    ": a column has no name, perhaps the first one ({row:?}), as in files that R writes"
                ),
                "add its name to the header".to_owned(),
            );
        }
        (
            String::new(),
            "correct the first row, set another --delimiter, or leave out lines on top with --skip N"
                .to_owned(),
        )
    }

    /// The line on which the first row with most rows' number of fields begins, if no value of a
    /// row above it is among several: a title has one, or the parts of one.
    fn table_begin(&self, input: &Input, dialect: Dialect, first: &First) -> Option<u64> {
        let mut at = first.begin;
        let mut line = first.line;
        while at < input.buffer.len() {
            let (fields, length, _) = record::row(&input.buffer[at..], dialect);
            if fields.len() == self.width {
                // A header follows a title. Where numbers do, the first row is a header itself.
                let number = |field: &Field| field.text.trim().parse::<f64>().is_ok();
                let header = !fields.iter().any(number);
                return (line > first.line && (header || self.first.len() == 1)).then_some(line);
            }
            line += lines(&input.buffer[at..at + length]).max(1);
            at += length;
        }
        None
    }
}

/// Refuses a title as the header of a new table: one value in several fields, as spreadsheets
/// write it, over rows with more.
pub(super) fn title(
    input: &Input,
    dialect: Dialect,
    sample: &[Vec<Field>],
    first: &First,
) -> Result<(), Error> {
    let filled = |row: &[Field]| row.iter().filter(|field| !field.text.is_empty()).count();
    let width = first.fields.len();
    let mut below = sample.iter().skip(1).take(BELOW_TITLE);
    if width < 3 || filled(&first.fields) > 1 || !below.any(|row| filled(row) == width) {
        return Ok(());
    }
    let (mut at, mut line) = (first.end, first.next_line);
    while at < input.buffer.len() {
        let (fields, length, _) = record::row(&input.buffer[at..], dialect);
        if filled(&fields) == width {
            break;
        }
        line += lines(&input.buffer[at..at + length]).max(1);
        at += length;
    }
    Err(Error::Failed {
        text: format!(
            "{}:{}: the first row has one value in {width} fields: it looks like a title",
            input.name, first.line
        ),
        hint: Some(format!(
            "--skip {} begins with line {line}; --header takes the first row as the header",
            line - 1
        )),
    })
}
