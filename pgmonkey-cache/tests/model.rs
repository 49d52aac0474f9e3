//! Model tests: the cache's races under thousands of thread schedules.
//!
//! The sources of the crate are compiled here a second time, with the primitives of `shuttle`
//! instead of the standard library's, so that the scheduler can order every lock, wait and wake-up.
//! A failure prints the schedule and how to replay it.
#![allow(unreachable_pub, dead_code, missing_docs)]

#[path = "../src/cache/mod.rs"]
mod cache;
#[path = "../src/flight.rs"]
mod flight;
#[cfg(feature = "async")]
#[path = "../src/future.rs"]
mod future;
#[path = "../src/hits.rs"]
mod hits;
#[path = "../src/slot.rs"]
mod slot;

/// The counterpart of `src/sync.rs`.
mod sync {
    use std::ops::Deref;
    use std::sync::Arc;

    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use shuttle::thread_local;

    pub(crate) struct Snapshot<T>(Mutex<Arc<T>>);

    impl<T> Snapshot<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Mutex::new(Arc::new(value)))
        }

        pub(crate) fn load(&self) -> impl Deref<Target = Arc<T>> {
            let current = Arc::clone(&crate::flight::lock(&self.0));
            Box::new(current)
        }

        pub(crate) fn swap(&self, value: T) -> Arc<T> {
            std::mem::replace(&mut *crate::flight::lock(&self.0), Arc::new(value))
        }
    }
}

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cache::Cache;
use shuttle::thread;

/// Values and errors are numbered in the order in which their builds started.
struct World {
    cache: Cache<u8, u32, u32>,
    builds: AtomicU32,
    running: shuttle::sync::Mutex<u32>,
}

const KEY: u8 = 7;

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            cache: Cache::new(),
            builds: AtomicU32::new(0),
            running: shuttle::sync::Mutex::new(0),
        })
    }

    /// Starts a build: takes its number, and fails the test if another build is running.
    fn begin(&self) -> u32 {
        let number = self.builds.fetch_add(1, Ordering::SeqCst);
        let mut running = self.running.lock().unwrap();
        *running += 1;
        assert_eq!(*running, 1, "two builds of one key at a time");
        number
    }

    fn end(&self) {
        *self.running.lock().unwrap() -= 1;
    }

    fn build(&self) -> u32 {
        let number = self.begin();
        thread::yield_now();
        self.end();
        thread::yield_now();
        number
    }

    fn get(&self) -> u32 {
        self.cache
            .get_or_try_init(&KEY, || Ok(self.build()))
            .unwrap()
    }

    fn builds(&self) -> u32 {
        self.builds.load(Ordering::SeqCst)
    }
}

/// Runs the scenario under random schedules and under schedules with few, chosen switches (PCT).
fn check(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    let iterations = std::env::var("MODEL_ITERATIONS").map_or(1500, |text| {
        text.parse().expect("MODEL_ITERATIONS is a number")
    });
    shuttle::check_random(scenario.clone(), iterations);
    shuttle::check_pct(scenario, iterations, 3);
}

/// Runs the jobs concurrently and returns their results.
fn race<T: Send + 'static>(jobs: Vec<Box<dyn FnOnce() -> T + Send>>) -> Vec<T> {
    let threads: Vec<_> = jobs.into_iter().map(thread::spawn).collect();
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect()
}

fn job<T>(
    world: &Arc<World>,
    job: impl FnOnce(&World) -> T + Send + 'static,
) -> Box<dyn FnOnce() -> T + Send> {
    let world = Arc::clone(world);
    Box::new(move || job(&world))
}

#[test]
fn two_builders_make_one_value() {
    check(|| {
        let world = World::new();
        let got = race((0..3).map(|_| job(&world, World::get)).collect());
        assert_eq!(got, [0, 0, 0]);
        assert_eq!(world.builds(), 1);
        assert_eq!(world.cache.get(&KEY), Some(0));
    });
}

