//! What values must be together: ranges, counts and combinations, whoever set them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::choice::SslMode;
use crate::config::Settings;
use crate::connection::{ConnectionSettings, Host, RootCert};
use crate::error::ProblemKind;
use crate::keys::{self, Kind, MOST_HOSTS};
use crate::pool::PoolSettings;
use crate::redact::{has_stray_word, suspicion};
use crate::secret::{REDACTED, Secret};
use crate::session::SessionSettings;

const MARK: &str =
    "the value is the mark that hides a secret from readers; put the secret itself here";

/// Writes "not set" in one way: an empty text and a zero limit are `None`.
pub(crate) fn normalise(mut settings: Settings) -> Settings {
    let c = &mut settings.connection_settings;
    for host in &mut c.host {
        if let Host::Name(name) = host {
            *host = Host::new(name);
        }
    }
    for text in [
        &mut c.dbname,
        &mut c.user,
        &mut c.service,
        &mut c.application_name,
        &mut c.options,
    ] {
        text.take_if(|text| text.is_empty());
    }
    for path in [
        &mut c.passfile,
        &mut c.sslcert,
        &mut c.sslkey,
        &mut c.sslcrl,
    ] {
        path.take_if(|path| path.as_os_str().is_empty());
    }
    c.sslrootcert
        .take_if(|root| matches!(root, RootCert::Path(path) if path.as_os_str().is_empty()));
    for secret in [&mut c.password, &mut c.sslpassword] {
        secret.take_if(|secret| secret.expose().is_empty());
    }
    for limit in [
        &mut c.connect_timeout,
        &mut c.keepalives_idle,
        &mut c.keepalives_interval,
        &mut c.tcp_user_timeout,
    ] {
        limit.take_if(|limit| limit.is_zero());
    }
    c.keepalives_count.take_if(|count| *count == 0);
    for pool in [
        &mut settings.pool_settings,
        &mut settings.async_pool_settings,
    ] {
        pool.max_lifetime.take_if(|limit| limit.is_zero());
        pool.reconnect_timeout.take_if(|limit| limit.is_zero());
        pool.leak_warning.take_if(|limit| limit.is_zero());
        pool.max_waiting.take_if(|limit| *limit == 0);
    }
    settings
}

/// Everything that is wrong, with the key that is to blame.
pub(crate) fn problems(settings: &Settings) -> Vec<(String, ProblemKind)> {
    let mut found = Found::default();
    connection(&mut found, &settings.connection_settings);
    session(&mut found, "sync_settings", &settings.sync_settings);
    session(&mut found, "async_settings", &settings.async_settings);
    pool(&mut found, "pool_settings", &settings.pool_settings);
    pool(
        &mut found,
        "async_pool_settings",
        &settings.async_pool_settings,
    );
    if settings.pool_settings.multiplex {
        found.conflict(
            "pool_settings.multiplex",
            "only async pools can multiplex; set it in async_pool_settings",
        );
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<(String, ProblemKind)>);

impl Found {
    fn conflict(&mut self, key: &str, reason: impl Into<String>) {
        let kind = ProblemKind::Conflict(reason.into());
        self.0.push((key.to_owned(), kind));
    }

    fn invalid(&mut self, key: &str, value: Option<String>, expected: impl Into<String>) {
        let expected = expected.into();
        let kind = ProblemKind::Invalid { value, expected };
        self.0.push((key.to_owned(), kind));
    }
}

fn connection(found: &mut Found, settings: &ConnectionSettings) {
    texts(found, settings);
    hosts(found, settings);
    tls(found, settings);
    for (name, time) in [
        ("connect_timeout", settings.connect_timeout),
        ("keepalives_idle", settings.keepalives_idle),
        ("keepalives_interval", settings.keepalives_interval),
        ("tcp_user_timeout", settings.tcp_user_timeout),
    ] {
        duration(found, "connection_settings", name, time);
    }
    if let Some(value) = settings.keepalives_count {
        count(found, "connection_settings", "keepalives_count", value);
    }
}

fn texts(found: &mut Found, settings: &ConnectionSettings) {
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref()
            .map(|path| path.to_string_lossy().into_owned())
    };
    let root = match &settings.sslrootcert {
        Some(RootCert::Path(root)) => path(&Some(root.clone())),
        _ => None,
    };
    let expose = |secret: &Option<Secret>| secret.as_ref().map(|s| s.expose().to_owned());
    let texts = [
        ("dbname", settings.dbname.clone()),
        ("user", settings.user.clone()),
        ("password", expose(&settings.password)),
        ("passfile", path(&settings.passfile)),
        ("service", settings.service.clone()),
        ("sslrootcert", root),
        ("sslcert", path(&settings.sslcert)),
        ("sslkey", path(&settings.sslkey)),
        ("sslpassword", expose(&settings.sslpassword)),
        ("sslcrl", path(&settings.sslcrl)),
        ("application_name", settings.application_name.clone()),
        ("options", settings.options.clone()),
    ];
    for (name, text) in texts {
        let key = format!("connection_settings.{name}");
        let text = text.as_deref().unwrap_or_default();
        no_zero_byte(found, &key, text);
        if !keys::is_secret(name) {
            no_connection_string(found, &key, name, text);
        }
    }
    no_password_in_user(found, settings);
    for (name, secret) in [
        ("password", &settings.password),
        ("sslpassword", &settings.sslpassword),
    ] {
        if secret.as_ref().is_some_and(|s| s.expose() == REDACTED) {
            found.conflict(&format!("connection_settings.{name}"), MARK);
        }
    }
}

