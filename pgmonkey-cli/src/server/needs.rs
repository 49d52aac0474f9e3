//! The settings that a file needs in `postgresql.conf`, and whether a server has them.

use pgmonkey::Config;
use pgmonkey::config::{Host, SslMode};
use serde::Serialize;

use super::capacity;
use super::facts::{Setting, demands_tls};

/// The server's own default; a lower value has no advantage.
const DEFAULT_MAX_CONNECTIONS: u32 = 100;
/// The server's default for `superuser_reserved_connections`.
const DEFAULT_RESERVED: u32 = 3;

/// When a value is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// At least this number.
    AtLeast(u32),
    /// This word, otherwise it does not work.
    Is(&'static str),
    /// This word, otherwise it should be checked.
    Rather(&'static str),
    /// Any value but an empty one.
    Set,
    /// A TLS version, 1.2 or later.
    ModernTls,
    /// Listens on an address other than the loopback ones.
    Listens,
}

/// A parameter that the file needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) setting: &'static str,
    pub(crate) value: String,
    pub(crate) reason: String,
    rule: Rule,
}

/// A need with the server's value.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Compared {
    pub(crate) setting: &'static str,
    pub(crate) recommended: String,
    /// `None` if the role may not see it.
    pub(crate) current: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) sourcefile: Option<String>,
    pub(crate) sourceline: Option<u32>,
    pub(crate) pending_restart: bool,
    /// `OK`, `REVIEW`, `MISMATCH` or `UNKNOWN`.
    pub(crate) status: &'static str,
    pub(crate) reason: String,
}

/// What the file needs; `reserved` is what the server reserves for superusers, if known.
pub(crate) fn of(config: &Config, reserved: Option<u32>) -> Vec<Need> {
    let mut needs = vec![connections(config, reserved.unwrap_or(DEFAULT_RESERVED))];
    let settings = &config.connection_settings;
    let need = |setting, value: &str, reason: &str, rule| Need {
        setting,
        value: value.to_owned(),
        reason: reason.to_owned(),
        rule,
    };
    if is_remote(config) {
        let reason = "the file's host is another machine";
        needs.push(need("listen_addresses", "'*'", reason, Rule::Listens));
    }
    let certificate = settings.sslcert.is_some();
    let mode = settings.sslmode;
    let needed = demands_tls(mode) || certificate;
    if needed || (is_remote(config) && mode != SslMode::Disable) {
        let (reason, rule) = match needed {
            true => (format!("sslmode {mode} requires TLS"), Rule::Is("on")),
            false => (
                format!("sslmode {mode} uses TLS if it is available"),
                Rule::Rather("on"),
            ),
        };
        needs.push(need("ssl", "on", &reason, rule));
        let reason = "TLS needs a certificate";
        needs.push(need("ssl_cert_file", "'server.crt'", reason, Rule::Set));
        needs.push(need(
            "ssl_key_file",
            "'server.key'",
            "and its key",
            Rule::Set,
        ));
        let reason = "older versions are insecure";
        needs.push(need(
            "ssl_min_protocol_version",
            "'TLSv1.2'",
            reason,
            Rule::ModernTls,
        ));
    }
    if certificate {
        let reason = "the server verifies the file's client certificate with it";
        needs.push(need("ssl_ca_file", "'ca.crt'", reason, Rule::Set));
    }
    let reason = "MD5 is no better than clear text";
    let rule = Rule::Rather("scram-sha-256");
    needs.push(need("password_encryption", "'scram-sha-256'", reason, rule));
    needs
}

/// Both pools, a tenth as headroom, and the sessions reserved for superusers.
fn connections(config: &Config, reserved: u32) -> Need {
    let wanted = capacity::wanted(config);
    let headroom = wanted.div_ceil(10);
    let sum = wanted.saturating_add(headroom).saturating_add(reserved);
    let value = sum.max(DEFAULT_MAX_CONNECTIONS);
    let reason = match value == sum {
        true => {
            format!("{wanted} for both pools, {headroom} as headroom, {reserved} for superusers")
        }
        false => format!("both pools need {wanted} of the server's default"),
    };
    Need {
        setting: "max_connections",
        value: value.to_string(),
        reason,
        // The default is a recommendation; only less than the sum does not work.
        rule: Rule::AtLeast(sum),
    }
}

fn is_remote(config: &Config) -> bool {
    let targets = config.connection_settings.targets();
    targets
        .iter()
        .any(|target| match (&target.host, target.hostaddr) {
            (_, Some(address)) => !address.is_loopback(),
            (Host::Unix(_), None) => false,
            (Host::Ip(address), None) => !address.is_loopback(),
            (Host::Name(name), None) => name != "localhost",
        })
}

