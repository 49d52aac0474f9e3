//! Programs on the drivers alone, with the file's settings spelled out. No secret is part of them.

use std::fmt::Write as _;
use std::time::Duration;

use pgmonkey::config::{
    ChannelBinding, ConnectionSettings, Host, LoadBalanceHosts, Loaded, PoolSettings, REDACTED,
    SslMode, TargetSessionAttrs,
};
use pgmonkey::{Config, ConnectionType};

use super::{TOKIO, heading, literal};

/// Where the program takes the password from.
const PASSWORD: &str = "PGPASSWORD";

/// The program for one type.
///
/// # Errors
///
/// The key and value that the drivers cannot do alone.
pub(crate) fn program(kind: ConnectionType, loaded: &Loaded) -> Result<String, String> {
    let settings = &loaded.config.connection_settings;
    check(settings)?;
    let config = config(kind, loaded);
    let pool = loaded.config.pool_settings_for(kind);
    // The engines' limit is for opening a session too, which 0 would forbid.
    let wait = match (pool.timeout, settings.connect_timeout) {
        (Duration::ZERO, limit) => limit.unwrap_or(Duration::from_secs(10)),
        (timeout, _) => timeout,
    };
    Ok(match kind {
        ConnectionType::Normal => normal(&config),
        ConnectionType::Pool => self::pool(&config, pool, wait),
        ConnectionType::Async => async_normal(&config),
        _ => async_pool(&config, pool, wait),
    })
}

/// What would silently be something else without pgmonkey.
fn check(settings: &ConnectionSettings) -> Result<(), String> {
    match settings.sslmode {
        SslMode::Disable | SslMode::Allow | SslMode::Prefer => {}
        mode => return Err(format!("connection_settings.sslmode: {mode}")),
    }
    match settings.target_session_attrs {
        TargetSessionAttrs::Any | TargetSessionAttrs::ReadWrite | TargetSessionAttrs::ReadOnly => {}
        attrs => {
            return Err(format!("connection_settings.target_session_attrs: {attrs}"));
        }
    }
    if !settings.require_auth.is_any() {
        return Err(format!(
            "connection_settings.require_auth: {}",
            settings.require_auth
        ));
    }
    Ok(())
}

