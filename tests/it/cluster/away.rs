//! Readers that are away, or change their role.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use super::*;

/// Whether a read is served by a standby.
macro_rules! at_standby {
    ($cluster:expr, $go:ident, $work:ident) => {
        $go!($cluster.read($work!(|tx| {
            Ok($go!(tx.query_one(WHO, &[]))?.get::<_, bool>(1))
        })))?
    };
}

/// Reads until a standby serves it.
macro_rules! until_at_standby {
    ($cluster:expr, $go:ident, $work:ident) => {
        let began = Instant::now();
        while !at_standby!($cluster, $go, $work) {
            assert!(began.elapsed() < LONG, "{}", $cluster.status());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
}

// Both are stopped and started again: reads fall back, and come back.
twin! {
    fn reads_fall_back_to_the_writer_and_come_back(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let cluster = go!(driver::Cluster::new(&servers.config(SIZES)))?;
        assert!(at_standby!(cluster, go, work));
        for standby in &servers.standbys {
            standby.stop(StopMode::Immediate)?;
        }
        for _ in 0..20 {
            assert!(!at_standby!(cluster, go, work));
        }
        for standby in &servers.standbys {
            standby.start_again()?;
        }
        until_at_standby!(cluster, go, work);
        Ok(())
    }
}

twin! {
    fn what_one_reader_cannot_do_for_now_another_one_does(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let config = servers.with(SIZES, |readers| readers.fallback = false);
        let cluster = go!(driver::Cluster::new(&config))?;
        drop([go!(cluster.reader().acquire())?, go!(cluster.reader().acquire())?]);
        // The one that is read from first.
        let full = AtomicI32::new(0);
        for _ in 0..20 {
            let port = go!(cluster.read(work!(|tx| {
                let port: i32 = go!(tx.query_one(WHO, &[]))?.get(0);
                let _ = full.compare_exchange(0, port, Ordering::Relaxed, Ordering::Relaxed);
                if port == full.load(Ordering::Relaxed) {
                    go!(tx.batch_execute("DO $$ BEGIN RAISE 'full' USING ERRCODE = '53100'; END $$"))?;
                }
                Ok(port)
            })))?;
            assert_ne!(port, full.load(Ordering::Relaxed));
        }
        Ok(())
    }
}

twin! {
    fn a_cluster_opens_without_its_readers(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        for standby in &servers.standbys {
            standby.stop(StopMode::Immediate)?;
        }
        let sizes = "{ min_size: 2, max_size: 8, timeout: 20 }";
        let cluster = go!(driver::Cluster::new(&servers.config(sizes)))?;
        assert!(!at_standby!(cluster, go, work));
        servers.standbys[1].start_again()?;
        until_at_standby!(cluster, go, work);
        Ok(())
    }
}

twin! {
    fn without_fallback_the_writer_is_not_read_from(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let sizes = "{ min_size: 0, max_size: 8, timeout: 1 }";
        let config = servers.with(sizes, |readers| readers.fallback = false);
        let cluster = go!(driver::Cluster::new(&config))?;
        for standby in &servers.standbys {
            standby.stop(StopMode::Immediate)?;
        }
        let read = go!(cluster.read(work!(|tx| { go!(tx.query_one(WHO, &[])) })));
        let error = read.expect_err("no reader is there");
        assert!(error.is_transient(), "{error}");
        Ok(())
    }
}

// Reads are under way while one reader crashes: none of them fails.
twin! {
    fn no_read_fails_while_one_reader_is_good(on, driver, go, work) {
        drop(on);
        let servers = Arc::new(Servers::start());
        let config = servers.with(SIZES, |readers| readers.fallback = false);
        let cluster = go!(driver::Cluster::new(&config))?;
        let guards = [go!(cluster.reader().acquire())?, go!(cluster.reader().acquire())?];
        drop(guards);
        for round in 0..3 {
            let began = Instant::now();
            let crash = std::thread::spawn({
                let servers = Arc::clone(&servers);
                move || {
                    std::thread::sleep(SECOND / 4);
                    servers.standbys[round % 2].stop(StopMode::Immediate)
                }
            });
            while began.elapsed() < SECOND {
                go!(cluster.read(work!(|tx| {
                    go!(tx.query_one("SELECT pg_sleep(0.005)", &[]))?;
                    go!(tx.query_one(WHO, &[]))
                })))?;
            }
            crash.join().expect("no panic")?;
            servers.standbys[round % 2].start_again()?;
            until("it is used again", || {
                cluster.status().standbys.iter().all(|one| one.unused.is_none())
            });
        }
        Ok(())
    }
}

// The reader that becomes a primary is left for the other one.
twin! {
    fn a_reader_that_is_promoted_is_not_read_from(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let cluster = go!(driver::Cluster::new(&servers.config(SIZES)))?;
        let guards = [go!(cluster.reader().acquire())?, go!(cluster.reader().acquire())?];
        drop(guards);
        servers.standbys[0].promote()?;
        // An idle session learns of the promotion with its next statement.
        let promoted = i32::from(servers.standbys[0].port());
        let (mut elsewhere, began) = (0, Instant::now());
        while elsewhere < 20 {
            let (port, standby) = go!(cluster.read(work!(|tx| {
                let row = go!(tx.query_one(WHO, &[]))?;
                Ok((row.get::<_, i32>(0), row.get::<_, bool>(1)))
            })))?;
            elsewhere = match standby && port != promoted {
                true => elsewhere + 1,
                false => 0,
            };
            assert!(began.elapsed() < LONG, "{}", cluster.status());
        }
        Ok(())
    }
}

// A reader that stands still, as a machine that has frozen: it closes nothing.
twin! {
    fn a_frozen_reader_is_not_read_from(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let cluster = go!(driver::Cluster::new(&servers.config(SIZES)))?;
        let guards = [go!(cluster.reader().acquire())?, go!(cluster.reader().acquire())?];
        drop(guards);
        let frozen = Frozen::of(&servers.standbys[0]).thawing();
        until("it is not used", || cluster.status().standbys[0].unused.is_some());
        let still = i32::from(servers.standbys[0].port());
        for _ in 0..20 {
            let port: i32 = go!(cluster.read(work!(|tx| {
                Ok(go!(tx.query_one(WHO, &[]))?.get(0))
            })))?;
            assert_ne!(port, still);
        }
        assert!(frozen.is_frozen());
        drop(frozen);
        until("it is used again", || cluster.status().standbys[0].unused.is_none());
        Ok(())
    }
}
