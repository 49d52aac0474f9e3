//! A writer and its readers: where reads go, how late a reader may be, and reading what was written.

use std::time::{Duration, Instant};

use pgmonkey::config::{Readers, Settings};
use pgmonkey::{Config, Error, Secret, Token};
use pgmonkey_tests::{LONG, load, twin};
use pgmonkey_testserver::{Cluster, Endpoint, StopMode};

use crate::failover::Frozen;

mod away;
mod from_file;
mod observed;
mod pooled;
mod program;
mod runtimes;
mod schema_changes;
mod sockets;
mod tokens;

const SECOND: Duration = Duration::from_secs(1);

/// A primary with the table `t`, and two streaming standbys that have it too.
pub(crate) struct Servers {
    primary: Cluster,
    standbys: [Cluster; 2],
}

impl Servers {
    pub(crate) fn start() -> Self {
        let primary = Cluster::builder().start().expect("a server");
        let made = primary.psql("CREATE TABLE t (n int)");
        made.expect("the administrator may");
        let standbys = [0, 1].map(|_| primary.standby().expect("a standby"));
        let servers = Self { primary, standbys };
        servers.wait_for_replay();
        servers
    }

    /// Waits until both standbys have replayed what the primary has written.
    fn wait_for_replay(&self) {
        // The servers of tests do not wait for the disk: this transaction does, for all before it too.
        // One that writes nothing would not.
        let flush = "BEGIN; SET LOCAL synchronous_commit = on; \
                     SELECT pg_logical_emit_message(true, 'test', 'flush'); COMMIT";
        self.primary.psql(flush).expect("the administrator may");
        let written = self.primary.psql("SELECT pg_current_wal_lsn()");
        let written = written.expect("a position");
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        for standby in &self.standbys {
            until("it has replayed", || {
                standby.psql(&replayed).is_ok_and(|is| is == "t")
            });
        }
    }

    pub(crate) fn config(&self, pools: &str) -> Config {
        self.with(pools, |_| {})
    }

    /// The configuration of a cluster whose readers `change`.
    fn with(&self, pools: &str, change: impl FnOnce(&mut Readers)) -> Config {
        let pools = format!("pool_settings: {pools}\nasync_pool_settings: {pools}\n");
        let config = load(&at(&[self.primary.endpoint()], &pools));
        let mut settings = config.to_settings();
        let hosts = self.standbys.each_ref().map(Cluster::endpoint);
        let readers = load(&at(&hosts, &pools)).to_settings();
        let mut readers = Readers::new(readers).expect("valid settings");
        change(&mut readers);
        settings.readers = Some(readers);
        Config::new(settings).expect("valid settings")
    }

    /// The sessions at each standby, one of which asks it how late it is.
    fn sessions(&self) -> [usize; 2] {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'reader'";
        self.standbys.each_ref().map(|standby| {
            let count = standby.psql(count).expect("the administrator may");
            count.parse().expect("a number")
        })
    }
}

fn at(hosts: &[&Endpoint], sections: &str) -> String {
    let all = |part: fn(&Endpoint) -> String| {
        let parts: Vec<_> = hosts.iter().map(|host| part(host)).collect();
        parts.join(",")
    };
    let one = hosts[0];
    format!(
        "connection_settings: {{ host: '{}', port: '{}', user: {}, password: '{}', dbname: {}, \
         sslmode: disable, connect_timeout: 10 }}\n{sections}",
        all(|host| host.host().to_owned()),
        all(|host| host.port().to_string()),
        one.user(),
        one.password(),
        one.dbname(),
    )
}

#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < LONG, "not within {LONG:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) const SIZES: &str = "{ min_size: 0, max_size: 8, timeout: 20 }";
/// The port of the server that answers, and whether it is a standby.
const WHO: &str = "SELECT inet_server_port()::int4, pg_is_in_recovery()";

