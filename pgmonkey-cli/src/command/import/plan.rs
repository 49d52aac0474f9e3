//! Plans an import from the file's first rows and the server's table.

mod target;

use pgmonkey::sql::{identifier, literal};

use crate::csv::charset::Charset;
use crate::csv::decode::Evidence;
use crate::csv::dialect::{self, Dialect, HeaderEvidence};
use crate::csv::record::{self, Field};
use crate::csv::scan::Blank;
use crate::csv::settings;
use crate::error::Error;
use crate::transfer::relation::{Name, Relation};

use super::input::{BLOCK, Input};

/// How many rows column types are inferred from.
const TYPED_ROWS: usize = 10_000;
/// How many rows the header is detected from.
const HEADER_ROWS: usize = 100;
/// The delimiter of a file with one column: no text contains it.
const NO_DELIMITER: u8 = 0x1f;

/// What was requested; `None` is to be detected.
#[derive(Debug, Clone)]
pub(crate) struct Wishes {
    pub(crate) charset: Option<Charset>,
    pub(crate) delimiter: Option<u8>,
    pub(crate) quote: Option<u8>,
    pub(crate) header: Option<bool>,
    pub(crate) null: String,
    pub(crate) skip_blank_lines: bool,
    pub(crate) create: bool,
    pub(crate) infer_types: bool,
    pub(crate) keep_case: bool,
}

/// The plan of an import.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) table: Name,
    /// The table's columns in the order of the file.
    pub(crate) columns: Vec<String>,
    /// The columns' types, if the table is to be created.
    pub(crate) types: Option<Vec<&'static str>>,
    pub(crate) dialect: Dialect,
    pub(crate) blank: Blank,
    /// The line of the file on which the first data row begins.
    pub(crate) line: u64,
    /// What to report to the user.
    pub(crate) notes: Vec<String>,
    header: bool,
    wishes: Wishes,
    charset: Charset,
}

/// The first row that is not blank.
struct First {
    fields: Vec<Field>,
    /// Its begin and end in the buffer.
    begin: usize,
    end: usize,
    /// The lines of its begin and end; the end is the line of the next row.
    line: u64,
    next_line: u64,
}

impl First {
    fn texts(&self) -> Vec<String> {
        let fields = self.fields.iter();
        fields.map(|field| field.text.clone()).collect()
    }
}

/// Makes the plan, and removes the header from the input.
pub(crate) fn make(
    input: &mut Input,
    wishes: Wishes,
    name: Name,
    found: Option<Relation>,
    similar: Option<String>,
) -> Result<Plan, Error> {
    if found.is_none() && !wishes.create {
        return Err(target::missing(&name, similar));
    }
    let delimiter = match wishes.delimiter {
        None => dialect::delimiter(&input.buffer, input.ended, wishes.quote),
        given => given,
    };
    let dialect = Dialect {
        delimiter: delimiter.unwrap_or(NO_DELIMITER),
        quote: wishes.quote,
    };
    let first = first(input, dialect)?;
    let sample = sample(input, dialect, first.begin);
    let (has_header, evidence) = header(&sample, wishes.header, found.as_ref());
    let mut notes = vec![told(
        input, dialect, delimiter, has_header, evidence, &first,
    )];
    let body = sample.get(usize::from(has_header)..).unwrap_or_default();
    let headers = has_header.then(|| first.texts());
    let width = first.fields.len();
    let target = match found {
        Some(relation) => target::existing(relation, headers, width, &input.name, &mut notes)?,
        None => target::created(name, headers, body, width, &wishes, &mut notes),
    };
    let (cut, line) = if has_header {
        (first.end, first.next_line)
    } else {
        (first.begin, first.line)
    };
    input.buffer.drain(..cut);
    Ok(Plan {
        table: target.table,
        columns: target.columns,
        types: target.types,
        dialect,
        blank: if width == 1 && !wishes.skip_blank_lines {
            Blank::Null
        } else {
            Blank::Skipped
        },
        line,
        notes,
        header: has_header,
        charset: input.found().0,
        wishes,
    })
}

