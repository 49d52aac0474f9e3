//! What one thread repeats. The twin of `tasks`.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use pgmonkey::Error;
use pgmonkey::sync::{ClientGuard, Execute, IsolationLevel, Pool, Retry};

use crate::bank::{Bank, OUTSIDE, Random, Told, Transfer, is_yes};

pub(crate) fn work(pool: &Pool, bank: &Bank, stop: &AtomicBool, seed: u64) {
    let mut random = Random::new(seed);
    while !stop.load(Ordering::SeqCst) {
        bank.turns.fetch_add(1, Ordering::Relaxed);
        // A failure in here has been counted, or belongs to a session that was killed.
        let _ = match random.below(12) {
            0..=4 => transfer(pool, bank, &mut random),
            5 | 6 => ask(pool, bank, &mut random),
            7 => forget(pool, bank),
            8 => fail(pool, bank),
            9 | 10 => transfer_serializably(pool, bank, &mut random),
            _ => panic_in_transaction(pool, bank),
        };
    }
}

/// Acquires a session and checks it: outside a transaction, without responses to others'
/// statements.
fn acquire(pool: &Pool, bank: &Bank) -> Result<ClientGuard, Error> {
    let mut guard = pool.acquire().inspect_err(|error| {
        eprintln!("not served: {error}");
        bank.unserved.fetch_add(1, Ordering::SeqCst);
    })?;
    match guard.simple_query(OUTSIDE) {
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

fn transfer(pool: &Pool, bank: &Bank, random: &mut Random) -> Result<(), Error> {
    let transfer = bank.draw(random);
    let done = acquire(pool, bank).and_then(|mut guard| {
        guard.begin()?;
        pay(&mut guard, transfer)?;
        guard.commit()
    });
    bank.note(transfer, Told::by(&done));
    done
}

/// A transfer that is run again after conflicts and lost sessions, and whose commit is confirmed.
fn transfer_serializably(pool: &Pool, bank: &Bank, random: &mut Random) -> Result<(), Error> {
    let transfer = bank.draw(random);
    let done = pool
        .build_transaction()
        .isolation_level(IsolationLevel::Serializable)
        .retry(Retry::attempts(10).retry_lost_sessions(true))
        .confirm_commit(true)
        .run(|tx| pay(tx, transfer));
    bank.note_confirmed(transfer, &done);
    done
}

fn pay(db: &mut impl Execute, transfer: Transfer) -> Result<(), Error> {
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
        db.execute(add, &[&account, &change])?;
    }
    let insert = "INSERT INTO transfers VALUES ($1, $2, $3, $4)";
    db.execute(insert, &[&id, &from, &to, &amount])?;
    Ok(())
}

/// A standalone statement: the result must be the one for this statement.
fn ask(pool: &Pool, bank: &Bank, random: &mut Random) -> Result<(), Error> {
    let question = random.below(1 << 40) as i64;
    let row = pool.query_one("SELECT $1::int8", &[&question])?;
    if row.get::<_, i64>(0) != question {
        bank.misled.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

/// Leaves a transaction open.
fn forget(pool: &Pool, bank: &Bank) -> Result<(), Error> {
    let mut guard = acquire(pool, bank)?;
    guard.batch_execute("BEGIN; UPDATE accounts SET balance = balance + 1000000 WHERE id = 0")?;
    Ok(())
}

/// Leaves a failed transaction.
fn fail(pool: &Pool, bank: &Bank) -> Result<(), Error> {
    let mut guard = acquire(pool, bank)?;
    guard.begin()?;
    guard.batch_execute("UPDATE accounts SET balance = balance / 0 WHERE id = 1")?;
    Ok(())
}

fn panic_in_transaction(pool: &Pool, bank: &Bank) -> Result<(), Error> {
    let mut guard = acquire(pool, bank)?;
    guard.batch_execute("BEGIN; UPDATE accounts SET balance = 0 WHERE id = 2")?;
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _guard = guard;
        resume_unwind(Box::new("a caller's panic"));
    }));
    debug_assert!(panicked.is_err());
    Ok(())
}
