//! The table of keys: what can be set, of which kind, with which default. Extraction, suggestions,
//! redaction, the template and the reference page are driven by it.

use std::time::Duration;

use crate::choice::{
    ChannelBinding, Choice, ConnectionType, LoadBalanceHosts, Pooler, Reset, SslMode,
    SslNegotiation, TargetSessionAttrs, TlsVersion,
};
use crate::pool::MOST_SESSIONS;

/// A part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Top,
    Connection,
    Pool,
    AsyncPool,
}

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Secret,
    Url,
    Path,
    /// A path or the word `system`.
    Roots,
    Hosts,
    Addresses,
    Ports,
    Flag,
    Count {
        min: u32,
        max: u32,
    },
    /// Seconds, or with a unit; zero, or within the range.
    Seconds {
        min: u32,
        max: u32,
    },
    /// Milliseconds, or with a unit; zero, or within the range.
    Milliseconds {
        min: u32,
        max: u32,
    },
    Word(fn() -> Vec<&'static str>),
    Methods,
    /// A mapping of its own.
    Section,
}

impl Kind {
    /// What to tell somebody whose value is not of this kind.
    pub(crate) fn expected(self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Secret => "text in quotes".into(),
            Self::Url => "postgres://... or key=value text".into(),
            Self::Path => "a path".into(),
            Self::Roots => "a path or `system`".into(),
            Self::Hosts => format!(
                "a name, an address or a /directory, or a list of at most {MOST_HOSTS} of them"
            ),
            Self::Addresses => format!("an IP address or a list of at most {MOST_HOSTS} of them"),
            Self::Ports => {
                format!("a port from 1 to 65535, or one for each host, at most {MOST_HOSTS}")
            }
            Self::Flag => "true or false".into(),
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::Seconds { min, max } => {
                format!(
                    "seconds, or a number with ms, s, m or h; {}",
                    bounds(min, max, "s")
                )
            }
            Self::Milliseconds { min, max } => {
                format!(
                    "milliseconds, or a number with ms, s, m or h; {}",
                    bounds(min, max, "ms")
                )
            }
            Self::Word(words) => format!("one of {}", words().join(", ")),
            Self::Methods => "a list of authentication methods".into(),
            Self::Section => "a section (key: value lines)".into(),
        }
    }
}

/// The range of a time in words.
fn bounds(min: u32, max: u32, unit: &str) -> String {
    match min {
        0 => format!("at most {max} {unit}"),
        _ => format!("0, or {min} to {max} {unit}"),
    }
}

impl Kind {
    /// Whether a time is in the range of its kind.
    pub(crate) fn takes(self, time: Duration) -> bool {
        let (min, max) = match self {
            Self::Seconds { min, max } => (
                Duration::from_secs(min.into()),
                Duration::from_secs(max.into()),
            ),
            Self::Milliseconds { min, max } => (
                Duration::from_millis(min.into()),
                Duration::from_millis(max.into()),
            ),
            _ => return true,
        };
        time.is_zero() || (min..=max).contains(&time)
    }
}

/// Longer times overflow the clocks of some systems.
const SECONDS: Kind = Kind::Seconds {
    min: 0,
    max: u32::MAX,
};

/// Linux takes whole seconds up to this for a keepalive, and as many of them as a byte counts.
const KEEPALIVE: Kind = Kind::Seconds { min: 1, max: 32767 };
const KEEPALIVES: Kind = Kind::Count { min: 0, max: 127 };

/// A number without a limit of its own.
const fn count(min: u32) -> Kind {
    Kind::Count {
        min,
        max: i32::MAX as u32,
    }
}

/// Most servers of one configuration. Each one is tried for each session, until one answers.
pub(crate) const MOST_HOSTS: usize = 256;

/// One row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) section: Section,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The default in words.
    pub(crate) default: &'static str,
    pub(crate) doc: &'static str,
}

fn words<T: Choice>() -> Vec<&'static str> {
    T::ALL.iter().map(|(_, word)| *word).collect()
}

const fn key(
    section: Section,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        section,
        name,
        kind,
        default,
        doc,
    }
}

use Section::{AsyncPool, Connection, Pool, Top};

