//! Plans an import from the file's first rows and the server's table.

pub(super) mod doubt;
mod format;
mod target;

use pgmonkey::sql::{identifier, literal};

use crate::csv::charset::Charset;
use crate::csv::dialect::Dialect;
use crate::csv::record::{self, Field};
use crate::csv::scan::{Blank, Meaning, Scanner};
use crate::csv::settings;
use crate::csv::shape;
use crate::csv::types::Kind;
use crate::error::Error;
use crate::transfer::relation::{Name, Relation};

use super::input::{BLOCK, Input};
use target::Target;

/// How many rows column types are inferred from.
const TYPED_ROWS: usize = 10_000;
/// The delimiter of a file with one column: no text contains it.
const NO_DELIMITER: u8 = 0x1f;

/// What was requested; `None` is to be detected.
#[derive(Debug, Clone)]
pub(crate) struct Wishes {
    pub(crate) charset: Option<Charset>,
    pub(crate) delimiter: Option<u8>,
    /// Each line is one value.
    pub(crate) single_column: bool,
    /// `Some(None)`: no quotes.
    pub(crate) quote: Option<Option<u8>>,
    pub(crate) escape: Option<u8>,
    pub(crate) comment: Option<u8>,
    pub(crate) trim: bool,
    /// How many lines to leave out at the begin of the file.
    pub(crate) skip: u64,
    pub(crate) header: Option<bool>,
    /// The words for NULL, at least one.
    pub(crate) nulls: Vec<String>,
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
    /// The columns' types that are checked in every row, if that was requested.
    pub(crate) kinds: Vec<Kind>,
    /// Whether the table is to be created.
    pub(crate) created: bool,
    /// What to report to the user.
    pub(crate) notes: Vec<String>,
    dialect: Dialect,
    blank: Blank,
    /// The line of the file on which the first data row begins.
    line: u64,
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
    input.skip(wishes.skip)?;
    let known = found.as_ref().map(target::names);
    let format = format::detected(input, &wishes, known.as_deref())?;
    let first = first(input, format.dialect)?;
    let sample = sample(input, format.dialect, first.begin);
    if !wishes.single_column {
        doubt::counts(input, format.dialect, &sample, &first, known.is_some())?;
    }
    let (has_header, evidence) = format::header(&sample, wishes.header, known.as_deref());
    if known.is_none() && wishes.header.is_none() && has_header {
        doubt::title(input, format.dialect, &sample, &first)?;
    }
    let width = first.fields.len();
    let mut notes = vec![format.told(input, &wishes, width, has_header, evidence)];
    let body = sample.get(usize::from(has_header)..).unwrap_or_default();
    let headers = has_header.then(|| first.texts());
    let created = found.is_none();
    let target = match found {
        Some(relation) => {
            let file = &input.name;
            target::existing(
                relation,
                headers,
                width,
                file,
                wishes.infer_types,
                &mut notes,
            )?
        }
        None => target::created(name, headers, body, width, &wishes, &mut notes),
    };
    let (cut, line) = match has_header {
        true => (first.end, first.next_line),
        false => (first.begin, first.line),
    };
    input.buffer.drain(..cut);
    let Target {
        table,
        columns,
        kinds,
    } = target;
    Ok(Plan {
        table,
        columns,
        kinds,
        created,
        dialect: format.dialect,
        blank: match width == 1 && !wishes.skip_blank_lines {
            true => Blank::Null,
            false => Blank::Skipped,
        },
        line,
        notes,
        header: has_header,
        charset: input.found().0,
        wishes,
    })
}

impl Plan {
    /// The scanner for the rows.
    pub(crate) fn scanner(&self) -> Scanner {
        let meaning = Meaning {
            kinds: self.kinds.clone(),
            nulls: self
                .wishes
                .nulls
                .iter()
                .map(|word| word.clone().into_bytes())
                .collect(),
            one_column: self.created && self.columns.len() == 1 && !self.wishes.single_column,
        };
        Scanner::new(
            self.dialect,
            self.columns.len(),
            self.blank,
            meaning,
            self.line,
        )
    }

    /// The statement that loads rows into a table; `table` is in SQL syntax.
    pub(crate) fn copy(&self, table: &str) -> String {
        let columns: Vec<String> = self.columns.iter().map(|name| identifier(name)).collect();
        format!(
            "COPY {table} ({}) FROM STDIN WITH (FORMAT csv, HEADER true, DELIMITER {}, QUOTE {}, NULL {}, ENCODING 'UTF8')",
            columns.join(", "),
            literal(&char::from(self.dialect.delimiter).to_string()),
            literal(&char::from(self.dialect.wire_quote()).to_string()),
            literal(&self.wishes.nulls[0]),
        )
    }

    /// The statement that creates the table under this name, if it is to be created.
    pub(crate) fn create(&self, table: &str) -> Option<String> {
        self.created.then(|| self.definition(table, None))
    }

    /// The same statement with a column of type text in place of the inferred one.
    pub(crate) fn with_text(&self, column: usize) -> String {
        self.definition(&self.table.sql(), Some(column))
    }

    fn definition(&self, table: &str, text: Option<usize>) -> String {
        let columns = self.columns.iter().enumerate().map(|(index, name)| {
            let kind = self.kinds.get(index).filter(|_| text != Some(index));
            let kind = kind.copied().unwrap_or(Kind::Text).name();
            format!("{} {kind}", identifier(name))
        });
        let columns: Vec<String> = columns.collect();
        format!("CREATE TABLE {table} ({})", columns.join(", "))
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
        let (mut begin, mut line) = (0, input.line);
        while begin < input.buffer.len() {
            let rest = &input.buffer[begin..];
            if let Some(length) = record::comment(rest, dialect)
                && (input.ended || length < rest.len())
            {
                (begin, line) = (begin + length, line + 1);
                continue;
            }
            let (fields, length, whole) = record::row(rest, dialect);
            if !whole && !input.ended {
                break;
            }
            let end = begin + length;
            let breaks = lines(&input.buffer[begin..end]).max(1);
            if !shape::is_blank(&fields) {
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
            let skipped = match input.line {
                1 => "",
                _ => " after the lines that were skipped",
            };
            return Err(Error::failed(format!(
                "{}: the file has no rows{skipped}, not even a header",
                input.name
            )));
        }
        let amount = input.buffer.len().max(BLOCK);
        input.more(amount, input.line)?;
    }
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
    let wide = rows.first().is_some_and(|row| row.len() > 1);
    rows.retain(|row| match row.as_slice() {
        [only] if !only.quoted && wide => !only.text.trim().is_empty(),
        [only] if !only.quoted => !only.text.is_empty(),
        _ => true,
    });
    rows
}
