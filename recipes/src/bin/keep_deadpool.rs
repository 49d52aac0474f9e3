//! deadpool, bb8 and mobc with sessions of a file of pgmonkey.

#![forbid(unsafe_code)]

use deadpool::managed::Pool;
use pgmonkey::Config;
use pgmonkey::aio::managers::SessionManager;

// ANCHOR: main
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let pool: Pool<SessionManager> = Pool::builder(SessionManager::new(&config)?)
        .max_size(4)
        .build()?;
    let session = pool.get().await?; // a `tokio_postgres::Client`
    let row = session
        .query_one("SELECT count(*) FROM accounts", &[])
        .await?;
    println!("{} accounts", row.get::<_, i64>(0));
    // ANCHOR_END: main
    others(&config).await
}

async fn others(config: &Config) -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: others
    let manager = SessionManager::new(config)?;
    let bb8 = bb8::Pool::builder().max_size(4).build(manager).await?;
    let manager = SessionManager::new(config)?;
    let mobc = mobc::Pool::builder().max_open(4).build(manager);
    let (one, other) = (bb8.get().await?, mobc.get().await?);
    // ANCHOR_END: others
    for session in [&*one, &*other] {
        let row = session
            .query_one("SELECT count(*) FROM accounts", &[])
            .await?;
        println!("{} accounts", row.get::<_, i64>(0));
    }
    Ok(())
}