/// Every key, in the order of the documentation. The keys of `Pool` are those of both pool
/// sections; the keys of `AsyncPool` are `async_pool_settings`' own.
#[rustfmt::skip]
pub(crate) const KEYS: &[Key] = &[
    key(Top, "connection_type", Kind::Word(words::<ConnectionType>), "normal", "Which of the four handles the file is for; a type asked for in the program wins."),
    key(Top, "connection_settings", Kind::Section, "", "Which server, who, and how."),
    key(Top, "sync_settings", Kind::Section, "", "Server parameters for sessions of `normal` and `pool`."),
    key(Top, "async_settings", Kind::Section, "", "Server parameters for sessions of `async` and `async_pool`."),
    key(Top, "pool_settings", Kind::Section, "", "The pool of `pool`."),
    key(Top, "async_pool_settings", Kind::Section, "", "The pool of `async_pool`."),
    key(Top, "libpq_sources", Kind::Flag, "true", "Whether what is not set here is looked for in the `PG*` variables and the service file."),
    key(Top, "profiles", Kind::Section, "", "Named overlays with the same sections, chosen by the program or by `PGMONKEY_PROFILE`."),

    key(Connection, "url", Kind::Url, "", "A whole connection string; the other keys of the section override its parts."),
    key(Connection, "host", Kind::Hosts, "the usual socket directory if a socket is there, else localhost", "The server, or several in the order to try."),
    key(Connection, "hostaddr", Kind::Addresses, "", "Addresses to use instead of looking the hosts up, as many as hosts."),
    key(Connection, "port", Kind::Ports, "5432", "The port: one for all hosts, or one for each."),
    key(Connection, "dbname", Kind::Text, "the user", "The database; `database` is accepted too."),
    key(Connection, "user", Kind::Text, "the operating system's user", "The role to log in as."),
    key(Connection, "password", Kind::Secret, "`PGPASSWORD`, then the passfile", "The password; always in quotes."),
    key(Connection, "passfile", Kind::Path, "~/.pgpass", "The file with passwords, read for each connection; ignored when others can read it."),
    key(Connection, "service", Kind::Text, "", "A group of the service file whose settings are used where nothing else is set here."),
    key(Connection, "servicefile", Kind::Path, "~/.pg_service.conf", "The service file."),
    key(Connection, "sslmode", Kind::Word(words::<SslMode>), "prefer", "How much TLS is needed; `require` with a root certificate checks as `verify-ca` does."),
    key(Connection, "sslrootcert", Kind::Roots, "~/.postgresql/root.crt if there", "Trusted root certificates, PEM; `system` takes those of the operating system and makes `verify-full` the mode."),
    key(Connection, "sslcert", Kind::Path, "~/.postgresql/postgresql.crt if there", "The client certificate, PEM."),
    key(Connection, "sslkey", Kind::Path, "~/.postgresql/postgresql.key if there", "Its private key, PEM; refused when others can read it."),
    key(Connection, "sslpassword", Kind::Secret, "", "What the private key is encrypted with."),
    key(Connection, "sslcrl", Kind::Path, "", "Revoked certificates, PEM."),
    key(Connection, "sslsni", Kind::Flag, "true", "Whether TLS tells the server which name it is asked for."),
    key(Connection, "sslnegotiation", Kind::Word(words::<SslNegotiation>), "postgres", "How TLS is begun; `direct` needs PostgreSQL 17."),
    key(Connection, "ssl_min_protocol_version", Kind::Word(words::<TlsVersion>), "TLSv1.2", "The oldest TLS version; rustls has none older."),
    key(Connection, "ssl_max_protocol_version", Kind::Word(words::<TlsVersion>), "", "The newest TLS version."),
    key(Connection, "channel_binding", Kind::Word(words::<ChannelBinding>), "prefer", "Whether SCRAM authentication is bound to the TLS channel."),
    key(Connection, "require_auth", Kind::Methods, "any", "Authentication methods the server may ask for: password, md5, gss, sspi, scram-sha-256, oauth, none; `!` forbids one."),
    key(Connection, "connect_timeout", SECONDS, "10", "Limit for one host's whole attempt, authentication included; 0 is none."),
    key(Connection, "application_name", Kind::Text, "", "What the session is called in `pg_stat_activity`."),
    key(Connection, "options", Kind::Text, "", "Command-line options for the server's session."),
    key(Connection, "keepalives", Kind::Flag, "true", "Whether TCP keepalives are sent."),
    key(Connection, "keepalives_idle", KEEPALIVE, "the system's", "Silence before the first keepalive."),
    key(Connection, "keepalives_interval", KEEPALIVE, "the system's", "Time between keepalives."),
    key(Connection, "keepalives_count", KEEPALIVES, "the system's", "Lost keepalives before the session counts as dead."),
    key(Connection, "tcp_user_timeout", Kind::Milliseconds { min: 1, max: i32::MAX as u32 }, "the system's", "How long sent data may stay unacknowledged."),
    key(Connection, "target_session_attrs", Kind::Word(words::<TargetSessionAttrs>), "any", "Which servers are good enough."),
    key(Connection, "load_balance_hosts", Kind::Word(words::<LoadBalanceHosts>), "disable", "`random` shuffles the hosts for each session."),
    key(Connection, "pooler", Kind::Word(words::<Pooler>), "detected", "What stands between: none, or a pooler that gives a session of the server to each client (`session`), transaction or statement."),
    key(Connection, "client_encoding", Kind::Word(encodings), "UTF8", "The drivers speak UTF-8 and nothing else."),
    key(Connection, "autocommit", Kind::Flag, "false", "Whether a scope commits each statement by itself instead of as one transaction."),

    key(Pool, "min_size", Kind::Count { min: 0, max: MOST_SESSIONS }, "1", "Sessions opened at start and kept."),
    key(Pool, "max_size", Kind::Count { min: 1, max: MOST_SESSIONS }, "10, or min_size if that is more", "Most sessions, idle and borrowed together."),
    key(Pool, "timeout", SECONDS, "30", "Longest wait for a session; 0 does not wait."),
    key(Pool, "max_idle", SECONDS, "600", "A session over min_size ends after being idle this long."),
    key(Pool, "max_lifetime", SECONDS, "3600", "Age at which a session ends, give or take a tenth; 0 is never."),
    key(Pool, "check_on_checkout", Kind::Flag, "false", "Whether a session is asked with a round trip before it is lent."),
    key(Pool, "max_waiting", count(0), "0", "Most callers waiting at once; 0 is no limit."),
    key(Pool, "reconnect_timeout", SECONDS, "300", "How long the pool keeps trying to reach a server that is away before it reports it as failed; 0 is for ever."),
    key(Pool, "num_workers", Kind::Count { min: 1, max: 256 }, "3", "Sessions opened side by side in the background."),
    key(Pool, "reset", Kind::Word(words::<Reset>), "auto", "What is undone when a session comes back: `auto`, an open transaction, and settings, role, temporary objects, LISTENs and advisory locks if a statement can have changed them; `session`, all of that after every use; `transaction`, an open transaction; `none`, nothing."),
    key(Pool, "statement_cache", count(0), "256", "Prepared statements kept per session, also by a single connection; 0 is none, for a pooler in transaction mode."),
    key(Pool, "leak_warning", SECONDS, "off", "A session held longer than this is logged once with where it was acquired; 0 is off."),
    key(AsyncPool, "multiplex", Kind::Flag, "false", "Whether standalone statements may share a session by pipelining when no session is idle."),
];

