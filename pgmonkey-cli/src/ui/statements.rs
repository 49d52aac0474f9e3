//! The statements that took the most time.

use pgmonkey::TopStatement;
use serde::Serialize;

use super::output::Output;
use super::table::Table;
use crate::error::Error;

/// How many are shown.
pub(crate) const SHOWN: usize = 5;

/// One text and its numbers.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Statement {
    /// The text, or what may be shown instead.
    statement: String,
    count: u64,
    errors: u64,
    mean_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// The statements as they are shown.
pub(crate) fn rows(top: Vec<TopStatement>) -> Vec<Statement> {
    let millis = |time: std::time::Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    let row = |top: TopStatement| Statement {
        count: top.count,
        errors: top.errors,
        mean_ms: millis(top.mean()),
        p99_ms: millis(top.p99),
        max_ms: millis(top.max),
        statement: top.text.unwrap_or(top.summary),
    };
    top.into_iter().map(row).collect()
}

/// Prints the statements as a table; nothing if there are none.
pub(crate) fn show(title: &str, rows: &[Statement], out: &mut Output<'_>) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([title, "count", "errors", "mean ms", "p99 ms", "longest ms"]);
    for row in rows {
        let short: String = row
            .statement
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        let short = match short.char_indices().nth(60) {
            Some((end, _)) => format!("{}…", &short[..end]),
            None => short,
        };
        table.row([
            short,
            row.count.to_string(),
            row.errors.to_string(),
            format!("{:.3}", row.mean_ms),
            format!("{:.3}", row.p99_ms),
            format!("{:.3}", row.max_ms),
        ]);
    }
    out.table(&table)?;
    out.line("")
}
