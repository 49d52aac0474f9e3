//! Sequences that are behind the values which an import put into their columns.

use pgmonkey::aio::ClientGuard;
use pgmonkey::sql::{identifier, literal};

use crate::error::Error;
use crate::transfer::relation::{Name, database};
use crate::ui::notes;

/// The sequences of identity and serial columns.
const SEQUENCES: &str = "SELECT a.attname::text, pg_catalog.quote_ident(n.nspname) || '.' || \
    pg_catalog.quote_ident(s.relname), q.seqincrement \
    FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
    JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace \
    JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid \
    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i') \
    AND d.refobjid = pg_catalog.to_regclass($1) AND a.attname::text = ANY($2)";

/// Warns about the sequences of the imported columns that would give out values which are in the
/// table already, or sets them.
pub(crate) async fn check(
    client: &ClientGuard,
    table: &Name,
    columns: &[String],
    reset: bool,
) -> Result<(), Error> {
    let found = client.query(SEQUENCES, &[&table.sql(), &columns]).await;
    // The rows are committed already.
    let found = found.unwrap_or_else(|error| {
        notes::warning(format_args!(
            "could not compare sequences with the imported columns: {error}"
        ));
        Vec::new()
    });
    for row in found {
        let (column, sequence, step): (String, String, i64) = (row.get(0), row.get(1), row.get(2));
        let behind = match behind(client, table, &column, &sequence, step).await {
            Ok(behind) => behind,
            Err(error) => {
                notes::warning(format_args!(
                    "could not compare the sequence {sequence} with the column {column}: {error}"
                ));
                continue;
            }
        };
        let Some((next, last)) = behind else { continue };
        if !reset {
            notes::warning(format_args!(
                "the sequence {sequence} of the column {column} is behind: its next value is {next}, the column has {last}, so an insert without {column} may fail; --reset-sequences sets it, and so does: SELECT setval({}, {last})",
                literal(&sequence)
            ));
            continue;
        }
        let set = format!("SELECT setval({}, {last})", literal(&sequence));
        client.batch_execute(&set).await.map_err(database)?;
        notes::note(format_args!("the sequence {sequence} is set to {last}"));
    }
    Ok(())
}

/// The next value of the sequence and the last one of the column, if the first is not beyond the
/// second.
async fn behind(
    client: &ClientGuard,
    table: &Name,
    column: &str,
    sequence: &str,
    step: i64,
) -> Result<Option<(i64, i64)>, pgmonkey::Error> {
    let most = if step > 0 { "max" } else { "min" };
    let query = format!(
        "SELECT (SELECT {most}({}) FROM {})::bigint, last_value, is_called FROM {sequence}",
        identifier(column),
        table.sql()
    );
    let row = client.query_one(&query, &[]).await?;
    let (last, value, called): (Option<i64>, i64, bool) = (row.get(0), row.get(1), row.get(2));
    let next = value.saturating_add(if called { step } else { 0 });
    let is_behind = |last: &i64| match step > 0 {
        true => *last >= next,
        false => *last <= next,
    };
    Ok(last.filter(is_behind).map(|last| (next, last)))
}