fn encodings() -> Vec<&'static str> {
    vec!["UTF8", "auto"]
}

/// A setting of libpq that cannot be honoured, with the values that ask for nothing.
pub(crate) struct Unsupported {
    pub(crate) name: &'static str,
    pub(crate) harmless: &'static [&'static str],
}

const fn unsupported(name: &'static str, harmless: &'static [&'static str]) -> Unsupported {
    Unsupported { name, harmless }
}

/// libpq's keys that have no effect here.
pub(crate) const UNSUPPORTED: &[Unsupported] = &[
    unsupported("gssencmode", &["disable", "prefer"]),
    unsupported("gssdelegation", &["0"]),
    unsupported("gsslib", &[]),
    unsupported("krbsrvname", &[]),
    unsupported("max_protocol_version", &["3.0", "3.2", "latest"]),
    unsupported("min_protocol_version", &["3.0"]),
    unsupported("oauth_client_id", &[]),
    unsupported("oauth_client_secret", &[]),
    unsupported("oauth_issuer", &[]),
    unsupported("oauth_scope", &[]),
    unsupported("replication", &["false", "off", "no", "0"]),
    unsupported("requirepeer", &[]),
    unsupported("requiressl", &["0"]),
    unsupported("scram_client_key", &[]),
    unsupported("scram_server_key", &[]),
    unsupported("sslcertmode", &["allow"]),
    unsupported("sslcompression", &["0"]),
    unsupported("sslcrldir", &[]),
    unsupported("sslkeylogfile", &[]),
];

/// Other names for keys of `connection_settings`.
pub(crate) const ALIASES: &[(&str, &str)] = &[("database", "dbname")];

/// Accepted where libpq accepts it: the application name when no other is set.
pub(crate) const FALLBACK_APPLICATION_NAME: &str = "fallback_application_name";

/// The top-level key with the named overlays.
pub(crate) const PROFILES: &str = "profiles";

/// The top-level wrapper of pgmonkey 2.
pub(crate) const WRAPPER: &str = "postgresql";

/// The sections that hold server parameters.
pub(crate) const SESSION_SECTIONS: [&str; 2] = ["sync_settings", "async_settings"];

/// The keys of a section of the file, by the section's name; `None` where every name is allowed.
pub(crate) fn of_section(name: &str) -> Option<Vec<&'static Key>> {
    let sections: &[Section] = match name {
        "" => &[Top],
        "connection_settings" => &[Connection],
        "pool_settings" => &[Pool],
        "async_pool_settings" => &[Pool, AsyncPool],
        _ => return None,
    };
    let keys = KEYS.iter().filter(|key| sections.contains(&key.section));
    Some(keys.collect())
}

