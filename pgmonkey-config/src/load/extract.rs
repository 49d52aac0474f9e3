//! Extracts typed settings from the merged tree and collects all problems.

mod reader;
pub(crate) mod value;

use std::time::Duration;

use figment::value::Dict;

use self::reader::Reader;
use crate::error::ProblemKind;
use crate::model::connection::{ConnectionSettings, RootCert};
use crate::model::pool::PoolSettings;
use crate::model::settings::Settings;
use crate::model::statements::StatementSettings;
use crate::schema::choice::SslMode;
use crate::schema::keys;

/// A key with its section, and what is wrong with it.
pub(crate) type Found = (Vec<String>, ProblemKind);

/// Reads the settings; an invalid value is replaced by the default.
pub(crate) fn settings(dict: &Dict) -> (Settings, Vec<Found>) {
    let mut problems = Vec::new();
    let mut top = Reader::new("", Some(dict), &mut problems);
    let connection_type = top.word("connection_type");
    top.flag("libpq_sources", true);
    top.flag(keys::RESOLVE_ENV, true);
    let statements = statements(&mut top);
    let mut section = Reader::of(dict, &mut problems, "connection_settings");
    let connection_settings = connection(&mut section);
    let sync_settings = Reader::of(dict, &mut problems, "sync_settings").parameters();
    let async_settings = Reader::of(dict, &mut problems, "async_settings").parameters();
    let cached = match connection_settings.pooler {
        // A prepared statement exists in one server session only.
        Some(pooler) if pooler.switches_sessions() => 0,
        _ => PoolSettings::default().statement_cache,
    };
    let pool_settings = pool(
        &mut Reader::of(dict, &mut problems, "pool_settings"),
        cached,
    );
    let mut section = Reader::of(dict, &mut problems, "async_pool_settings");
    let mut async_pool_settings = pool(&mut section, cached);
    async_pool_settings.multiplex = section.flag("multiplex", false);
    let settings = Settings {
        readers: None,
        connection_type,
        statements,
        connection_settings,
        sync_settings,
        async_settings,
        pool_settings,
        async_pool_settings,
    };
    (settings, problems)
}

/// Reads the keys of `readers` that are not in a section of their own.
pub(crate) fn readers(dict: &Dict) -> (Option<Duration>, bool, Vec<Found>) {
    let mut problems = Vec::new();
    let mut reader = Reader::new(keys::READERS, Some(dict), &mut problems);
    let max_lag = reader.seconds("max_lag");
    let fallback = reader.flag("fallback", true);
    for (path, _) in &mut problems {
        // The tree is that of the section.
        path.remove(0);
    }
    (max_lag, fallback, problems)
}

fn statements(reader: &mut Reader<'_>) -> StatementSettings {
    StatementSettings {
        slow_statement: reader.seconds_or_off("slow_statement"),
        slow_acquire: reader.seconds_or_off("slow_acquire"),
        statements_per_checkout: reader.count_or_off("statements_per_checkout"),
        statement_text: reader.word("statement_text"),
        statement_stats: reader.flag("statement_stats", true),
        sqlcommenter: reader.flag("sqlcommenter", false),
    }
}

fn connection(reader: &mut Reader<'_>) -> ConnectionSettings {
    let default = ConnectionSettings::default();
    // These are not part of the result, but their values must be valid too.
    reader.path("servicefile");
    reader.encoding("client_encoding");
    let fallback = reader.text(keys::FALLBACK_APPLICATION_NAME);
    let sslrootcert = reader.roots("sslrootcert");
    let sslmode = reader.optional_word("sslmode");
    // As in libpq, `system` makes the strongest mode the default.
    let default_mode = match sslrootcert {
        Some(RootCert::System) => SslMode::VerifyFull,
        _ => SslMode::default(),
    };
    ConnectionSettings {
        host: reader.hosts("host"),
        hostaddr: reader.addresses("hostaddr"),
        port: reader.ports("port"),
        dbname: reader.text("dbname"),
        user: reader.text("user"),
        password: reader.secret("password"),
        passfile: reader.path("passfile"),
        service: reader.text("service"),
        sslmode: sslmode.unwrap_or(default_mode),
        sslrootcert,
        sslcert: reader.path("sslcert"),
        sslkey: reader.path("sslkey"),
        sslpassword: reader.secret("sslpassword"),
        sslcrl: reader.path("sslcrl"),
        sslsni: reader.flag("sslsni", default.sslsni),
        sslnegotiation: reader.word("sslnegotiation"),
        ssl_min_protocol_version: reader.word("ssl_min_protocol_version"),
        ssl_max_protocol_version: reader.optional_word("ssl_max_protocol_version"),
        channel_binding: reader.word("channel_binding"),
        require_auth: reader.methods("require_auth"),
        connect_timeout: reader
            .seconds("connect_timeout")
            .or(default.connect_timeout),
        application_name: reader.text("application_name").or(fallback),
        options: reader.text("options"),
        keepalives: reader.flag("keepalives", default.keepalives),
        keepalives_idle: reader.seconds("keepalives_idle"),
        keepalives_interval: reader.seconds("keepalives_interval"),
        keepalives_count: reader.optional_count("keepalives_count"),
        tcp_user_timeout: reader.milliseconds("tcp_user_timeout"),
        target_session_attrs: reader.word("target_session_attrs"),
        load_balance_hosts: reader.word("load_balance_hosts"),
        follow_dns: reader.flag("follow_dns", default.follow_dns),
        pooler: reader.optional_word("pooler"),
        session_settings: reader.word("session_settings"),
        autocommit: reader.flag("autocommit", default.autocommit),
    }
}

fn pool(reader: &mut Reader<'_>, cached: usize) -> PoolSettings {
    let default = PoolSettings::default();
    let min_size = reader.count("min_size", default.min_size);
    PoolSettings {
        min_size,
        max_size: reader.count("max_size", default.max_size.max(min_size)),
        timeout: reader.seconds("timeout").unwrap_or(default.timeout),
        max_idle: reader.seconds("max_idle").unwrap_or(default.max_idle),
        max_lifetime: reader.seconds("max_lifetime").or(default.max_lifetime),
        check_on_checkout: reader.flag("check_on_checkout", default.check_on_checkout),
        max_waiting: reader.optional_count("max_waiting"),
        reconnect_timeout: reader
            .seconds("reconnect_timeout")
            .or(default.reconnect_timeout),
        num_workers: reader.count("num_workers", default.num_workers),
        reset: reader.word("reset"),
        statement_cache: reader
            .optional_count("statement_cache")
            .map_or(cached, |count| count as usize),
        leak_warning: reader.seconds_or_off("leak_warning"),
        multiplex: false,
    }
}
