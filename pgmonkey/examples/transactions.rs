//! Every way to run a transaction, for threads. `transactions_async` is the same for tasks.

use std::time::Duration;

use pgmonkey::sync::Transaction;
use pgmonkey::{Config, ConnectionManager, Error, IsolationLevel, Pool, Retry};

fn main() -> Result<(), Error> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let pool = ConnectionManager::global().pool(&config)?;
    transfer(&pool, "alice", "bob", 10)?;
    in_two_places(&pool)?;
    by_hand(&pool)?;
    with_savepoint(&pool)?;
    safe_transfer(&pool, "bob", "alice", 1)?;
    println!("acme: alice has {}", balance(&pool, "acme", "alice")?);
    for row in pool.query("SELECT name, money FROM accounts ORDER BY name", &[])? {
        println!("{}: {}", row.get::<_, &str>(0), row.get::<_, i32>(1));
    }
    Ok(())
}

// ANCHOR: closure
fn transfer(pool: &Pool, from: &str, to: &str, money: i32) -> Result<(), Error> {
    pool.transaction(|tx| move_money(tx, from, to, money))
}

fn move_money(tx: &mut Transaction, from: &str, to: &str, money: i32) -> Result<(), Error> {
    let take = "UPDATE accounts SET money = money - $2 WHERE name = $1 AND money >= $2";
    if tx.execute(take, &[&from, &money])? == 0 {
        // Returning an error rolls back; `transaction` returns the error.
        return Err(Error::other(format!("{from} has less than {money}")));
    }
    let give = "UPDATE accounts SET money = money + $2 WHERE name = $1";
    tx.execute(give, &[&to, &money])?;
    Ok(())
}
// ANCHOR_END: closure

// ANCHOR: retry
fn safe_transfer(pool: &Pool, from: &str, to: &str, money: i32) -> Result<(), Error> {
    let done = pool
        .build_transaction()
        .isolation_level(IsolationLevel::Serializable)
        .retry(Retry::attempts(10).retry_lost_sessions(true))
        .confirm_commit(true)
        .timeout(Duration::from_secs(10))
        .label("transfer")
        .run(|tx| move_money(tx, from, to, money));
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

// ANCHOR: tenant
fn balance(pool: &Pool, tenant: &str, name: &str) -> Result<i32, Error> {
    pool.build_transaction()
        .read_only(true)
        .statement_timeout(Duration::from_secs(5))
        .set_local("app.tenant", tenant)
        .run(|tx| {
            // A policy compares current_setting('app.tenant') with a column.
            let statement = "SELECT money FROM accounts WHERE name = $1";
            Ok(tx.query_one(statement, &[&name])?.get(0))
        })
}
// ANCHOR_END: tenant

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