/// A connection string in the place of a name would be shown wherever the name is. The drivers take
/// it for a name too, so that it leads nowhere.
fn no_connection_string(found: &mut Found, key: &str, name: &str, text: &str) {
    if text.contains(REDACTED) {
        found.conflict(key, MARK);
        return;
    }
    let wrong = match name {
        // Options may hold secrets, which are hidden, but no connection string.
        "options" => !text.trim_start().starts_with('-') && suspicion::is_login(text),
        "user" => suspicion::is_connection_string(text),
        _ => !suspicion::is_named(name, text),
    };
    if wrong {
        found.conflict(key, suspicion::ADVICE);
    } else if name == "options" && has_stray_word(text) {
        found.conflict(
            key,
            "a word that is no option stands beside a secret: write `-c name=value`, and a blank in the value as `\\ `",
        );
    }
}

/// `user: name:password` would be shown wherever the role is, by the server's errors too. A role may
/// have a colon in its name; then its password is known to stand elsewhere.
fn no_password_in_user(found: &mut Found, settings: &ConnectionSettings) {
    let user = settings.user.as_deref().unwrap_or_default();
    let Some((_, rest)) = user.split_once(':') else {
        return;
    };
    let password = settings.password.as_ref().map(Secret::expose);
    if password.is_none_or(|password| password == rest) && !suspicion::is_connection_string(user) {
        found.conflict(
            "connection_settings.user",
            "a role's name, and here is a colon: `password` takes what follows it, or the password of a role with a colon in its name",
        );
    }
}

fn no_zero_byte(found: &mut Found, key: &str, text: &str) {
    if text.contains('\0') {
        found.invalid(key, None, "text without zero bytes");
    }
}

fn hosts(found: &mut Found, settings: &ConnectionSettings) {
    for (key, count, kind) in [
        ("host", settings.host.len(), Kind::Hosts),
        ("hostaddr", settings.hostaddr.len(), Kind::Addresses),
    ] {
        if count > MOST_HOSTS {
            let key = format!("connection_settings.{key}");
            found.invalid(&key, Some(format!("{count} of them")), kind.expected());
        }
    }
    for host in settings.host.iter().take(MOST_HOSTS) {
        if let Some(reason) = host_problem(host) {
            found.conflict("connection_settings.host", reason);
        }
    }
    let (hosts, addresses) = (settings.host.len(), settings.hostaddr.len());
    if hosts > 0 && addresses > 0 && hosts != addresses {
        found.conflict(
            "connection_settings.hostaddr",
            format!("{addresses} for {hosts} in host; give one for each"),
        );
    }
    let servers = hosts.max(addresses).max(1);
    let ports = settings.port.len();
    if ports > 1 && ports != servers {
        found.conflict(
            "connection_settings.port",
            format!("{ports} for {servers} in host; give one, or one for each"),
        );
    }
    for port in settings.port.iter().filter(|port| **port == 0) {
        found.invalid(
            "connection_settings.port",
            Some(port.to_string()),
            Kind::Ports.expected(),
        );
    }
}

fn host_problem(host: &Host) -> Option<&'static str> {
    match host {
        Host::Ip(_) => None,
        Host::Unix(path) if path.as_os_str().as_encoded_bytes().contains(&0) => {
            Some("expected text without zero bytes")
        }
        Host::Unix(path) => {
            suspicion::is_connection_string(&path.to_string_lossy()).then_some(suspicion::ADVICE)
        }
        Host::Name(name) if name.is_empty() => Some("a host in the list is empty"),
        Host::Name(name) if name.contains("://") => Some("a URL is no host; use `url` for it"),
        Host::Name(name) if name.starts_with('@') => {
            Some("abstract Unix sockets (@) are not supported; use a socket directory")
        }
        Host::Name(name) if name.starts_with('[') => {
            Some("an IPv6 address stands without brackets here")
        }
        Host::Name(name) if has_zone(name) => None,
        Host::Name(name) if name.contains(':') => Some("a host holds no port; set `port` for it"),
        Host::Name(name) => name
            .chars()
            .any(|c| c.is_ascii() && !c.is_ascii_alphanumeric() && !"-._".contains(c))
            .then_some("expected a name, an address or a /directory"),
    }
}

