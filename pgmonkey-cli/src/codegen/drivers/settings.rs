//! The function of a program that builds the driver's configuration from the file's settings.

use std::fmt::Write as _;

use pgmonkey::config::{
    ChannelBinding, ConnectionSettings, Host, LoadBalanceHosts, Loaded, REDACTED, SecretSource,
    SslNegotiation, TargetSessionAttrs,
};
use pgmonkey::{Config, ConnectionType};

use super::super::literal;
use super::duration;
use super::tls::Tls;

/// The environment variable that the program reads the password from.
const PASSWORD: &str = "PGPASSWORD";

/// Generates the function `config`.
pub(super) fn function(kind: ConnectionType, loaded: &Loaded, tls: &Tls) -> String {
    let config = config(kind, loaded, tls);
    let from = match &loaded.config.connection_settings.password {
        Some(SecretSource::File(_)) => "its own file",
        _ => PASSWORD,
    };
    format!(
        "/// The settings of the file; the password comes from {from}.\nfn config() -> Config {{\n{config}    config\n}}\n\n"
    )
}

/// The lines that build the driver's configuration, as the body of a function.
fn config(kind: ConnectionType, loaded: &Loaded, tls: &Tls) -> String {
    let settings = &loaded.config.connection_settings;
    let mut lines = Vec::new();
    hosts(&mut lines, settings);
    call(&mut lines, "dbname", literal(&settings.effective_dbname()));
    call(&mut lines, "user", literal(&settings.effective_user()));
    if let Some(name) = &settings.application_name {
        call(&mut lines, "application_name", literal(name));
    }
    if let Some(limit) = settings.connect_timeout {
        call(&mut lines, "connect_timeout", duration(limit));
    }
    network(&mut lines, settings);
    encryption(&mut lines, settings, tls);
    preferences(&mut lines, settings);
    let mut notes = Vec::new();
    if let Some(options) = options(kind, loaded, &mut notes) {
        call(&mut lines, "options", literal(&options));
    }
    let mut text = String::from("    let mut config = Config::new();\n    config");
    for line in lines {
        let _ = write!(text, "\n        .{line}");
    }
    text.push_str(";\n");
    for note in notes {
        let _ = writeln!(text, "    // {note}");
    }
    text.push_str(&password(settings));
    text
}

/// The lines that set the password, which is not written into the program.
fn password(settings: &ConnectionSettings) -> String {
    match &settings.password {
        Some(SecretSource::File(path)) => {
            let path = literal(&path.to_string_lossy());
            format!(
                "    let password = std::fs::read_to_string({path}).expect(\"the password file\");\n    \
                 config.password(password.trim_end_matches(['\\r', '\\n']));\n"
            )
        }
        _ => format!(
            "    if let Ok(password) = std::env::var({PASSWORD:?}) {{\n        \
             config.password(password);\n    }}\n"
        ),
    }
}

fn call(lines: &mut Vec<String>, method: &str, argument: impl std::fmt::Display) {
    lines.push(format!("{method}({argument})"));
}

fn hosts(lines: &mut Vec<String>, settings: &ConnectionSettings) {
    for target in settings.targets() {
        match &target.host {
            Host::Unix(path) => call(lines, "host_path", literal(&path.to_string_lossy())),
            host => call(lines, "host", literal(&host.to_string())),
        }
        if let Some(address) = target.hostaddr {
            let text = literal(&address.to_string());
            call(
                lines,
                "hostaddr",
                format!("{text}.parse().expect(\"an address\")"),
            );
        }
        call(lines, "port", target.port);
    }
}

fn network(lines: &mut Vec<String>, settings: &ConnectionSettings) {
    if !settings.keepalives {
        call(lines, "keepalives", false);
    }
    if let Some(time) = settings.keepalives_idle {
        call(lines, "keepalives_idle", duration(time));
    }
    if let Some(time) = settings.keepalives_interval {
        call(lines, "keepalives_interval", duration(time));
    }
    if let Some(count) = settings.keepalives_count {
        call(lines, "keepalives_retries", count);
    }
    if let Some(time) = settings.tcp_user_timeout {
        call(lines, "tcp_user_timeout", duration(time));
    }
}

fn encryption(lines: &mut Vec<String>, settings: &ConnectionSettings, tls: &Tls) {
    let mode = format!("config::SslMode::{}", tls.mode);
    call(lines, "ssl_mode", mode);
    if tls.source.is_some() && settings.sslnegotiation == SslNegotiation::Direct {
        call(lines, "ssl_negotiation", "config::SslNegotiation::Direct");
    }
    let binding = match settings.channel_binding {
        ChannelBinding::Disable => Some("Disable"),
        ChannelBinding::Require => Some("Require"),
        _ => None,
    };
    if let Some(binding) = binding {
        let value = format!("config::ChannelBinding::{binding}");
        call(lines, "channel_binding", value);
    }
}

fn preferences(lines: &mut Vec<String>, settings: &ConnectionSettings) {
    let attrs = match settings.target_session_attrs {
        TargetSessionAttrs::ReadWrite => Some("ReadWrite"),
        TargetSessionAttrs::ReadOnly => Some("ReadOnly"),
        _ => None,
    };
    if let Some(attrs) = attrs {
        let value = format!("config::TargetSessionAttrs::{attrs}");
        call(lines, "target_session_attrs", value);
    }
    if settings.load_balance_hosts == LoadBalanceHosts::Random {
        call(
            lines,
            "load_balance_hosts",
            "config::LoadBalanceHosts::Random",
        );
    }
}

/// The server's command-line options: the file's `options`, then its server parameters, with blanks
/// and backslashes escaped as the server reads them. Secrets are left for the reader to add.
fn options(kind: ConnectionType, loaded: &Loaded, notes: &mut Vec<String>) -> Option<String> {
    let config: &Config = &loaded.config;
    let section = if kind.is_async() {
        "async_settings"
    } else {
        "sync_settings"
    };
    let hidden = |key: &str| {
        let values = loaded.values();
        let shown = values.iter().find(|value| value.key == key);
        let text = shown.and_then(|value| value.value.as_str());
        text.is_some_and(|text| text.contains(REDACTED))
    };
    let mut parts = Vec::new();
    let mut add = |key: String, text: String| match hidden(&key) {
        true => notes.push(format!(
            "{key} holds a secret: add it to `options` from the environment."
        )),
        false => parts.push(text),
    };
    if let Some(options) = &config.connection_settings.options {
        add("connection_settings.options".to_owned(), options.clone());
    }
    for (name, value) in config.session_settings(kind).iter() {
        let mut text = format!("-c {name}=");
        for letter in value.chars() {
            if letter.is_ascii_whitespace() || letter == '\\' {
                text.push('\\');
            }
            text.push(letter);
        }
        add(format!("{section}.{name}"), text);
    }
    (!parts.is_empty()).then(|| parts.join(" "))
}
