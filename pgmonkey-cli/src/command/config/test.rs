//! `pgmonkey config test FILE`.

mod readers;
mod trial;

use clap::{Args, ValueEnum};
use pgmonkey::{Config, ConnectionType};
use serde::Serialize;

use crate::command::configuration::ConfigFile;
use crate::error::Error;
use crate::ui::notes;
use crate::ui::output::{Format, FormatOption, Output};
use crate::ui::statements;
use crate::ui::table::Table;

use readers::Reading;
use trial::{Findings, Trial};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgmonkey config test pgmonkey.yaml
  pgmonkey config test pgmonkey.yaml --connection-type all --count 100
  DB_PASSWORD=… pgmonkey config test pgmonkey.yaml

With the section `readers`, both sides are tested, and each of the readers' hosts is asked for its role and lag. While
`fallback` is true, what is wrong with the readers does not fail the command.

From a pool, min(max_size, min_size + 1) sessions are acquired at the same time.")]
pub(crate) struct Test {
    #[command(flatten)]
    file: ConfigFile,
    /// The connection type to test instead of the file's; `all` tests all four.
    #[arg(long, value_enum, value_name = "TYPE")]
    connection_type: Option<Types>,
    /// How many times to ping the server; more than one gives percentiles.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    #[command(flatten)]
    output: FormatOption,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Types {
    Normal,
    Pool,
    Async,
    AsyncPool,
    All,
}

impl Types {
    fn list(self) -> Vec<ConnectionType> {
        vec![match self {
            Self::Normal => ConnectionType::Normal,
            Self::Pool => ConnectionType::Pool,
            Self::Async => ConnectionType::Async,
            Self::AsyncPool => ConnectionType::AsyncPool,
            Self::All => return ConnectionType::ALL.to_vec(),
        }]
    }
}

/// The result as JSON.
#[derive(Serialize)]
struct Tested<'a> {
    file: String,
    /// `user@host:port/database`.
    target: String,
    ok: bool,
    trials: &'a [Trial],
    /// The reading side, if the file has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    readers: Option<&'a Reading>,
}

impl Test {
    pub(crate) fn is_for_people(&self) -> bool {
        self.output.format == Format::Table
    }

    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        let config = self.file.load()?;
        let types = match self.connection_type {
            Some(types) => types.list(),
            None => vec![config.connection_type],
        };
        let trials: Vec<Trial> = types
            .iter()
            .map(|kind| trial::run(&config, *kind, self.count))
            .collect();
        let readers = config.readers.as_ref();
        let readers = readers.map(|readers| readers::run(readers, &types, self.count));
        let ok = trials.iter().all(|trial| trial.ok)
            && readers.as_ref().is_none_or(|readers| readers.ok);
        match self.output.format {
            Format::Json => out.json(&Tested {
                file: self.file.path().display().to_string(),
                target: config.connection_settings.describe(),
                ok,
                trials: &trials,
                readers: readers.as_ref(),
            })?,
            Format::Table => {
                if readers.is_some() {
                    out.line("writer")?;
                }
                report(out, &config, &trials)?;
                if let (Some(reading), Some(readers)) = (&readers, &config.readers) {
                    out.line("\nreaders")?;
                    report(out, &readers.config, &reading.trials)?;
                    reading.report(out)?;
                }
            }
        }
        if ok { Ok(()) } else { Err(Error::Told) }
    }
}

fn report(out: &mut Output<'_>, config: &Config, trials: &[Trial]) -> Result<(), Error> {
    let types = trials.iter().map(|trial| trial.connection_type);
    let target = config.connection_settings.describe();
    out.line(format_args!("{target}\n"))?;
    let mut table = Table::new([""].into_iter().chain(types));
    let facts: Vec<Vec<(&str, String)>> = trials.iter().map(facts).collect();
    // A trial that failed has only the first fact; all others have the same facts.
    let names = facts.iter().max_by_key(|facts| facts.len());
    for (row, (name, _)) in names.into_iter().flatten().enumerate() {
        let cells = facts.iter().map(|facts| match facts.get(row) {
            Some((_, value)) => value.as_str(),
            None => "",
        });
        table.row([*name].into_iter().chain(cells));
    }
    out.table(&table)?;
    for trial in trials {
        // A single ping says nothing.
        let found = trial
            .findings
            .iter()
            .filter(|found| found.latency_ms.count > 1);
        for found in found {
            let title = format!("statements of {}", trial.connection_type);
            statements::show(&title, &found.statements, out)?;
        }
    }
    complain(trials);
    let tested = |of: fn(&Trial) -> bool| trials.iter().filter(move |trial| of(trial));
    for (family, of) in [
        ("Sync", (|trial| !trial.is_async()) as fn(&Trial) -> bool),
        ("Async", Trial::is_async),
    ] {
        if tested(of).count() > 0 && tested(of).all(|trial| trial.ok) {
            out.line(format_args!(
                "{family} connection test completed successfully."
            ))?;
        }
    }
    Ok(())
}

/// Prints each failure once, for all types that it applies to.
fn complain(trials: &[Trial]) {
    let mut failures: Vec<(Vec<&str>, &trial::Failure)> = Vec::new();
    for trial in trials {
        let Some(failure) = &trial.error else {
            continue;
        };
        let known = failures.iter_mut().find(|(_, known)| *known == failure);
        match known {
            Some((types, _)) => types.push(trial.connection_type),
            None => failures.push((vec![trial.connection_type], failure)),
        }
    }
    for (types, failure) in failures {
        let types = types.join(", ");
        notes::marked(
            notes::ERROR,
            "error",
            format_args!("{types}: {}", failure.message),
        );
        if let Some(hint) = &failure.hint {
            notes::marked(notes::HINT, "hint", hint);
        }
    }
}

/// The rows of one column.
fn facts(trial: &Trial) -> Vec<(&'static str, String)> {
    let result = if trial.ok { "ok" } else { "FAILED" };
    let mut facts = vec![("result", result.to_owned())];
    let Some(findings) = &trial.findings else {
        return facts;
    };
    let Findings { pool, .. } = findings;
    facts.push(("opened in", milliseconds(findings.open_ms)));
    facts.push(("answers in", milliseconds(findings.latency_ms.p50)));
    if findings.latency_ms.count > 1 {
        facts.push(("  90 % within", milliseconds(findings.latency_ms.p90)));
        facts.push(("  99 % within", milliseconds(findings.latency_ms.p99)));
        facts.push(("  slowest", milliseconds(findings.latency_ms.max)));
    }
    let version = findings.server_version.split(' ').next();
    facts.push(("server", version.unwrap_or_default().to_owned()));
    facts.push(("role", findings.role.clone()));
    facts.push(("address", findings.address.clone()));
    facts.push(("user", findings.user.clone()));
    facts.push(("database", findings.database.clone()));
    let tls = findings.tls.as_ref();
    facts.push(("TLS", tls.map_or("none", |tls| &tls.version).to_owned()));
    facts.push((
        "auth",
        findings.auth.clone().unwrap_or_else(|| "unseen".to_owned()),
    ));
    let sizes = match pool {
        Some(pool) => format!("{} of {}", pool.reached, pool.max_size),
        None => "1".to_owned(),
    };
    facts.push(("sessions", sizes));
    facts
}

fn milliseconds(time: f64) -> String {
    if time < 10.0 {
        format!("{time:.2} ms")
    } else {
        format!("{time:.0} ms")
    }
}