#[test]
fn other_keys_are_not_waited_for() {
    check(|| {
        let world = World::new();
        let (open, gate) = shuttle::sync::mpsc::channel();
        let blocked = thread::spawn({
            let world = Arc::clone(&world);
            move || {
                let build = || {
                    gate.recv().expect("the other key is built");
                    Ok(1)
                };
                world.cache.get_or_try_init(&1, build)
            }
        });
        // If this waited for the build of key 1, which waits for this, neither would ever continue.
        assert_eq!(world.cache.get_or_try_init(&2, || Ok(2)), Ok(2));
        open.send(()).unwrap();
        assert_eq!(blocked.join().unwrap(), Ok(1));
    });
}

#[test]
fn an_error_reaches_all_who_waited_and_leaves_nothing() {
    check(|| {
        let world = World::new();
        let fail = |world: &World| {
            let mut built = false;
            let result = world.cache.get_or_try_init(&KEY, || {
                built = true;
                Err(world.build())
            });
            (built, result.unwrap_err())
        };
        let got = race((0..3).map(|_| job(&world, fail)).collect());
        assert_eq!(world.cache.get(&KEY), None);
        let built: BTreeSet<_> = got
            .iter()
            .filter(|(built, _)| *built)
            .map(|(_, e)| *e)
            .collect();
        assert_eq!(
            built.len() as u32,
            world.builds(),
            "each build reports its own error"
        );
        assert!(got.iter().all(|(_, error)| built.contains(error)));
        assert_eq!(world.get(), world.builds() - 1, "the next caller builds");
    });
}

#[test]
fn callers_who_wait_for_a_failing_build_do_not_build_again() {
    check(|| {
        let world = World::new();
        let (open, gate) = shuttle::sync::mpsc::channel();
        let (began, begun) = shuttle::sync::mpsc::channel();
        let builder = thread::spawn({
            let world = Arc::clone(&world);
            move || {
                world.cache.get_or_try_init(&KEY, || {
                    began.send(()).unwrap();
                    gate.recv().unwrap();
                    Err(world.build())
                })
            }
        });
        begun.recv().unwrap();
        let flight = match world.cache.turn(&KEY, &|_| false) {
            cache::Turn::Wait(flight) => flight,
            _ => panic!("the build is under way"),
        };
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.cache.get_or_try_init(&KEY, || panic!("it waited")))
            })
            .collect();
        // The flight table, the builder, this thread, and both waiters.
        while Arc::strong_count(&flight) < 5 {
            thread::yield_now();
        }
        open.send(()).unwrap();
        assert_eq!(builder.join().unwrap(), Err(0));
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Err(0));
        }
    });
}

#[test]
fn after_a_panic_the_next_one_builds() {
    check(|| {
        let world = World::new();
        let panics = |world: &World| {
            let panic = || -> Result<u32, u32> {
                world.build();
                std::panic::resume_unwind(Box::new("the builder failed"));
            };
            let attempt = || world.cache.get_or_try_init(&KEY, panic);
            catch_unwind(AssertUnwindSafe(attempt)).map_or(u32::MAX, Result::unwrap)
        };
        let got = race(vec![
            job(&world, panics),
            job(&world, World::get),
            job(&world, World::get),
        ]);
        assert_eq!(got[1], got[2], "the others agree");
        assert!(got[0] == u32::MAX || got[0] == got[1]);
        assert_eq!(world.cache.get(&KEY), Some(got[1]));
    });
}

#[test]
fn replace_hands_each_old_value_to_exactly_one_caller() {
    check(|| {
        let world = World::new();
        let replace = |world: &World| world.cache.replace(&KEY, || Ok(world.build())).unwrap().old;
        let got = race(vec![
            job(&world, replace),
            job(&world, replace),
            job(&world, |world| {
                world.get();
                None
            }),
        ]);
        accounted_for(&world, got.into_iter().flatten());
    });
}

