//! Checks typed settings, from a file or from code: ranges, counts and combinations.

mod hosts;
pub(crate) mod secrets;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::ProblemKind;
use crate::model::connection::{ConnectionSettings, RootCert};
use crate::model::pool::PoolSettings;
use crate::model::secret_source::SecretSource;
use crate::model::session::SessionSettings;
use crate::model::settings::Settings;
use crate::model::statements::StatementSettings;
use crate::redact::{has_stray_word, suspicion};
use crate::schema::choice::{Pooler, SettingsDelivery, SslMode};
use crate::schema::keys::{self, Kind};
use crate::secret::REDACTED;

const MARK: &str =
    "the value is the placeholder that hides a secret in output; enter the secret itself";

/// Returns all problems, each with its key. The value of a key for which `hidden` returns true is
/// not repeated.
pub(crate) fn problems(
    settings: &Settings,
    hidden: &dyn Fn(&str) -> bool,
) -> Vec<(String, ProblemKind)> {
    let mut found = Found {
        problems: Vec::new(),
        hidden,
    };
    statements(&mut found, &settings.statements);
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
    if settings.connection_settings.session_settings == SettingsDelivery::Transaction {
        with_transactions(&mut found, settings);
    }
    found.problems
}

/// Returns what is wrong with `readers.max_lag`.
pub(crate) fn lag_problem(lag: Duration) -> Option<ProblemKind> {
    if lag.is_zero() {
        let reason = "0 would refuse every standby that has not replayed all of the writer's data; \
                      remove the key for no limit, or allow some lag";
        return Some(ProblemKind::Conflict(reason.to_owned()));
    }
    (!keys::SECONDS.takes(lag)).then(|| ProblemKind::Invalid {
        value: Some(format!("{lag:?}")),
        expected: keys::SECONDS.expected(),
    })
}

struct Found<'a> {
    problems: Vec<(String, ProblemKind)>,
    hidden: &'a dyn Fn(&str) -> bool,
}

impl Found<'_> {
    fn conflict(&mut self, key: &str, reason: impl Into<String>) {
        let kind = ProblemKind::Conflict(reason.into());
        self.problems.push((key.to_owned(), kind));
    }

    fn invalid(&mut self, key: &str, value: Option<String>, expected: impl Into<String>) {
        let expected = expected.into();
        let kind = ProblemKind::Invalid { value, expected };
        self.problems.push((key.to_owned(), kind));
    }
}

fn statements(found: &mut Found<'_>, settings: &StatementSettings) {
    for (name, time) in [
        ("slow_statement", settings.slow_statement),
        ("slow_acquire", settings.slow_acquire),
    ] {
        duration(found, "", name, time);
    }
    let most = settings.statements_per_checkout.unwrap_or_default();
    count(found, "", "statements_per_checkout", most);
}

fn connection(found: &mut Found<'_>, settings: &ConnectionSettings) {
    texts(found, settings);
    hosts::hosts(found, settings);
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

fn texts(found: &mut Found<'_>, settings: &ConnectionSettings) {
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref()
            .map(|path| path.to_string_lossy().into_owned())
    };
    let root = match &settings.sslrootcert {
        Some(RootCert::Path(root)) => path(&Some(root.clone())),
        _ => None,
    };
    let texts = [
        ("dbname", settings.dbname.clone()),
        ("user", settings.user.clone()),
        ("passfile", path(&settings.passfile)),
        ("service", settings.service.clone()),
        ("sslrootcert", root),
        ("sslcert", path(&settings.sslcert)),
        ("sslkey", path(&settings.sslkey)),
        ("sslcrl", path(&settings.sslcrl)),
        ("application_name", settings.application_name.clone()),
        ("options", settings.options.clone()),
    ];
    for (name, text) in texts {
        let key = format!("connection_settings.{name}");
        let text = text.as_deref().unwrap_or_default();
        no_zero_byte(found, &key, text);
        no_connection_string(found, &key, name, text);
    }
    no_password_in_user(found, settings);
    secrets::secrets(found, settings);
}

/// Rejects a connection string in place of a name: it would be shown wherever the name is, and the
/// drivers treat it as a name, so it cannot work.
fn no_connection_string(found: &mut Found<'_>, key: &str, name: &str, text: &str) {
    if text.contains(REDACTED) {
        found.conflict(key, MARK);
        return;
    }
    let wrong = match name {
        // Options may contain secrets, which are hidden, but not a connection string.
        "options" => !text.trim_start().starts_with('-') && suspicion::is_login(text),
        "user" => suspicion::is_connection_string(text),
        _ => !suspicion::is_named(name, text),
    };
    if wrong {
        found.conflict(key, suspicion::ADVICE);
    } else if name == "options" && has_stray_word(text) {
        found.conflict(
            key,
            "contains a secret and a word that is not an option: write each setting as \
             `-c name=value`, and a space in the value as `\\ `",
        );
    }
}

