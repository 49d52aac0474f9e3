//! The cache's guarantees, tested with real threads and a real runtime.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use pgmonkey_cache::{Cache, Sharded};

type Numbers = Cache<String, Arc<u32>, Arc<str>>;

/// A key that counts its clones.
#[derive(PartialEq, Eq, Hash)]
struct Key(&'static str);

static KEY_CLONES: AtomicU32 = AtomicU32::new(0);

impl Clone for Key {
    fn clone(&self) -> Self {
        KEY_CLONES.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

#[test]
fn a_hit_neither_allocates_nor_clones_the_key() {
    let cache: Cache<Key, Arc<u32>, ()> = Cache::new();
    let first = cache
        .get_or_try_init(&Key("a"), || Ok(Arc::new(1)))
        .unwrap();
    let references = Arc::strong_count(&first);
    // The first hit of a thread initializes its thread locals.
    let mut kept = cache.get(&Key("a"));
    assert_eq!(kept, Some(Arc::clone(&first)));
    let clones = KEY_CLONES.load(Ordering::Relaxed);
    let measured = allocation_counter::measure(|| {
        for _ in 0..1000 {
            assert!(cache.get(&Key("a")).is_some());
            kept = cache.get_or_try_init(&Key("a"), || unreachable!()).ok();
        }
    });
    assert_eq!(measured.count_total, 0);
    assert_eq!(KEY_CLONES.load(Ordering::Relaxed), clones);
    assert_eq!(
        Arc::strong_count(&first),
        references + 1,
        "one reference for the one kept"
    );
    assert_eq!(cache.entries()[0].hits, 2001);
}

#[test]
fn a_hit_takes_no_lock() {
    /// A key that can stop its thread when the cache hashes it.
    #[derive(Clone, PartialEq, Eq)]
    struct Stopping(u8, Option<Arc<Stop>>);
    struct Stop {
        hashed: AtomicU32,
        stopped: mpsc::Sender<()>,
        go: std::sync::Mutex<mpsc::Receiver<()>>,
    }
    impl PartialEq for Stop {
        fn eq(&self, _: &Self) -> bool {
            true
        }
    }
    impl Eq for Stop {}
    impl std::hash::Hash for Stopping {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            self.0.hash(state);
            // The first hash is the lookup without the lock, the second the one under it.
            if let Some(stop) = &self.1
                && stop.hashed.fetch_add(1, Ordering::SeqCst) == 1
            {
                stop.stopped.send(()).unwrap();
                stop.go.lock().unwrap().recv().unwrap();
            }
        }
    }

    let cache: Arc<Cache<Stopping, u8, ()>> = Arc::default();
    cache.get_or_try_init(&Stopping(1, None), || Ok(1)).unwrap();
    let (stopped, has_stopped) = mpsc::channel();
    let (go, going) = mpsc::channel();
    let missing = thread::spawn({
        let cache = Arc::clone(&cache);
        let hashed = AtomicU32::new(0);
        let go = std::sync::Mutex::new(going);
        let key = Stopping(
            2,
            Some(Arc::new(Stop {
                hashed,
                stopped,
                go,
            })),
        );
        move || cache.get_or_try_init(&key, || Ok(2))
    });
    has_stopped.recv().unwrap();
    let (answer, answered) = mpsc::channel();
    thread::spawn({
        let cache = Arc::clone(&cache);
        move || {
            let got = cache.get_or_try_init(&Stopping(1, None), || unreachable!());
            answer.send((cache.get(&Stopping(1, None)), got)).unwrap();
        }
    });
    let hits = answered.recv_timeout(Duration::from_secs(10));
    assert_eq!(
        hits,
        Ok((Some(1), Ok(1))),
        "hits while another thread holds the lock"
    );
    go.send(()).unwrap();
    assert_eq!(missing.join().unwrap(), Ok(2));
}

#[test]
fn a_hundred_threads_share_one_build() {
    let cache: Numbers = Cache::new();
    let builds = AtomicU32::new(0);
    let start = Barrier::new(100);
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                start.wait();
                let build = || {
                    builds.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(20));
                    Ok(Arc::new(5))
                };
                assert_eq!(*cache.get_or_try_init(&"key".to_owned(), build).unwrap(), 5);
            });
        }
    });
    assert_eq!(builds.into_inner(), 1);
}

