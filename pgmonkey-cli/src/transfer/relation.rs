//! The names of tables and columns, and their entries in the server's catalog.

use std::fmt;

use pgmonkey::sql::identifier;
use pgmonkey::tokio_postgres::Client;

use crate::error::Error;

/// A table's name as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) schema: Option<String>,
    pub(crate) table: String,
}

impl Name {
    /// Parses `table` or `schema.table`. A part is taken as typed, including case; quoted as in SQL
    /// it may contain a dot. An unquoted name is split at its first dot.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (first, rest) = part(text)?;
        let (schema, table) = match rest {
            None => (None, first),
            Some(rest) => match part(rest) {
                Ok((table, None)) => (Some(first), table),
                // Unquoted: the rest is the table.
                _ => (Some(first), rest.to_owned()),
            },
        };
        let empty = table.is_empty() || schema.as_deref() == Some("");
        if empty || text.contains('\0') {
            return Err(format!(
                "{text:?} is not a table name: expected TABLE or SCHEMA.TABLE"
            ));
        }
        Ok(Self { schema, table })
    }

    /// The error for a missing relation. It says where it was searched and which part is the table,
    /// because a name may contain dots.
    pub(crate) fn missing(&self, what: &str) -> String {
        match &self.schema {
            Some(schema) => format!("there is no {what} {} in the schema {schema}", self.table),
            None => format!("there is no {what} {} on the search_path", self.table),
        }
    }

    /// The name in SQL syntax.
    pub(crate) fn sql(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", identifier(schema), identifier(&self.table)),
            None => identifier(&self.table),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.table),
            None => f.write_str(&self.table),
        }
    }
}

/// The first part of a name, and the rest after its dot.
fn part(text: &str) -> Result<(String, Option<&str>), String> {
    if !text.starts_with('"') {
        return Ok(match text.split_once('.') {
            Some((first, rest)) => (first.to_owned(), Some(rest)),
            None => (text.to_owned(), None),
        });
    }
    let mut name = String::new();
    let mut rest = &text[1..];
    loop {
        let Some(at) = rest.find('"') else {
            return Err(format!("{text:?} has an opening quote but no closing one"));
        };
        name.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('"') {
            name.push('"');
            rest = after;
            continue;
        }
        return match (rest, rest.strip_prefix('.')) {
            ("", _) => Ok((name, None)),
            (_, Some(rest)) => Ok((name, Some(rest))),
            _ => Err(format!("{text:?} continues after a closing quote")),
        };
    }
}

/// A relation in the server's catalog.
#[derive(Debug)]
pub(crate) struct Relation {
    /// With the schema it was found in.
    pub(crate) name: Name,
    /// Whether `COPY` by name reads all of it: a table that is not a parent of others.
    pub(crate) plain: bool,
    pub(crate) columns: Vec<Column>,
}

#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// A generated column, which cannot be written.
    pub(crate) generated: bool,
    /// The server's name of its type.
    pub(crate) kind: String,
}

const FIND: &str = "SELECT n.nspname::text, c.relname::text, \
    c.relkind = 'r' AND NOT c.relhassubclass, c.oid \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.oid = pg_catalog.to_regclass($1)";
const COLUMNS: &str = "SELECT attname::text, attgenerated::text <> '', \
    pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute \
    WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
const SIMILAR: &str = "SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE lower(c.relname) = lower($1) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') \
    AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1 LIMIT 1";

/// Looks a name up along the `search_path`.
pub(crate) async fn find(client: &Client, name: &Name) -> Result<Option<Relation>, Error> {
    let found = client
        .query_opt(FIND, &[&name.sql()])
        .await
        .map_err(database)?;
    let Some(found) = found else {
        return Ok(None);
    };
    let oid: u32 = found.get(3);
    let columns = client.query(COLUMNS, &[&oid]).await.map_err(database)?;
    Ok(Some(Relation {
        name: Name {
            schema: found.get(0),
            table: found.get(1),
        },
        plain: found.get(2),
        columns: columns
            .iter()
            .map(|row| Column {
                name: row.get(0),
                generated: row.get(1),
                kind: row.get(2),
            })
            .collect(),
    }))
}

/// Where a table without a schema is created: the first schema of the `search_path`.
pub(crate) async fn current_schema(client: &Client) -> Result<Option<String>, Error> {
    let row = client
        .query_one("SELECT current_schema()::text", &[])
        .await
        .map_err(database)?;
    Ok(row.get(0))
}

/// A table with a similar name.
pub(crate) async fn similar(client: &Client, name: &Name) -> Option<String> {
    let found = client.query_opt(SIMILAR, &[&name.table]).await.ok()??;
    Some(found.get(0))
}

/// Converts an error of a statement.
pub(crate) fn database(error: impl Into<pgmonkey::Error>) -> Error {
    Error::Database(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(text: &str) -> Option<String> {
        Name::parse(text).ok().map(|name| name.sql())
    }

    #[test]
    fn b25_names_are_taken_as_they_are_typed() {
        for (text, expected) in [
            ("t", "\"t\""),
            ("Users", "\"Users\""),
            ("s.t", "\"s\".\"t\""),
            ("a.b.c", "\"a\".\"b.c\""),
            ("\"a.b\"", "\"a.b\""),
            (
                "\"My Schema\".\"My \"\"T\"\"\"",
                "\"My Schema\".\"My \"\"T\"\"\"",
            ),
            ("s.\"t.u\"", "\"s\".\"t.u\""),
            ("t; DROP TABLE x", "\"t; DROP TABLE x\""),
        ] {
            assert_eq!(sql(text).as_deref(), Some(expected), "{text}");
        }
        for wrong in ["", ".", "s.", ".t", "\"t", "\"a\"b"] {
            assert_eq!(sql(wrong), None, "{wrong}");
        }
    }
}
