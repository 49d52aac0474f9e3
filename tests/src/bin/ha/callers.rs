//! The callers: each inserts rows with new keys until it is told to stop.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgmonkey::{AsyncDatabase, Config, ConnectionManager, Database, Error};

use crate::figures::{Figures, Outcome};

const INSERT: &str = "INSERT INTO written (run, kind, caller, n) VALUES ($1, $2, $3, $4)";
/// Between two rows, so that all callers together leave the cluster time.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// Which caller it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) kind: &'static str,
    pub(crate) index: i32,
    pub(crate) run: i32,
    pub(crate) in_transaction: bool,
    /// Of a cluster.
    pub(crate) only_reads: bool,
}

/// With a blocking handle.
pub(crate) fn thread(caller: Caller, config: &Config, stop: &AtomicBool) -> Figures {
    let mut figures = Figures::begin();
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let handle = ConnectionManager::global().database(config);
        let inserted = handle.and_then(|database| insert(&database, caller, n));
        figures.add(n, outcome(inserted));
        std::thread::sleep(PAUSE);
    }
    figures.end()
}

fn insert(database: &Database, caller: Caller, n: i64) -> Result<(), Error> {
    let Caller {
        kind, index, run, ..
    } = caller;
    if !caller.in_transaction {
        return database
            .execute(INSERT, &[&run, &kind, &index, &n])
            .map(drop);
    }
    let mut transaction = database.begin()?;
    transaction.execute(INSERT, &[&run, &kind, &index, &n])?;
    transaction.commit()
}

/// With an async handle.
pub(crate) async fn task(
    caller: Caller,
    config: Config,
    stop: std::sync::Arc<AtomicBool>,
) -> Figures {
    let mut figures = Figures::begin();
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let inserted = match ConnectionManager::global().async_database(&config).await {
            Ok(database) => insert_async(&database, caller, n).await,
            Err(error) => Err(error),
        };
        figures.add(n, outcome(inserted));
        tokio::time::sleep(PAUSE).await;
    }
    figures.end()
}

async fn insert_async(database: &AsyncDatabase, caller: Caller, n: i64) -> Result<(), Error> {
    let Caller {
        kind, index, run, ..
    } = caller;
    if !caller.in_transaction {
        let inserted = database.execute(INSERT, &[&run, &kind, &index, &n]).await;
        return inserted.map(drop);
    }
    let transaction = database.begin().await?;
    transaction
        .execute(INSERT, &[&run, &kind, &index, &n])
        .await?;
    transaction.commit().await
}

pub(crate) fn outcome(inserted: Result<(), Error>) -> Outcome {
    match inserted {
        Ok(()) => Outcome::Acknowledged,
        Err(error) if error.is_transient() => Outcome::Transient(error.to_string()),
        Err(error) if error.is_outcome_unknown() => Outcome::Unknown(error.to_string()),
        Err(error) => Outcome::Final(error.to_string()),
    }
}

/// With a new `psql` for each row: what a program without a pool sees.
pub(crate) fn psql(caller: Caller, conninfo: &str, stop: &AtomicBool) -> Figures {
    let mut figures = Figures::begin();
    for n in 0_i64.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let Caller {
            kind, index, run, ..
        } = caller;
        let insert = format!(
            "INSERT INTO written (run, kind, caller, n) VALUES ({run}, '{kind}', {index}, {n})"
        );
        let ran = Command::new("psql")
            .args(["-X", "-q", "-c", &insert, conninfo])
            .stdin(Stdio::null())
            .output();
        figures.add(
            n,
            match ran {
                Ok(output) if output.status.success() => Outcome::Acknowledged,
                Ok(output) => {
                    let text = String::from_utf8_lossy(&output.stderr);
                    Outcome::Unknown(text.trim().replace('\n', " "))
                }
                Err(error) => Outcome::Final(error.to_string()),
            },
        );
        std::thread::sleep(PAUSE);
    }
    figures.end()
}