/// An address of one network interface, as in `fe80::1%eth0`.
fn has_zone(name: &str) -> bool {
    let parts = name.split_once('%');
    parts.is_some_and(|(address, zone)| {
        let word = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        address.parse::<std::net::Ipv6Addr>().is_ok() && zone.chars().all(word)
    })
}

fn tls(found: &mut Found, settings: &ConnectionSettings) {
    let mode = settings.sslmode;
    if settings.sslrootcert == Some(RootCert::System) && mode != SslMode::VerifyFull {
        found.conflict(
            "connection_settings.sslrootcert",
            format!(
                "`system` trusts every public authority, so it needs sslmode verify-full, not {mode}"
            ),
        );
    }
    if settings.sslcert.is_some() && settings.sslkey.is_none() {
        found.conflict(
            "connection_settings.sslcert",
            "a certificate needs its private key; set sslkey too",
        );
    }
    if settings.sslkey.is_some() && settings.sslcert.is_none() {
        found.conflict(
            "connection_settings.sslkey",
            "a private key needs its certificate; set sslcert too",
        );
    }
    if settings
        .ssl_max_protocol_version
        .is_some_and(|max| max < settings.ssl_min_protocol_version)
    {
        found.conflict(
            "connection_settings.ssl_max_protocol_version",
            format!(
                "is older than ssl_min_protocol_version {}",
                settings.ssl_min_protocol_version
            ),
        );
    }
    let weak = matches!(mode, SslMode::Disable | SslMode::Allow | SslMode::Prefer);
    if settings.sslnegotiation == crate::choice::SslNegotiation::Direct && weak {
        found.conflict(
            "connection_settings.sslnegotiation",
            format!("`direct` needs sslmode require or stronger, not {mode}"),
        );
    }
    if settings.channel_binding == crate::choice::ChannelBinding::Require
        && mode == SslMode::Disable
    {
        found.conflict(
            "connection_settings.channel_binding",
            "`require` needs TLS, but sslmode is disable",
        );
    }
}

fn duration(found: &mut Found, section: &str, name: &str, time: Option<Duration>) {
    let Some((time, kind)) = time.zip(kind(section, name)) else {
        return;
    };
    if !kind.takes(time) {
        found.invalid(
            &format!("{section}.{name}"),
            Some(format!("{time:?}")),
            kind.expected(),
        );
    }
}

fn count(found: &mut Found, section: &str, name: &str, value: u32) -> bool {
    let Some(kind @ Kind::Count { min, max }) = kind(section, name) else {
        return true;
    };
    let fits = (min..=max).contains(&value);
    if !fits {
        found.invalid(
            &format!("{section}.{name}"),
            Some(value.to_string()),
            kind.expected(),
        );
    }
    fits
}

fn kind(section: &str, name: &str) -> Option<Kind> {
    keys::find(section, name).map(|key| key.kind)
}

fn session(found: &mut Found, section: &str, settings: &SessionSettings) {
    let mut seen = BTreeSet::new();
    for (name, value) in settings.iter() {
        let key = format!("{section}.{name}");
        if !seen.insert(name.to_ascii_lowercase()) {
            found.conflict(
                &key,
                "the same parameter twice; case does not count in its name",
            );
        }
        no_zero_byte(found, &key, value);
        if !is_parameter(name) {
            found.conflict(
                &key,
                "a server parameter has letters, digits, `_` and `$`, and at most dots between",
            );
        }
        if value.contains(REDACTED) {
            found.conflict(&key, MARK);
        }
    }
}

/// PostgreSQL's rule for the name of a parameter, extensions included.
fn is_parameter(name: &str) -> bool {
    name.split('.').all(|part| {
        let mut chars = part.chars();
        let first = chars.next();
        first.is_some_and(|c| c.is_alphabetic() || c == '_')
            && chars.all(|c| c.is_alphanumeric() || "_$".contains(c))
    })
}

fn pool(found: &mut Found, section: &str, settings: &PoolSettings) {
    let in_range = count(found, section, "max_size", settings.max_size)
        & count(found, section, "min_size", settings.min_size);
    if in_range && settings.min_size > settings.max_size {
        found.conflict(
            &format!("{section}.min_size"),
            format!(
                "min_size {} is more than max_size {}",
                settings.min_size, settings.max_size
            ),
        );
    }
    let cache = u32::try_from(settings.statement_cache).unwrap_or(u32::MAX);
    for (name, value) in [
        ("num_workers", settings.num_workers),
        ("max_waiting", settings.max_waiting.unwrap_or_default()),
        ("statement_cache", cache),
    ] {
        count(found, section, name, value);
    }
    for (name, time) in [
        ("timeout", Some(settings.timeout)),
        ("max_idle", Some(settings.max_idle)),
        ("max_lifetime", settings.max_lifetime),
        ("reconnect_timeout", settings.reconnect_timeout),
        ("leak_warning", settings.leak_warning),
    ] {
        duration(found, section, name, time);
    }
}