twin! {
    fn reads_go_to_readers_and_all_else_to_the_writer(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let cluster = go!(driver::Cluster::new(&servers.config(SIZES)))?;
        go!(cluster.write(work!(|tx| { go!(tx.execute("INSERT INTO t VALUES (1)", &[])) })))?;
        let read = go!(cluster.read(work!(|tx| {
            let row = go!(tx.query_one(WHO, &[]))?;
            let how = go!(tx.query_one("SHOW transaction_read_only", &[]))?;
            Ok((row.get::<_, bool>(1), how.get::<_, String>(0)))
        })))?;
        assert_eq!(read, (true, "on".to_owned()));
        let by_itself: bool = go!(cluster.query_one(WHO, &[]))?.get(1);
        let on_reader: bool = go!(cluster.reader().query_one(WHO, &[]))?.get(1);
        let on_writer: bool = go!(cluster.writer().query_one(WHO, &[]))?.get(1);
        assert_eq!((by_itself, on_reader, on_writer), (false, true, false));
        let error = go!(cluster.read(work!(|tx| { go!(tx.execute("DELETE FROM t", &[])) })));
        let error = error.expect_err("it only reads");
        assert_eq!(error.code().map(|code| code.code()), Some("25006"), "{error}");
        Ok(())
    }
}

twin! {
    fn without_readers_there_is_one_pool(on, driver, go, work) {
        let config = on.config("");
        let manager = driver::ConnectionManager::new();
        let cluster = go!(manager.cluster(&config))?;
        assert!(cluster.reader().is_same(cluster.writer()));
        assert!(cluster.writer().is_same(&go!(manager.pool(&config))?));
        let one: i32 = go!(cluster.read(work!(|tx| {
            Ok(go!(tx.query_one("SELECT 1", &[]))?.get(0))
        })))?;
        let (two, token) = go!(cluster.write_with_token(work!(|tx| {
            Ok(go!(tx.query_one("SELECT 2", &[]))?.get::<_, i32>(0))
        })))?;
        let three: i32 = go!(cluster.read_after(token, work!(|tx| {
            Ok(go!(tx.query_one("SELECT 3", &[]))?.get(0))
        })))?;
        assert_eq!((one, two, three), (1, 2, 3));
        Ok(())
    }
}

// As a user writes it: the section is laid over the rest.
twin! {
    fn the_file_describes_both_sides(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let [one, other] = servers.standbys.each_ref().map(Cluster::endpoint);
        let sections = format!(
            "readers:\n  connection_settings: {{ host: '{},{}', port: '{},{}' }}\n  \
             max_lag: 30s\n  pool_settings: {{ max_size: 3 }}\n  async_pool_settings: {{ max_size: 3 }}",
            one.host(), other.host(), one.port(), other.port(),
        );
        let config = load(&at(&[servers.primary.endpoint()], &sections));
        let cluster = go!(driver::Cluster::new(&config))?;
        let ((), token) = go!(cluster.write_with_token(work!(|tx| {
            go!(tx.execute("INSERT INTO t VALUES (1)", &[])).map(drop)
        })))?;
        let (count, standby) = go!(cluster.read_after(token, work!(|tx| {
            let count: i64 = go!(tx.query_one("SELECT count(*) FROM t", &[]))?.get(0);
            Ok((count, go!(tx.query_one(WHO, &[]))?.get::<_, bool>(1)))
        })))?;
        assert_eq!((count, standby), (1, true));
        let status = cluster.status();
        assert_eq!((status.reader.max_size, status.writer.max_size), (3, 10));
        assert_eq!(status.standbys.len(), 2, "{status}");
        Ok(())
    }
}

twin! {
    fn a_manager_caches_both_sides(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let config = servers.config(SIZES);
        let manager = driver::ConnectionManager::new();
        let (one, two) = (go!(manager.cluster(&config))?, go!(manager.cluster(&config))?);
        assert!(one.writer().is_same(two.writer()) && one.reader().is_same(two.reader()));
        assert!(!one.reader().is_same(one.writer()));
        assert_eq!(manager.cache_info().len(), 2);
        // The same servers, by a configuration that is not a cluster's.
        let plain = go!(manager.pool(&config.readers.as_ref().expect("readers").config))?;
        assert!(!plain.is_same(one.reader()));
        assert_eq!(manager.remove(&config), 2);
        assert_eq!(manager.cache_info().len(), 1);
        Ok(())
    }
}

