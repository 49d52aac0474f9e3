//! Generates programs that use only the drivers and contain the file's settings, without secrets.

mod program;
mod settings;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use pgmonkey::ConnectionType;
use pgmonkey::config::{
    ChannelBinding, ConnectionSettings, Loaded, PoolSettings, SecretSource, TargetSessionAttrs,
};

use self::program::Program;
use self::tls::Tls;
use super::TOKIO;

/// Generates the program for one connection type. `own` is the directory of the user's own TLS
/// files.
///
/// # Errors
///
/// The key and value that the drivers alone do not support.
pub(crate) fn program(
    kind: ConnectionType,
    loaded: &Loaded,
    own: &dyn Fn(&str) -> Option<PathBuf>,
) -> Result<String, String> {
    let settings = &loaded.config.connection_settings;
    let tls = tls::plan(settings, own)?;
    check(settings, &tls)?;
    let program = Program {
        functions: settings::function(kind, loaded, &tls),
        tls: tls.source,
    };
    let pool = loaded.config.pool_settings_for(kind);
    // The engines' timeout also covers opening a session, which 0 would forbid.
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

/// Rejects settings that would silently mean something else without pgmonkey.
fn check(settings: &ConnectionSettings, tls: &Tls) -> Result<(), String> {
    match settings.target_session_attrs {
        TargetSessionAttrs::Any | TargetSessionAttrs::ReadWrite | TargetSessionAttrs::ReadOnly => {}
        attrs => {
            return Err(format!("connection_settings.target_session_attrs: {attrs}"));
        }
    }
    if let Some(SecretSource::Command(command)) = &settings.password {
        let program = command.program();
        return Err(format!(
            "connection_settings.password: from_command {program}"
        ));
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
    let about = "A pool of sessions on the blocking driver, managed by r2d2";
    program.text(about, &["r2d2_postgres = \"0.18\""], &imports, &main)
}

fn async_normal(program: Program) -> String {
    let main = format!(
        "\
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {{
    let (client, connection) = config().connect({}).await?;
    // The connection performs the I/O; it ends when the client is dropped.
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
    let about = "A pool of sessions on the async driver, managed by mobc";
    program.text(about, &["mobc-postgres = \"0.9\"", TOKIO], &imports, &main)
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

#[cfg(test)]
mod tests;
