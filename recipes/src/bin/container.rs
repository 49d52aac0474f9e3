//! A configuration for a server whose address is known only when a test has started it.

#![forbid(unsafe_code)]

use pgmonkey::{Config, ConnectionManager, Error};

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let host = args.next().unwrap_or_else(|| "localhost".to_owned());
    let port = args.next().and_then(|port| port.parse().ok());
    let config = in_container(&host, port.unwrap_or(5432))?;
    let pool = ConnectionManager::global().pool(&config)?;
    println!(
        "{}",
        pool.query_one("SELECT current_user::text", &[])?
            .get::<_, &str>(0)
    );
    Ok(())
}

// ANCHOR: config
/// The file of the program, at the address that the container was given.
fn in_container(host: &str, port: u16) -> Result<Config, Error> {
    let loader = Config::loader()
        .file("pgmonkey.yaml")
        .set("connection_settings.host", host)
        .set("connection_settings.port", port);
    Ok(loader.load()?)
}
// ANCHOR_END: config
