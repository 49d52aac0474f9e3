//! `pgmonkey config show FILE`.

use std::path::Path;

use clap::{Args, ValueEnum};
use pgmonkey::Config;
use pgmonkey::config::passfile::{self, PassFile};
use pgmonkey::config::{Loaded, REDACTED, user_files};
use serde::Serialize;
use serde_json::Value;

use crate::command::config::yaml;
use crate::command::configuration::ConfigFile;
use crate::error::Error;
use crate::ui::origin::Origin;
use crate::ui::output::Output;
use crate::ui::table::Table;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgmonkey config show pgmonkey.yaml
  pgmonkey config show pgmonkey.yaml --format json

Passwords and other secrets are shown as ***REDACTED***.")]
pub(crate) struct Show {
    #[command(flatten)]
    file: ConfigFile,
    /// The output format: for people, for programs, or as a configuration file with comments.
    #[arg(
        long,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "table|json|yaml"
    )]
    format: Form,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Form {
    #[default]
    Table,
    Json,
    Yaml,
}

/// The result as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    file: String,
    connection_type: &'a str,
    /// `user@host:port/database`.
    target: String,
    /// Identifies the effective settings without their secrets.
    fingerprint: String,
    settings: &'a [Setting],
}

#[derive(Serialize)]
struct Setting {
    /// Section and key.
    key: String,
    value: Value,
    source: Origin,
}

impl Show {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        let loaded = self.file.load_with_sources()?;
        let config = &loaded.config;
        let settings = settings(&loaded);
        let fingerprint = config.fingerprint(config.connection_type).to_string();
        let file = self.file.path().display().to_string();
        match self.format {
            Form::Table => {
                out.line(format_args!("{file}: {config}, fingerprint {fingerprint}"))?;
                tables(out, &settings)
            }
            Form::Json => out.json(&Shown {
                file,
                connection_type: config.connection_type.as_str(),
                target: config.connection_settings.describe(),
                fingerprint,
                settings: &settings,
            }),
            Form::Yaml => {
                out.line(format_args!("# {file}, fingerprint {fingerprint}"))?;
                as_yaml(out, &settings)
            }
        }
    }
}

/// The sections of a file, in order.
const SECTIONS: [&str; 6] = [
    "",
    "connection_settings",
    "sync_settings",
    "async_settings",
    "pool_settings",
    "async_pool_settings",
];

/// The keys that come first in a section.
const FIRST: [&str; 6] = ["host", "hostaddr", "port", "dbname", "user", "password"];

/// Every value in effect, including the defaults taken from the machine.
fn settings(loaded: &Loaded) -> Vec<Setting> {
    let values = loaded.values().into_iter();
    let mut settings: Vec<Setting> = values
        .map(|value| Setting {
            source: Origin::of(value.source.as_ref()),
            key: value.key,
            value: value.value,
        })
        .collect();
    let machine = of_the_machine(&loaded.config);
    let known = |setting: &Setting| settings.iter().any(|known| known.key == setting.key);
    let missing: Vec<Setting> = machine
        .into_iter()
        .filter(|setting| !known(setting))
        .collect();
    settings.extend(missing);
    let section = |setting: &Setting| {
        SECTIONS
            .iter()
            .position(|name| *name == split(&setting.key).0)
    };
    let first = |setting: &Setting| {
        let key = split(&setting.key).1;
        FIRST
            .iter()
            .position(|name| *name == key)
            .unwrap_or(FIRST.len())
    };
    settings.sort_by_key(|setting| (section(setting), first(setting)));
    settings
}

/// The defaults for keys of `connection_settings` that no source sets.
fn of_the_machine(config: &Config) -> Vec<Setting> {
    let settings = &config.connection_settings;
    let lookup = |name: &str| std::env::var(name).ok();
    let targets = settings.targets();
    let hosts = targets
        .iter()
        .map(|target| Value::from(target.host.to_string()));
    let ports = targets.iter().map(|target| Value::from(target.port));
    let mut rows = vec![
        ("host", hosts.collect(), Origin::Default),
        ("port", ports.collect(), Origin::Default),
        (
            "dbname",
            settings.effective_dbname().into(),
            Origin::Default,
        ),
        ("user", settings.effective_user().into(), Origin::Default),
    ];
    if let Some(origin) = passfile_of(config) {
        rows.push(("password", REDACTED.into(), origin));
    }
    let files = [
        ("sslrootcert", "root.crt"),
        ("sslcert", "postgresql.crt"),
        ("sslkey", "postgresql.key"),
    ];
    for (key, name) in files {
        let path = user_files::tls(name, &lookup).filter(|path| path.exists());
        rows.extend(path.map(|path| (key, text_of(&path), Origin::Default)));
    }
    let setting = |(key, value, source)| Setting {
        key: format!("connection_settings.{key}"),
        value,
        source,
    };
    rows.into_iter().map(setting).collect()
}

/// The passfile, if it has a password for one of the hosts.
fn passfile_of(config: &Config) -> Option<Origin> {
    let settings = &config.connection_settings;
    let lookup = |name: &str| std::env::var(name).ok();
    let path = settings
        .passfile
        .clone()
        .or_else(|| passfile::default_path(&lookup))?;
    let file = PassFile::load(&path).ok().flatten()?;
    let (dbname, user) = (settings.effective_dbname(), settings.effective_user());
    let has = |host: &str, port| file.lookup(host, port, &dbname, &user).is_some();
    let targets = settings.targets();
    let found = targets
        .iter()
        .any(|target| has(&target.host.to_string(), target.port));
    found.then_some(Origin::Passfile { file: path })
}

fn text_of(path: &Path) -> Value {
    path.to_string_lossy().into_owned().into()
}

/// Section and key.
fn split(key: &str) -> (&str, &str) {
    key.split_once('.').unwrap_or(("", key))
}

/// One table per section, which keeps the keys short.
fn tables(out: &mut Output<'_>, settings: &[Setting]) -> Result<(), Error> {
    for rows in settings.chunk_by(|a, b| split(&a.key).0 == split(&b.key).0) {
        let section = split(&rows[0].key).0;
        let title = if section.is_empty() { "file" } else { section };
        let mut table = Table::new([title, "value", "source"]);
        for row in rows {
            let value = match &row.value {
                Value::String(text) => text.clone(),
                Value::Array(items) => list(items),
                Value::Object(_) => yaml::value(&row.value),
                other => other.to_string(),
            };
            table.row([split(&row.key).1, &value, &row.source.to_string()]);
        }
        out.line("")?;
        out.table(&table)?;
    }
    Ok(())
}

fn list(items: &[Value]) -> String {
    let items = items.iter().map(|item| match item {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    items.collect::<Vec<_>>().join(", ")
}

fn as_yaml(out: &mut Output<'_>, settings: &[Setting]) -> Result<(), Error> {
    let mut current = "";
    for setting in settings {
        let (section, key) = split(&setting.key);
        if section != current {
            out.line(format_args!("{section}:"))?;
            current = section;
        }
        let indent = if section.is_empty() { "" } else { "  " };
        let value = yaml::value(&setting.value);
        out.line(format_args!("{indent}{key}: {value}  # {}", setting.source))?;
    }
    Ok(())
}
