//! Migrations with refinery, on an async session.

#![forbid(unsafe_code)]

use pgmonkey::{AsyncClientGuard, Config, ConnectionManager};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Any number that no other part of the program locks.
const MIGRATING: i64 = 7_305_801;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let pool = ConnectionManager::global().async_pool(&config).await?;
    let applied = migrate(&mut pool.acquire().await?).await?;
    println!("{applied} applied");
    Ok(())
}

// ANCHOR: migrate
async fn migrate(client: &mut AsyncClientGuard) -> Result<usize, Box<dyn std::error::Error>> {
    client
        .execute("SELECT pg_advisory_lock($1)", &[&MIGRATING])
        .await?;
    let runner = embedded::migrations::runner();
    let report = runner.run_async(&mut **client).await?;
    Ok(report.applied_migrations().len())
}
// ANCHOR_END: migrate
