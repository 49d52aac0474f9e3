use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use crate::flight::{Flight, Outcome, lock};
use crate::slot::Slot;
use crate::sync::{Mutex, Snapshot};

mod claim;

pub(crate) use claim::Claim;

/// A map that builds missing values, once per key, however many callers ask at the same time.
///
/// `V` is a handle that is cheap to clone (an `Arc` or a struct of `Arc`s); every caller gets a
/// clone. `E` is the builder's error; every caller that waited for a failed build gets a clone.
///
/// The [crate documentation](crate) lists the guarantees.
pub struct Cache<K, V, E> {
    /// The cached values, read without a lock and written only under the lock of `flights`.
    ready: Snapshot<Ready<K, V>>,
    /// The builds under way, at most one per key.
    flights: Mutex<HashMap<K, Arc<Flight<V, E>>>>,
    shard: Option<fn(&V) -> V>,
}

type Ready<K, V> = HashMap<K, Arc<Slot<V>>>;

/// The result of [`Cache::replace`] and [`Cache::get_or_try_renew`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced<V> {
    /// The value that is cached now.
    pub new: V,
    /// The value that this call removed, if any. The cache no longer holds it: the caller closes
    /// it.
    pub old: Option<V>,
}

/// One cached value, as [`Cache::entries`] lists it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Entry<K, V> {
    /// The key.
    pub key: K,
    /// A clone of the cached handle.
    pub value: V,
    /// When the value was cached; `created.elapsed()` is its age.
    pub created: Instant,
    /// How often the value was handed out from the cache. Its builder and the callers that waited
    /// for the build do not count.
    pub hits: u64,
}

/// What a caller has to do next.
pub(crate) enum Turn<'a, K: Eq + Hash + Clone, V: Clone, E: Clone> {
    Take(V),
    Wait(Arc<Flight<V, E>>),
    Build(Claim<'a, K, V, E>),
}

impl<K, V, E> Cache<K, V, E> {
    /// Creates an empty cache. Starts no threads.
    #[must_use]
    pub fn new() -> Self {
        Self {
            ready: Snapshot::new(HashMap::new()),
            flights: Mutex::new(HashMap::new()),
            shard: None,
        }
    }

    /// Creates an empty cache that keeps several copies of each value, made by `shard`, and spreads
    /// threads over them.
    ///
    /// Threads that clone and drop the same `Arc` contend for the cache line of its reference
    /// count. With handles to the same object that have separate reference counts, such as
    /// [`Sharded`](crate::Sharded), hits scale with the cores. [`entries`](Self::entries),
    /// [`remove`](Self::remove), [`clear`](Self::clear) and [`Replaced`] return the value that was
    /// built.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use pgmonkey_cache::{Sharded, Cache};
    ///
    /// let cache: Cache<&str, Sharded<Arc<str>>, ()> = Cache::sharded(Sharded::shard);
    /// let built = cache.get_or_try_init(&"shop", || Ok(Sharded::new("db/shop".into())))?;
    /// let found = cache.get(&"shop").expect("cached");
    /// assert!(Arc::ptr_eq(&built, &found), "the same pool");
    /// # Ok::<(), ()>(())
    /// ```
    #[must_use]
    pub fn sharded(shard: fn(&V) -> V) -> Self {
        Self {
            shard: Some(shard),
            ..Self::new()
        }
    }

