//! Functions that take the driver's client, as generated code does.

#![forbid(unsafe_code)]

use pgmonkey::tokio_postgres::{self, GenericClient};
use pgmonkey::{Config, ConnectionManager, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let pool = ConnectionManager::global().async_pool(&config).await?;
    // ANCHOR: callers
    let session = pool.acquire().await?;
    println!("{:?}", names(&*session).await?);
    let renamed = pool
        .transaction(async |tx| {
            tx.execute(
                "UPDATE accounts SET name = 'dave' WHERE name = 'carol'",
                &[],
            )
            .await?;
            Ok(names(&**tx).await?)
        })
        .await?;
    println!("{renamed:?}");
    // ANCHOR_END: callers
    Ok(())
}

// ANCHOR: function
async fn names(client: &impl GenericClient) -> Result<Vec<String>, tokio_postgres::Error> {
    let text = "SELECT name FROM accounts ORDER BY name";
    let rows = client.query(text, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
// ANCHOR_END: function
