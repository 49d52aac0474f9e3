//! A bare tokio-postgres client with libpq's TLS, from a configuration file.
//!
//! `cargo run -p pgmonkey-connect --example bare -- pgmonkey.yaml`, with `sslmode: verify-full`
//! and `sslrootcert` in the file.

use pgmonkey_config::Config;
use pgmonkey_connect::Connector;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: bare FILE")?;
    let config = Config::from_file(path)?;
    let (driver, connector) = Connector::bare(&config.connection_settings)?;
    let (client, connection) = driver.connect(connector.clone()).await?;
    tokio::spawn(connection);
    let row = client.query_one("SELECT version()", &[]).await?;
    println!("{}\n{:?}", row.get::<_, String>(0), connector.tls());
    Ok(())
}