impl Plan {
    /// The statement that loads rows into a table; `table` is in SQL syntax.
    pub(crate) fn copy(&self, table: &str) -> String {
        let columns: Vec<String> = self.columns.iter().map(|name| identifier(name)).collect();
        format!(
            "COPY {table} ({}) FROM STDIN WITH (FORMAT csv, HEADER true, DELIMITER {}, QUOTE {}, NULL {}, ENCODING 'UTF8')",
            columns.join(", "),
            literal(&char::from(self.dialect.delimiter).to_string()),
            literal(&char::from(self.dialect.wire_quote()).to_string()),
            literal(&self.wishes.null),
        )
    }

    /// The statement that creates the table under this name, if it is to be created.
    pub(crate) fn create(&self, table: &str) -> Option<String> {
        let columns = self.columns.iter().zip(self.types.as_ref()?);
        let columns: Vec<String> = columns
            .map(|(name, kind)| format!("{} {kind}", identifier(name)))
            .collect();
        Some(format!("CREATE TABLE {table} ({})", columns.join(", ")))
    }

    /// Whether types were inferred, which may turn out to be too narrow.
    pub(crate) fn is_inferred(&self) -> bool {
        self.wishes.infer_types && self.types.is_some()
    }

    /// The settings file with the plan's format.
    pub(crate) fn settings(&self) -> String {
        let delimiter = match self.dialect.delimiter {
            NO_DELIMITER => b',',
            delimiter => delimiter,
        };
        settings::render(
            self.header,
            self.wishes.create,
            !self.wishes.keep_case,
            delimiter,
            self.dialect.quote,
            &self.charset.to_string(),
        )
    }
}

/// Finds the first row that is not blank; reads more until it is complete.
fn first(input: &mut Input, dialect: Dialect) -> Result<First, Error> {
    loop {
        let (mut begin, mut line) = (0, 1);
        while begin < input.buffer.len() {
            let (fields, length, whole) = record::row(&input.buffer[begin..], dialect);
            if !whole && !input.ended {
                break;
            }
            let end = begin + length;
            let breaks = lines(&input.buffer[begin..end]).max(1);
            if !matches!(fields.as_slice(), [only] if only.text.trim().is_empty() && !only.quoted) {
                return Ok(First {
                    fields,
                    begin,
                    end,
                    line,
                    next_line: line + breaks,
                });
            }
            (begin, line) = (end, line + breaks);
        }
        if input.ended {
            return Err(Error::failed(format!(
                "{}: the file has no rows, not even a header",
                input.name
            )));
        }
        let amount = input.buffer.len().max(BLOCK);
        input.more(amount, 1)?;
    }
}

/// Whether the first row is a header, and why, unless it was requested.
fn header(
    sample: &[Vec<Field>],
    requested: Option<bool>,
    found: Option<&Relation>,
) -> (bool, Option<HeaderEvidence>) {
    if let Some(requested) = requested {
        return (requested, None);
    }
    let known = found.map(target::names);
    let rows = &sample[..sample.len().min(HEADER_ROWS)];
    let (has_header, evidence) = dialect::has_header(rows, known.as_deref());
    (has_header, Some(evidence))
}

/// Counts line ends of any kind.
fn lines(text: &[u8]) -> u64 {
    let feeds = memchr::memchr_iter(b'\n', text).count();
    let returns = memchr::memchr_iter(b'\r', text);
    let alone = returns
        .filter(|at| text.get(at + 1) != Some(&b'\n'))
        .count();
    (feeds + alone) as u64
}

/// The first rows without the blank ones.
fn sample(input: &Input, dialect: Dialect, from: usize) -> Vec<Vec<Field>> {
    let mut rows = record::rows(&input.buffer[from..], dialect, input.ended, TYPED_ROWS);
    rows.retain(|row| !matches!(row.as_slice(), [only] if only.text.is_empty() && !only.quoted));
    rows
}

/// The detected format in one line.
fn told(
    input: &Input,
    dialect: Dialect,
    delimiter: Option<u8>,
    has_header: bool,
    evidence: Option<HeaderEvidence>,
    first: &First,
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
    let separated = match delimiter {
        Some(_) if first.fields.len() > 1 => {
            format!("separated by {}", dialect::name(dialect.delimiter))
        }
        _ => "one column".to_owned(),
    };
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
