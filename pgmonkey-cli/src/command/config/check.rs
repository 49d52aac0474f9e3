//! `pgmonkey config check FILE`.

use std::net::IpAddr;

use clap::Args;
use pgmonkey::config::{Host, Loaded, SslMode, Target};
use pgmonkey::{Config, Connection};
use serde::Serialize;

use crate::command::configuration::ConfigFile;
use crate::error::Error;
use crate::server::capacity::{self, Capacity};
use crate::server::facts;
use crate::ui::finding::{Finding, Severity};
use crate::ui::output::{Format, FormatOption, Output};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgmonkey config check pgmonkey.yaml
  pgmonkey config check pgmonkey.yaml --strict --connect
  DB_PASSWORD=… pgmonkey config check pgmonkey.yaml")]
pub(crate) struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Fail on warnings as well.
    #[arg(long)]
    strict: bool,
    /// Connect, and check whether the server can serve both pools together.
    #[arg(long)]
    connect: bool,
    #[command(flatten)]
    output: FormatOption,
}

/// The result as JSON.
#[derive(Serialize)]
struct Verdict<'a> {
    file: String,
    ok: bool,
    /// `user@host:port/database`, if the file can be read.
    target: Option<String>,
    /// The same of the readers, if the file has the section.
    #[serde(skip_serializing_if = "Option::is_none")]
    readers: Option<String>,
    findings: &'a [Finding],
}

impl Check {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        let source = self.file.source()?;
        let text = source.text();
        let loaded = source.loader().load_with_sources();
        let mut findings = match &loaded {
            Ok(loaded) => {
                let warnings = loaded.warnings.iter();
                let warnings = warnings.map(|warning| Finding::warning(warning, &text));
                warnings.chain(lints(loaded, &text)).collect()
            }
            Err(error) => {
                let problems = error.problems().iter();
                let errors: Vec<_> = problems
                    .map(|problem| Finding::error(problem, &text))
                    .collect();
                errors
            }
        };
        if let (true, Ok(loaded)) = (self.connect, &loaded) {
            // A server that is away does not hide what was found in the file.
            let found = pools(loaded, &text);
            findings.extend(found.unwrap_or_else(|error| Some(Finding::failure(&error))));
        }
        let wrong = |finding: &Finding| match finding.severity {
            Severity::Error => true,
            Severity::Warning => self.strict,
            Severity::Note => false,
        };
        let ok = !findings.iter().any(wrong);
        let config = loaded.as_ref().ok().map(|loaded| &loaded.config);
        self.report(out, ok, config, &findings)
    }

    fn report(
        &self,
        out: &mut Output<'_>,
        ok: bool,
        config: Option<&Config>,
        findings: &[Finding],
    ) -> Result<(), Error> {
        let target = config.map(|config| config.connection_settings.describe());
        let readers = config.and_then(|config| config.readers.as_ref());
        let readers = readers.map(|readers| readers.config.connection_settings.describe());
        let file = self.file.path().display();
        match (self.output.format, config) {
            (Format::Json, _) => out.json(&Verdict {
                file: file.to_string(),
                ok,
                target,
                readers,
                findings,
            })?,
            (Format::Table, config) => {
                findings.iter().for_each(Finding::tell);
                if let (true, Some(config)) = (ok, config) {
                    let readers = readers.map(|target| format!("; readers {target}"));
                    let readers = readers.unwrap_or_default();
                    out.line(format_args!("{file}: ok, {config}{readers}"))?;
                }
            }
        }
        if ok { Ok(()) } else { Err(Error::Told) }
    }
}

/// What the CLI finds in either side. What holds for both is found for the writer.
fn lints(loaded: &Loaded, text: &str) -> Vec<Finding> {
    let of = |side: Side<'_>| {
        let found = [
            encryption(loaded, side, text),
            unenforced_root(loaded, side, text),
            unwatched(loaded, side),
        ];
        found.into_iter().flatten()
    };
    let mut findings: Vec<Finding> = of(Side::writer(loaded)).collect();
    for finding in Side::readers(loaded).into_iter().flat_map(of) {
        if !findings
            .iter()
            .any(|known| known.message == finding.message)
        {
            findings.push(finding);
        }
    }
    findings
}

/// A side of the file, and what its keys begin with.
#[derive(Clone, Copy)]
struct Side<'a> {
    config: &'a Config,
    prefix: &'static str,
}

impl<'a> Side<'a> {
    fn writer(loaded: &'a Loaded) -> Self {
        Self {
            config: &loaded.config,
            prefix: "",
        }
    }

    fn readers(loaded: &'a Loaded) -> Option<Self> {
        let readers = loaded.config.readers.as_ref()?;
        Some(Self {
            config: &readers.config,
            prefix: "readers.",
        })
    }

    fn key(self, name: &str) -> String {
        format!("{}connection_settings.{name}", self.prefix)
    }
}

/// Warns about passwords and data that cross a network in the clear, or can be made to.
fn encryption(loaded: &Loaded, side: Side<'_>, text: &str) -> Option<Finding> {
    let settings = &side.config.connection_settings;
    let consequence = match settings.sslmode {
        SslMode::Disable => "never encrypts",
        SslMode::Allow => "encrypts only if the server refuses plain text",
        SslMode::Prefer => "falls back to plain text, which an attacker on the network can force",
        _ => return None,
    };
    let remote = settings.targets().into_iter().find(is_remote)?;
    let key = &side.key("sslmode");
    let message = format!(
        "{} {consequence}, and {remote} is another machine: use verify-full, or at least require",
        settings.sslmode
    );
    Some(Finding::advice(key, loaded.source(key), message, text))
}

