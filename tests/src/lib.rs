//! Support for the behaviour tests: a server, a configuration per test, and a view of the sessions
//! from the server's side.
//!
//! The server is the one `cargo xtask test` started, or a throw-away one of this process. It is
//! shared, so each test identifies its sessions by their `application_name`.

#![forbid(unsafe_code)]

pub mod kitchen;
mod no_tls;
pub mod places;
mod stopped;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pgmonkey_config::Config;
use pgmonkey_testserver::{Endpoint, plain_or_start};
use postgres::types::ToSql;

pub use no_tls::broken_tls;
pub use stopped::Stopped;

/// The result of a test.
pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// How long a test waits for something that must happen.
pub const LONG: Duration = Duration::from_secs(20);

/// One test's own part of a server.
pub struct Fixture {
    server: Endpoint,
    /// The `application_name` of the test's sessions, and the name of its table.
    pub name: String,
    admin: Mutex<Option<postgres::Client>>,
}

impl Fixture {
    /// A fixture on the plain server. Its table `name` has one column, `n int`.
    pub fn new() -> Self {
        let server = plain_or_start().expect("a PostgreSQL server: see the README's test command");
        Self::on(server.clone())
    }

    /// A fixture on the given server.
    pub fn on(server: Endpoint) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        // Process ids are reused, and a killed test may have left its table behind.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_micros());
        let fixture = Self {
            server,
            name: format!("t_{}_{now}_{next}", std::process::id()),
            admin: Mutex::new(None),
        };
        fixture.run(&format!("CREATE TABLE {} (n int)", fixture.name));
        fixture
    }

    /// The server.
    pub fn server(&self) -> &Endpoint {
        &self.server
    }

    /// The configuration file for this fixture, with additional `sections`.
    pub fn yaml(&self, sections: &str) -> String {
        self.yaml_at(self.server.host(), self.server.port(), sections)
    }

    /// The same through another address, such as a proxy's.
    pub fn yaml_at(&self, host: &str, port: u16, sections: &str) -> String {
        let quote = |text: &str| format!("'{}'", text.replace('\'', "''"));
        format!(
            "connection_settings: {{ host: {}, port: {port}, user: {}, password: {}, dbname: {}, \
             application_name: {}, sslmode: disable, connect_timeout: 5 }}\n{sections}",
            quote(host),
            quote(self.server.user()),
            quote(self.server.password()),
            quote(self.server.dbname()),
            self.name,
        )
    }

    /// The configuration for this fixture.
    pub fn config(&self, sections: &str) -> Config {
        load(&self.yaml(sections))
    }

    /// The pool section for both families.
    pub fn pools(&self, settings: &str) -> Config {
        self.config(&format!(
            "pool_settings: {settings}\nasync_pool_settings: {settings}\n"
        ))
    }

    /// The pool section for the async family alone.
    pub fn pools_async(&self, settings: &str) -> Config {
        self.config(&format!("async_pool_settings: {settings}\n"))
    }

    /// Runs statements in a separate session.
    pub fn run(&self, sql: &str) {
        self.admin(|client| client.batch_execute(sql));
    }

    /// Queries a number in a separate session.
    pub fn number(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> i64 {
        self.admin(|client| client.query_one(sql, params).map(|row| row.get(0)))
    }

    /// How many sessions of this fixture the server has.
    pub fn sessions(&self) -> i64 {
        self.number(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1",
            &[&self.name],
        )
    }

    /// How many of them are in this state.
    pub fn sessions_in(&self, state: &str) -> i64 {
        self.number(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state = $2",
            &[&self.name, &state],
        )
    }

    /// How many rows the table has.
    pub fn rows(&self) -> i64 {
        self.number(&format!("SELECT count(*) FROM {}", self.name), &[])
    }

    /// Ends the sessions of this fixture on the server and returns their number.
    pub fn kill(&self) -> i64 {
        let kill = "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE application_name = $1";
        let killed = self.admin(|client| client.query(kill, &[&self.name]));
        let killed: Vec<i32> = killed.iter().map(|row| row.get(0)).collect();
        let ours = killed.iter().filter(|pid| is_postgres(**pid));
        let processes: Vec<i32> = ours.copied().collect();
        // By process id, because new sessions may already have replaced them.
        let left = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1)";
        self.until("killed sessions are gone", || {
            self.number(left, &[&killed]) == 0
        });
        // A process closes its socket when it ends, which is after it has left the view.
        self.until("their processes have ended", || {
            !processes.iter().any(|pid| is_postgres(*pid))
        });
        killed.len() as i64
    }

    /// Stops the server processes of this fixture's sessions, so that they respond to nothing,
    /// until the returned value is dropped; `None`, with a message, if they run on another machine.
    pub fn stop(&self) -> Option<Stopped> {
        let ask = "SELECT pid, client_port FROM pg_stat_activity \
                   WHERE application_name = $1 AND client_port > 0";
        let rows = self.admin(|client| client.query(ask, &[&self.name]));
        let backends = rows.iter().map(|row| (row.get(0), row.get(1)));
        let stopped = Stopped::new(backends);
        if stopped.is_none() {
            eprintln!("skipped: the server's processes are out of reach");
        }
        stopped
    }

    /// Waits for something that must happen.
    pub fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + LONG;
        while !condition() {
            assert!(Instant::now() < end, "not within {LONG:?}: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs `work` with a session and a thread of its own: the blocking driver must not be used
    /// inside a task, and half of the tests are tasks.
    fn admin<T: Send>(
        &self,
        work: impl FnOnce(&mut postgres::Client) -> Result<T, postgres::Error> + Send,
    ) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let mut admin = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
                let client = match &mut *admin {
                    Some(client) if !client.is_closed() => client,
                    slot => slot.insert(
                        postgres::Client::connect(&self.server.url(), postgres::NoTls)
                            .expect("the test server answers"),
                    ),
                };
                work(client).expect("the administrator may do this")
            });
            thread.join().expect("the work does not panic")
        })
    }
}

