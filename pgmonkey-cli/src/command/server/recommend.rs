//! `pgmonkey server recommend FILE`.

use clap::Args;
use serde::Serialize;

use crate::command::configuration::ConfigFile;
use crate::error::Error;
use crate::server::access::{self, Entry, Seen};
use crate::server::facts;
use crate::server::needs::{self, Need};
use crate::ui::notes;
use crate::ui::output::{Format, FormatOption, Output};
use crate::ui::table::Table;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgmonkey server recommend pgmonkey.yaml
  pgmonkey server recommend pgmonkey.yaml --offline --format json

The address in pg_hba.conf is this client's as the server sees it, so the command queries the \
server; if that fails, the address is CLIENT_ADDRESS.")]
pub(crate) struct Recommend {
    #[command(flatten)]
    file: ConfigFile,
    /// Do not query the server for the client's address.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    output: FormatOption,
}

/// The result as JSON.
#[derive(Serialize)]
struct Recommended<'a> {
    file: String,
    /// As the server sees it; absent over its Unix socket, with `--offline`, or if the query
    /// failed.
    client_address: Option<String>,
    postgresql_conf: Vec<Line<'a>>,
    pg_hba_conf: &'a [Entry],
}

#[derive(Serialize)]
struct Line<'a> {
    setting: &'a str,
    value: &'a str,
    reason: &'a str,
}

impl Recommend {
    pub(crate) fn new(file: ConfigFile, output: FormatOption) -> Self {
        Self {
            file,
            offline: false,
            output,
        }
    }

    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        let config = self.file.load()?;
        let seen = match self.offline {
            true => Seen::Unknown,
            false => facts::client_address(&config).map_or_else(
                |error| {
                    notes::warning(format_args!(
                        "could not query the client's address: {error}"
                    ));
                    Seen::Unknown
                },
                Seen::of,
            ),
        };
        let needs = needs::of(&config, None);
        let entries = [access::entry(&config, seen)];
        match self.output.format {
            Format::Table => print(out, &needs, &entries),
            Format::Json => out.json(&Recommended {
                file: self.file.path().display().to_string(),
                client_address: match seen {
                    Seen::At(address) => Some(address.to_string()),
                    _ => None,
                },
                postgresql_conf: needs
                    .iter()
                    .map(|need| Line {
                        setting: need.setting,
                        value: &need.value,
                        reason: &need.reason,
                    })
                    .collect(),
                pg_hba_conf: &entries,
            }),
        }
    }
}

fn print(out: &mut Output<'_>, needs: &[Need], entries: &[Entry]) -> Result<(), Error> {
    out.line("1) Database type detected: PostgreSQL\n")?;
    out.line("2) Minimal database server settings needed for this config file:\n")?;
    out.line("a) pg_hba.conf:\n")?;
    out.table(&entries_table(entries))?;
    if entries.iter().any(|entry| entry.placeholder) {
        out.line("\n# Replace CLIENT_ADDRESS with the address of the machine that connects.")?;
    }
    out.line("\nb) postgresql.conf:\n")?;
    // The reason is on a line of its own, as in PostgreSQL's sample file, to keep lines short.
    for need in needs {
        out.line(format_args!("# {}\n{}", need.reason, need.line()))?;
    }
    out.prose(
        "\nPlease check the following files on your system and ensure that the appropriate settings \
         are applied: pg_hba.conf, postgresql.conf.",
    )?;
    out.prose(
        "Ensure that the network ADDRESS matches your network subnet and review all \
         configurations.",
    )
}

/// Lines of `pg_hba.conf` under the column header of PostgreSQL's sample file.
pub(super) fn entries_table(entries: &[Entry]) -> Table {
    let mut table = Table::new(["TYPE", "DATABASE", "USER", "ADDRESS", "METHOD", "OPTIONS"]);
    for entry in entries {
        table.row(entry.columns());
    }
    table
}
