//! What an import does, decided from the file's first rows and what the server has.

use pgmonkey::sql::{identifier, literal};

use crate::csv::charset::Charset;
use crate::csv::decode::Evidence;
use crate::csv::dialect::{self, Dialect, HeaderEvidence};
use crate::csv::header::{self, Mismatch};
use crate::csv::record::{self, Field};
use crate::csv::scan::Blank;
use crate::csv::{settings, types};
use crate::error::Error;
use crate::transfer::relation::{Name, Relation};

use super::input::{BLOCK, Input};

/// How many rows column types are inferred from.
const TYPED_ROWS: usize = 10_000;
/// How many rows the header is told by.
const HEADER_ROWS: usize = 100;
/// Separates the fields of a file that has one column: no text has it.
const NO_DELIMITER: u8 = 0x1f;

/// What was asked for; `None` is to be found out.
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

/// What is done.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) table: Name,
    /// The table's columns in the order of the file.
    pub(crate) columns: Vec<String>,
    /// Their types, if the table is to be made.
    pub(crate) types: Option<Vec<&'static str>>,
    pub(crate) dialect: Dialect,
    pub(crate) blank: Blank,
    /// The line of the file that the first row of data begins on.
    pub(crate) line: u64,
    /// What to tell.
    pub(crate) notes: Vec<String>,
    header: bool,
    wishes: Wishes,
    charset: Charset,
}

/// The first row that is not blank.
struct First {
    fields: Vec<Field>,
    /// Where it begins and ends in the buffer.
    begin: usize,
    end: usize,
    /// The lines it begins and ends on; the latter is that of the next row.
    line: u64,
    next_line: u64,
}

/// Decides, and takes the header off the input.
pub(crate) fn make(
    input: &mut Input,
    wishes: Wishes,
    name: Name,
    found: Option<Relation>,
    similar: Option<String>,
) -> Result<Plan, Error> {
    if found.is_none() && !wishes.create {
        return Err(missing(&name, similar));
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
    let known: Option<Vec<String>> = found.as_ref().map(names);
    let (has_header, evidence) = match wishes.header {
        Some(given) => (given, None),
        None => {
            let rows = &sample[..sample.len().min(HEADER_ROWS)];
            let (found, evidence) = dialect::has_header(rows, known.as_deref());
            (found, Some(evidence))
        }
    };
    let mut notes = vec![told(
        input, dialect, delimiter, has_header, evidence, &first,
    )];
    let body = sample.get(usize::from(has_header)..).unwrap_or_default();
    let texts = || {
        first
            .fields
            .iter()
            .map(|field| field.text.clone())
            .collect::<Vec<_>>()
    };
    let headers = has_header.then(texts);
    let width = first.fields.len();
    let (table, columns, types) = match found {
        Some(relation) => {
            let columns = existing(&relation, headers, width, &input.name, &mut notes)?;
            (relation.name, columns, None)
        }
        None => {
            let (columns, more) = match headers {
                Some(headers) => header::columns(&headers, wishes.keep_case),
                None => (header::numbered_columns(width), Vec::new()),
            };
            notes.extend(more);
            let types = match wishes.infer_types {
                true => types::infer(body, width),
                false => vec!["text"; width],
            };
            notes.push(made(&name, &columns, &types));
            (name, columns, Some(types))
        }
    };
    let (cut, line) = if has_header {
        (first.end, first.next_line)
    } else {
        (first.begin, first.line)
    };
    input.buffer.drain(..cut);
    Ok(Plan {
        table,
        columns,
        types,
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
    /// The statement that loads rows into a table, whose name is in SQL.
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

    /// The statement that makes the table under this name, if it is to be made.
    pub(crate) fn create(&self, table: &str) -> Option<String> {
        let columns = self.columns.iter().zip(self.types.as_ref()?);
        let columns: Vec<String> = columns
            .map(|(name, kind)| format!("{} {kind}", identifier(name)))
            .collect();
        Some(format!("CREATE TABLE {table} ({})", columns.join(", ")))
    }

    /// Whether types were inferred, and may turn out to be too narrow.
    pub(crate) fn is_inferred(&self) -> bool {
        self.wishes.infer_types && self.types.is_some()
    }

    /// The settings file that says what was decided.
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

fn missing(name: &Name, similar: Option<String>) -> Error {
    let make =
        "--create makes it with text columns, --infer-types with types by what the file holds";
    Error::Failed {
        text: name.missing("table"),
        hint: Some(match similar {
            Some(similar) => format!("there is a {similar}; {make}"),
            None => make.to_owned(),
        }),
    }
}

/// Finds the first row that is not blank; reads on until it is whole.
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
                "{}: there is no row in it, not even a header",
                input.name
            )));
        }
        let amount = input.buffer.len().max(BLOCK);
        input.more(amount, 1)?;
    }
}

