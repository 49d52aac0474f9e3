//! `pgmonkey pool bench FILE`.

mod advice;
mod chart;
mod measure;

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use pgmonkey::Config;
use serde::Serialize;

use crate::command::configuration::ConfigFile;
use crate::error::Error;
use crate::transfer::interruption;
use crate::ui::notes;
use crate::ui::output::{Format, FormatOption, Output};
use crate::ui::statements;
use crate::ui::table::Table;

use advice::Advice;
use measure::{Measured, Room};

/// The largest size that is worth trying: a server with more sessions than this needs a pooler.
const LARGEST: i64 = 1000;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgmonkey pool bench pgmonkey.yaml
  pgmonkey pool bench pgmonkey.yaml --sizes 1,2,4,8,16,32 --seconds 5
  pgmonkey pool bench pgmonkey.yaml --query 'SELECT count(*) FROM orders'
  pgmonkey pool bench pgmonkey.yaml --svg sizes.svg

Every size serves the same load: --callers callers, each of which runs the query again as soon \
as it has the response. Latency includes the wait for a session.")]
pub(crate) struct Bench {
    #[command(flatten)]
    file: ConfigFile,
    /// The pool sizes to try.
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_value = "2,4,8,16", value_parser = clap::value_parser!(u32).range(1..=LARGEST))]
    sizes: Vec<u32>,
    /// The query that each caller runs, many times: it should not change data.
    #[arg(long, value_name = "SQL", default_value = "SELECT 1")]
    query: String,
    /// How long to measure each size.
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// The number of callers; the default is twice the largest size.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10 * LARGEST))]
    callers: Option<u32>,
    /// Also write a chart to this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    format: FormatOption,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

/// The result; its JSON form is documented.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    server: String,
    query: String,
    seconds: f64,
    callers: u32,
    room: Room,
    sizes: Vec<Measured>,
    /// Sizes that the server has no room for.
    skipped: Vec<u32>,
    recommended: Advice,
}

impl Bench {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        let config = self.file.load()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| {
                Error::failed(format!("could not start the async runtime: {error}"))
            })?;
        let report = runtime.block_on(async {
            let mut interrupted = pin!(interruption()?);
            let mut measuring = pin!(self.measure(&config));
            tokio::select! {
                () = &mut interrupted => Err(Error::Interrupted),
                report = &mut measuring => report,
            }
        })?;
        if let Some(path) = &self.svg {
            let svg = chart::svg(&report.sizes, report.recommended.max_size);
            std::fs::write(path, svg).map_err(|error| Error::file("write", path, error))?;
        }
        match self.format.format {
            Format::Json => out.json(&report),
            Format::Table => show(&report, out),
        }
    }

    async fn measure(&self, config: &Config) -> Result<Report, Error> {
        let mut sizes = self.sizes.clone();
        sizes.sort_unstable();
        sizes.dedup();
        let room = measure::room(config).await?;
        let (sizes, skipped): (Vec<u32>, Vec<u32>) =
            sizes.into_iter().partition(|size| *size <= room.free);
        let largest = sizes.last().copied().ok_or_else(|| {
            Error::failed(format!(
                "the server has room for only {} more sessions, fewer than the smallest size: {room}",
                room.free
            ))
        })?;
        let callers = self.callers.unwrap_or(2 * largest);
        let mut measured = Vec::new();
        for size in sizes {
            if !self.quiet {
                notes::note(format_args!(
                    "measuring a pool of {size} for {} s",
                    self.seconds
                ));
            }
            let time = Duration::from_secs_f64(self.seconds);
            measured.push(measure::size(config, size, callers, &self.query, time).await?);
        }
        let recommended = advice::recommend(&measured, &room, &skipped);
        Ok(Report {
            server: config.connection_settings.describe(),
            query: self.query.clone(),
            seconds: self.seconds,
            callers,
            room,
            sizes: measured,
            skipped,
            recommended,
        })
    }
}

fn show(report: &Report, out: &mut Output<'_>) -> Result<(), Error> {
    let plural = if report.callers == 1 { "" } else { "s" };
    out.prose(format_args!(
        "{}, {} caller{plural}: {}",
        report.server, report.callers, report.query
    ))?;
    out.line("")?;
    let mut table = Table::new(["max_size", "per second", "p50 ms", "p99 ms", "longest ms"]);
    for row in &report.sizes {
        table.row([
            row.size.to_string(),
            format!("{:.0}", row.per_second),
            format!("{:.3}", row.latency_ms.p50),
            format!("{:.3}", row.latency_ms.p99),
            format!("{:.3}", row.latency_ms.max),
        ]);
    }
    out.table(&table)?;
    out.line("")?;
    let best = report.recommended.max_size;
    if let Some(row) = report.sizes.iter().find(|row| row.size == best) {
        let title = format!("statements of max_size {best}");
        statements::show(&title, &row.statements, out)?;
    }
    out.text(&chart::text(&report.sizes, report.recommended.max_size))?;
    out.line("")?;
    for size in &report.skipped {
        out.prose(format_args!(
            "max_size {size} was not measured: {}",
            report.room
        ))?;
    }
    let Advice { max_size, reason } = &report.recommended;
    out.line(format_args!("Recommended max_size: {max_size}"))?;
    out.prose(reason)
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("from 0.1 to 3600".to_owned()),
    }
}
