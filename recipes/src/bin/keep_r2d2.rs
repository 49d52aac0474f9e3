//! r2d2 with sessions of a file of pgmonkey.

#![forbid(unsafe_code)]

use pgmonkey::Config;
use pgmonkey::sync::managers::{SessionManager, bare_manager};

// ANCHOR: main
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let manager = SessionManager::new(&config)?;
    let pool = r2d2::Pool::builder().max_size(4).build(manager)?;
    let mut session = pool.get()?; // a `postgres::Client`
    let row = session.query_one("SELECT count(*) FROM accounts", &[])?;
    println!("{} accounts", row.get::<_, i64>(0));
    // ANCHOR_END: main
    println!("{} of r2d2_postgres", bare(&config)?);
    Ok(())
}

// ANCHOR: bare
fn bare(config: &Config) -> Result<i64, Box<dyn std::error::Error>> {
    let manager = bare_manager(config)?; // an error names the key that needs more
    let pool = r2d2::Pool::builder().max_size(4).build(manager)?;
    let row = pool
        .get()?
        .query_one("SELECT count(*) FROM accounts", &[])?;
    Ok(row.get(0))
}
// ANCHOR_END: bare