/// Rejects `user: name:password`: it would be shown wherever the role is, also in errors of the
/// server. A role may have a colon in its name; this is accepted if a different password is set.
fn no_password_in_user(found: &mut Found<'_>, settings: &ConnectionSettings) {
    let user = settings.user.as_deref().unwrap_or_default();
    let Some((_, rest)) = user.split_once(':') else {
        return;
    };
    let password = match &settings.password {
        None => None,
        Some(SecretSource::Value(password)) => Some(password.expose()),
        // A role whose password comes from elsewhere may have a colon in its name.
        Some(_) => return,
    };
    if password.is_none_or(|password| password == rest) && !suspicion::is_connection_string(user) {
        found.conflict(
            "connection_settings.user",
            "contains a colon; set `password` to the part after it, or, if the colon belongs to the \
             role's name, to the role's password",
        );
    }
}

fn no_zero_byte(found: &mut Found<'_>, key: &str, text: &str) {
    if text.contains('\0') {
        found.invalid(key, None, "text without zero bytes");
    }
}

fn tls(found: &mut Found<'_>, settings: &ConnectionSettings) {
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
                "must not be older than ssl_min_protocol_version ({})",
                settings.ssl_min_protocol_version
            ),
        );
    }
    let weak = matches!(mode, SslMode::Disable | SslMode::Allow | SslMode::Prefer);
    if settings.sslnegotiation == crate::schema::choice::SslNegotiation::Direct && weak {
        found.conflict(
            "connection_settings.sslnegotiation",
            format!("`direct` needs sslmode require or stronger, not {mode}"),
        );
    }
    if settings.channel_binding == crate::schema::choice::ChannelBinding::Require
        && mode == SslMode::Disable
    {
        found.conflict(
            "connection_settings.channel_binding",
            "`require` needs TLS, but sslmode is disable",
        );
    }
}

fn duration(found: &mut Found<'_>, section: &str, name: &str, time: Option<Duration>) {
    let Some((time, kind)) = time.zip(kind(section, name)) else {
        return;
    };
    if !kind.takes(time) {
        found.invalid(
            &path(section, name),
            Some(format!("{time:?}")),
            kind.expected(),
        );
    }
}

fn count(found: &mut Found<'_>, section: &str, name: &str, value: u32) -> bool {
    let Some(kind @ Kind::Count { min, max }) = kind(section, name) else {
        return true;
    };
    let fits = (min..=max).contains(&value);
    if !fits {
        found.invalid(
            &path(section, name),
            Some(value.to_string()),
            kind.expected(),
        );
    }
    fits
}

fn path(section: &str, name: &str) -> String {
    match section {
        "" => name.to_owned(),
        _ => format!("{section}.{name}"),
    }
}

fn kind(section: &str, name: &str) -> Option<Kind> {
    keys::find(section, name).map(|key| key.kind)
}

fn session(found: &mut Found<'_>, section: &str, settings: &SessionSettings) {
    let mut seen = BTreeSet::new();
    for (name, value) in settings.iter() {
        let key = format!("{section}.{name}");
        if !seen.insert(name.to_ascii_lowercase()) {
            found.conflict(
                &key,
                "the parameter is set twice (names are case-insensitive); remove one",
            );
        }
        no_zero_byte(found, &key, value);
        if !is_parameter(name) {
            found.conflict(
                &key,
                "not a valid name of a server parameter: use letters, digits, `_` and `$`, and dots \
                 only between them",
            );
        }
        if value.contains(REDACTED) {
            found.conflict(&key, MARK);
        }
    }
}

/// Checks settings that are sent as `SET LOCAL` with each transaction.
fn with_transactions(found: &mut Found<'_>, settings: &Settings) {
    let sections = [
        ("sync_settings", &settings.sync_settings),
        ("async_settings", &settings.async_settings),
    ];
    if settings.connection_settings.pooler == Some(Pooler::Statement) {
        found.conflict(
            "connection_settings.session_settings",
            "`transaction` needs transactions, which pooler: statement does not have; set the parameters on the \
             role (ALTER ROLE … SET …)",
        );
    }
    for (section, settings) in sections {
        for (name, _) in settings.iter().filter(|(name, _)| keys::is_secret(name)) {
            found.conflict(
                &format!("{section}.{name}"),
                "session_settings: transaction sends it as text of a statement, which the driver and the server may \
                 log; set it in the program with set_config($1, $2, true)",
            );
        }
    }
    if settings.async_pool_settings.multiplex && !settings.async_settings.is_empty() {
        found.conflict(
            "async_pool_settings.multiplex",
            "only statements outside a transaction can share a session, and session_settings: transaction refuses \
             them",
        );
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

fn pool(found: &mut Found<'_>, section: &str, settings: &PoolSettings) {
    let in_range = count(found, section, "max_size", settings.max_size)
        & count(found, section, "min_size", settings.min_size);
    if in_range && settings.min_size > settings.max_size {
        let [min, max] = [
            ("min_size", settings.min_size),
            ("max_size", settings.max_size),
        ]
        .map(
            |(name, size)| match (found.hidden)(&format!("{section}.{name}")) {
                true => name.to_owned(),
                false => format!("{name} ({size})"),
            },
        );
        found.conflict(
            &format!("{section}.min_size"),
            format!("{min} must not exceed {max}"),
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