/// Warns about a root certificate that does not prevent sessions with other servers.
fn unenforced_root(loaded: &Loaded, side: Side<'_>, text: &str) -> Option<Finding> {
    let settings = &side.config.connection_settings;
    let (SslMode::Allow | SslMode::Prefer, Some(_)) = (settings.sslmode, &settings.sslrootcert)
    else {
        return None;
    };
    let key = &side.key("sslrootcert");
    let message = format!(
        "with sslmode {}, a server whose certificate does not match still gets a session in plain \
         text: use verify-full",
        settings.sslmode
    );
    Some(Finding::advice(key, loaded.source(key), message, text))
}

/// Notes a blocking session on a Unix socket, where the driver does not expose the protocol
/// messages.
fn unwatched(loaded: &Loaded, side: Side<'_>) -> Option<Finding> {
    let config = side.config;
    let on_socket = |target: &Target| matches!(target.host, Host::Unix(_));
    if config.connection_type.is_async()
        || !config.connection_settings.targets().iter().any(on_socket)
    {
        return None;
    }
    let key = &side.key("host");
    let message = "a blocking session on a Unix socket cannot be observed: `reset: auto` acts as \
                   `session`, and a commit costs one statement more; TCP and the async types \
                   avoid both"
        .to_owned();
    Some(Finding::note(key, loaded.source(key), message))
}

/// Whether the session crosses a network.
fn is_remote(target: &Target) -> bool {
    let local = |address: IpAddr| address.to_canonical().is_loopback();
    if let Some(address) = target.hostaddr {
        return !local(address);
    }
    match &target.host {
        Host::Unix(_) => false,
        Host::Ip(address) => !local(*address),
        Host::Name(name) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            name != "localhost" && !name.ends_with(".localhost")
        }
    }
}

fn pools(loaded: &Loaded, text: &str) -> Result<Option<Finding>, Error> {
    let connection = Connection::new(&facts::questions(&loaded.config)?)?;
    let capacity = Capacity::ask(&mut connection.acquire()?)?;
    let wanted = capacity::wanted(&loaded.config);
    let key = "pool_settings.max_size";
    let finding = capacity::shortage(wanted, &capacity)
        .map(|message| Finding::advice(key, loaded.source(key), message, text));
    Ok(finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(connection: &str) -> Option<String> {
        let yaml = format!("connection_settings: {{ {connection} }}");
        let loader = Config::loader().libpq_sources(false).yaml(&*yaml);
        let loaded = loader.load_with_sources().expect("valid config");
        encryption(&loaded, Side::writer(&loaded), &yaml).map(|finding| finding.message)
    }

    #[test]
    fn a_network_needs_more_than_prefer() {
        for remote in [
            "host: db.internal",
            "host: 10.0.0.5",
            "host: 'localhost,db'",
        ] {
            for mode in ["disable", "allow", "prefer"] {
                let text = format!("{remote}, sslmode: {mode}");
                assert!(warned(&text).expect(&text).contains(mode));
            }
            assert_eq!(warned(&format!("{remote}, sslmode: require")), None);
        }
        assert!(warned("host: localhost, hostaddr: 10.0.0.5").is_some());
    }

    #[test]
    fn the_readers_are_checked_where_they_differ() {
        let found = |yaml: &str| -> Vec<String> {
            let loader = Config::loader().libpq_sources(false).yaml(yaml);
            let loaded = loader.load_with_sources().expect("valid config");
            let keys = lints(&loaded, yaml).into_iter().map(|finding| finding.key);
            keys.flatten().collect()
        };
        let local = "connection_settings: { host: localhost }";
        let remote = "readers: { connection_settings: { host: r.internal } }";
        assert_eq!(
            found(&format!("{local}\n{remote}")),
            ["readers.connection_settings.sslmode"]
        );
        let same = "connection_settings: { host: w.internal }\nreaders: {}";
        assert_eq!(found(same), ["connection_settings.sslmode"]);
    }

    #[test]
    fn a_blocking_session_on_a_unix_socket_is_noted() {
        let noted = |text: &str| {
            let loader = Config::loader().libpq_sources(false).yaml(text);
            let loaded = loader.load_with_sources().expect("valid config");
            unwatched(&loaded, Side::writer(&loaded)).map(|finding| finding.severity)
        };
        let socket = "connection_settings: { host: /tmp }";
        assert_eq!(noted(socket), Some(Severity::Note));
        assert_eq!(
            noted(&format!("{socket}\nconnection_type: async_pool")),
            None
        );
        assert_eq!(noted("connection_settings: { host: localhost }"), None);
    }

    #[test]
    fn this_machine_needs_no_encryption() {
        for local in [
            "host: localhost",
            "host: 127.0.0.1",
            "host: '::1'",
            "host: '::ffff:127.0.0.1'",
            "host: /tmp",
            "host: db, hostaddr: 127.0.0.1",
        ] {
            assert_eq!(warned(local), None, "{local}");
        }
    }
}
