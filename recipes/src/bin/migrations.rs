//! Migrations with refinery, on a blocking session.

#![forbid(unsafe_code)]

use pgmonkey::{ClientGuard, Config, ConnectionManager};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Any number that no other part of the program locks.
const MIGRATING: i64 = 7_305_801;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let pool = ConnectionManager::global().pool(&config)?;
    let applied = migrate(&mut pool.acquire()?)?;
    println!("{applied} applied");
    Ok(())
}

// ANCHOR: migrate
fn migrate(client: &mut ClientGuard) -> Result<usize, Box<dyn std::error::Error>> {
    // Other instances of the program wait here. The lock ends when the session is released.
    client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATING])?;
    let report = embedded::migrations::runner().run(&mut **client)?;
    Ok(report.applied_migrations().len())
}
// ANCHOR_END: migrate
