//! Opens handles, forks, makes the child use what it inherited, and reports whether the parent's
//! sessions survive.
//!
//! `forks FILE sync|async exit|acquire|statement|guard|deref|transaction|commit|listen|hear|new|manager|busy|close|drop`
//!
//! The only test program that needs `unsafe`: the standard library cannot fork.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgmonkey::{Config, Error};

/// A child that still runs after this time hangs. Far longer than any stall of a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let (file, family) = (args.next(), args.next());
    let config = Config::from_file(file.expect("a file"))?;
    let how = args.next().expect("what the child does");
    match family.as_deref() {
        Some("sync") => blocking::run(&config, &how),
        Some("async") => tasks::run(&config, &how),
        other => panic!("sync or async, not {other:?}"),
    }
}

/// Forks; the child prints the result of `work`, and exits as a program does.
fn in_child(work: impl FnOnce() -> Result<String, Error>) {
    #[expect(unsafe_code, reason = "the standard library cannot fork")]
    // SAFETY: what the child may do after this is what is tested here; glibc and musl leave it a
    // working allocator.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no child");
    if child == 0 {
        let said = work().unwrap_or_else(|error| error.to_string());
        println!("child: {said}");
        std::process::exit(0);
    }
    let end = Instant::now() + LIMIT;
    loop {
        let mut status = 0;
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: `status` outlives the call.
        let ended = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
        if ended == child {
            assert_eq!(status, 0, "the child failed");
            return;
        }
        if Instant::now() > end {
            #[expect(unsafe_code, reason = "as above")]
            // SAFETY: no memory is involved, and the child has not been waited for yet.
            unsafe {
                libc::kill(child, libc::SIGKILL);
            }
            panic!("the child did not end within {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The outcome of a call.
fn told<T: std::fmt::Debug>(came: &Result<T, Error>) -> String {
    match came {
        Ok(_) => "answered".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// What both families do; `$go!(place, call)` is the call, on the runtime `place` in the async one.
macro_rules! family {
    ($driver:ident, $place:expr, $go:ident) => {
        use pgmonkey::$driver::{
            ClientGuard, Connection, ConnectionManager, ListenEvent, Listener, Pool, Transaction,
        };

        use super::*;

        struct Held {
            manager: ConnectionManager,
            cached: Connection,
            pool: Pool,
            guard: ClientGuard,
            transaction: Transaction,
            listener: Listener,
        }

        pub(super) fn run(config: &Config, how: &str) -> Result<(), Error> {
            let place = $place;
            let manager = ConnectionManager::new();
            let pool = $go!(place, manager.pool(config))?;
            let mut listener = $go!(place, Listener::connect(config))?;
            $go!(place, listener.listen("jobs"))?;
            let mut held = Some(Held {
                cached: $go!(place, ConnectionManager::global().connection(config))?,
                guard: $go!(place, pool.acquire())?,
                transaction: $go!(place, pool.begin())?,
                manager,
                pool,
                listener,
            });
            let parent = |held: &mut Option<Held>| -> Result<_, Error> {
                let held = held.as_mut().expect("the child took its own");
                let pids = [
                    $go!(place, held.guard.ping())?.backend_pid,
                    $go!(place, held.cached.ping())?.backend_pid,
                    $go!(
                        place,
                        held.transaction.query_one("SELECT pg_backend_pid()", &[])
                    )?
                    .get(0),
                ];
                $go!(
                    place,
                    held.cached.query("SELECT pg_notify('jobs', '')", &[])
                )?;
                let heard = $go!(place, held.listener.recv())?;
                assert!(matches!(heard, ListenEvent::Notification(_)), "{heard:?}");
                Ok(pids)
            };
            let before = parent(&mut held)?;
            if how == "busy" {
                return among_busy_threads(config, || {
                    in_child(|| child(config, "manager", &mut held))
                });
            }
            in_child(|| child(config, how, &mut held));
            assert_eq!(parent(&mut held)?, before);
            println!("parent: the same sessions");
            Ok(())
        }

        /// Forks repeatedly while other threads hold all kinds of locks.
        fn among_busy_threads(config: &Config, mut fork: impl FnMut()) -> Result<(), Error> {
            let over = AtomicBool::new(false);
            let work = || -> Result<(), Error> {
                let (place, manager) = ($place, ConnectionManager::global());
                while !over.load(Ordering::Relaxed) {
                    let pool = $go!(place, manager.pool(config))?;
                    $go!(place, pool.query("SELECT 1", &[]))?;
                    $go!(place, Pool::new(config))?;
                    $go!(place, manager.reload_pool(config))?;
                }
                Ok(())
            };
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
                let forked = catch_unwind(AssertUnwindSafe(|| (0..20).for_each(|_| fork())));
                over.store(true, Ordering::Relaxed);
                forked.unwrap_or_else(|panic| resume_unwind(panic));
                let ends = threads
                    .into_iter()
                    .map(|thread| thread.join().expect("no panic"));
                ends.collect()
            })
        }

        fn child(
            config: &Config,
            how: &str,
            inherited: &mut Option<Held>,
        ) -> Result<String, Error> {
            let place = $place;
            if how == "exit" {
                return Ok("nothing".to_owned());
            }
            if how == "new" {
                let pool = $go!(place, Pool::new(config))?;
                return Ok(told(&$go!(place, pool.query("SELECT 1", &[]))));
            }
            if how == "drop" {
                drop(inherited.take());
                return Ok("dropped".to_owned());
            }
            if how == "commit" {
                // What is left of it is dropped when this function returns.
                let Held { transaction, .. } = inherited.take().expect("inherited");
                return Ok(told(&$go!(place, transaction.commit())));
            }
            // Never dropped, as in a static.
            let held = inherited.as_mut().expect("inherited");
            Ok(match how {
                "acquire" => told(&$go!(place, held.pool.acquire())),
                "statement" => told(&$go!(place, held.cached.query("SELECT 1", &[]))),
                "guard" => told(&$go!(place, held.guard.query("SELECT 1", &[]))),
                // The driver's own call, which only the async driver's task in the parent answers.
                "deref" => told(&$go!(place, simple_query(&mut held.guard))),
                "transaction" => told(&$go!(place, held.transaction.execute("SELECT 1", &[]))),
                "listen" => told(&$go!(place, held.listener.listen("more"))),
                "hear" => told(&$go!(place, held.listener.recv())),
                "manager" => {
                    let anew = $go!(place, ConnectionManager::global().connection(config))?;
                    assert!(!anew.is_same(&held.cached), "the parent's");
                    assert_eq!(held.manager.cache_info().len(), 0, "the parent's");
                    let anew = $go!(place, held.manager.pool(config))?;
                    told(&$go!(place, anew.query("SELECT 1", &[])))
                }
                "close" => {
                    held.pool.close();
                    held.cached.close();
                    "closed".to_owned()
                }
                other => panic!("what is {other}?"),
            })
        }
    };
}

mod blocking {
    macro_rules! go {
        ($place:expr, $call:expr) => {{
            let () = $place;
            $call
        }};
    }

    fn simple_query(guard: &mut ClientGuard) -> Result<usize, Error> {
        Ok(guard.simple_query("SELECT 1")?.len())
    }

    family!(sync, (), go);
}

mod tasks {
    macro_rules! go {
        ($place:expr, $call:expr) => {
            $place.block_on(async { $call.await })
        };
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Runtime::new().expect("a runtime")
    }

    async fn simple_query(guard: &mut ClientGuard) -> Result<usize, Error> {
        Ok(guard.simple_query("SELECT 1").await?.len())
    }

    family!(aio, runtime(), go);
}