#[test]
fn replace_serves_the_old_value_until_the_new_one_is_ready() {
    check(|| {
        let world = World::new();
        assert_eq!(world.get(), 0);
        let replacing = thread::spawn({
            let world = Arc::clone(&world);
            move || {
                world.cache.replace(&KEY, || {
                    assert_eq!(world.cache.get(&KEY), Some(0), "the old one is still there");
                    Ok(world.build())
                })
            }
        });
        let seen = [world.get(), world.get(), world.get()];
        assert!(
            seen.is_sorted(),
            "never the old one after the new one: {seen:?}"
        );
        let replaced = replacing.join().unwrap().unwrap();
        assert_eq!((replaced.new, replaced.old), (1, Some(0)));
        assert_eq!(world.get(), 1);
    });
}

#[test]
fn a_replacement_that_fails_changes_nothing() {
    check(|| {
        let world = World::new();
        world.get();
        let got = race(vec![
            job(&world, |world| {
                world
                    .cache
                    .replace(&KEY, || Err(world.build()))
                    .map(|r| r.new)
            }),
            job(&world, |world| Ok(world.get())),
        ]);
        assert_eq!(got, [Err(1), Ok(0)]);
        assert_eq!(world.get(), 0);
    });
}

#[test]
fn a_stale_value_is_renewed_once() {
    check(|| {
        let world = World::new();
        assert_eq!(world.get(), 0);
        let renew = |world: &World| {
            let renewed =
                world
                    .cache
                    .get_or_try_renew(&KEY, |value| *value == 0, || Ok(world.build()));
            renewed.unwrap()
        };
        let got = race((0..3).map(|_| job(&world, renew)).collect());
        assert!(got.iter().all(|renewed| renewed.new == 1));
        accounted_for(&world, got.into_iter().filter_map(|renewed| renewed.old));
    });
}

#[test]
fn clear_and_remove_during_builds_lose_no_value() {
    check(|| {
        let world = World::new();
        let got = race(vec![
            job(&world, |world| {
                world.get();
                None
            }),
            job(&world, |world| {
                world.cache.clear().pop().map(|(_, value)| value)
            }),
            job(&world, |world| world.cache.remove(&KEY)),
            job(&world, |world| {
                world.cache.replace(&KEY, || Ok(world.build())).unwrap().old
            }),
        ]);
        accounted_for(&world, got.into_iter().flatten());
    });
}

#[test]
fn a_build_that_outlives_clear_is_cached() {
    check(|| {
        let world = World::new();
        let (began, begun) = shuttle::sync::mpsc::channel();
        let (open, gate) = shuttle::sync::mpsc::channel();
        let builder = thread::spawn({
            let world = Arc::clone(&world);
            move || {
                world.cache.get_or_try_init(&KEY, || {
                    began.send(()).unwrap();
                    gate.recv().unwrap();
                    Ok(world.build())
                })
            }
        });
        begun.recv().unwrap();
        assert_eq!(world.cache.clear(), []);
        open.send(()).unwrap();
        assert_eq!(builder.join().unwrap(), Ok(0));
        assert_eq!(world.cache.clear(), [(KEY, 0)]);
    });
}

/// Asserts that every value built was removed exactly once or is still cached.
fn accounted_for(world: &World, taken: impl Iterator<Item = u32>) {
    let cached = world.cache.clear().into_iter().map(|(_, value)| value);
    let mut all: Vec<_> = taken.chain(cached).collect();
    all.sort_unstable();
    let built: Vec<_> = (0..world.builds()).collect();
    assert_eq!(all, built, "each value has exactly one owner");
}

#[cfg(feature = "async")]
mod tasks {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    use shuttle::future::{block_on, spawn, yield_now};

    use super::*;

    impl World {
        async fn build_async(&self) -> u32 {
            let number = self.begin();
            let _running = Running(self);
            yield_now().await;
            number
        }

