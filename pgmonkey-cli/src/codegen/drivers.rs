//! Programs on the drivers alone, with the file's settings spelled out. No secret is part of them.

mod tls;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use pgmonkey::config::{
    ChannelBinding, ConnectionSettings, Host, LoadBalanceHosts, Loaded, PoolSettings, REDACTED,
    SslNegotiation, TargetSessionAttrs,
};
use pgmonkey::{Config, ConnectionType};

use self::tls::{Source, Tls};
use super::{TOKIO, heading, literal};

/// Where the program takes the password from.
const PASSWORD: &str = "PGPASSWORD";

/// The program for one type. `own` is where a TLS file of the user's own would be.
///
/// # Errors
///
/// The key and value that the drivers cannot do alone.
pub(crate) fn program(
    kind: ConnectionType,
    loaded: &Loaded,
    own: &dyn Fn(&str) -> Option<PathBuf>,
) -> Result<String, String> {
    let settings = &loaded.config.connection_settings;
    let tls = tls::plan(settings, own)?;
    check(settings, &tls)?;
    let config = config(kind, loaded, &tls);
    let program = Program {
        functions: function(&config),
        tls: tls.source,
    };
    let pool = loaded.config.pool_settings_for(kind);
    // The engines' limit is for opening a session too, which 0 would forbid.
    let wait = match (pool.timeout, settings.connect_timeout) {
        (Duration::ZERO, limit) => limit.unwrap_or(Duration::from_secs(10)),
        (timeout, _) => timeout,
    };
    Ok(match kind {
        ConnectionType::Normal => normal(program),
        ConnectionType::Pool => self::pool(program, pool, wait),
        ConnectionType::Async => async_normal(program),
        _ => async_pool(program, pool, wait),
    })
}

/// What would silently be something else without pgmonkey.
fn check(settings: &ConnectionSettings, tls: &Tls) -> Result<(), String> {
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
    if settings.channel_binding == ChannelBinding::Require && tls.source.is_none() {
        return Err(format!(
            "connection_settings.channel_binding: require with sslmode {}",
            settings.sslmode
        ));
    }
    Ok(())
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

/// What the programs of all types begin with.
struct Program {
    functions: String,
    tls: Option<Source>,
}

impl Program {
    /// What encrypts, as an expression.
    fn encryption(&self) -> &'static str {
        match self.tls {
            Some(_) => "tls()?",
            None => "NoTls",
        }
    }

    /// What is imported from the driver itself.
    fn driver(&self) -> &'static str {
        match self.tls {
            Some(_) => "{Config, config}",
            None => "{Config, NoTls, config}",
        }
    }

    /// The whole of it: what it is and needs, what it imports, its functions, then `main`.
    fn text(self, about: &str, dependencies: &[&str], imports: &[String], main: &str) -> String {
        let mut imports = imports.to_vec();
        let mut dependencies = dependencies.to_vec();
        let mut body = self.functions;
        let with = match self.tls {
            Some(source) => {
                imports.extend(source.imports.iter().copied().map(str::to_owned));
                dependencies.extend(source.dependencies);
                body.push_str(&source.function);
                "with TLS by rustls"
            }
            None => "without TLS",
        };
        body.push_str(main);
        let mut text = heading(&format!("{about}, {with}."), &dependencies);
        for (import, word) in [
            ("error::Error", "Error>"),
            ("sync::Arc", "Arc::"),
            ("time::Duration", "Duration::"),
        ] {
            if body.contains(word) {
                let _ = writeln!(text, "use std::{import};");
            }
        }
        text.push('\n');
        imports.sort();
        for import in imports {
            let _ = writeln!(text, "use {import};");
        }
        text + "\n" + &body
    }
}

fn function(config: &str) -> String {
    format!(
        "/// The settings of the file; the password comes from {PASSWORD}.\nfn config() -> Config {{\n{config}    config\n}}\n\n"
    )
}

fn normal(program: Program) -> String {
    let main = format!(
        "\
fn main() -> Result<(), Box<dyn Error>> {{
    let mut client = config().connect({})?;
    let row = client.query_one(\"SELECT version()\", &[])?;
    println!(\"{{}}\", row.get::<_, &str>(0));
    client.close()?;
    Ok(())
}}
",
        program.encryption(),
    );
    let imports = [format!("postgres::{}", program.driver())];
    let about = "One session on the blocking driver";
    program.text(about, &["postgres = \"0.19\""], &imports, &main)
}

fn pool(program: Program, pool: &PoolSettings, wait: Duration) -> String {
    let main = format!(
        "\
fn main() -> Result<(), Box<dyn Error>> {{
    let manager = PostgresConnectionManager::new(config(), {});
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
        program.encryption(),
        pool.min_size,
        pool.max_size,
        duration(wait),
        optional(Some(pool.max_idle)),
        optional(pool.max_lifetime),
        pool.check_on_checkout,
    );
    let imports = [
        format!("r2d2_postgres::postgres::{}", program.driver()),
        "r2d2_postgres::{PostgresConnectionManager, r2d2}".to_owned(),
    ];
    let about = "Many sessions on the blocking driver, kept by r2d2";
    program.text(about, &["r2d2_postgres = \"0.18\""], &imports, &main)
}

fn async_normal(program: Program) -> String {
    let main = format!(
        "\
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {{
    let (client, connection) = config().connect({}).await?;
    // The connection does the talking; it ends when the client is dropped.
    let talking = tokio::spawn(connection);
    let row = client.query_one(\"SELECT version()\", &[]).await?;
    println!(\"{{}}\", row.get::<_, &str>(0));
    drop(client);
    talking.await??;
    Ok(())
}}
",
        program.encryption(),
    );
    let imports = [format!("tokio_postgres::{}", program.driver())];
    let about = "One session on the async driver";
    program.text(about, &["tokio-postgres = \"0.7\"", TOKIO], &imports, &main)
}

fn async_pool(program: Program, pool: &PoolSettings, wait: Duration) -> String {
    let main = format!(
        "\
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {{
    let manager = PgConnectionManager::new(config(), {});
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
        program.encryption(),
        optional(Some(wait)),
        optional(Some(pool.max_idle)),
        optional(pool.max_lifetime),
        pool.check_on_checkout,
        size = pool.max_size,
    );
    let imports = [
        format!("mobc_postgres::tokio_postgres::{}", program.driver()),
        "mobc_postgres::{PgConnectionManager, mobc}".to_owned(),
    ];
    let about = "Many sessions on the async driver, kept by mobc";
    program.text(about, &["mobc-postgres = \"0.9\"", TOKIO], &imports, &main)
}

#[cfg(test)]
mod tests;