#[test]
fn a_hit_does_not_wait_for_a_build_of_another_key() {
    let cache: Arc<Numbers> = Arc::default();
    cache
        .get_or_try_init(&"ready".to_owned(), || Ok(Arc::new(1)))
        .unwrap();
    let (open, gate) = mpsc::channel::<()>();
    let (began, begun) = mpsc::channel();
    let builder = thread::spawn({
        let cache = Arc::clone(&cache);
        move || {
            cache.get_or_try_init(&"slow".to_owned(), || {
                began.send(()).unwrap();
                gate.recv().unwrap();
                Ok(Arc::new(2))
            })
        }
    });
    begun.recv().unwrap();
    assert!(cache.get(&"ready".to_owned()).is_some());
    assert_eq!(cache.len(), 1);
    assert_eq!(cache.clear().len(), 1);
    open.send(()).unwrap();
    assert_eq!(*builder.join().unwrap().unwrap(), 2);
}

#[test]
fn a_builder_that_asks_for_its_own_key_is_told() {
    let cache: Arc<Numbers> = Arc::default();
    let key = "key".to_owned();
    let (answer, answered) = mpsc::channel();
    // On a separate thread, so that an endless wait fails the test instead of hanging it.
    thread::spawn({
        let (cache, key) = (Arc::clone(&cache), key.clone());
        move || {
            let attempt = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                cache.get_or_try_init(&key, || cache.get_or_try_init(&key, || Ok(Arc::new(1))))
            }));
            // The attempt left nothing behind, not even the builder's mark.
            let after = cache.get_or_try_init(&key, || Ok(Arc::new(2)));
            let nested = cache.replace(&"outer".to_owned(), || {
                cache.get_or_try_init(&"inner".to_owned(), || Ok(cache.get(&key).expect("cached")))
            });
            answer
                .send((attempt, after, nested))
                .expect("the test waits");
        }
    });
    let patience = Duration::from_secs(10);
    let (attempt, after, nested) = answered.recv_timeout(patience).expect("an end");
    let panic = attempt.expect_err("recursion is refused");
    let text = panic.downcast_ref::<&str>().expect("a plain text");
    assert!(text.contains("asked the cache for that same key"), "{text}");
    assert_eq!(*after.unwrap(), 2);
    assert_eq!(*nested.unwrap().new, 2, "other keys are fine");
}

#[test]
fn a_spreading_cache_gives_threads_values_that_count_apart() {
    let cache: Cache<&str, Sharded<Arc<u32>>, ()> = Cache::sharded(Sharded::shard);
    let built = cache
        .get_or_try_init(&"key", || Ok(Sharded::new(Arc::new(1))))
        .unwrap();
    let address = |found: &Sharded<Arc<u32>>| std::ptr::from_ref(&**found).addr();
    let found = || cache.get(&"key").expect("cached");
    let here = found();
    assert_eq!(
        address(&here),
        address(&found()),
        "a thread keeps to its own"
    );
    let there = thread::scope(|scope| scope.spawn(found).join().unwrap());
    assert_ne!(address(&here), address(&there));
    let taken = cache.remove(&"key").expect("cached");
    assert_eq!(address(&taken), address(&built), "the one that was built");
    assert!(Arc::ptr_eq(&here, &built) && Arc::ptr_eq(&there, &built));
}

#[test]
fn age_and_debug_tell_no_secret() {
    let cache: Cache<&str, &str, ()> = Cache::new();
    let before = Instant::now();
    cache
        .get_or_try_init(&"secret-key", || Ok("secret-value"))
        .unwrap();
    let entry = cache.entries().remove(0);
    assert!(entry.created >= before && entry.created <= Instant::now());
    assert_eq!(format!("{cache:?}"), "Cache { len: 1, .. }");
}

#[test]
fn the_cache_and_its_futures_cross_threads() {
    fn crosses<T: Send + Sync>(_: &T) {}
    let cache: Numbers = Cache::new();
    crosses(&cache);
    #[cfg(feature = "async")]
    {
        fn moves<T: Send>(_: &T) {}
        let key = String::new();
        moves(&cache.get_or_try_init_async(&key, || async { Ok(Arc::new(1)) }));
        moves(&cache.replace_async(&key, || async { Ok(Arc::new(1)) }));
    }
}