/// The row of a key, by section and name.
pub(crate) fn find(section: &str, name: &str) -> Option<&'static Key> {
    of_section(section)?
        .into_iter()
        .find(|key| key.name == name)
}

/// Whether the value of a key must never be shown, in whichever section it stands.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    // The name of an algorithm, not a password.
    if name == "password_encryption" {
        return false;
    }
    let of_table = KEYS
        .iter()
        .any(|key| matches!(key.kind, Kind::Secret) && key.name == name);
    of_table || SECRET_PARTS.iter().any(|part| name.contains(part))
}

/// What the name of a secret contains.
const SECRET_PARTS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "api_key",
    "apikey",
    "access_key",
    "auth_key",
    "encryption_key",
    "private_key",
    "signing_key",
    "pwd",
    "scram_client_key",
    "scram_server_key",
];

/// Whether a reference under this key may not fall back to a default: secrets, and what tells who
/// the client is and whom it trusts.
pub(crate) fn is_sensitive(name: &str) -> bool {
    let identity = ["sslkey", "sslcert", "sslrootcert"];
    is_secret(name) || identity.contains(&name.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_twice() {
        for section in [
            "",
            "connection_settings",
            "pool_settings",
            "async_pool_settings",
        ] {
            let mut names: Vec<_> = of_section(section)
                .unwrap()
                .iter()
                .map(|k| k.name)
                .collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{section}");
        }
    }

    #[test]
    fn secrets_are_known_by_name() {
        for name in [
            "password",
            "Password",
            "sslpassword",
            "my.api_token",
            "passwd",
            "pgpassword",
        ] {
            assert!(is_secret(name) && is_sensitive(name), "{name}");
        }
        for name in [
            "client_secret",
            "credentials",
            "api_key",
            "passphrase",
            "app.api-key",
            "pgcrypto.encryption_key",
            "Pwd",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "passfile",
            "sslkey",
            "sslrootcert",
            "user",
            "host",
            "password_encryption",
        ] {
            assert!(!is_secret(name), "{name}");
        }
        assert!(is_sensitive("sslkey") && is_sensitive("SSLROOTCERT"));
    }
}
