//! Clusters in several runtimes, and where blocking is allowed.

use pgmonkey::{AsyncCluster, ConnectionManager};
use pgmonkey_tests::Outcome;

use super::*;

const COUNT: &str = "SELECT count(*) FROM t";

// On plain threads, in `spawn_blocking`, in `block_in_place` and on a thread that has entered a handle.
twin! {
    everywhere fn a_cluster_works_wherever_its_family_may(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let cluster = go!(driver::Cluster::new(&servers.config(SIZES)))?;
        for written in 1..=5_i64 {
            let ((), token) = go!(cluster.write_with_token(work!(|tx| {
                go!(tx.execute("INSERT INTO t VALUES (1)", &[])).map(drop)
            })))?;
            let read: i64 = go!(cluster.read_after(token, work!(|tx| {
                Ok(go!(tx.query_one(COUNT, &[]))?.get(0))
            })))?;
            assert_eq!(read, written);
            let standby: bool = go!(cluster.read(work!(|tx| {
                Ok(go!(tx.query_one(WHO, &[]))?.get(1))
            })))?;
            assert!(standby, "{}", cluster.status());
        }
        assert!(go!(cluster.close_timeout(LONG)));
        Ok(())
    }
}

/// A worker of a server with one single-threaded runtime for each thread.
fn worker() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// Writes and reads what it has written; returns how often a standby was read from.
async fn write_and_read(cluster: &AsyncCluster, rounds: u32) -> Result<u32, Error> {
    let mut at_standby = 0;
    for _ in 0..rounds {
        let (before, token) = cluster
            .write_with_token(async |tx| {
                tx.execute("INSERT INTO t VALUES (1)", &[]).await?;
                Ok(tx.query_one(COUNT, &[]).await?.get::<_, i64>(0))
            })
            .await?;
        let (count, standby) = cluster
            .read_after(token, async |tx| {
                let count: i64 = tx.query_one(COUNT, &[]).await?.get(0);
                Ok((count, tx.query_one(WHO, &[]).await?.get::<_, bool>(1)))
            })
            .await?;
        assert!(count >= before, "{count} rows of {before}");
        at_standby += u32::from(standby);
    }
    Ok(at_standby)
}

// The first runtime ends while the others are at work; the standbys are watched all the same.
#[test]
fn a_cluster_serves_several_runtimes_and_outlives_the_first() -> Outcome {
    let servers = Servers::start();
    let manager = ConnectionManager::new();
    let first = worker();
    let cluster = first.block_on(async {
        let cluster = manager.async_cluster(&servers.config(SIZES)).await?;
        write_and_read(&cluster, 5).await?;
        Ok::<_, Error>(cluster)
    })?;
    let (begun, begins) = std::sync::mpsc::channel();
    let others: Vec<_> = (0..3)
        .map(|_| {
            let (cluster, begun) = (cluster.clone(), begun.clone());
            std::thread::spawn(move || {
                worker().block_on(async {
                    let before = write_and_read(&cluster, 1).await?;
                    begun.send(()).expect("the test listens");
                    Ok::<_, Error>(before + write_and_read(&cluster, 20).await?)
                })
            })
        })
        .collect();
    for _ in 0..3 {
        begins.recv_timeout(LONG).expect("it has begun");
    }
    drop(first);
    for other in others {
        let at_standby = other.join().expect("no panic")?;
        assert!(at_standby > 10, "{at_standby} of 21: {}", cluster.status());
    }
    servers.standbys[0].stop(StopMode::Immediate)?;
    let is_out = || cluster.status().standbys[0].unused.is_some();
    let last = worker();
    until("it is away", || {
        last.block_on(write_and_read(&cluster, 1))
            .expect("one is there");
        is_out()
    });
    servers.standbys[0].start_again()?;
    until("it is back", || !is_out());
    Ok(())
}
