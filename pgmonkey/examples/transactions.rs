//! Every way to run a transaction, for threads. `transactions_async` is the same for tasks.

use std::thread;
use std::time::Duration;

use pgmonkey::sync::Transaction;
use pgmonkey::{Config, ConnectionManager, Error, Pool};

fn main() -> Result<(), Error> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let pool = ConnectionManager::global().pool(&config)?;
    transfer(&pool, "alice", "bob", 10)?;
    in_two_places(&pool)?;
    by_hand(&pool)?;
    with_savepoint(&pool)?;
    tried_again(&pool, |tx| {
        tx.batch_execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")?;
        tx.execute("UPDATE accounts SET money = money + 1", &[])?;
        Ok(())
    })?;
    for row in pool.query("SELECT name, money FROM accounts ORDER BY name", &[])? {
        println!("{}: {}", row.get::<_, &str>(0), row.get::<_, i32>(1));
    }
    Ok(())
}

// ANCHOR: closure
fn transfer(pool: &Pool, from: &str, to: &str, money: i32) -> Result<(), Error> {
    pool.transaction(|tx| {
        let take = "UPDATE accounts SET money = money - $2 WHERE name = $1 AND money >= $2";
        if tx.execute(take, &[&from, &money])? == 0 {
            // Returning an error rolls back; `transaction` returns the error.
            return Err(Error::other(format!("{from} has less than {money}")));
        }
        let give = "UPDATE accounts SET money = money + $2 WHERE name = $1";
        tx.execute(give, &[&to, &money])?;
        Ok(())
    })
}
// ANCHOR_END: closure

// ANCHOR: owned
fn in_two_places(pool: &Pool) -> Result<(), Error> {
    let mut transaction = pool.begin()?;
    pay_in(&mut transaction, "alice")?; // an early return drops it: rolled back
    pay_in(&mut transaction, "bob")?;
    transaction.commit()
}

fn pay_in(transaction: &mut Transaction, name: &str) -> Result<(), Error> {
    let statement = "UPDATE accounts SET money = money + 5 WHERE name = $1";
    transaction.execute(statement, &[&name])?;
    Ok(())
}
// ANCHOR_END: owned

// ANCHOR: by_hand
fn by_hand(pool: &Pool) -> Result<(), Error> {
    let mut client = pool.acquire()?;
    client.begin()?;
    client.execute("UPDATE accounts SET money = 0", &[])?;
    client.rollback()?; // undone

    client.begin()?;
    client.execute("UPDATE accounts SET money = money + 1", &[])?;
    client.commit()?;

    // An error, not ignored: there is no transaction any more.
    assert!(matches!(client.commit(), Err(Error::NoTransaction { .. })));
    Ok(())
}
// ANCHOR_END: by_hand

// ANCHOR: savepoint
fn with_savepoint(pool: &Pool) -> Result<(), Error> {
    pool.transaction(|tx| {
        tx.execute("UPDATE accounts SET money = money + 1", &[])?;
        let mut attempt = tx.transaction()?;
        match attempt.execute("UPDATE accounts SET money = money / 0", &[]) {
            Ok(_) => attempt.commit()?,
            // Undoes only the work since the savepoint; the transaction continues.
            Err(_) => attempt.rollback()?,
        }
        Ok(())
    })
}
// ANCHOR_END: savepoint

// ANCHOR: retry
/// Runs `work` again after a conflict with another transaction or the loss of the server.
/// `work` must be safe to run twice: a session can be lost after the server has committed and
/// before it has confirmed the commit.
fn tried_again<T>(
    pool: &Pool,
    work: impl Fn(&mut Transaction) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut pause = Duration::from_millis(20);
    for _ in 0..5 {
        match pool.transaction(&work) {
            Err(error) if error.is_transient() => thread::sleep(pause),
            ended => return ended,
        }
        pause *= 2;
    }
    pool.transaction(work)
}
// ANCHOR_END: retry
