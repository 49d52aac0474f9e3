//! A host that stands still or has changed its role while another one takes over, and a name that
//! moves to another address.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use pgmonkey::{Config, Error, ListenEvent, Retry};
use pgmonkey_tests::{LONG, load, twin};
use pgmonkey_testserver::{Cluster, Endpoint, Proxy, signal};

/// All processes of a server, stopped until this is dropped: as a machine that has frozen, whose
/// system still accepts connections.
pub(crate) struct Frozen(Vec<u32>);

impl Frozen {
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let postmaster = cluster.pid().expect("it runs");
        let mut stopped = vec![postmaster];
        // Without new processes from here on.
        signal(postmaster, "STOP").expect("a process of the test's server");
        let children = format!("/proc/{postmaster}/task/{postmaster}/children");
        let children = std::fs::read_to_string(children).expect("a running process");
        for pid in children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
        {
            signal(pid, "STOP").expect("a process of the test's server");
            stopped.push(pid);
        }
        Self(stopped)
    }

    /// Resumes after a while, so that a test of a client that waits fails, and does not hang.
    pub(crate) fn thawing(self) -> Thawing {
        let (over, told) = mpsc::channel();
        let has_thawed = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let has_thawed = Arc::clone(&has_thawed);
            move || {
                if told.recv_timeout(2 * LONG).is_err() {
                    has_thawed.store(true, Ordering::SeqCst);
                }
                drop(self);
            }
        });
        Thawing {
            over: Some(over),
            has_thawed,
            thread: Some(thread),
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = signal(*pid, "CONT");
        }
    }
}

