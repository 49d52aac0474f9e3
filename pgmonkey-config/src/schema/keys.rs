//! The table of keys, with the kind, the default and the meaning of each. It drives extraction,
//! suggestions, redaction and the reference page; the template is checked against it.

use std::time::Duration;

use crate::schema::choice::{
    ChannelBinding, Choice, ConnectionType, LoadBalanceHosts, Pooler, Reset, SettingsDelivery,
    SslMode, SslNegotiation, StatementTextMode, TargetSessionAttrs, TlsVersion,
};

/// A section of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Top,
    Connection,
    Pool,
    AsyncPool,
    Readers,
}

/// The kind of a value.
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
    /// Seconds, or a number with a unit; zero, or within the range.
    Seconds {
        min: u32,
        max: u32,
    },
    /// Milliseconds, or a number with a unit; zero, or within the range.
    Milliseconds {
        min: u32,
        max: u32,
    },
    Word(fn() -> Vec<&'static str>),
    Methods,
    /// A mapping.
    Section,
}

impl Kind {
    /// What a value of this kind must be, as worded in errors and in the reference.
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
            Self::Methods => {
                "a list of authentication methods (password, md5, gss, sspi, scram-sha-256, oauth, \
                 none), all with or all without `!`"
                    .into()
            }
            Self::Section => "a section (key: value lines)".into(),
        }
    }
}

/// The range of a duration, as worded in errors and in the reference.
fn bounds(min: u32, max: u32, unit: &str) -> String {
    match min {
        0 => format!("at most {max} {unit}"),
        _ => format!("0, or {min} to {max} {unit}"),
    }
}

impl Kind {
    /// Whether a duration is in the range of its kind.
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

/// Longer durations overflow the clock of some systems.
pub(crate) const SECONDS: Kind = Kind::Seconds {
    min: 0,
    max: u32::MAX,
};

/// Linux accepts keepalive times up to this, in whole seconds, and at most 127 probes.
const KEEPALIVE: Kind = Kind::Seconds { min: 1, max: 32767 };
const KEEPALIVES: Kind = Kind::Count { min: 0, max: 127 };

/// A number without an upper limit of its own: at most `i32::MAX`.
const fn count(min: u32) -> Kind {
    Kind::Count {
        min,
        max: i32::MAX as u32,
    }
}

/// The maximum number of sessions of a pool, 262,143: PostgreSQL cannot have more backends.
pub const MOST_SESSIONS: u32 = 262_143;

/// The maximum number of servers of one configuration. For each session they are tried until one
/// answers.
pub(crate) const MOST_HOSTS: usize = 256;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) section: Section,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The default, in words.
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

use Section::{AsyncPool, Connection, Pool, Readers, Top};