#[cfg(feature = "async")]
mod tasks {
    use super::*;

    #[tokio::test]
    async fn a_thread_waits_for_a_task() {
        let cache: Arc<Numbers> = Arc::default();
        let (began, begun) = mpsc::channel();
        let waiter = thread::spawn({
            let cache = Arc::clone(&cache);
            move || {
                begun.recv().unwrap();
                cache.get_or_try_init(&"key".to_owned(), || unreachable!("a task builds it"))
            }
        });
        let build = || async {
            began.send(()).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(Arc::new(3))
        };
        let built = cache
            .get_or_try_init_async(&"key".to_owned(), build)
            .await
            .unwrap();
        assert!(Arc::ptr_eq(&built, &waiter.join().unwrap().unwrap()));
    }

    #[tokio::test]
    async fn a_hundred_tasks_get_the_one_error() {
        let cache: Arc<Numbers> = Arc::default();
        let builds = Arc::new(AtomicU32::new(0));
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let (cache, builds) = (Arc::clone(&cache), Arc::clone(&builds));
                tokio::spawn(async move {
                    let build = || async {
                        builds.fetch_add(1, Ordering::Relaxed);
                        // When this resumes, all the others are waiting: one thread polls in turn.
                        tokio::task::yield_now().await;
                        Err(Arc::from("dead host"))
                    };
                    cache.get_or_try_init_async(&"key".to_owned(), build).await
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(&*task.await.unwrap().unwrap_err(), "dead host");
        }
        assert_eq!(builds.load(Ordering::Relaxed), 1);
        assert!(cache.is_empty());
    }

    #[tokio::test]
    async fn a_dropped_build_is_gone_before_the_next_begins() {
        struct Half(Arc<AtomicU32>);
        impl Drop for Half {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let cache: Arc<Numbers> = Arc::default();
        let halves = Arc::new(AtomicU32::new(0));
        let quitter = tokio::spawn({
            let (cache, halves) = (Arc::clone(&cache), Arc::clone(&halves));
            async move {
                let build = || async {
                    halves.fetch_add(1, Ordering::Relaxed);
                    let _half = Half(Arc::clone(&halves));
                    std::future::pending().await
                };
                cache.get_or_try_init_async(&"key".to_owned(), build).await
            }
        });
        tokio::task::yield_now().await;
        assert_eq!(halves.load(Ordering::Relaxed), 1, "it is building");
        let next = thread::spawn({
            let (cache, halves) = (Arc::clone(&cache), Arc::clone(&halves));
            move || {
                let build = || Ok(Arc::new(halves.load(Ordering::Relaxed)));
                cache.get_or_try_init(&"key".to_owned(), build)
            }
        });
        quitter.abort();
        assert!(quitter.await.unwrap_err().is_cancelled());
        let seen = tokio::task::spawn_blocking(|| next.join()).await.unwrap();
        assert_eq!(*seen.unwrap().unwrap(), 0, "nothing half-built is left");
    }

    #[tokio::test]
    async fn a_task_that_awaits_its_own_key_is_told() {
        let cache: Arc<Numbers> = Arc::default();
        let task = tokio::spawn({
            let cache = Arc::clone(&cache);
            async move {
                let key = "key".to_owned();
                let inner = || async { Ok(Arc::new(1)) };
                let outer = || async {
                    tokio::task::yield_now().await;
                    cache.get_or_try_init_async(&key, inner).await
                };
                cache.get_or_try_init_async(&key, outer).await
            }
        });
        let patience = Duration::from_secs(10);
        let end = tokio::time::timeout(patience, task)
            .await
            .expect("no silent wait for ever");
        assert!(end.unwrap_err().is_panic());
        assert!(cache.is_empty());
    }

    #[tokio::test]
    async fn two_tasks_of_one_thread_may_wait_for_each_other() {
        // The builder's task is suspended while the other polls on the same thread: no recursion.
        let cache: Numbers = Cache::new();
        let key = "key".to_owned();
        let build = || async {
            tokio::task::yield_now().await;
            Ok(Arc::new(1))
        };
        let (a, b) = tokio::join!(
            cache.get_or_try_init_async(&key, build),
            cache.get_or_try_init_async(&key, build),
        );
        assert!(Arc::ptr_eq(&a.unwrap(), &b.unwrap()));
    }
}
