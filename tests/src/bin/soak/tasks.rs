//! What one task repeats. The twin of `threads`, plus abandoned futures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgmonkey::Error;
use pgmonkey::aio::{ClientGuard, Execute, IsolationLevel, Pool, Retry};

use crate::bank::{Bank, OUTSIDE, Random, Told, Transfer, is_yes};

pub(crate) async fn work(pool: Pool, bank: Arc<Bank>, stop: Arc<AtomicBool>, seed: u64) {
    let mut random = Random::new(seed);
    while !stop.load(Ordering::SeqCst) {
        bank.turns.fetch_add(1, Ordering::Relaxed);
        // A failure in here has been counted, or belongs to a session that was killed.
        let _ = match random.below(14) {
            0..=4 => transfer(&pool, &bank, &mut random).await,
            5 | 6 => ask(&pool, &bank, &mut random).await,
            7 => forget(&pool, &bank).await,
            8 => fail(&pool, &bank).await,
            9 => panic_in_transaction(&pool, &bank).await,
            10 | 11 => transfer_serializably(&pool, &bank, &mut random).await,
            12 => abandon(&pool, &bank, &mut random).await,
            _ => give_up(&pool, &mut random).await,
        };
    }
}

/// Acquires a session and checks it: outside a transaction, without responses to others'
/// statements.
async fn acquire(pool: &Pool, bank: &Bank) -> Result<ClientGuard, Error> {
    let guard = pool.acquire().await.inspect_err(|error| {
        eprintln!("not served: {error}");
        bank.unserved.fetch_add(1, Ordering::SeqCst);
    })?;
    match guard.simple_query(OUTSIDE).await {
        Ok(answer) if is_yes(&answer) => Ok(guard),
        Ok(_) => {
            bank.dirty.fetch_add(1, Ordering::SeqCst);
            Ok(guard)
        }
        Err(error) => {
            bank.unlucky.fetch_add(1, Ordering::SeqCst);
            Err(error.into())
        }
    }
}

async fn transfer(pool: &Pool, bank: &Bank, random: &mut Random) -> Result<(), Error> {
    let transfer = bank.draw(random);
    let done = async {
        let mut guard = acquire(pool, bank).await?;
        guard.begin().await?;
        pay(&guard, transfer).await?;
        guard.commit().await
    };
    let done = done.await;
    bank.note(transfer, Told::by(&done));
    done
}

/// A transfer that is run again after conflicts and lost sessions, and whose commit is confirmed.
async fn transfer_serializably(pool: &Pool, bank: &Bank, random: &mut Random) -> Result<(), Error> {
    let transfer = bank.draw(random);
    let done = pool
        .build_transaction()
        .isolation_level(IsolationLevel::Serializable)
        .retry(Retry::attempts(10).retry_lost_sessions(true))
        .confirm_commit(true)
        .run(async move |tx| pay(&*tx, transfer).await)
        .await;
    bank.note_confirmed(transfer, &done);
    done
}

async fn pay(db: &impl Execute, transfer: Transfer) -> Result<(), Error> {
    let Transfer {
        id,
        from,
        to,
        amount,
    } = transfer;
    let add = "UPDATE accounts SET balance = balance + $2 WHERE id = $1";
    // In the order of the accounts, so that no two transfers deadlock.
    let mut steps = [(from, -amount), (to, amount)];
    steps.sort_unstable();
    for (account, change) in steps {
        db.execute(add, &[&account, &change]).await?;
    }
    let insert = "INSERT INTO transfers VALUES ($1, $2, $3, $4)";
    db.execute(insert, &[&id, &from, &to, &amount]).await?;
    Ok(())
}

/// A standalone statement: the result must be the one for this statement.
async fn ask(pool: &Pool, bank: &Bank, random: &mut Random) -> Result<(), Error> {
    let question = random.below(1 << 40) as i64;
    let row = pool.query_one("SELECT $1::int8", &[&question]).await?;
    if row.get::<_, i64>(0) != question {
        bank.misled.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

/// Leaves a transaction open.
async fn forget(pool: &Pool, bank: &Bank) -> Result<(), Error> {
    let guard = acquire(pool, bank).await?;
    guard
        .batch_execute("BEGIN; UPDATE accounts SET balance = balance + 1000000 WHERE id = 0")
        .await?;
    Ok(())
}

/// Leaves a failed transaction.
async fn fail(pool: &Pool, bank: &Bank) -> Result<(), Error> {
    let mut guard = acquire(pool, bank).await?;
    guard.begin().await?;
    guard
        .batch_execute("UPDATE accounts SET balance = balance / 0 WHERE id = 1")
        .await?;
    Ok(())
}

async fn panic_in_transaction(pool: &Pool, bank: &Bank) -> Result<(), Error> {
    let guard = acquire(pool, bank).await?;
    guard
        .batch_execute("BEGIN; UPDATE accounts SET balance = 0 WHERE id = 2")
        .await?;
    let panicked = tokio::spawn(async move {
        let _guard = guard;
        std::panic::resume_unwind(Box::new("a caller's panic"));
    });
    debug_assert!(panicked.await.is_err());
    Ok(())
}

/// Drops a running statement in a transaction.
async fn abandon(pool: &Pool, bank: &Bank, random: &mut Random) -> Result<(), Error> {
    let guard = acquire(pool, bank).await?;
    let patience = Duration::from_micros(random.below(20_000));
    let sleep = "BEGIN; UPDATE accounts SET balance = 7 WHERE id = 3; SELECT pg_sleep(5)";
    let _ = tokio::time::timeout(patience, guard.batch_execute(sleep)).await;
    Ok(())
}

/// Waits for a session, but not for long.
async fn give_up(pool: &Pool, random: &mut Random) -> Result<(), Error> {
    let patience = Duration::from_micros(random.below(5_000));
    let _ = tokio::time::timeout(patience, pool.acquire()).await;
    Ok(())
}
