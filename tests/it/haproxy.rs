//! HAProxy in front of a primary and its standby, with a check that knows the role.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgmonkey::{Config, ListenEvent, aio, sync};
use pgmonkey_tests::{Fixture, LONG, Outcome, kinds_of, load, twin};
use pgmonkey_testserver::{Cluster, Haproxy, StopMode};

use crate::under_load::{self, Tally};

/// A primary, its standby, and HAProxy in front of both.
struct Rig {
    primary: Cluster,
    standby: Cluster,
    haproxy: Haproxy,
}

impl Rig {
    /// `None`, with the reason printed, if HAProxy is not installed.
    fn start() -> anyhow::Result<Option<Self>> {
        let Some(program) = Haproxy::find() else {
            println!("skipped: no haproxy on this machine (`apt-get install haproxy`)");
            return Ok(None);
        };
        let primary = Cluster::builder().start()?;
        let checker = Haproxy::CHECKER;
        primary.psql(&format!("CREATE ROLE {checker} LOGIN"))?;
        let rules = primary.hba()?;
        let own = format!("host postgres {checker} 127.0.0.1/32 trust\n");
        primary.set_hba(&format!("{own}{rules}"))?;
        let standby = primary.standby()?;
        let haproxy = Haproxy::start(&program, &[&primary, &standby])?;
        let rig = Self {
            primary,
            standby,
            haproxy,
        };
        rig.until(true, false);
        Ok(Some(rig))
    }

