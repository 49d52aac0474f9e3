//! The format of the file: as requested, otherwise as detected.

use crate::csv::decode::Evidence;
use crate::csv::dialect::{self, Dialect};
use crate::csv::first_row::{self, HeaderEvidence};
use crate::csv::header;
use crate::csv::record::Field;
use crate::csv::shape::{self, Shape};
use crate::error::Error;

use super::super::input::Input;
use super::{NO_DELIMITER, Wishes, doubt, first};

/// How many rows the header is detected from.
const HEADER_ROWS: usize = 100;

/// The format of the file.
pub(super) struct Format {
    pub(super) dialect: Dialect,
    /// Whether the file's first line sets the delimiter.
    named: bool,
    /// Whether the quote was detected.
    quote_detected: bool,
}

/// Determines the format. `known` are the columns of the table, if it exists.
pub(super) fn detected(
    input: &mut Input,
    wishes: &Wishes,
    known: Option<&[String]>,
) -> Result<Format, Error> {
    let mut dialect = Dialect {
        delimiter: NO_DELIMITER,
        quote: wishes.quote.unwrap_or(Some(b'"')),
        escape: wishes.escape,
        comment: wishes.comment,
        trim: wishes.trim,
    };
    let named = input.separator().filter(|_| !wishes.single_column);
    if named.is_some() {
        input.skip(1)?;
    }
    let given = wishes.delimiter.or(named);
    // The delimiter shows the quotes; quotes may hide delimiters.
    let mut shape = shape::detect(&input.buffer, input.ended, dialect);
    if let Some(delimiter) = given {
        shape = Shape::Separated(delimiter);
    }
    let mut quote_detected = false;
    if wishes.quote.is_none() {
        let delimiter = match shape {
            Shape::Separated(delimiter) | Shape::Unclear(delimiter) => delimiter,
            Shape::OneColumn => NO_DELIMITER,
        };
        let with = Dialect {
            delimiter,
            ..dialect
        };
        let quote = shape::quote(&input.buffer, input.ended, with);
        quote_detected = quote != b'"';
        dialect.quote = Some(quote);
        if quote_detected && given.is_none() {
            shape = shape::detect(&input.buffer, input.ended, dialect);
        }
    }
    let one = wishes.single_column || given.is_none() && is_one(input, dialect, shape, known)?;
    match shape {
        Shape::Separated(delimiter) if !one => dialect.delimiter = delimiter,
        Shape::Unclear(delimiter) if !one => {
            return Err(doubt::unclear(input, dialect, delimiter, known.is_none()));
        }
        _ => {}
    }
    Ok(Format {
        dialect,
        named: named.is_some() && wishes.delimiter.is_none(),
        quote_detected,
    })
}

/// Whether a table of one column says that each line is one value.
fn is_one(
    input: &mut Input,
    dialect: Dialect,
    shape: Shape,
    known: Option<&[String]>,
) -> Result<bool, Error> {
    let Some([column]) = known else {
        return Ok(false);
    };
    if matches!(shape, Shape::Unclear(_)) {
        return Ok(true);
    }
    let texts = first(input, dialect)?.texts();
    Ok(header::matched(&texts, std::slice::from_ref(column)).is_ok())
}

/// Whether the first row is a header, and why, unless it was requested.
pub(super) fn header(
    sample: &[Vec<Field>],
    requested: Option<bool>,
    known: Option<&[String]>,
) -> (bool, Option<HeaderEvidence>) {
    if let Some(requested) = requested {
        return (requested, None);
    }
    let rows = &sample[..sample.len().min(HEADER_ROWS)];
    let (has_header, evidence) = first_row::has_header(rows, known);
    (has_header, Some(evidence))
}

impl Format {
    /// The format in one line.
    pub(super) fn told(
        &self,
        input: &Input,
        wishes: &Wishes,
        width: usize,
        has_header: bool,
        evidence: Option<HeaderEvidence>,
    ) -> String {
        let (charset, known) = input.found();
        let known = match known {
            Evidence::Given => "",
            Evidence::Mark => " by its byte order mark",
            Evidence::Valid => "",
            Evidence::Guess => " as the most likely encoding (--encoding overrides it)",
        };
        let compression = input
            .compression
            .map(|name| format!("{name}, "))
            .unwrap_or_default();
        let mut separated = match width {
            1 => "one column".to_owned(),
            _ => format!("separated by {}", dialect::name(self.dialect.delimiter)),
        };
        if self.named {
            separated += ", as its first line says";
        }
        if self.quote_detected {
            separated += ", in single quotes (--quote overrides it)";
        }
        if wishes.skip > 0 {
            separated += &format!(", from line {}", wishes.skip + 1);
        }
        let header = match (has_header, evidence) {
            (true, None) => "with a header",
            (true, Some(HeaderEvidence::Table)) => "with a header that matches the table",
            (true, Some(HeaderEvidence::Content)) => {
                "with a header that differs from the rows below it"
            }
            (true, Some(HeaderEvidence::Custom)) => {
                "with a header, by assumption (otherwise --no-header)"
            }
            (false, None) => "without a header",
            (false, Some(_)) => {
                "without a header, because the first row is like the others (otherwise --header)"
            }
        };
        format!(
            "{}: {compression}{charset}{known}, {separated}, {header}",
            input.name
        )
    }
}