/// The lines that build the driver's configuration, as the body of a function.
fn config(kind: ConnectionType, loaded: &Loaded) -> String {
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
    let _ = writeln!(
        text,
        "    if let Ok(password) = std::env::var({PASSWORD:?}) {{\n        config.password(password);\n    }}"
    );
    text
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

fn preferences(lines: &mut Vec<String>, settings: &ConnectionSettings) {
    // Without TLS a session is plain whatever `prefer` says; `disable` does not even ask.
    call(lines, "ssl_mode", "config::SslMode::Disable");
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
    if settings.channel_binding == ChannelBinding::Disable {
        call(lines, "channel_binding", "config::ChannelBinding::Disable");
    }
}

/// The server's command line: the file's `options`, then its server parameters, blanks and
/// backslashes escaped as the server reads them. What is secret is left to the reader.
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
        shown.is_some_and(|value| value.value == REDACTED)
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

fn duration(time: Duration) -> String {
    match time.subsec_nanos() {
        0 => format!("Duration::from_secs({})", time.as_secs()),
        _ => format!("Duration::from_millis({})", time.as_millis().max(1)),
    }
}

fn optional(time: Option<Duration>) -> String {
    let set = time.filter(|time| !time.is_zero());
    set.map_or_else(
        || "None".to_owned(),
        |time| format!("Some({})", duration(time)),
    )
}

/// `use std::time::Duration;` where it is needed.
fn with_imports(imports: &[&str], body: &str) -> String {
    let mut text = String::from("use std::error::Error;\n");
    if body.contains("Duration::") {
        text.push_str("use std::time::Duration;\n");
    }
    text.push('\n');
    for import in imports {
        let _ = writeln!(text, "use {import};");
    }
    text + "\n" + body
}

fn function(config: &str) -> String {
    format!(
        "/// The settings of the file; the password comes from {PASSWORD}.\nfn config() -> Config {{\n{config}    config\n}}\n\n"
    )
}

fn normal(config: &str) -> String {
    let body = function(config)
        + "\
fn main() -> Result<(), Box<dyn Error>> {
    let mut client = config().connect(NoTls)?;
    let row = client.query_one(\"SELECT version()\", &[])?;
    println!(\"{}\", row.get::<_, &str>(0));
    client.close()?;
    Ok(())
}
";
    let about = "One session on the blocking driver, without TLS.";
    heading(about, &["postgres = \"0.19\""])
        + &with_imports(&["postgres::{Config, NoTls, config}"], &body)
}

fn pool(config: &str, pool: &PoolSettings, wait: Duration) -> String {
    let body = function(config)
        + &format!(
            "\
fn main() -> Result<(), Box<dyn Error>> {{
    let manager = PostgresConnectionManager::new(config(), NoTls);
    let pool = r2d2::Pool::builder()
        .min_idle(Some({}))
        .max_size({})
        .connection_timeout({})
        .idle_timeout({})
        .max_lifetime({})
        .test_on_check_out({})
        .build(manager)?;
    let mut client = pool.get()?;
    let mut tx = client.transaction()?;
    let row = tx.query_one(\"SELECT version()\", &[])?;
    println!(\"{{}}\", row.get::<_, &str>(0));
    tx.commit()?;
    Ok(())
}}
",
            pool.min_size,
            pool.max_size,
            duration(wait),
            optional(Some(pool.max_idle)),
            optional(pool.max_lifetime),
            pool.check_on_checkout,
        );
    let about = "Many sessions on the blocking driver, kept by r2d2, without TLS.";
    heading(about, &["r2d2_postgres = \"0.18\""])
        + &with_imports(
            &[
                "r2d2_postgres::postgres::{Config, NoTls, config}",
                "r2d2_postgres::{PostgresConnectionManager, r2d2}",
            ],
            &body,
        )
}

fn async_normal(config: &str) -> String {
    let body = function(config)
        + "\
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (client, connection) = config().connect(NoTls).await?;
    // The connection does the talking; it ends when the client is dropped.
    let talking = tokio::spawn(connection);
    let row = client.query_one(\"SELECT version()\", &[]).await?;
    println!(\"{}\", row.get::<_, &str>(0));
    drop(client);
    talking.await??;
    Ok(())
}
";
    let about = "One session on the async driver, without TLS.";
    heading(about, &["tokio-postgres = \"0.7\"", TOKIO])
        + &with_imports(&["tokio_postgres::{Config, NoTls, config}"], &body)
}

fn async_pool(config: &str, pool: &PoolSettings, wait: Duration) -> String {
    let body = function(config)
        + &format!(
            "\
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {{
    let manager = PgConnectionManager::new(config(), NoTls);
    let pool = mobc::Pool::builder()
        .max_open({size})
        .max_idle({size})
        .get_timeout({})
        .max_idle_lifetime({})
        .max_lifetime({})
        .test_on_check_out({})
        .build(manager);
    let mut client = pool.get().await?;
    let tx = client.transaction().await?;
    let row = tx.query_one(\"SELECT version()\", &[]).await?;
    println!(\"{{}}\", row.get::<_, &str>(0));
    tx.commit().await?;
    Ok(())
}}
",
            optional(Some(wait)),
            optional(Some(pool.max_idle)),
            optional(pool.max_lifetime),
            pool.check_on_checkout,
            size = pool.max_size,
        );
    let about = "Many sessions on the async driver, kept by mobc, without TLS.";
    heading(about, &["mobc-postgres = \"0.9\"", TOKIO])
        + &with_imports(
            &[
                "mobc_postgres::tokio_postgres::{Config, NoTls, config}",
                "mobc_postgres::{PgConnectionManager, mobc}",
            ],
            &body,
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(yaml: &str, kind: ConnectionType) -> Result<String, String> {
        let loader = Config::loader().libpq_sources(false).yaml(yaml);
        program(kind, &loader.load_with_sources().expect("it is right"))
    }

    #[test]
    fn no_secret_is_part_of_a_program() {
        let yaml = "connection_settings: { host: db, user: a, password: S3cret, options: '-c my.password=S3cret' }\n\
                    sync_settings: { my.api_token: S3cret, work_mem: 64MB }\n";
        for kind in ConnectionType::ALL {
            let text = generated(yaml, kind).expect("it can be done");
            assert!(!text.contains("S3cret"), "{text}");
            assert!(
                text.contains("connection_settings.options holds a secret"),
                "{text}"
            );
        }
        let text = generated(yaml, ConnectionType::Pool).expect("it can be done");
        assert!(
            text.contains("sync_settings.my.api_token holds a secret"),
            "{text}"
        );
        assert!(text.contains(r#".options("-c work_mem=64MB")"#), "{text}");
    }

    #[test]
    fn what_the_drivers_cannot_do_is_refused() {
        for wanted in [
            "sslmode: verify-full",
            "target_session_attrs: standby",
            "require_auth: md5",
        ] {
            let yaml = format!("connection_settings: {{ host: db, {wanted} }}");
            let refused = generated(&yaml, ConnectionType::Normal).expect_err(wanted);
            assert!(refused.contains(wanted), "{refused}");
        }
    }

    #[test]
    fn blanks_reach_the_server() {
        let yaml = "connection_settings: { host: db, user: a }\nsync_settings: { DateStyle: 'ISO, DMY' }\n";
        let text = generated(yaml, ConnectionType::Normal).expect("it can be done");
        assert!(
            text.contains(r#".options("-c DateStyle=ISO,\\ DMY")"#),
            "{text}"
        );
    }
}
