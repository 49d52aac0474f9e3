//! Generates programs on the `pgmonkey` crate, which read the file at run time.

use pgmonkey::ConnectionType;

use super::{TOKIO, heading, literal};

/// How the program reads the file.
pub(crate) struct Reading<'a> {
    /// The file's name as the program uses it.
    pub(crate) path: &'a str,
    pub(crate) allow_sensitive_defaults: bool,
    pub(crate) allow_commands: bool,
    pub(crate) profile: Option<&'a str>,
}

impl Reading<'_> {
    fn expression(&self) -> String {
        let path = literal(self.path);
        let mut calls = String::new();
        if self.allow_sensitive_defaults {
            calls.push_str("        .allow_sensitive_defaults(true)\n");
        }
        if self.allow_commands {
            calls.push_str("        .allow_commands(true)\n");
        }
        if let Some(name) = self.profile {
            calls.push_str(&format!("        .profile({})\n", literal(name)));
        }
        match calls.is_empty() {
            true => format!("Config::from_file({path})?"),
            false => format!("Config::loader()\n        .file({path})\n{calls}        .load()?"),
        }
    }
}

const NORMAL: &str = "\
use pgmonkey::{Config, ConnectionManager, Error};

fn main() -> Result<(), Error> {
    let config = {config};
    // Returns the same connection on every call, anywhere in the program.
    let connection = ConnectionManager::global().connection(&config)?;
    let row = connection.query_one(\"SELECT version()\", &[])?;
    println!(\"{}\", row.get::<_, &str>(0));
    Ok(())
}
";

const POOL: &str = "\
use pgmonkey::{Config, ConnectionManager, Error};

fn main() -> Result<(), Error> {
    let config = {config};
    // Returns the same pool on every call, anywhere in the program.
    let pool = ConnectionManager::global().pool(&config)?;
    // Committed if the closure returns Ok, rolled back if it returns Err or panics.
    let version: String = pool.transaction(|tx| {
        let row = tx.query_one(\"SELECT version()\", &[])?;
        Ok(row.get(0))
    })?;
    println!(\"{version}\");
    println!(\"{}\", pool.status());
    Ok(())
}
";

const ASYNC: &str = "\
use pgmonkey::{Config, ConnectionManager, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let config = {config};
    // Returns the same connection on every call, anywhere in the program.
    let connection = ConnectionManager::global()
        .async_connection(&config)
        .await?;
    let row = connection.query_one(\"SELECT version()\", &[]).await?;
    println!(\"{}\", row.get::<_, &str>(0));
    Ok(())
}
";

const ASYNC_POOL: &str = "\
use pgmonkey::{Config, ConnectionManager, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let config = {config};
    // Returns the same pool on every call, anywhere in the program.
    let pool = ConnectionManager::global().async_pool(&config).await?;
    // Committed if the closure returns Ok, rolled back if it returns Err, panics or is dropped.
    let version: String = pool
        .transaction(async |tx| {
            let row = tx.query_one(\"SELECT version()\", &[]).await?;
            Ok(row.get(0))
        })
        .await?;
    println!(\"{version}\");
    println!(\"{}\", pool.status());
    Ok(())
}
";

/// Generates the program for one connection type, for a file that needs these features.
pub(crate) fn program(kind: ConnectionType, reading: &Reading<'_>, features: &[&str]) -> String {
    let (about, text) = match kind {
        ConnectionType::Normal => ("One session, shared by the threads of the program.", NORMAL),
        ConnectionType::Pool => (
            "A pool of sessions, shared by the threads of the program.",
            POOL,
        ),
        ConnectionType::Async => ("One session, shared by the tasks of the program.", ASYNC),
        _ => (
            "A pool of sessions, shared by the tasks of the program.",
            ASYNC_POOL,
        ),
    };
    let ours = dependency(features);
    let dependencies: &[&str] = match kind.is_async() {
        true => &[&ours, TOKIO],
        false => &[&ours],
    };
    heading(about, dependencies) + &text.replace("{config}", &reading.expression())
}

/// The line of `Cargo.toml` for pgmonkey with these features.
fn dependency(features: &[&str]) -> String {
    const VERSION: &str = concat!(
        "\"",
        env!("CARGO_PKG_VERSION_MAJOR"),
        ".",
        env!("CARGO_PKG_VERSION_MINOR"),
        "\""
    );
    match features {
        [] => format!("pgmonkey = {VERSION}"),
        _ => format!("pgmonkey = {{ version = {VERSION}, features = {features:?} }}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_that_are_off_by_default_are_in_the_dependency() {
        assert!(dependency(&[]).starts_with("pgmonkey = \""));
        let both = dependency(&["toml", "encrypted-keys"]);
        assert!(
            both.ends_with(", features = [\"toml\", \"encrypted-keys\"] }"),
            "{both}"
        );
    }
}
