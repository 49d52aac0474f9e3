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
    /// The reading side, if the file has one; its settings are among the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    readers: Option<Side>,
    settings: &'a [Setting],
}

/// The reading side as JSON.
#[derive(Serialize)]
struct Side {
    /// `user@host:port/database`.
    target: String,
    fingerprint: String,
}

impl Side {
    fn of(config: &Config) -> Self {
        Self {
            target: config.connection_settings.describe(),
            fingerprint: config.fingerprint(config.connection_type).to_string(),
        }
    }
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
        let readers = config
            .readers
            .as_ref()
            .map(|readers| Side::of(&readers.config));
        match self.format {
            Form::Table => {
                out.line(format_args!("{file}: {config}, fingerprint {fingerprint}"))?;
                if let Some(Side {
                    target,
                    fingerprint,
                }) = readers
                {
                    out.line(format_args!("readers: {target}, fingerprint {fingerprint}"))?;
                }
                tables(out, &settings)
            }
            Form::Json => out.json(&Shown {
                file,
                connection_type: config.connection_type.as_str(),
                target: config.connection_settings.describe(),
                fingerprint,
                readers,
                settings: &settings,
            }),
            Form::Yaml => {
                out.line(format_args!("# {file}, fingerprint {fingerprint}"))?;
                as_yaml(&settings)
                    .iter()
                    .try_for_each(|line| out.line(line))
            }
        }
    }
}

/// The sections of a file, in order.
const SECTIONS: [&str; 12] = [
    "",
    "connection_settings",
    "sync_settings",
    "async_settings",
    "pool_settings",
    "async_pool_settings",
    "readers",
    "readers.connection_settings",
    "readers.sync_settings",
    "readers.async_settings",
    "readers.pool_settings",
    "readers.async_pool_settings",
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
    let mut machine = of_the_machine(&loaded.config);
    if let Some(readers) = &loaded.config.readers {
        let own = of_the_machine(&readers.config).into_iter();
        machine.extend(own.map(|setting| Setting {
            key: format!("readers.{}", setting.key),
            ..setting
        }));
    }
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

/// Section and key. The name of a server parameter may have dots too.
fn split(key: &str) -> (&str, &str) {
    let of = |section: &str| Some((section.len(), key.strip_prefix(section)?.strip_prefix('.')?));
    // The sections of `readers` come after it, so the last match is the longest.
    let found = SECTIONS
        .iter()
        .filter_map(|section| of(section))
        .next_back();
    found.map_or(("", key), |(length, rest)| (&key[..length], rest))
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

/// The lines of a file with these values.
fn as_yaml(settings: &[Setting]) -> Vec<String> {
    let (mut lines, mut current) = (Vec::new(), "");
    for setting in settings {
        let (section, key) = split(&setting.key);
        let depth = section.split('.').filter(|name| !name.is_empty()).count();
        let indent = "  ".repeat(depth);
        if section != current {
            let name = section.rsplit('.').next().unwrap_or(section);
            let around = "  ".repeat(depth.saturating_sub(1));
            lines.push(format!("{around}{name}:"));
            current = section;
        }
        let value = yaml::value(&setting.value);
        lines.push(format!("{indent}{key}: {value}  # {}", setting.source));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_the_innermost_section() {
        for (key, expected) in [
            ("connection_type", ("", "connection_type")),
            ("sync_settings.my.custom", ("sync_settings", "my.custom")),
            ("readers.max_lag", ("readers", "max_lag")),
            (
                "readers.sync_settings.my.custom",
                ("readers.sync_settings", "my.custom"),
            ),
        ] {
            assert_eq!(split(key), expected);
        }
    }

    #[test]
    fn both_sides_are_shown_and_written_as_one_file() {
        let text = "connection_settings: { host: w, port: 1, user: app, dbname: shop }
sync_settings: { my.custom: 1 }
readers: { connection_settings: { host: r, port: 2 }, max_lag: 5, fallback: false }";
        let loader = Config::loader().libpq_sources(false);
        let loaded = loader.clone().yaml(text).load_with_sources().unwrap();
        let written = as_yaml(&settings(&loaded)).join("\n");
        let again = loader.yaml(&*written).load().expect(&written);
        assert_eq!(again, loaded.config, "{written}");
    }
}
