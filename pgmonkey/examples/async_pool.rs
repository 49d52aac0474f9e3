//! A pool of sessions for tasks.
use pgmonkey::{Config, ConnectionManager, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let pool = ConnectionManager::global().async_pool(&config).await?;
    let sum: i64 = pool
        .transaction(async |tx| {
            tx.batch_execute("CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1 AS n")
                .await?;
            Ok(tx.query_one("SELECT sum(n) FROM t", &[]).await?.get(0))
        })
        .await?;
    println!("the sum is {sum}");
    Ok(())
}
