//! The callers of clusters: some write, some read each write with its token and otherwise what is
//! there, and some read without tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};

use pgmonkey::{AsyncCluster, Cluster, Config, ConnectionManager, Error, Token};
use postgres::error::SqlState;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, error};

use crate::callers::{Caller, PAUSE, outcome};
use crate::figures::Figures;

const INSERT: &str = "INSERT INTO written (run, kind, caller, n) VALUES ($1, $2, $3, $4) \
                      RETURNING host(inet_server_addr()) || ':' || inet_server_port()";
/// The rows of a run that one caller or another has written.
const COUNT: &str = "SELECT count(*) FROM written WHERE run = $1 AND kind = $2 AND caller = $3";

/// A token, and how many rows of its caller were acknowledged by then.
pub(crate) type Promise = (Token, i64);

/// Writes with a blocking handle.
pub(crate) fn write_on_thread(
    caller: Caller,
    config: &Config,
    stop: &AtomicBool,
    promises: &Sender<Promise>,
) -> Figures {
    let mut figures = Figures::begin();
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let cluster = ConnectionManager::global().cluster(config);
        let written = cluster.and_then(|cluster| write(&cluster, caller, n));
        if let Some(promise) = note(&mut figures, config, n, written) {
            // The one that reads ends after this one.
            let _ = promises.send(promise);
        }
        std::thread::sleep(PAUSE);
    }
    figures.end()
}

fn write(cluster: &Cluster, caller: Caller, n: i64) -> Result<(String, Token), Error> {
    cluster.write_with_token(|tx| {
        let row = tx.query_one(INSERT, &[&caller.run, &caller.kind, &caller.index, &n])?;
        Ok(row.get(0))
    })
}

/// Reads with a blocking handle what `writer` writes, with the tokens that it sends, until it has
/// ended.
pub(crate) fn read_on_thread(
    writer: Caller,
    config: &Config,
    promises: &Receiver<Promise>,
) -> Figures {
    let mut figures = Figures::begin();
    for n in 0.. {
        let promise = match promises.try_recv() {
            Ok(promise) => Some(promise),
            Err(TryRecvError::Empty) => {
                std::thread::sleep(PAUSE);
                None
            }
            Err(TryRecvError::Disconnected) => break,
        };
        let cluster = ConnectionManager::global().cluster(config);
        let seen = cluster.and_then(|cluster| read(&cluster, writer, promise));
        compare(&mut figures, n, seen, promise);
    }
    figures.end()
}

fn read(cluster: &Cluster, writer: Caller, promise: Option<Promise>) -> Result<i64, Error> {
    let Caller {
        kind, index, run, ..
    } = writer;
    let count = |tx: &mut pgmonkey::sync::Transaction| {
        Ok(tx.query_one(COUNT, &[&run, &kind, &index])?.get(0))
    };
    match promise {
        Some((token, _)) => cluster.read_after(token, count),
        None => cluster.read(count),
    }
}

/// Writes with an async handle.
pub(crate) async fn write_in_task(
    caller: Caller,
    config: Config,
    stop: Arc<AtomicBool>,
    promises: UnboundedSender<Promise>,
) -> Figures {
    let mut figures = Figures::begin();
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let written = match ConnectionManager::global().async_cluster(&config).await {
            Ok(cluster) => write_async(&cluster, caller, n).await,
            Err(error) => Err(error),
        };
        if let Some(promise) = note(&mut figures, &config, n, written) {
            let _ = promises.send(promise);
        }
        tokio::time::sleep(PAUSE).await;
    }
    figures.end()
}

async fn write_async(
    cluster: &AsyncCluster,
    caller: Caller,
    n: i64,
) -> Result<(String, Token), Error> {
    let written = cluster.write_with_token(async |tx| {
        let values: [&(dyn pgmonkey::types::ToSql + Sync); 4] =
            [&caller.run, &caller.kind, &caller.index, &n];
        Ok(tx.query_one(INSERT, &values).await?.get(0))
    });
    written.await
}

/// Reads with an async handle what `writer` writes, with the tokens that it sends, until it has
/// ended.
pub(crate) async fn read_in_task(
    writer: Caller,
    config: Config,
    mut promises: UnboundedReceiver<Promise>,
) -> Figures {
    let mut figures = Figures::begin();
    for n in 0.. {
        let promise = match promises.try_recv() {
            Ok(promise) => Some(promise),
            Err(error::TryRecvError::Empty) => {
                tokio::time::sleep(PAUSE).await;
                None
            }
            Err(error::TryRecvError::Disconnected) => break,
        };
        let seen = match ConnectionManager::global().async_cluster(&config).await {
            Ok(cluster) => read_async(&cluster, writer, promise).await,
            Err(error) => Err(error),
        };
        compare(&mut figures, n, seen, promise);
    }
    figures.end()
}

async fn read_async(
    cluster: &AsyncCluster,
    writer: Caller,
    promise: Option<Promise>,
) -> Result<i64, Error> {
    let Caller {
        kind, index, run, ..
    } = writer;
    match promise {
        Some((token, _)) => {
            let read = cluster.read_after(token, async |tx| {
                Ok(tx.query_one(COUNT, &[&run, &kind, &index]).await?.get(0))
            });
            read.await
        }
        None => {
            let read = cluster
                .read(async |tx| Ok(tx.query_one(COUNT, &[&run, &kind, &index]).await?.get(0)));
            read.await
        }
    }
}

/// Counts a write, and whether it reached a reader. Returns what the other half may rely on.
fn note(
    figures: &mut Figures,
    config: &Config,
    n: i64,
    written: Result<(String, Token), Error>,
) -> Option<Promise> {
    let reached_reader = match &written {
        Ok((server, _)) => !is_writers(config, server),
        Err(error) => error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION),
    };
    figures.misled(reached_reader);
    let token = written.as_ref().ok().map(|(_, token)| *token);
    figures.add(n, outcome(written.map(drop)));
    Some((token?, figures.acknowledged()))
}

/// Counts a read, and whether it saw less than its token stands for.
fn compare(figures: &mut Figures, n: i64, seen: Result<i64, Error>, promise: Option<Promise>) {
    if let (Ok(seen), Some((_, expected))) = (&seen, promise) {
        figures.stale(*seen < expected);
    }
    figures.add(n, outcome(seen.map(drop)));
}

/// Whether the writer's side has this address. The readers have others of the same nodes.
fn is_writers(config: &Config, server: &str) -> bool {
    let targets = config.connection_settings.targets();
    targets.iter().any(|target| target.to_string() == server)
}