        async fn get_async(&self) -> u32 {
            let build = || async { Ok(self.build_async().await) };
            self.cache.get_or_try_init_async(&KEY, build).await.unwrap()
        }
    }

    /// Ends a build even if its future is dropped.
    struct Running<'a>(&'a World);

    impl Drop for Running<'_> {
        fn drop(&mut self) {
            self.0.end();
        }
    }

    #[test]
    fn tasks_and_threads_share_one_build() {
        check(|| {
            let world = World::new();
            let tasks: Vec<_> = (0..2)
                .map(|_| {
                    let world = Arc::clone(&world);
                    spawn(async move { world.get_async().await })
                })
                .collect();
            let got = race((0..2).map(|_| job(&world, World::get)).collect());
            assert_eq!(got, [0, 0]);
            for task in tasks {
                assert_eq!(block_on(task).unwrap(), 0);
            }
            assert_eq!(world.builds(), 1);
        });
    }

    #[test]
    fn an_error_reaches_waiting_tasks() {
        check(|| {
            let world = World::new();
            let tasks: Vec<_> = (0..2)
                .map(|_| {
                    let world = Arc::clone(&world);
                    spawn(async move {
                        let build = || async { Err(world.build_async().await) };
                        world.cache.get_or_try_init_async(&KEY, build).await
                    })
                })
                .collect();
            let direct = world.cache.get_or_try_init(&KEY, || Err(world.build()));
            assert!(direct.unwrap_err() < world.builds());
            for task in tasks {
                assert!(block_on(task).unwrap().unwrap_err() < world.builds());
            }
            assert_eq!(world.cache.len(), 0);
        });
    }

    /// Polls the future at most `polls` times, then drops it.
    async fn give_up_after<F: Future>(polls: u32, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut left = polls;
        poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(None);
            }
            left -= 1;
            match future.as_mut().poll(context) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        })
        .await
    }

    #[test]
    fn after_a_dropped_build_the_next_one_builds() {
        check(|| {
            let world = World::new();
            let quitter = spawn({
                let world = Arc::clone(&world);
                async move {
                    let build = || async {
                        let number = world.begin();
                        let _running = Running(&world);
                        for _ in 0..3 {
                            yield_now().await;
                        }
                        Ok(number)
                    };
                    let getting = world.cache.get_or_try_init_async(&KEY, build);
                    give_up_after(2, getting).await
                }
            });
            let task = spawn({
                let world = Arc::clone(&world);
                async move { world.get_async().await }
            });
            let got = world.get();
            assert_eq!(block_on(task).unwrap(), got, "task and thread agree");
            let quitter = block_on(quitter).unwrap();
            assert!(quitter.is_none_or(|value| value == Ok(got)));
            assert_eq!(world.cache.get(&KEY), Some(got));
        });
    }

    #[test]
    fn a_waiter_that_gives_up_is_not_missed() {
        check(|| {
            let world = World::new();
            let quitter = spawn({
                let world = Arc::clone(&world);
                async move { give_up_after(1, world.get_async()).await }
            });
            let task = spawn({
                let world = Arc::clone(&world);
                async move { world.get_async().await }
            });
            let got = block_on(task).unwrap();
            assert!(block_on(quitter).unwrap().is_none_or(|value| value == got));
            assert_eq!(world.cache.get(&KEY), Some(got));
        });
    }

    #[test]
    fn tasks_and_threads_replace_in_turn() {
        check(|| {
            let world = World::new();
            let task = spawn({
                let world = Arc::clone(&world);
                async move {
                    let build = || async { Ok(world.build_async().await) };
                    world.cache.replace_async(&KEY, build).await.unwrap().old
                }
            });
            let replaced = world.cache.replace(&KEY, || Ok(world.build())).unwrap();
            let taken = [replaced.old, block_on(task).unwrap()];
            accounted_for(&world, taken.into_iter().flatten());
        });
    }
}
