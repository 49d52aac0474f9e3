//! Callers that insert numbers while something between them and the server is disturbed.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use pgmonkey::{Error, aio, sync};
use pgmonkey_tests::{Fixture, LONG};

const CALLERS: usize = 6;
/// How many insertions count as progress.
const SOME: usize = 30;

/// The numbers that were inserted, by what the callers were told.
#[derive(Default)]
pub(crate) struct Tally {
    next: AtomicI32,
    is_over: AtomicBool,
    told: Mutex<Told>,
}

#[derive(Default, Clone)]
struct Told {
    kept: Vec<i32>,
    undone: Vec<i32>,
    unknown: Vec<i32>,
    last: String,
    /// An error that says neither that a retry helps nor that the outcome is unknown.
    wrong: Option<String>,
}

impl Tally {
    /// The next number, until the load ends.
    fn next(&self) -> Option<i32> {
        let is_over = self.is_over.load(Ordering::SeqCst);
        (!is_over).then(|| self.next.fetch_add(1, Ordering::SeqCst))
    }

    fn note(&self, number: i32, result: Result<(), Error>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => told.kept.push(number),
            Err(error) => {
                let unknown = error.is_outcome_unknown();
                told.last = error.to_string();
                if !unknown && !error.is_transient() {
                    told.wrong = Some(told.last.clone());
                }
                let list = if unknown {
                    &mut told.unknown
                } else {
                    &mut told.undone
                };
                list.push(number);
            }
        }
    }

    fn told(&self) -> Told {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }

    /// Waits until some more insertions have been committed.
    pub(crate) fn goes_on(&self) {
        let wanted = self.told().kept.len() + SOME;
        let end = Instant::now() + LONG;
        loop {
            let told = self.told();
            if told.kept.len() >= wanted {
                return;
            }
            assert!(
                told.wrong.is_none(),
                "no reason to give up: {:?}",
                told.wrong
            );
            assert!(Instant::now() < end, "no progress: {}", told.last);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// How many calls failed.
    pub(crate) fn failed(&self) -> usize {
        let told = self.told();
        told.undone.len() + told.unknown.len()
    }

    /// The text of the last error.
    pub(crate) fn last(&self) -> String {
        self.told().last
    }

    /// Compares what the callers were told with the table.
    pub(crate) fn check(&self, on: &Fixture) {
        // With a session of its own: the other one may have been lost.
        let after = Fixture::on(on.server().clone());
        let told = self.told();
        assert!(
            told.wrong.is_none(),
            "no reason to give up: {:?}",
            told.wrong
        );
        let count = format!(
            "SELECT count(DISTINCT n) FROM {} WHERE n = ANY($1)",
            on.name
        );
        let in_table = |numbers: &Vec<i32>| after.number(&count, &[numbers]);
        assert_eq!(
            in_table(&told.kept),
            told.kept.len() as i64,
            "committed, they said"
        );
        assert_eq!(in_table(&told.undone), 0, "undone, they said");
        let found = told.kept.len() as i64 + in_table(&told.unknown);
        let rows = after.number(&format!("SELECT count(*) FROM {}", on.name), &[]);
        assert_eq!(rows, found, "each was inserted once");
    }
}

/// Ends the load when it is dropped, also by a panic.
struct Over<'t>(&'t Tally);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}

/// Inserts on threads until `disturb` returns.
pub(crate) fn threads(pool: &sync::Pool, on: &Fixture, disturb: impl FnOnce(&Tally)) -> Tally {
    let tally = Tally::default();
    let insert = format!("INSERT INTO {} VALUES ($1)", on.name);
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                while let Some(number) = tally.next() {
                    let ran = pool.transaction(|tx| tx.execute(&insert, &[&number]));
                    tally.note(number, ran.map(drop));
                }
            });
        }
        let _over = Over(&tally);
        disturb(&tally);
    });
    tally
}

/// Inserts in tasks until `disturb` returns.
pub(crate) async fn tasks(
    pool: &aio::Pool,
    on: &Fixture,
    disturb: impl FnOnce(&Tally) + Send + 'static,
) -> Tally {
    let tally = Arc::new(Tally::default());
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (pool, tally) = (pool.clone(), Arc::clone(&tally));
            let insert = format!("INSERT INTO {} VALUES ($1)", on.name);
            tokio::spawn(async move {
                while let Some(number) = tally.next() {
                    let ran = pool.transaction(async |tx| tx.execute(&insert, &[&number]).await);
                    tally.note(number, ran.await.map(drop));
                }
            })
        })
        .collect();
    let disturber = Arc::clone(&tally);
    let disturbed = tokio::task::spawn_blocking(move || {
        let _over = Over(&disturber);
        disturb(&disturber);
    });
    disturbed.await.expect("no panic");
    for caller in callers {
        caller.await.expect("no panic");
    }
    Arc::into_inner(tally).expect("all callers have ended")
}