impl Need {
    /// The need as a line of `postgresql.conf`.
    pub(crate) fn line(&self) -> String {
        format!("{} = {}", self.setting, self.value)
    }

    /// The need with the server's value; `None` if the role may not see it.
    pub(crate) fn compare(&self, found: Option<&Setting>) -> Compared {
        let current = found.and_then(|setting| setting.setting.clone());
        Compared {
            setting: self.setting,
            recommended: self.value.clone(),
            status: current
                .as_deref()
                .map_or("UNKNOWN", |value| self.rule.status(value)),
            current,
            source: found.and_then(|setting| setting.source.clone()),
            sourcefile: found.and_then(|setting| setting.sourcefile.clone()),
            sourceline: found.and_then(|setting| setting.sourceline),
            pending_restart: found.is_some_and(|setting| setting.pending_restart),
            reason: self.reason.clone(),
        }
    }
}

impl Rule {
    fn status(self, current: &str) -> &'static str {
        let lower = current.trim().to_ascii_lowercase();
        let (fits, otherwise) = match self {
            Self::AtLeast(least) => match lower.parse::<u32>() {
                Ok(number) => (number >= least, "MISMATCH"),
                Err(_) => return "UNKNOWN",
            },
            Self::Is(word) => (lower == word, "MISMATCH"),
            Self::Rather(word) => (lower == word, "REVIEW"),
            Self::Set => (!lower.is_empty(), "MISMATCH"),
            Self::ModernTls => (["tlsv1.2", "tlsv1.3"].contains(&lower.as_str()), "REVIEW"),
            Self::Listens => {
                let local = |part: &str| ["", "localhost", "127.0.0.1", "::1"].contains(&part);
                let mut parts = lower.split(',').map(str::trim);
                (!parts.all(local), "MISMATCH")
            }
        };
        if fits { "OK" } else { otherwise }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(yaml: &str) -> Vec<(&'static str, String)> {
        let loader = Config::loader().libpq_sources(false).yaml(yaml);
        let needs = of(&loader.load().expect("valid config"), None).into_iter();
        needs.map(|need| (need.setting, need.value)).collect()
    }

    #[test]
    fn max_connections_is_for_both_pools_and_never_below_the_default() {
        let small = "pool_settings: { max_size: 1 }\nasync_pool_settings: { max_size: 1 }\n";
        assert_eq!(needs(small)[0], ("max_connections", "100".to_owned()));
        let large = "pool_settings: { max_size: '100' }\nasync_pool_settings: { max_size: 55 }\n";
        assert_eq!(needs(large)[0].1, (155 + 16 + 3).to_string());
    }

    #[test]
    fn tls_is_needed_where_the_file_asks_for_it() {
        let names = |text: &str| -> Vec<&str> {
            let yaml = format!("connection_settings: {{ {text} }}");
            needs(&yaml).into_iter().map(|(name, _)| name).collect()
        };
        assert!(!names("host: localhost").contains(&"ssl"));
        assert!(!names("host: db, sslmode: disable").contains(&"ssl"));
        assert!(names("host: db").contains(&"ssl"));
        let full = names("host: localhost, sslmode: verify-full");
        // The server needs a root certificate only to verify a client certificate.
        assert!(full.contains(&"ssl_cert_file") && !full.contains(&"ssl_ca_file"));
        let certificate = names("host: localhost, sslcert: a, sslkey: b");
        assert!(certificate.contains(&"ssl_ca_file") && certificate.contains(&"ssl"));
    }

    #[test]
    fn a_status_is_as_bad_as_what_would_come_of_it() {
        for (rule, value, status) in [
            (Rule::AtLeast(100), "100", "OK"),
            (Rule::AtLeast(100), "99", "MISMATCH"),
            (Rule::AtLeast(100), "many", "UNKNOWN"),
            (Rule::Is("on"), "ON", "OK"),
            (Rule::Is("on"), "off", "MISMATCH"),
            (Rule::Rather("scram-sha-256"), "md5", "REVIEW"),
            (Rule::Set, "server.pem", "OK"),
            (Rule::Set, "", "MISMATCH"),
            (Rule::ModernTls, "TLSv1.1", "REVIEW"),
            (Rule::ModernTls, "TLSv1.3", "OK"),
            (Rule::Listens, "localhost, ::1", "MISMATCH"),
            (Rule::Listens, "localhost,10.0.0.5", "OK"),
            (Rule::Listens, "*", "OK"),
        ] {
            assert_eq!(rule.status(value), status, "{rule:?} {value}");
        }
    }
}
