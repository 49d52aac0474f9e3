//! A worker with a job queue: woken by NOTIFY, no job lost, no job run by two workers at once.
//!
//! `cargo run --example worker`, with a `pgmonkey.yaml` beside it. The queue is a table:
//!
//! `CREATE TABLE jobs (id bigint GENERATED ALWAYS AS IDENTITY, task text NOT NULL, result text)`

use std::io;
use std::pin::pin;
use std::time::Duration;

use pgmonkey::{AsyncListener, AsyncPool, Config, ConnectionManager, Error};
use tokio::signal::unix::{SignalKind, signal};

// ANCHOR: main
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_file("pgmonkey.yaml")?;
    let pool = ConnectionManager::global().async_pool(&config).await?;
    let mut listener = AsyncListener::connect(&config).await?;
    listener.listen("jobs").await?;
    let mut stop = pin!(told_to_stop()?);
    println!("waiting for jobs");

    loop {
        // Stops between jobs, never in the middle of one.
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = std::future::ready(()) => {}
        }
        // Jobs inserted before LISTEN, or while the session was lost, sent no notification: check
        // the queue first.
        let pause = match work(&pool).await {
            Ok(true) => continue,
            // Poll now and then for jobs that were inserted without NOTIFY.
            Ok(false) => Duration::from_secs(60),
            // Also if it is unknown whether the last job was committed: the queue says.
            Err(error) if error.is_transient() || error.is_outcome_unknown() => {
                eprintln!("{error}");
                Duration::from_secs(1)
            }
            Err(error) => return Err(error.into()),
        };
        tokio::select! {
            // On any event, a new job or a reconnected session: check the queue again.
            heard = listener.recv_timeout(pause) => drop(heard?),
            () = &mut stop => break,
        }
    }
    listener.close().await;
    pool.close_timeout(Duration::from_secs(10)).await;
    Ok(())
}
// ANCHOR_END: main

// ANCHOR: work
/// Runs one job, if there is one that no other worker holds. The row stays locked while the job
/// runs: if the worker dies, another one takes the job.
async fn work(pool: &AsyncPool) -> Result<bool, Error> {
    pool.transaction(async |tx| {
        let next = "SELECT id, task FROM jobs WHERE result IS NULL \
                    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED";
        let Some(job) = tx.query_opt(next, &[]).await? else {
            return Ok(false);
        };
        let (id, task): (i64, String) = (job.get(0), job.get(1));
        let result = task.to_uppercase();
        tx.execute("UPDATE jobs SET result = $2 WHERE id = $1", &[&id, &result])
            .await?;
        Ok(true)
    })
    .await
}
// ANCHOR_END: work

/// Installs the signal handlers now; the future completes when the process is asked to stop.
fn told_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
