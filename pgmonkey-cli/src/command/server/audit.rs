//! `pgmonkey server audit FILE`.

use clap::Args;
use pgmonkey::Config;
use serde::Serialize;

use super::recommend::entries_table;
use crate::command::configuration::ConfigFile;
use crate::error::Error;
use crate::server::access::{self, Entry, Outcome, Seen};
use crate::server::capacity::{self, Capacity};
use crate::server::facts::{self, Facts, Unseen};
use crate::server::hba::{Rule, several_files};
use crate::server::needs::{self, Compared};
use crate::server::weakness::{self, Weakness};
use crate::ui::output::{Format, FormatOption, Output};
use crate::ui::table::Table;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgmonkey server audit pgmonkey.yaml
  pgmonkey server audit pgmonkey.yaml --strict --format json

Read-only. It uses what the role may see, and reports what it may not. The lines of pg_hba.conf \
are those in the file, which the server may not have loaded yet.")]
pub(crate) struct Audit {
    #[command(flatten)]
    file: ConfigFile,
    /// Fail on a mismatch.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    output: FormatOption,
}

/// The result as JSON.
#[derive(Serialize)]
struct Audited {
    file: String,
    /// `user@host:port/database`.
    target: String,
    ok: bool,
    server_version: String,
    /// As the server sees it; absent on its Unix socket.
    client_address: Option<String>,
    tls: bool,
    settings: Vec<Compared>,
    sessions: Option<Sessions>,
    pg_hba_conf: Access,
    weak_spots: Vec<Weakness>,
    not_visible: Vec<Unseen>,
}

#[derive(Serialize)]
struct Sessions {
    /// `max_size` of both pools together.
    wanted: u32,
    usable: u32,
    /// Sessions of others at this moment.
    in_use: Option<i64>,
    #[serde(flatten)]
    limits: Capacity,
}

#[derive(Serialize)]
struct Access {
    /// `None` if the role may not see them.
    rules: Option<Vec<Rule>>,
    this_session: Option<Outcome>,
    under_each_sslmode: Vec<Outcome>,
    recommended: Vec<Entry>,
}

impl Audit {
    pub(super) fn new(file: ConfigFile, output: FormatOption) -> Self {
        Self {
            file,
            strict: false,
            output,
        }
    }

    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        let config = self.file.load()?;
        let facts = facts::ask(&config)?;
        let file = self.file.path().display().to_string();
        let audited = Audited::new(file, &config, facts);
        match self.output.format {
            Format::Json => out.json(&audited)?,
            Format::Table => audited.print(out)?,
        }
        match audited.ok || !self.strict {
            true => Ok(()),
            false => Err(Error::Failed {
                text: "the server lacks a setting that the file needs".to_owned(),
                hint: None,
            }),
        }
    }
}

impl Audited {
    fn new(file: String, config: &Config, facts: Facts) -> Self {
        let weak_spots = weakness::of(&facts);
        let reserved = facts.capacity.as_ref().map(|capacity| {
            capacity.superuser_reserved_connections + capacity.reserved_connections
        });
        let needs = needs::of(config, reserved);
        let settings: Vec<Compared> = needs
            .iter()
            .map(|need| need.compare(facts.settings.get(need.setting)))
            .collect();
        let mode = config.connection_settings.sslmode;
        let rules = facts.rules.as_deref();
        let this_session = rules.map(|rules| access::this_session(rules, &facts, mode));
        let under_each_sslmode = rules
            .zip(this_session.as_ref())
            .map(|(rules, session)| access::under_each_mode(rules, &facts, session));
        let wanted = capacity::wanted(config);
        let sessions = facts.capacity.clone().map(|limits| Sessions {
            wanted,
            usable: limits.usable(),
            in_use: facts.others,
            limits,
        });
        let enough = sessions.as_ref().is_none_or(|all| all.wanted <= all.usable);
        Self {
            file,
            target: config.connection_settings.describe(),
            ok: enough
                && settings
                    .iter()
                    .all(|compared| compared.status != "MISMATCH"),
            server_version: facts.version,
            client_address: facts.client.address.map(|address| address.to_string()),
            tls: facts.client.tls,
            settings,
            sessions,
            pg_hba_conf: Access {
                this_session,
                under_each_sslmode: under_each_sslmode.unwrap_or_default(),
                recommended: vec![access::entry(config, Seen::of(facts.client.address))],
                rules: facts.rules,
            },
            weak_spots,
            not_visible: facts.unseen,
        }
    }