    /// Waits until the check has found out which of the two is the primary.
    fn until(&self, first: bool, second: bool) {
        let end = Instant::now() + LONG;
        let found = || (self.haproxy.is_up(0).ok(), self.haproxy.is_up(1).ok());
        while found() != (Some(first), Some(second)) {
            assert!(Instant::now() < end, "{:?}", found());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Takes the primary out of service or puts it back, as an operator does.
    fn set(&self, state: &str) {
        let command = format!("set server primary/db0 state {state}");
        self.haproxy.command(&command).expect("it answers");
    }

    fn fixture(&self) -> Fixture {
        Fixture::on((*self.primary).clone())
    }

    fn config(&self, on: &Fixture, sections: &str) -> Config {
        let to = self.haproxy.endpoint();
        load(&on.yaml_at(to.host(), to.port(), sections))
    }

    fn pools(&self, on: &Fixture) -> Config {
        let sizes = "{ min_size: 2, max_size: 4, timeout: 60 }";
        let sections = format!("pool_settings: {sizes}\nasync_pool_settings: {sizes}\n");
        self.config(on, &sections)
    }
}

/// The port of the server behind HAProxy that a session has reached.
const SERVER: &str = "SELECT inet_server_port()";

twin! {
    fn every_type_has_all_of_postgresql_through_haproxy(on, driver, go, work) {
        drop(on);
        let Some(rig) = Rig::start()? else { return Ok(()) };
        let on = rig.fixture();
        let insert = format!("INSERT INTO {} VALUES ($1)", on.name);
        let settings = "{ statement_timeout: '31000' }";
        let settings = format!("sync_settings: {settings}\nasync_settings: {settings}\n");
        for kind in kinds_of::<driver::Pool>() {
            let config = rig.config(&on, &format!("connection_type: {kind}\n{settings}"));
            let database = go!(driver::Database::new(&config))?;
            // Often enough to be prepared.
            for n in 0..4 {
                let row = go!(database.query_one("SELECT $1::int + 1, inet_server_port()", &[&n]))?;
                assert_eq!((row.get(0), row.get(1)), (n + 1, i32::from(rig.primary.port())));
            }
            let row = go!(database.query_one("SHOW statement_timeout", &[]))?;
            assert_eq!(row.get::<_, &str>(0), "31s");
            go!(database.transaction(work!(|tx| { go!(tx.execute(&insert, &[&1])) })))?;
            database.close();
        }
        assert_eq!(on.rows(), 2);
        let mut listener = go!(driver::Listener::connect(&rig.config(&on, "")))?;
        go!(listener.listen(&on.name))?;
        on.run(&format!("NOTIFY {}, 'heard'", on.name));
        match go!(listener.recv_timeout(LONG))?.expect("in time") {
            ListenEvent::Notification(heard) => assert_eq!(heard.payload(), "heard"),
            other => panic!("{other:?}"),
        }
        go!(listener.close());
        Ok(())
    }
}

/// How many clients HAProxy has accepted.
fn accepted(rig: &Rig) -> u32 {
    let table = rig.haproxy.command("show stat").expect("it answers");
    let line = table
        .lines()
        .find(|line| line.starts_with("primary,FRONTEND,"));
    // The column `stot`.
    let total = line.and_then(|line| line.split(',').nth(7)?.parse().ok());
    total.expect("a number")
}

// While HAProxy has no server, it accepts a client and closes without a word.
twin! {
    fn a_primary_that_is_taken_out_and_put_back_is_waited_for(on, driver, go, work) {
        drop(on);
        let Some(rig) = Rig::start()? else { return Ok(()) };
        let on = rig.fixture();
        let pool = go!(driver::Pool::new(&rig.pools(&on)))?;
        let mut held = go!(pool.acquire())?;
        rig.set("maint");
        on.until("its sessions are shut down", || on.sessions() == 0);
        let error = go!(held.query("SELECT 1", &[])).expect_err("its session was shut down");
        assert!(error.is_transient() || error.is_outcome_unknown(), "{error}");
        drop(held);
        let hasty = pool.timeout(Duration::from_millis(500));
        let error = go!(hasty.query("SELECT 1", &[])).expect_err("no server");
        assert!(error.is_transient() && error.is_deadline(), "{error}");
        let before = accepted(&rig);
        let operator = std::thread::spawn(move || {
            let end = Instant::now() + LONG;
            while accepted(&rig) < before + 3 && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
            let tries = accepted(&rig) - before;
            rig.set("ready");
            (tries, rig)
        });
        let row = go!(pool.query_one(SERVER, &[]))?;
        let (tries, rig) = operator.join().expect("no panic");
        assert!(tries >= 3, "it did not try again: {tries}");
        assert_eq!(row.get::<_, i32>(0), i32::from(rig.primary.port()));
        Ok(())
    }
}

/// Lets the standby take over, makes the old primary its standby, and changes back.
fn switch_over_and_back(rig: &Rig, load: &Tally) {
    load.goes_on();
    // It sends everything to its standby before it ends.
    rig.primary.stop(StopMode::Fast).expect("stops");
    rig.standby.promote().expect("promoted");
    rig.until(false, true);
    load.goes_on();
    follow(&rig.primary, &rig.standby);
    load.goes_on();
    rig.standby.stop(StopMode::Fast).expect("stops");
    rig.primary.promote().expect("promoted");
    rig.until(true, false);
    load.goes_on();
}

/// Starts a server that was stopped as the standby of another one.
fn follow(stopped: &Cluster, primary: &Cluster) {
    let to = format!(
        "host={} port={} user={} password={}",
        primary.host(),
        primary.port(),
        primary.user(),
        primary.password()
    );
    stopped.set("primary_conninfo", &to).expect("a file");
    std::fs::write(stopped.data_dir().join("standby.signal"), "").expect("a directory");
    stopped.start_again().expect("starts");
    // At first it streams the earlier timeline, then connects again for the one that began with the
    // promotion: stopped in between, the primary would leave it behind.
    let written = primary.psql("SELECT pg_current_wal_lsn()");
    let streams = format!(
        "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn >= '{}'",
        written.expect("it answers")
    );
    let end = Instant::now() + LONG;
    while primary.psql(&streams).expect("it answers") != "1" {
        assert!(Instant::now() < end, "{}", stopped.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn threads_follow_a_switchover_and_back() -> Outcome {
    let Some(rig) = Rig::start()? else {
        return Ok(());
    };
    let on = rig.fixture();
    let pool = sync::Pool::new(&rig.pools(&on))?;
    let load = under_load::threads(&pool, &on, |load| switch_over_and_back(&rig, load));
    load.check(&on);
    assert!(load.failed() > 0, "nothing ran when the primary stopped");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_follow_a_switchover_and_back() -> Outcome {
    let Some(rig) = Rig::start()? else {
        return Ok(());
    };
    let on = rig.fixture();
    let pool = aio::Pool::new(&rig.pools(&on)).await?;
    let rig = Arc::new(rig);
    let switched = Arc::clone(&rig);
    let disturb = move |load: &Tally| switch_over_and_back(&switched, load);
    let load = under_load::tasks(&pool, &on, disturb).await;
    load.check(&on);
    assert!(load.failed() > 0, "nothing ran when the primary stopped");
    Ok(())
}