/// Line ends of any kind.
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

/// The columns that can be given.
fn names(relation: &Relation) -> Vec<String> {
    let given = relation.columns.iter().filter(|column| !column.generated);
    given.map(|column| column.name.clone()).collect()
}

/// The table's columns in the file's order.
fn existing(
    relation: &Relation,
    headers: Option<Vec<String>>,
    width: usize,
    file: &str,
    notes: &mut Vec<String>,
) -> Result<Vec<String>, Error> {
    let table = names(relation);
    let Some(headers) = headers else {
        return match table.len() == width {
            true => Ok(table),
            false => Err(Error::Failed {
                text: format!(
                    "{file} has no header and {width} columns, {} has {}: {}",
                    relation.name,
                    table.len(),
                    table.join(", ")
                ),
                hint: Some("if its first row is a header, say --header".to_owned()),
            }),
        };
    };
    let matched = header::matched(&headers, &table)
        .map_err(|mismatch| wrong(&mismatch, relation, &table, file))?;
    let columns: Vec<String> = matched.iter().map(|index| table[*index].clone()).collect();
    let left: Vec<&str> = table
        .iter()
        .filter(|name| !columns.contains(name))
        .map(String::as_str)
        .collect();
    if !left.is_empty() {
        notes.push(format!(
            "not in the file, so with their defaults: {}",
            left.join(", ")
        ));
    }
    Ok(columns)
}

fn wrong(mismatch: &Mismatch, relation: &Relation, table: &[String], file: &str) -> Error {
    let generated = |header: &str| {
        let mut generated = relation.columns.iter().filter(|column| column.generated);
        generated.any(|column| header::clean(&column.name) == header::clean(header))
    };
    let name = &relation.name;
    let text = match mismatch {
        Mismatch::Unknown(header) if header.is_empty() => {
            format!("{file}: a column has no header, so it is none of {name}")
        }
        Mismatch::Unknown(header) if generated(header) => {
            format!("{file}: the column {header} of {name} is computed and cannot be imported")
        }
        Mismatch::Unknown(header) => {
            format!("{file}: {name} has no column for the header {header}")
        }
        Mismatch::Ambiguous(header) => {
            format!("{file}: the header {header} could be more than one column of {name}")
        }
        Mismatch::Twice {
            column,
            first,
            second,
        } => {
            format!("{file}: the headers {first} and {second} are both the column {column}")
        }
    };
    // Several names in one: a delimiter that is none of this file.
    let other = match mismatch {
        Mismatch::Unknown(header) => dialect::CANDIDATES.into_iter().find(|delimiter| {
            let mut names = header.split(char::from(*delimiter)).map(header::clean);
            header.contains(char::from(*delimiter))
                && names.all(|name| table.iter().any(|column| header::clean(column) == name))
        }),
        _ => None,
    };
    let hint = match other {
        Some(delimiter) => format!(
            "it looks separated by {}: leave --delimiter out, or say so",
            dialect::name(delimiter)
        ),
        None => format!("the columns of {name} are: {}", table.join(", ")),
    };
    Error::Failed {
        text,
        hint: Some(hint),
    }
}

/// What was decided, in a line.
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
        Evidence::Mark => " by its mark",
        Evidence::Valid => "",
        Evidence::Guess => " as the likeliest, --encoding says for sure",
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
        (true, Some(HeaderEvidence::Table)) => "with a header that the table knows",
        (true, Some(HeaderEvidence::Content)) => "with a header, unlike the rows below it",
        (true, Some(HeaderEvidence::Custom)) => {
            "with a header, for nothing speaks against it (else --no-header)"
        }
        (false, None) => "without a header",
        (false, Some(_)) => {
            "without a header, for the first row is like the others (else --header)"
        }
    };
    format!(
        "{}: {compression}{charset}{known}, {separated}, {header}",
        input.name
    )
}

fn made(name: &Name, columns: &[String], types: &[&str]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .zip(types)
        .map(|(name, kind)| format!("{name} {kind}"))
        .collect();
    format!("{name} is made: {}", columns.join(", "))
}