    /// Returns the number of cached values. Builds in progress do not count.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ready.load().len()
    }

    /// Returns whether the cache holds no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Eq + Hash + Clone, V: Clone, E: Clone> Cache<K, V, E> {
    /// Returns the cached value, if there is one. Never waits and never builds.
    ///
    /// A hit takes no lock, allocates nothing, and writes no memory shared with other threads
    /// except the reference count of `V` and a sharded hit counter.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V> {
        self.ready.load().get(key).map(|slot| slot.hit())
    }

    /// Returns the cached value, or builds it with `build` and caches it.
    ///
    /// While another caller builds the same key, this call blocks and then returns that build's
    /// result, value or error, without running `build`. After an error nothing is cached and the
    /// next caller builds again. `build` runs without any lock held: other keys stay available, and
    /// `build` may use the cache for other keys (two builders that wait for each other's keys
    /// deadlock).
    ///
    /// Do not call it on a thread that runs async tasks: it blocks that thread. The async version
    /// is `get_or_try_init_async` (feature `async`); blocking and async callers wait for each
    /// other's builds.
    ///
    /// ```
    /// # use pgmonkey_cache::Cache;
    /// let cache: Cache<&str, u16, String> = Cache::new();
    /// assert_eq!(cache.get_or_try_init(&"port", || "x".parse().map_err(|_| "no number".to_owned())),
    ///            Err("no number".to_owned()));
    /// assert_eq!(cache.get_or_try_init(&"port", || Ok(5432)), Ok(5432));
    /// assert_eq!(cache.get_or_try_init(&"port", || unreachable!("it is cached")), Ok(5432));
    /// ```
    ///
    /// # Errors
    /// The error of `build`, from this call or from the one it waited for.
    ///
    /// # Panics
    /// If `build` asks the cache for the key that it builds, or if `build` panics (only the caller
    /// whose `build` panicked; the next waiter builds instead).
    pub fn get_or_try_init(&self, key: &K, build: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        self.get_or_try_renew(key, |_| false, build)
            .map(|replaced| replaced.new)
    }

    /// Like [`get_or_try_init`](Self::get_or_try_init), but rebuilds a cached value for which
    /// `is_stale` returns true, such as a closed handle.
    ///
    /// However many callers find the value stale, one of them builds a new value and gets the old
    /// one in [`Replaced::old`]; the others wait for that build. `is_stale` runs without any lock
    /// held, possibly more than once, and should be cheap.
    ///
    /// ```
    /// # use pgmonkey_cache::Cache;
    /// let cache: Cache<&str, u16, String> = Cache::new();
    /// cache.get_or_try_init(&"port", || Ok(0))?;
    /// let renewed = cache.get_or_try_renew(&"port", |port| *port == 0, || Ok(5432))?;
    /// assert_eq!((renewed.new, renewed.old), (5432, Some(0)));
    /// let renewed = cache.get_or_try_renew(&"port", |port| *port == 0, || unreachable!())?;
    /// assert_eq!((renewed.new, renewed.old), (5432, None));
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// The error of `build`, from this call or from the one it waited for; a stale value stays
    /// cached.
    ///
    /// # Panics
    /// As [`get_or_try_init`](Self::get_or_try_init).
    pub fn get_or_try_renew(
        &self,
        key: &K,
        is_stale: impl Fn(&V) -> bool,
        build: impl FnOnce() -> Result<V, E>,
    ) -> Result<Replaced<V>, E> {
        loop {
            match self.turn(key, &is_stale) {
                Turn::Take(new) => return Ok(Replaced { new, old: None }),
                Turn::Wait(flight) => match flight.wait() {
                    Outcome::Done(result) => return result.map(|new| Replaced { new, old: None }),
                    Outcome::Abandoned => {}
                },
                Turn::Build(claim) => {
                    let result = claim.run(build);
                    return claim.finish(result);
                }
            }
        }
    }

    /// Builds a new value even if one is cached, caches it, and returns it with the old one.
    ///
    /// Unlike [`get_or_try_renew`](Self::get_or_try_renew), every call builds: concurrent
    /// replacements run one after the other. Callers get the old value until the new one is ready,
    /// and only the new one from then on. If the same key is already being built, this call waits
    /// for that build first, so that the new value reflects the current state; callers that find
    /// nothing cached wait for this build.
    ///
    /// ```
    /// # use pgmonkey_cache::Cache;
    /// let cache: Cache<&str, u16, String> = Cache::new();
    /// cache.get_or_try_init(&"port", || Ok(5432))?;
    /// let replaced = cache.replace(&"port", || Ok(5433))?;
    /// assert_eq!((replaced.new, replaced.old), (5433, Some(5432)));
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// The error of `build`; the old value stays cached.
    ///
    /// # Panics
    /// As [`get_or_try_init`](Self::get_or_try_init); the old value stays cached.
    pub fn replace(&self, key: &K, build: impl FnOnce() -> Result<V, E>) -> Result<Replaced<V>, E> {
        loop {
            match self.turn_to_replace(key) {
                Err(flight) => drop(flight.wait()),
                Ok(claim) => {
                    let result = claim.run(build);
                    return claim.finish(result);
                }
            }
        }
    }

    /// Removes the value of `key` and returns it for the caller to close.
    ///
    /// A build of the key in progress is not affected: its value is cached when it is ready.
    pub fn remove(&self, key: &K) -> Option<V> {
        self.remove_if(key, |_| true)
    }

    /// As [`remove`](Self::remove), if the cached value is one that `is_meant` accepts. `is_meant`
    /// runs once at most, with the cache's lock held: it must be short, and not use the cache.
    ///
    /// ```
    /// # use pgmonkey_cache::Cache;
    /// let cache: Cache<&str, u16, ()> = Cache::new();
    /// cache.get_or_try_init(&"port", || Ok(5432))?;
    /// assert_eq!(cache.remove_if(&"port", |port| *port == 0), None);
    /// assert_eq!(cache.remove_if(&"port", |port| *port == 5432), Some(5432));
    /// # Ok::<(), ()>(())
    /// ```
    pub fn remove_if(&self, key: &K, is_meant: impl FnOnce(&V) -> bool) -> Option<V> {
        let flights = lock(&self.flights);
        let mut ready = Ready::clone(&self.ready.load());
        let slot = ready.remove(key).filter(|slot| is_meant(&slot.value))?;
        let before = self.ready.swap(ready);
        drop(flights);
        // Dropping the last snapshot that holds a value drops the value: never under the lock.
        drop(before);
        Some(slot.value.clone())
    }

    /// Removes all cached values and returns them for the caller to close.
    ///
    /// Builds in progress are not affected: they end after this call and cache their values then,
    /// as if they had started after it. So every value is either in the cache or owned by the
    /// caller that removed it, and none is left unclosed. To leave the cache empty for good, stop
    /// its callers first, or call `clear` again.
    #[must_use = "the values are no longer cached, so the caller has to close them"]
    pub fn clear(&self) -> Vec<(K, V)> {
        let flights = lock(&self.flights);
        let held = self.ready.swap(HashMap::new());
        drop(flights);
        held.iter()
            .map(|(key, slot)| (key.clone(), slot.value.clone()))
            .collect()
    }

    /// Lists all cached values, in no particular order. Does not count as a hit.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry<K, V>> {
        self.ready
            .load()
            .iter()
            .map(|(key, slot)| Entry {
                key: key.clone(),
                value: slot.value.clone(),
                created: slot.created,
                hits: slot.hits(),
            })
            .collect()
    }

    /// Decides what a caller that wants a value that is not stale does next.
    pub(crate) fn turn(&self, key: &K, is_stale: &impl Fn(&V) -> bool) -> Turn<'_, K, V, E> {
        loop {
            let ready = self.ready.load();
            let judged = match ready.get(key) {
                Some(slot) if !is_stale(&slot.value) => return Turn::Take(slot.hit()),
                slot => slot.map(Arc::clone),
            };
            drop(ready);
            let mut flights = lock(&self.flights);
            // No value can be published while the lock is held, but one may have been since the
            // lookup above.
            let unchanged = same(judged.as_ref(), self.ready.load().get(key));
            if !unchanged {
                continue;
            }
            return match flights.get(key) {
                Some(flight) => Turn::Wait(Arc::clone(flight)),
                None => Turn::Build(self.claim(&mut flights, key)),
            };
        }
    }

    /// Returns the claim, or the flight to wait for before trying again.
    pub(crate) fn turn_to_replace(&self, key: &K) -> Result<Claim<'_, K, V, E>, Arc<Flight<V, E>>> {
        let mut flights = lock(&self.flights);
        match flights.get(key) {
            Some(flight) => Err(Arc::clone(flight)),
            None => Ok(self.claim(&mut flights, key)),
        }
    }

    fn claim(&self, flights: &mut HashMap<K, Arc<Flight<V, E>>>, key: &K) -> Claim<'_, K, V, E> {
        let flight = Arc::new(Flight::new());
        flights.insert(key.clone(), Arc::clone(&flight));
        Claim::new(self, key.clone(), flight)
    }

    /// Caches the value, ends the flight, and returns the value that was cached before.
    pub(crate) fn publish(&self, key: &K, value: V) -> Option<V> {
        let slot = Arc::new(Slot::new(value, self.shard));
        let mut flights = lock(&self.flights);
        let mut ready = Ready::clone(&self.ready.load());
        let old = ready.insert(key.clone(), slot);
        let before = self.ready.swap(ready);
        let flight = flights.remove(key);
        drop(flights);
        drop((before, flight));
        old.map(|slot| slot.value.clone())
    }

    /// Ends the flight of a build that made no value.
    pub(crate) fn forget_flight(&self, key: &K) {
        let flight = lock(&self.flights).remove(key);
        drop(flight);
    }
}

fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
}

impl<K, V, E> Default for Cache<K, V, E> {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows no key and no value: either may contain secrets.
impl<K, V, E> fmt::Debug for Cache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
