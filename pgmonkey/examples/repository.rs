//! A repository whose functions work on a pool, on a session and within a transaction.

use pgmonkey::{AsyncExecute, AsyncOpenTransaction, Config, ConnectionManager, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let pool = ConnectionManager::global().async_pool(&config).await?;
    // ANCHOR: callers
    // On a session acquired for this call, ...
    println!("{:?}", money(&pool, "alice").await?);
    // ... several calls in one transaction, ...
    pool.transaction(async |mut tx| {
        transfer(&mut tx, "alice", "bob", 10).await?;
        transfer(&mut tx, "bob", "alice", 3).await
    })
    .await?;
    // ... or on an acquired session.
    let mut client = pool.acquire().await?;
    match transfer(&mut client, "alice", "nobody", 1).await {
        Err(error) if error.is_no_row() => println!("there is no such account"),
        other => other?,
    }
    // ANCHOR_END: callers
    println!("{:?}", money(&client, "alice").await?);
    Ok(())
}

// ANCHOR: repository
async fn money(db: &impl AsyncExecute, name: &str) -> Result<Option<i32>, Error> {
    let statement = "SELECT money FROM accounts WHERE name = $1";
    let row = db.query_opt(statement, &[&name]).await?;
    Ok(row.map(|row| row.get(0)))
}

async fn transfer(
    db: &mut impl AsyncExecute,
    from: &str,
    to: &str,
    amount: i32,
) -> Result<(), Error> {
    let change = "UPDATE accounts SET money = money + $2 WHERE name = $1 RETURNING money";
    // A transaction on a pool or a session; a savepoint within a transaction.
    let both = db.begin().await?;
    both.query_one(change, &[&from, &-amount]).await?;
    both.query_one(change, &[&to, &amount]).await?;
    both.commit().await
}
// ANCHOR_END: repository
