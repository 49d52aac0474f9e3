//! The table of an import and its columns in the order of the file.

use crate::csv::dialect;
use crate::csv::header::{self, Mismatch};
use crate::csv::record::Field;
use crate::csv::types::{self, Kind};
use crate::error::Error;
use crate::transfer::relation::{Name, Relation};

use super::Wishes;

/// The table, existing or to be created.
pub(super) struct Target {
    pub(super) table: Name,
    pub(super) columns: Vec<String>,
    /// The columns' types that are checked in every row.
    pub(super) kinds: Vec<Kind>,
}

/// Plans a new table for the rows.
pub(super) fn created(
    name: Name,
    headers: Option<Vec<String>>,
    rows: &[Vec<Field>],
    width: usize,
    wishes: &Wishes,
    notes: &mut Vec<String>,
) -> Target {
    let (columns, more) = match headers {
        Some(headers) => header::columns(&headers, wishes.keep_case),
        None => (header::numbered_columns(width), Vec::new()),
    };
    notes.extend(more);
    let mut kinds = Vec::new();
    if wishes.infer_types {
        for (inferred, column) in types::infer(rows, width, &wishes.nulls)
            .iter()
            .zip(&columns)
        {
            kinds.push(inferred.kind);
            if let Some((word, kind)) = inferred.except {
                notes.push(format!(
                    "{column} would be {} but for {word}: --null '{word}' reads that as NULL",
                    kind.name()
                ));
            }
        }
    }
    notes.push(made(&name, &columns, &kinds));
    Target {
        table: name,
        columns,
        kinds,
    }
}

fn made(name: &Name, columns: &[String], kinds: &[Kind]) -> String {
    let columns = columns.iter().enumerate().map(|(index, name)| {
        let kind = kinds.get(index).copied().unwrap_or(Kind::Text);
        format!("{name} {}", kind.name())
    });
    let columns: Vec<String> = columns.collect();
    format!("creating {name}: {}", columns.join(", "))
}

/// The error for a table that does not exist and is not to be created.
pub(super) fn missing(name: &Name, similar: Option<String>) -> Error {
    let make =
        "--create creates it with text columns, --infer-types with types inferred from the file";
    Error::Failed {
        text: name.missing("table"),
        hint: Some(match similar {
            Some(similar) => format!("there is a {similar}; {make}"),
            None => make.to_owned(),
        }),
    }
}

/// The columns that can be written.
pub(super) fn names(relation: &Relation) -> Vec<String> {
    let given = relation.columns.iter().filter(|column| !column.generated);
    given.map(|column| column.name.clone()).collect()
}

/// Matches the file's headers, or their number, to the columns of the table. With `checked`, the
/// types of the columns are those of an earlier import that inferred them, and values that they
/// would change are refused.
pub(super) fn existing(
    relation: Relation,
    headers: Option<Vec<String>>,
    width: usize,
    file: &str,
    checked: bool,
    notes: &mut Vec<String>,
) -> Result<Target, Error> {
    let columns = columns(&relation, headers, width, file, notes)?;
    let kind = |name: &String| {
        let column = relation.columns.iter().find(|column| column.name == *name);
        column.map_or(Kind::Text, |column| Kind::of_column(&column.kind))
    };
    let kinds = match checked {
        true => columns.iter().map(kind).collect(),
        false => Vec::new(),
    };
    Ok(Target {
        table: relation.name,
        columns,
        kinds,
    })
}

/// The table's columns in the file's order.
fn columns(
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
                    "{file} has no header and {width} columns, but {} has {}: {}",
                    relation.name,
                    table.len(),
                    table.join(", ")
                ),
                hint: Some(match table.len() {
                    1 => "if each line is one value, pass --single-column".to_owned(),
                    _ => "if its first row is a header, pass --header".to_owned(),
                }),
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
            "not in the file, so set to their defaults: {}",
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
            format!("{file}: a column has an empty header, so it matches no column of {name}")
        }
        Mismatch::Unknown(header) if generated(header) => {
            format!("{file}: the column {header} of {name} is generated and cannot be imported")
        }
        Mismatch::Unknown(header) => {
            format!("{file}: {name} has no column for the header {header}")
        }
        Mismatch::Ambiguous(header) => {
            format!("{file}: the header {header} matches more than one column of {name}")
        }
        Mismatch::Twice {
            column,
            first,
            second,
        } => {
            format!("{file}: the headers {first} and {second} both match the column {column}")
        }
    };
    Error::Failed {
        text,
        hint: Some(hint(mismatch, name, table)),
    }
}

fn hint(mismatch: &Mismatch, name: &Name, table: &[String]) -> String {
    // Several column names in one header: the delimiter is wrong for this file.
    let other = match mismatch {
        Mismatch::Unknown(header) => dialect::CANDIDATES.into_iter().find(|delimiter| {
            let mut names = header.split(char::from(*delimiter)).map(header::clean);
            header.contains(char::from(*delimiter))
                && names.all(|name| table.iter().any(|column| header::clean(column) == name))
        }),
        _ => None,
    };
    match other {
        Some(delimiter) => format!(
            "the file seems to be separated by {0}: pass --delimiter {0}",
            dialect::name(delimiter)
        ),
        None => format!("the columns of {name} are: {}", table.join(", ")),
    }
}