/// Whether a server process of this machine has this id.
fn is_postgres(pid: i32) -> bool {
    let title = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
    title.is_ok_and(|title| title.starts_with("postgres"))
}

impl Default for Fixture {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        // Also if one of its statements has failed: dropped here, it would abort the process.
        let admin = self.admin.get_mut().unwrap_or_else(PoisonError::into_inner);
        let admin = admin.take();
        // On a thread for the reason above; a server that the test stopped needs no clean-up.
        let _ = std::thread::spawn(move || {
            if let Some(mut client) = admin {
                // A session abandoned in the middle of a COPY would hold the table forever.
                let _ = client.batch_execute(&format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE application_name = '{name}' AND pid <> pg_backend_pid(); \
                     DROP TABLE IF EXISTS {name}; DROP SCHEMA IF EXISTS s_{name} CASCADE"
                ));
            }
        })
        .join();
    }
}

/// Loads a file's text without reading the test's environment.
pub fn load(yaml: &str) -> Config {
    Config::loader()
        .yaml(yaml)
        .libpq_sources(false)
        .load()
        .expect("the test's own file is right")
}

/// The connection types that the family of the pool `P` opens.
pub fn kinds_of<P>() -> [&'static str; 2] {
    match std::any::type_name::<P>().contains("async") {
        true => ["async", "async_pool"],
        false => ["normal", "pool"],
    }
}

/// Writes a test once for both families; with `everywhere` in front, the blocking one runs in each
/// of the [`places`] where blocking is allowed.
///
/// `$go!(call)` is the call, awaited in the async one; `$work!(|x| body)` is the closure, async
/// in the async one. `driver` is the crate under test.
#[macro_export]
macro_rules! twin {
    (everywhere $(#[$meta:meta])* fn $name:ident($on:ident, $driver:ident, $go:ident, $work:ident) $body:block) => {
        $crate::twin!(@ $(#[$meta])* fn $name($on, $driver, $go, $work) $body {
            #[test]
            fn sync_in_spawn_blocking() -> $crate::Outcome {
                $crate::places::in_spawn_blocking(blocking)
            }

            #[test]
            fn sync_in_block_in_place() -> $crate::Outcome {
                $crate::places::in_block_in_place(blocking)
            }

            #[test]
            fn sync_with_an_entered_handle() -> $crate::Outcome {
                $crate::places::with_an_entered_handle(blocking)
            }
        });
    };
    ($(#[$meta:meta])* fn $name:ident($on:ident, $driver:ident, $go:ident, $work:ident) $body:block) => {
        $crate::twin!(@ $(#[$meta])* fn $name($on, $driver, $go, $work) $body {});
    };
    (@ $(#[$meta:meta])* fn $name:ident($on:ident, $driver:ident, $go:ident, $work:ident) $body:block { $($elsewhere:item)* }) => {
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "not every test needs all of it")]
            use super::*;

            $(#[$meta])*
            #[test]
            fn sync() -> $crate::Outcome {
                blocking()
            }

            $($elsewhere)*

            #[allow(unused_mut, reason = "the blocking driver takes &mut where the other takes &")]
            fn blocking() -> $crate::Outcome {
                #[allow(unused_imports, reason = "as above")]
                use pgmonkey::sync as $driver;
                #[allow(unused_macros, reason = "as above")]
                macro_rules! $go { ($e:expr) => { $e } }
                #[allow(unused_macros, reason = "as above")]
                macro_rules! $work { (|$x:ident| $b:block) => { |$x| $b } }
                let $on = $crate::Fixture::new();
                $body
            }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[allow(unused_mut, reason = "the blocking driver takes &mut where the other takes &")]
            async fn aio() -> $crate::Outcome {
                #[allow(unused_imports, reason = "as above")]
                use pgmonkey::aio as $driver;
                #[allow(unused_macros, reason = "as above")]
                macro_rules! $go { ($e:expr) => { $e.await } }
                #[allow(unused_macros, reason = "as above")]
                macro_rules! $work { (|$x:ident| $b:block) => { async |mut $x| $b } }
                let $on = $crate::Fixture::new();
                $body
            }
        }
    };
}