/// Every key, in the order of the documentation. The keys of `Pool` exist in both pool sections;
/// those of `AsyncPool` only in `async_pool_settings`.
#[rustfmt::skip]
pub(crate) const KEYS: &[Key] = &[
    key(Top, "connection_type", Kind::Word(words::<ConnectionType>), "normal", "The type of handle that the file describes; a type requested by the program takes precedence."),
    key(Top, "connection_settings", Kind::Section, "", "The server, the role, and how to connect."),
    key(Top, "sync_settings", Kind::Section, "", "Server parameters for sessions of `normal` and `pool`; if absent, those of `async_settings`."),
    key(Top, "async_settings", Kind::Section, "", "Server parameters for sessions of `async` and `async_pool`; if absent, those of `sync_settings`."),
    key(Top, "pool_settings", Kind::Section, "", "The pool of the type `pool`; if absent, as in `async_pool_settings`."),
    key(Top, "async_pool_settings", Kind::Section, "", "The pool of the type `async_pool`; if absent, as in `pool_settings`."),
    key(Top, "libpq_sources", Kind::Flag, "true", "Whether keys that are not set here are taken from the `PG*` variables and the service file."),
    key(Top, RESOLVE_ENV, Kind::Flag, "true", "Whether references such as `${VAR}` are resolved in the file; false leaves text as it stands."),
    key(Top, "slow_statement", SECONDS, "off", "A statement that runs this long or longer is logged, with the place in the program that sent it; 0 means off."),
    key(Top, "slow_acquire", SECONDS, "off", "An acquire that waits this long or longer for a session is logged; 0 means off."),
    key(Top, "statements_per_checkout", count(0), "off", "A text that runs this often while a session is acquired is logged once; 0 means off."),
    key(Top, "statement_text", Kind::Word(words::<StatementTextMode>), "parameterized", "How much of a statement's text is shown in events, spans and statistics. `none`: only the operation and the names it uses; `parameterized`: the texts of statements with parameters, others with `?` in place of their literals; `all`: every text as it is. The values of parameters are never shown."),
    key(Top, "statement_stats", Kind::Flag, "true", "Whether statements are counted by their texts, for `top_statements`."),
    key(Top, "sqlcommenter", Kind::Flag, "false", "Whether the current trace is appended, as a comment with its `traceparent`, to texts that are not cached; needs the feature `otel`."),
    key(Top, READERS, Kind::Section, "", "The reading side of a cluster: what differs from the rest of the file for sessions at the standbys. Without it, a cluster reads from the writer."),
    key(Top, "profiles", Kind::Section, "", "Named overlays with the same sections, selected by the program or by `PGMONKEY_PROFILE`."),

    key(Connection, "url", Kind::Url, "", "A connection string; the other keys of the section override its parts."),
    key(Connection, "host", Kind::Hosts, "the usual socket directory if it has a socket, else localhost", "The server, or several servers in the order in which to try them."),
    key(Connection, "hostaddr", Kind::Addresses, "", "IP addresses to use instead of resolving the hosts; one for each host."),
    key(Connection, "port", Kind::Ports, "5432", "The port: one for all hosts, or one for each."),
    key(Connection, "dbname", Kind::Text, "same as the user", "The database; `database` is an alias."),
    key(Connection, "user", Kind::Text, "the operating system's user", "The role to log in as."),
    key(Connection, "password", Kind::Secret, "`PGPASSWORD`, then the passfile", "The password in quotes; or `{ from_file: path }`, read for each new session; or `{ from_command: [program, argument, …], ttl: 10m, timeout: 10s }`, whose standard output it is, if the program allows commands."),
    key(Connection, PASSWORD_FILE, Kind::Path, "", "Short for `password: { from_file: … }`."),
    key(Connection, "passfile", Kind::Path, "~/.pgpass", "The password file, read for each connection; ignored if other users can read it."),
    key(Connection, "service", Kind::Text, "", "The name of a service in the service file; its settings apply where nothing is set here."),
    key(Connection, "servicefile", Kind::Path, "~/.pg_service.conf", "The service file."),
    key(Connection, "sslmode", Kind::Word(words::<SslMode>), "prefer", "How much TLS is required; with a root certificate, `require` verifies like `verify-ca`."),
    key(Connection, "sslrootcert", Kind::Roots, "~/.postgresql/root.crt if it exists", "Trusted root certificates, PEM; `system` uses those of the operating system and makes `verify-full` the default of `sslmode`."),
    key(Connection, "sslcert", Kind::Path, "~/.postgresql/postgresql.crt if it exists", "The client certificate, PEM."),
    key(Connection, "sslkey", Kind::Path, "~/.postgresql/postgresql.key if it exists", "The private key of the client certificate, PEM; refused if other users can read it."),
    key(Connection, "sslpassword", Kind::Secret, "", "The passphrase of the private key, or `{ from_file: path }`."),
    key(Connection, "sslcrl", Kind::Path, "~/.postgresql/root.crl if it exists", "Certificate revocation lists, PEM."),
    key(Connection, "sslsni", Kind::Flag, "true", "Whether TLS sends the host name to the server (SNI)."),
    key(Connection, "sslnegotiation", Kind::Word(words::<SslNegotiation>), "postgres", "How TLS negotiation starts; `direct` needs PostgreSQL 17 or later."),
    key(Connection, "ssl_min_protocol_version", Kind::Word(words::<TlsVersion>), "TLSv1.2", "The oldest accepted TLS version; rustls supports no older one."),
    key(Connection, "ssl_max_protocol_version", Kind::Word(words::<TlsVersion>), "", "The newest accepted TLS version."),
    key(Connection, "channel_binding", Kind::Word(words::<ChannelBinding>), "prefer", "Whether SCRAM authentication is bound to the TLS channel."),
    key(Connection, "require_auth", Kind::Methods, "any", "The authentication methods that the server may request; `!` before a method forbids it."),
    key(Connection, "connect_timeout", SECONDS, "10", "Time limit for the whole attempt on one host, including authentication; 0 means no limit."),
    key(Connection, "application_name", Kind::Text, "", "The name of the session in `pg_stat_activity`."),
    key(Connection, "options", Kind::Text, "", "Command-line options for the server's session."),
    key(Connection, "keepalives", Kind::Flag, "true", "Whether TCP keepalives are sent."),
    key(Connection, "keepalives_idle", KEEPALIVE, "7200, set by the driver", "Idle time before the first keepalive."),
    key(Connection, "keepalives_interval", KEEPALIVE, "the system's default", "Time between keepalives."),
    key(Connection, "keepalives_count", KEEPALIVES, "the system's default", "Lost keepalives before the session counts as dead."),
    key(Connection, "tcp_user_timeout", Kind::Milliseconds { min: 1, max: i32::MAX as u32 }, "the system's default", "How long sent data may stay unacknowledged."),
    key(Connection, "target_session_attrs", Kind::Word(words::<TargetSessionAttrs>), "any", "Which servers are acceptable."),
    key(Connection, "load_balance_hosts", Kind::Word(words::<LoadBalanceHosts>), "disable", "`random` shuffles the hosts for each session."),
    key(Connection, "follow_dns", Kind::Flag, "false", "Whether names are resolved again every two seconds, and sessions end, as soon as they are released, whose address the name no longer has."),
    key(Connection, "pooler", Kind::Word(words::<Pooler>), "detected", "The connection pooler in front of the server: `none`, or one that assigns a server session to each client (`session`), to each transaction or to each statement."),
    key(Connection, "session_settings", Kind::Word(words::<SettingsDelivery>), "verify", "How sync_settings and async_settings reach the server: in the startup packet (`startup`), by a statement (`statements`), with each transaction (`transaction`), or in the startup packet with one check for each pool and address (`verify`)."),
    key(Connection, "client_encoding", Kind::Word(encodings), "UTF8", "The drivers support only UTF-8."),
    key(Connection, "autocommit", Kind::Flag, "false", "Whether a scope commits each statement separately instead of running as one transaction."),

    key(Pool, "min_size", Kind::Count { min: 0, max: MOST_SESSIONS }, "1", "Sessions opened at start and kept open."),
    key(Pool, "max_size", Kind::Count { min: 1, max: MOST_SESSIONS }, "10, or min_size if that is more", "Maximum number of sessions, idle and in use together."),
    key(Pool, "timeout", SECONDS, "30", "Longest wait for a session; 0 means no wait."),
    key(Pool, "max_idle", SECONDS, "600", "A session above min_size is closed after being idle this long."),
    key(Pool, "max_lifetime", SECONDS, "3600", "Age at which a session is closed, plus or minus a tenth; 0 means never."),
    key(Pool, "check_on_checkout", Kind::Flag, "false", "Whether a session is checked with a round trip before it is handed out."),
    key(Pool, "max_waiting", count(0), "0", "Maximum number of waiting callers; 0 means no limit."),
    key(Pool, "reconnect_timeout", SECONDS, "300", "How long the pool retries an unreachable server before it reports failure; 0 means no limit."),
    key(Pool, "num_workers", Kind::Count { min: 1, max: 256 }, "3", "Sessions opened concurrently in the background; all blocking pools on one host together open at most 32 at a time."),
    key(Pool, "reset", Kind::Word(words::<Reset>), "auto", "What is reset when a session is released. `auto`: an open transaction, and settings, role, temporary objects, LISTENs and advisory locks if a statement can have changed them; `session`: all of these after every use; `transaction`: an open transaction; `none`: nothing."),
    key(Pool, "statement_cache", count(0), "256", "Prepared statements cached per session, also by a single connection; 0 means none, for a pooler in transaction mode."),
    key(Pool, "leak_warning", SECONDS, "off", "A session held longer than this is logged once, with the place where it was acquired; 0 means off."),
    key(AsyncPool, "multiplex", Kind::Flag, "false", "Whether standalone statements may share a session by pipelining when no session is idle."),

    key(Readers, "max_lag", SECONDS, "", "A standby whose data is older is not used; without it there is no limit."),
    key(Readers, "fallback", Kind::Flag, "true", "Whether the writer is read from while no standby can be used."),
];

