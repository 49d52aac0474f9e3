//! Every way to run a transaction, for tasks. `transactions` is the same for threads.

use std::time::Duration;

use pgmonkey::aio::Transaction;
use pgmonkey::{AsyncPool, Config, ConnectionManager, Error, IsolationLevel, Retry};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let pool = ConnectionManager::global().async_pool(&config).await?;
    transfer(&pool, "alice", "bob", 10).await?;
    in_two_places(&pool).await?;
    by_hand(&pool).await?;
    with_savepoint(&pool).await?;
    safe_transfer(&pool, "bob", "alice", 1).await?;
    let statement = "SELECT name, money FROM accounts ORDER BY name";
    for row in pool.query(statement, &[]).await? {
        println!("{}: {}", row.get::<_, &str>(0), row.get::<_, i32>(1));
    }
    Ok(())
}

// ANCHOR: closure
async fn transfer(pool: &AsyncPool, from: &str, to: &str, money: i32) -> Result<(), Error> {
    pool.transaction(async |tx| move_money(&tx, from, to, money).await)
        .await
}

async fn move_money(tx: &Transaction, from: &str, to: &str, money: i32) -> Result<(), Error> {
    let take = "UPDATE accounts SET money = money - $2 WHERE name = $1 AND money >= $2";
    if tx.execute(take, &[&from, &money]).await? == 0 {
        // Returning an error rolls back; `transaction` returns the error.
        return Err(Error::other(format!("{from} has less than {money}")));
    }
    let give = "UPDATE accounts SET money = money + $2 WHERE name = $1";
    tx.execute(give, &[&to, &money]).await?;
    Ok(())
}
// ANCHOR_END: closure

// ANCHOR: retry
async fn safe_transfer(pool: &AsyncPool, from: &str, to: &str, money: i32) -> Result<(), Error> {
    let done = pool
        .build_transaction()
        .isolation_level(IsolationLevel::Serializable)
        .retry(Retry::attempts(10).retry_lost_sessions(true))
        .confirm_commit(true)
        .timeout(Duration::from_secs(10))
        .label("transfer")
        .run(async |tx| move_money(&tx, from, to, money).await)
        .await;
    match done {
        // Committed or not, and no server can say: doing it again might move the money twice.
        Err(error) if error.is_outcome_unknown() => {
            eprintln!("look for the transfer before you repeat it: {error}");
            Err(error)
        }
        // Any other error: nothing was moved.
        done => done,
    }
}
// ANCHOR_END: retry

// ANCHOR: owned
async fn in_two_places(pool: &AsyncPool) -> Result<(), Error> {
    let mut transaction = pool.begin().await?;
    pay_in(&mut transaction, "alice").await?; // an early return drops it: rolled back
    pay_in(&mut transaction, "bob").await?;
    transaction.commit().await
}

async fn pay_in(transaction: &mut Transaction, name: &str) -> Result<(), Error> {
    let statement = "UPDATE accounts SET money = money + 5 WHERE name = $1";
    transaction.execute(statement, &[&name]).await?;
    Ok(())
}
// ANCHOR_END: owned

// ANCHOR: by_hand
async fn by_hand(pool: &AsyncPool) -> Result<(), Error> {
    let mut client = pool.acquire().await?;
    client.begin().await?;
    client.execute("UPDATE accounts SET money = 0", &[]).await?;
    client.rollback().await?; // undone

    client.begin().await?;
    let statement = "UPDATE accounts SET money = money + 1";
    client.execute(statement, &[]).await?;
    client.commit().await?;

    // An error, not ignored: there is no transaction any more.
    let again = client.commit().await;
    assert!(matches!(again, Err(Error::NoTransaction { .. })));
    Ok(())
}
// ANCHOR_END: by_hand

// ANCHOR: savepoint
async fn with_savepoint(pool: &AsyncPool) -> Result<(), Error> {
    pool.transaction(async |mut tx| {
        let statement = "UPDATE accounts SET money = money + 1";
        tx.execute(statement, &[]).await?;
        let attempt = tx.transaction().await?;
        let statement = "UPDATE accounts SET money = money / 0";
        match attempt.execute(statement, &[]).await {
            Ok(_) => attempt.commit().await?,
            // Undoes only the work since the savepoint; the transaction continues.
            Err(_) => attempt.rollback().await?,
        }
        Ok(())
    })
    .await
}
// ANCHOR_END: savepoint