// One after the other, each for a caller of its own: whichever standby gets the first of two, the
// other one gets the second. By chance this goes well once in two million times.
twin! {
    fn sessions_are_spread_evenly(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let config = named(&servers, "{ min_size: 0, max_size: 42, timeout: 20 }");
        let cluster = go!(driver::Cluster::new(&config))?;
        let mut guards = Vec::new();
        for each in 1..=21 {
            guards.push(go!(cluster.reader().acquire())?);
            guards.push(go!(cluster.reader().acquire())?);
            let status = cluster.status();
            assert_eq!(status.standbys.len(), 2);
            assert!(status.standbys.iter().all(|one| one.sessions == each), "{status}");
        }
        assert_eq!(servers.sessions(), [21 + 1, 21 + 1]);
        Ok(())
    }
}

/// A cluster whose readers can be told apart in `pg_stat_activity`.
fn named(servers: &Servers, pools: &str) -> Config {
    servers.with(pools, |readers| {
        let mut settings: Settings = readers.config.to_settings();
        settings.connection_settings.application_name = Some("reader".to_owned());
        readers.config = Config::new(settings).expect("valid settings");
    })
}

// The one that is late gets no read while it is, and gets some again. So many sessions are opened in
// that time that chance avoids it once in eight million times.
twin! {
    fn a_late_standby_is_not_read_from_until_it_is_back(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        let sizes = "{ min_size: 0, max_size: 32, timeout: 20 }";
        let config = servers.with(sizes, |readers| readers.max_lag = Some(2 * SECOND));
        let cluster = go!(driver::Cluster::new(&config))?;
        let late = &servers.standbys[0];
        late.psql("SELECT pg_wal_replay_pause()")?;
        let held = [go!(cluster.reader().acquire())?, go!(cluster.reader().acquire())?];
        drop(held);
        let is_out = || cluster.status().standbys[0].unused.is_some();
        until("it is late", || {
            servers.primary.psql("INSERT INTO t VALUES (1)").expect("a row");
            is_out()
        });
        let port = i32::from(late.port());
        // Returns how many of these sessions, in use at the same time, are at the late one.
        macro_rules! at_late {
            ($sessions:expr) => {{
                let mut guards = Vec::new();
                for _ in 0..$sessions {
                    guards.push(go!(cluster.reader().acquire())?);
                }
                let mut found = 0;
                for mut guard in guards {
                    found += u32::from(go!(guard.query_one(WHO, &[]))?.get::<_, i32>(0) == port);
                }
                found
            }};
        }
        for _ in 0..3 {
            assert_eq!(at_late!(24), 0, "{}", cluster.status());
        }
        assert_eq!(cluster.status().standbys[0].sessions, 0);
        late.psql("SELECT pg_wal_replay_resume()")?;
        until("it is back", || !is_out());
        assert!(at_late!(32) >= 8, "{}", cluster.status());
        Ok(())
    }
}

// At most one session a second moves; callers notice nothing.
twin! {
    fn sessions_move_to_a_standby_that_comes_back(on, driver, go, work) {
        drop(on);
        let servers = Servers::start();
        servers.standbys[1].stop(StopMode::Immediate)?;
        let config = named(&servers, "{ min_size: 6, max_size: 6, timeout: 20 }");
        let cluster = go!(driver::Cluster::new(&config))?;
        assert_eq!(cluster.status().reader.size, 6);
        servers.standbys[1].start_again()?;
        let mut evenly = false;
        let began = Instant::now();
        while !evenly && began.elapsed() < LONG {
            go!(cluster.read(work!(|tx| { go!(tx.query_one(WHO, &[])) })))?;
            std::thread::sleep(Duration::from_millis(20));
            evenly = servers.sessions() == [3 + 1, 3 + 1];
        }
        assert!(evenly, "{}", cluster.status());
        assert!(began.elapsed() > 2 * SECOND, "three moves");
        assert_eq!(cluster.status().reader.closed.standby, 3);
        Ok(())
    }
}