    fn print(&self, out: &mut Output<'_>) -> Result<(), Error> {
        let version = self.server_version.split(' ').next().unwrap_or_default();
        let client = self.client_address.as_deref().unwrap_or("its Unix socket");
        out.prose(format_args!("{} is PostgreSQL {version}", self.target))?;
        let tls = if self.tls { "with" } else { "without" };
        out.prose(format_args!(
            "and sees this client at {client}, {tls} TLS.\n"
        ))?;
        out.table(&self.settings_table())?;
        self.print_pending(out)?;
        self.print_sessions(out)?;
        self.print_access(out)?;
        if !self.weak_spots.is_empty() {
            out.line("\nWeak spots:")?;
        }
        for weakness in &self.weak_spots {
            out.prose(format_args!("- {}:\n  {}", weakness.what, weakness.advice))?;
        }
        if !self.not_visible.is_empty() {
            out.line("\nNot visible to this role:")?;
        }
        for unseen in &self.not_visible {
            out.prose(format_args!("- {}:\n  {}", unseen.what, unseen.reason))?;
        }
        Ok(())
    }

    fn settings_table(&self) -> Table {
        let mut table = Table::new(["Setting", "Recommended", "Current", "Source", "Status"]);
        for row in &self.settings {
            let current = match (&row.current, row.status) {
                (None, _) => "(not visible)",
                (Some(value), _) if value.is_empty() => "''",
                (Some(value), _) => value,
            };
            let source = row.source.as_deref().unwrap_or("-");
            table.row([row.setting, &row.recommended, current, source, row.status]);
        }
        table
    }

    fn print_pending(&self, out: &mut Output<'_>) -> Result<(), Error> {
        for row in self.settings.iter().filter(|row| row.pending_restart) {
            out.prose(format_args!(
                "{} was changed in the file and takes effect after a restart of the server.",
                row.setting
            ))?;
        }
        Ok(())
    }

    fn print_sessions(&self, out: &mut Output<'_>) -> Result<(), Error> {
        let Some(sessions) = &self.sessions else {
            return Ok(());
        };
        let others = match sessions.in_use {
            Some(count) => format!(" (others have {count} now)"),
            None => String::new(),
        };
        let verdict = if sessions.wanted <= sessions.usable {
            "OK"
        } else {
            "MISMATCH"
        };
        out.prose(format_args!(
            "\nSessions: both pools may open {}, the server serves {}{others}: {verdict}",
            sessions.wanted, sessions.usable
        ))
    }

    fn print_access(&self, out: &mut Output<'_>) -> Result<(), Error> {
        if let Some(rules) = &self.pg_hba_conf.rules {
            out.line("\nLines of pg_hba.conf:\n")?;
            out.table(&rules_table(rules, self.pg_hba_conf.this_session.as_ref()))?;
        }
        if let Some(outcome) = &self.pg_hba_conf.this_session {
            out.prose(format_args!("\nThis session: {}.", outcome.sentence()))?;
            out.line("Under other modes:\n")?;
            let mut table = Table::new(["sslmode", "result"]);
            for outcome in &self.pg_hba_conf.under_each_sslmode {
                table.row([outcome.sslmode, &outcome.sentence()]);
            }
            out.table(&table)?;
        }
        out.line("\nThe line that this file needs:\n")?;
        out.table(&entries_table(&self.pg_hba_conf.recommended))
    }
}

/// The lines of `pg_hba.conf`, with a mark on the one that applies.
fn rules_table(rules: &[Rule], decided: Option<&Outcome>) -> Table {
    let several = several_files(rules);
    let mut table = Table::new([
        "", "Line", "Type", "Database", "User", "Address", "Method", "Options",
    ]);
    for rule in rules {
        let decides = decided.is_some_and(|outcome| {
            outcome.outcome != "unclear"
                && outcome.line == Some(rule.line_number)
                && outcome.file == rule.file_name
        });
        let line = match several {
            true => rule.place(true),
            false => rule.line_number.to_string(),
        };
        let mark = if decides { ">" } else { "" }.to_owned();
        let columns = match &rule.error {
            Some(error) if rule.is_broken() => [
                error.clone(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
            ],
            _ => rule.columns(),
        };
        table.row([mark, line].into_iter().chain(columns));
    }
    table
}