fn encodings() -> Vec<&'static str> {
    vec!["UTF8", "auto"]
}

/// A libpq setting that cannot be honoured, with the values that request nothing.
pub(crate) struct Unsupported {
    pub(crate) name: &'static str,
    pub(crate) harmless: &'static [&'static str],
}

const fn unsupported(name: &'static str, harmless: &'static [&'static str]) -> Unsupported {
    Unsupported { name, harmless }
}

/// libpq's keys that are not supported here.
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

/// Accepted as in libpq: the application name if no other is set.
pub(crate) const FALLBACK_APPLICATION_NAME: &str = "fallback_application_name";

/// The short form of `password: { from_file: … }`.
pub(crate) const PASSWORD_FILE: &str = "password_file";

/// The top-level key that turns references off.
pub(crate) const RESOLVE_ENV: &str = "resolve_env";

/// The top-level key with the named overlays.
pub(crate) const PROFILES: &str = "profiles";

/// The top-level section with what differs for the reading side of a cluster.
pub(crate) const READERS: &str = "readers";

/// The top-level wrapper of pgmonkey 2.
pub(crate) const WRAPPER: &str = "postgresql";

/// The sections that hold server parameters.
pub(crate) const SESSION_SECTIONS: [&str; 2] = ["sync_settings", "async_settings"];

/// Returns the keys of a section, by the section's name; `None` if every name is allowed there.
pub(crate) fn of_section(name: &str) -> Option<Vec<&'static Key>> {
    let sections: &[Section] = match name {
        READERS => return Some(of_readers()),
        "" => &[Top],
        "connection_settings" => &[Connection],
        "pool_settings" => &[Pool],
        "async_pool_settings" => &[Pool, AsyncPool],
        _ => return None,
    };
    let keys = KEYS.iter().filter(|key| sections.contains(&key.section));
    Some(keys.collect())
}