/// A frozen server that resumes when this is dropped, at the latest after some time.
pub(crate) struct Thawing {
    over: Option<mpsc::Sender<()>>,
    has_thawed: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Thawing {
    pub(crate) fn is_frozen(&self) -> bool {
        !self.has_thawed.load(Ordering::SeqCst)
    }
}

impl Drop for Thawing {
    fn drop(&mut self) {
        if let Some(over) = self.over.take() {
            let _ = over.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn config(hosts: [&Endpoint; 2], keys: &str, sections: &str) -> Config {
    let [a, b] = hosts;
    load(&format!(
        "connection_settings: {{ host: '{},{}', port: '{},{}', user: {}, password: '{}', dbname: {}, \
         sslmode: disable, connect_timeout: 120, {keys} }}\n{sections}",
        a.host(),
        b.host(),
        a.port(),
        b.port(),
        a.user(),
        a.password(),
        a.dbname(),
    ))
}

fn pools(settings: &str) -> String {
    format!("pool_settings: {settings}\nasync_pool_settings: {settings}\n")
}

/// A primary with the table `t` and its standby, which has the table too.
fn servers() -> (Cluster, Cluster) {
    let primary = Cluster::builder().start().expect("a server");
    primary
        .psql("CREATE TABLE t (n int)")
        .expect("the administrator may");
    let standby = primary.standby().expect("a standby");
    (primary, standby)
}

const WRITES: &str = "target_session_attrs: read-write";

// Each call ends although the frozen server closes nothing, and the next one reaches the new primary
// although the frozen one comes first in the list and still accepts connections.
twin! {
    fn statements_on_a_frozen_primary_end_after_another_has_taken_over(on, driver, go, work) {
        drop(on);
        let (primary, standby) = servers();
        let sizes = pools("{ min_size: 1, max_size: 3, timeout: 60 }");
        let config = config([primary.endpoint(), standby.endpoint()], WRITES, &sizes);
        let pool = go!(driver::Pool::new(&config))?;
        let mut tx = go!(pool.begin())?;
        go!(tx.execute("INSERT INTO t VALUES (1)", &[]))?;
        let mut guard = go!(pool.acquire())?;
        // Prepared beforehand: a statement that is lost while it is prepared was not executed.
        for _ in 0..2 {
            go!(guard.query("INSERT INTO t VALUES (2)", &[]))?;
        }
        let frozen = Frozen::of(&primary).thawing();
        standby.promote().expect("promoted");
        let error = go!(guard.query("INSERT INTO t VALUES (2)", &[])).expect_err("frozen");
        assert!(frozen.is_frozen(), "it waited for the thaw: {error}");
        let text = error.to_string();
        assert!(text.contains(&format!(":{} no longer answers", primary.port())), "{text}");
        assert!(text.contains(&format!(":{} has taken over", standby.port())), "{text}");
        assert!(error.is_outcome_unknown() && !error.is_transient(), "{error}");
        // Sessions that were not in a statement are given up too; nothing of theirs is in doubt.
        let error = go!(tx.execute("INSERT INTO t VALUES (1)", &[])).expect_err("given up");
        assert!(matches!(error, Error::SessionEnded(_)) && error.is_transient(), "{error}");
        drop(tx);
        drop(guard);
        let report = go!(pool.ping())?;
        assert!(report.host.ends_with(&format!(":{}", standby.port())), "{}", report.host);
        go!(pool.execute("INSERT INTO t VALUES (3)", &[]))?;
        assert!(frozen.is_frozen(), "the next statement waited for the thaw");
        drop(frozen);
        Ok(())
    }
}

// As a pool of one: it is watched although nothing else of it is maintained.
twin! {
    fn a_connection_leaves_a_frozen_primary_too(on, driver, go, work) {
        drop(on);
        let (primary, standby) = servers();
        let config = config([primary.endpoint(), standby.endpoint()], WRITES, "");
        let connection = go!(driver::Connection::new(&config))?;
        let frozen = Frozen::of(&primary).thawing();
        standby.promote().expect("promoted");
        let error = go!(connection.query("SELECT count(*) FROM t", &[])).expect_err("frozen");
        assert!(error.is_transient(), "{error}");
        go!(connection.execute("INSERT INTO t VALUES (1)", &[]))?;
        assert!(frozen.is_frozen(), "it waited for the thaw");
        drop(frozen);
        Ok(())
    }
}

/// How many sessions have logged in at the server so far, of any client.
fn logins(cluster: &Cluster) -> usize {
    cluster.log().matches("connection authorized").count()
}

// Asked again and again, the server answers: it is not frozen, whatever the statement does.
twin! {
    fn a_long_statement_on_a_healthy_primary_goes_on(on, driver, go, work) {
        drop(on);
        let (primary, standby) = servers();
        let (primary, standby) = (Arc::new(primary), standby);
        let config = config([primary.endpoint(), standby.endpoint()], WRITES, "");
        let pool = go!(driver::Pool::new(&config))?;
        let mut guard = go!(pool.acquire())?;
        let server = Arc::clone(&primary);
        let (held, holds) = mpsc::channel();
        let holder = std::thread::spawn(move || {
            let mut admin = postgres::Client::connect(&server.url(), postgres::NoTls)?;
            admin.batch_execute("SELECT pg_advisory_lock(18)")?;
            let before = logins(&server);
            held.send(()).expect("it waits");
            let end = Instant::now() + LONG;
            while logins(&server) < before + 3 {
                assert!(Instant::now() < end, "the server was not asked");
                std::thread::sleep(Duration::from_millis(10));
            }
            admin.batch_execute("SELECT pg_advisory_unlock(18)")
        });
        holds.recv()?;
        go!(guard.query("SELECT pg_advisory_lock(18)", &[]))?;
        holder.join().expect("no panic")?;
        assert_eq!(pool.status().closed.total(), 0);
        Ok(())
    }
}

// Without another host that takes over, nothing is given up.
twin! {
    fn a_frozen_primary_without_a_successor_is_waited_for(on, driver, go, work) {
        drop(on);
        let (primary, standby) = servers();
        let config = config([primary.endpoint(), standby.endpoint()], WRITES, "");
        let pool = go!(driver::Pool::new(&config))?;
        go!(pool.ping())?;
        let frozen = Frozen::of(&primary);
        let (thawed, before) = (Arc::new(AtomicBool::new(false)), logins(&standby));
        let thaw = std::thread::spawn({
            let thawed = Arc::clone(&thawed);
            move || {
                // Its role was found to be the wrong one, more than once.
                let end = Instant::now() + LONG;
                while logins(&standby) < before + 3 {
                    assert!(Instant::now() < end, "the standby was not asked");
                    std::thread::sleep(Duration::from_millis(10));
                }
                thawed.store(true, Ordering::SeqCst);
                drop(frozen);
                standby
            }
        });
        go!(pool.execute("INSERT INTO t VALUES (1)", &[]))?;
        assert!(thawed.load(Ordering::SeqCst));
        drop(thaw.join().expect("no panic"));
        assert_eq!(pool.status().closed.total(), 0);
        Ok(())
    }
}

/// The payload of a notification; a mark for anything else.
fn payload(heard: Option<ListenEvent>) -> String {
    match heard {
        Some(ListenEvent::Notification(heard)) => heard.payload().to_owned(),
        other => format!("{other:?}"),
    }
}

// It waits for notifications, so only its pings show that the host stands still.
twin! {
    fn a_listener_leaves_a_frozen_primary_for_its_successor(on, driver, go, work) {
        drop(on);
        let (primary, standby) = servers();
        let config = config([primary.endpoint(), standby.endpoint()], WRITES, "");
        let mut listener = go!(driver::Listener::connect(&config))?;
        go!(listener.listen("moved"))?;
        let frozen = Frozen::of(&primary).thawing();
        standby.promote().expect("promoted");
        let heard = go!(listener.recv_timeout(3 * LONG))?;
        assert!(matches!(heard, Some(ListenEvent::Reconnected)), "{heard:?}");
        assert!(frozen.is_frozen(), "it waited for the thaw");
        standby.psql("NOTIFY moved, 'after'")?;
        assert_eq!(payload(go!(listener.recv_timeout(LONG))?), "after");
        drop(frozen);
        Ok(())
    }
}

// Also while a ping is under way: the statement of `listen` follows its answer.
twin! {
    fn a_listener_stays_at_a_primary_without_a_successor(on, driver, go, work) {
        drop(on);
        let (primary, standby) = servers();
        let config = config([primary.endpoint(), standby.endpoint()], WRITES, "");
        let mut listener = go!(driver::Listener::connect(&config))?;
        go!(listener.listen("stays"))?;
        let (frozen, before) = (Frozen::of(&primary), logins(&standby));
        let end = Instant::now() + 2 * LONG;
        // Its role was found to be the wrong one, more than once.
        while logins(&standby) < before + 2 {
            assert!(Instant::now() < end, "the standby was not asked");
            let heard = go!(listener.recv_timeout(Duration::from_millis(50)))?;
            assert!(heard.is_none(), "{heard:?}");
        }
        drop(frozen);
        go!(listener.listen("later"))?;
        primary.psql("NOTIFY stays, 'heard'")?;
        assert_eq!(payload(go!(listener.recv_timeout(LONG))?), "heard");
        primary.psql("NOTIFY later, 'too'")?;
        assert_eq!(payload(go!(listener.recv_timeout(LONG))?), "too");
        Ok(())
    }
}

// Through a name or a proxy that still leads to the old primary.
twin! {
    fn a_write_refused_by_a_standby_is_transient(on, driver, go, work) {
        drop(on);
        let (primary, standby) = servers();
        let there = [standby.endpoint(), standby.endpoint()];
        let anywhere = config(there, "target_session_attrs: any", "");
        let pool = go!(driver::Pool::new(&anywhere))?;
        for error in [
            go!(pool.execute("INSERT INTO t VALUES (1)", &[])).expect_err("a standby"),
            go!(pool.transaction(work!(|tx| {
                go!(tx.query("SELECT 1", &[]))?;
                go!(tx.execute("INSERT INTO t VALUES (1)", &[])).map(drop)
            }))).expect_err("a standby"),
        ] {
            assert!(matches!(error, Error::UnexpectedStandby(_)) && error.is_transient(), "{error}");
            assert_eq!(error.code().map(|code| code.code()), Some("25006"));
            assert!(error.to_string().contains("has become a standby"), "{error}");
        }
        // Where a standby was asked for, the same statement will be refused again.
        let standbys = config(there, "target_session_attrs: standby", "");
        let reads = go!(driver::Pool::new(&standbys))?;
        let error = go!(reads.execute("INSERT INTO t VALUES (1)", &[])).expect_err("a standby");
        assert!(matches!(error, Error::Database(_)) && !error.is_transient(), "{error}");
        // So it will where the transaction is read-only by choice.
        let primaries = config([primary.endpoint(), primary.endpoint()], WRITES, "");
        let writes = go!(driver::Pool::new(&primaries))?;
        let chosen = "BEGIN READ ONLY; INSERT INTO t VALUES (1)";
        let error = go!(writes.batch_execute(chosen)).expect_err("read-only");
        assert!(matches!(error, Error::Database(_)) && !error.is_transient(), "{error}");
        Ok(())
    }
}

twin! {
    fn a_transaction_refused_by_a_standby_is_run_again_with_lost_sessions(on, driver, go, work) {
        drop(on);
        let (primary, standby) = servers();
        let there = config([standby.endpoint(), standby.endpoint()], "target_session_attrs: any", "");
        let pool = go!(driver::Pool::new(&there))?;
        let (attempts, new) = (std::sync::atomic::AtomicU32::new(0), &standby);
        let retry = Retry::attempts(3).retry_lost_sessions(true);
        go!(pool.build_transaction().retry(retry).run(work!(|tx| {
            let is_first = attempts.fetch_add(1, Ordering::SeqCst) == 0;
            let done = go!(tx.execute("INSERT INTO t VALUES (1)", &[]));
            if is_first {
                new.promote().expect("promoted");
            }
            done.map(drop)
        })))?;
        assert_eq!(attempts.load(Ordering::SeqCst), 2);
        assert_eq!(standby.psql("SELECT count(*) FROM t")?, "1");
        drop(primary);
        Ok(())
    }
}

/// Names this process's file of host names, in a mount namespace of its own.
#[cfg(target_os = "linux")]
const HOSTS: &str = "PGMONKEY_TEST_HOSTS";

/// Runs a test of this program again where it may write the system's file of host names; `None`,
/// with a message, if that is not allowed.
#[cfg(target_os = "linux")]
fn with_own_hosts(test: &str) -> Option<std::process::ExitStatus> {
    let scratch = pgmonkey_testserver::ScratchDir::new().expect("a directory");
    let hosts = scratch.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost moves.test\n").expect("a new file");
    let script = "mount --bind \"$1\" /etc/hosts || exit 99; shift; exec \"$@\"";
    let ran = std::process::Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(&hosts)
        .arg(std::env::current_exe().expect("this program"))
        .args([test, "--exact", "--nocapture"])
        .env(HOSTS, &hosts)
        .status();
    match ran {
        Ok(status) if status.code() != Some(99) && status.code() != Some(1) => Some(status),
        other => {
            println!("skipped: no mount namespace ({other:?})");
            None
        }
    }
}

// Names are resolved for each login; with `follow_dns`, the sessions at the old address end too.
#[cfg(target_os = "linux")]
twin! {
    fn sessions_follow_a_name_to_its_new_address(on, driver, go, work) {
        let Some(hosts) = std::env::var_os(HOSTS) else {
            let thread = std::thread::current();
            let name = thread.name().expect("a test has a thread with its name").to_owned();
            if let Some(status) = with_own_hosts(&name) {
                assert!(status.success(), "{status}");
            }
            return Ok(());
        };
        let here = |last: u8| std::net::TcpListener::bind((std::net::Ipv4Addr::new(127, 0, 0, last), 0));
        let server = (on.server().host(), on.server().port());
        let old = Proxy::behind(here(1)?, server)?;
        let second = std::net::TcpListener::bind(("127.0.0.2", old.port()))?;
        let new = Proxy::behind(second, server)?;
        for follow in [false, true] {
            std::fs::write(&hosts, "127.0.0.1 localhost moves.test\n")?;
            let sizes = pools("{ min_size: 2, max_size: 3, timeout: 20 }");
            let yaml = on.yaml_at("moves.test", old.port(), &sizes);
            let keys = format!("connect_timeout: 5, follow_dns: {follow}");
            let config = load(&yaml.replacen("connect_timeout: 5", &keys, 1));
            let pool = go!(driver::Pool::new(&config))?;
            let mut held = go!(pool.acquire())?;
            let port = go!(held.ping())?.address;
            assert!(port.contains("127.0.0.1"), "{port}");
            go!(held.batch_execute("BEGIN"))?;
            std::fs::write(&hosts, "127.0.0.1 localhost\n127.0.0.2 moves.test\n")?;
            let before = new.accepted();
            if follow {
                on.until("the idle session has ended", || pool.status().closed.address == 1);
                // What is in use goes on to its end.
                go!(held.batch_execute("COMMIT"))?;
                drop(held);
                let mut next = go!(pool.acquire())?;
                let address = go!(next.ping())?.address;
                assert!(address.contains("127.0.0.2"), "{address}");
                assert_eq!(pool.status().closed.address, 2);
            } else {
                // Two old sessions and a new one.
                let others = (go!(pool.acquire())?, go!(pool.acquire())?);
                assert_eq!(pool.status().closed.total(), 0);
                drop(others);
            }
            assert!(new.accepted() > before, "a new login goes to the new address");
        }
        Ok(())
    }
}
