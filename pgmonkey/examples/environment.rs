//! Layers a file, environment variables and values set by the program, in this order.

use pgmonkey::{Config, ConnectionManager, Error};

// ANCHOR: loader
fn main() -> Result<(), Error> {
    let config = Config::loader()
        .file("pgmonkey.yaml")
        .env(true) // variables such as PGMONKEY_CONNECTION_SETTINGS__HOST override the file
        .set("connection_settings.application_name", "shop")
        .load()?;
    println!("{config}"); // secrets are masked
    let database = ConnectionManager::global().database(&config)?;
    println!(
        "{}",
        database
            .query_one("SELECT current_setting('application_name')", &[])?
            .get::<_, &str>(0)
    );
    Ok(())
}
// ANCHOR_END: loader