/// Returns the keys of `readers`: its own, and the sections that it may overlay.
fn of_readers() -> Vec<&'static Key> {
    let overlays = |key: &Key| {
        matches!((key.section, key.kind), (Top, Kind::Section))
            && ![READERS, PROFILES].contains(&key.name)
    };
    let own = |key: &Key| key.section == Section::Readers;
    KEYS.iter()
        .filter(|key| own(key) || overlays(key))
        .collect()
}

/// Returns the row of a key, by section and name.
pub(crate) fn find(section: &str, name: &str) -> Option<&'static Key> {
    of_section(section)?
        .into_iter()
        .find(|key| key.name == name)
}

/// Whether the value of a key must never be shown, in any section.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    // The name of an algorithm and a path, not passwords.
    if name == "password_encryption" || name == PASSWORD_FILE {
        return false;
    }
    let of_table = KEYS
        .iter()
        .any(|key| matches!(key.kind, Kind::Secret) && key.name == name);
    of_table || SECRET_PARTS.iter().any(|part| name.contains(part))
}

/// Parts of the names of secrets.
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

/// Whether a reference under this key must not have a default: secrets, and the keys that set the
/// client's identity and the roots that it trusts.
pub(crate) fn is_sensitive(name: &str) -> bool {
    let identity = ["sslkey", "sslcert", "sslrootcert", PASSWORD_FILE];
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
            READERS,
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
