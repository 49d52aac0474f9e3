use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use crate::claim::Claim;
use crate::flight::{Flight, Outcome, lock};
use crate::slot::Slot;
use crate::sync::{Mutex, Snapshot};

/// A map that builds what it does not hold, once per key, however many callers ask at the same time.
///
/// `V` is a handle whose clone is cheap (an `Arc` or something made of them); every caller gets a clone.
/// `E` is the builder's error; it is cloned to everyone who waited for a build that failed.
///
/// The [crate documentation](crate) lists what is promised.
pub struct Cache<K, V, E> {
    /// The cached values, read without a lock and written only under the lock of `flights`.
    ready: Snapshot<Ready<K, V>>,
    /// The builds under way, at most one per key.
    flights: Mutex<HashMap<K, Arc<Flight<V, E>>>>,
    apart: Option<fn(&V) -> V>,
}

type Ready<K, V> = HashMap<K, Arc<Slot<V>>>;

/// What [`Cache::replace`] and [`Cache::get_or_try_renew`] lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced<V> {
    /// The value that is cached from now on.
    pub new: V,
    /// The value that this call took out, if any. The cache no longer holds it: the caller closes it.
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
    /// How often the value was handed out from the cache. Its builder and those who waited for the
    /// build do not count.
    pub hits: u64,
}

/// What a caller has to do next.
pub(crate) enum Turn<'a, K: Eq + Hash + Clone, V: Clone, E: Clone> {
    Take(V),
    Wait(Arc<Flight<V, E>>),
    Build(Claim<'a, K, V, E>),
}

impl<K, V, E> Cache<K, V, E> {
    /// An empty cache. It allocates little and starts nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            ready: Snapshot::new(HashMap::new()),
            flights: Mutex::new(HashMap::new()),
            apart: None,
        }
    }

    /// An empty cache that keeps several of each value, made by `apart`, and gives threads
    /// different ones of them.
    ///
    /// Threads that clone and drop one `Arc` wait for each other's cache line. With handles that
    /// lead to the same thing but count their references apart, as [`Apart`](crate::Apart) does,
    /// hits scale with the cores.
    /// [`entries`](Self::entries), [`remove`](Self::remove), [`clear`](Self::clear) and the
    /// [`Replaced`] give the value that was built.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use pgmonkey_cache::{Apart, Cache};
    ///
    /// let cache: Cache<&str, Apart<Arc<str>>, ()> = Cache::spreading(Apart::apart);
    /// let built = cache.get_or_try_init(&"shop", || Ok(Apart::new("db/shop".into())))?;
    /// let found = cache.get(&"shop").expect("cached");
    /// assert!(Arc::ptr_eq(&built, &found), "the same pool");
    /// # Ok::<(), ()>(())
    /// ```
    #[must_use]
    pub fn spreading(apart: fn(&V) -> V) -> Self {
        Self {
            apart: Some(apart),
            ..Self::new()
        }
    }

    /// How many values are cached. Builds under way do not count.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ready.load().len()
    }

    /// Whether no value is cached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Eq + Hash + Clone, V: Clone, E: Clone> Cache<K, V, E> {
    /// The cached value, if there is one. Never waits and never builds.
    ///
    /// A hit takes no lock, allocates nothing, and writes no shared memory beyond the reference count
    /// of `V` and a hit counter of this thread's own.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V> {
        self.ready.load().get(key).map(|slot| slot.hit())
    }

    /// The cached value, or the one that `build` makes, which is cached then.
    ///
    /// While another caller builds the same key, this one blocks and then takes that result, value or
    /// error, without running `build`. After an error nothing is cached and the next caller builds
    /// anew. `build` runs without any lock: other keys are served meanwhile, and it may use the cache
    /// for other keys (two builders that wait for each other's keys wait for ever).
    ///
    /// Do not call it on a thread that runs async tasks: it blocks that thread. The async twin is
    /// `get_or_try_init_async` (feature `async`); both wait for each other's builds.
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
    /// The error of `build`, this caller's or that of the builder it waited for.
    ///
    /// # Panics
    /// When `build` asks for the key that it builds, and when `build` panics (of the callers only the
    /// one whose `build` it was; the next one that waits builds instead).
    pub fn get_or_try_init(&self, key: &K, build: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        self.get_or_try_renew(key, |_| false, build)
            .map(|replaced| replaced.new)
    }

    /// As [`get_or_try_init`](Self::get_or_try_init), but a cached value that `is_stale` counts as none:
    /// for handles that somebody closed.
    ///
    /// However many callers find the value stale, one of them builds a new one and gets the old one in
    /// [`Replaced::old`]; the others wait for it. `is_stale` runs without any lock, maybe more than
    /// once, and should cost next to nothing.
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
    /// The error of `build`, this caller's or that of the builder it waited for; a stale value stays
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
    /// Unlike [`get_or_try_renew`](Self::get_or_try_renew) it builds for every call: replacements that
    /// race run one after the other. Until the new value is ready callers get the old one; from then on only the new one. A build of
    /// the same key that is already under way is waited for first, so that the new value is made from
    /// what is true now; callers that find nothing cached wait for this build.
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

    /// Takes the value of `key` out of the cache, for the caller to close.
    ///
    /// A build of the key that is under way is not touched: its value is cached when it is ready.
    pub fn remove(&self, key: &K) -> Option<V> {
        let flights = lock(&self.flights);
        let mut ready = Ready::clone(&self.ready.load());
        let slot = ready.remove(key)?;
        let before = self.ready.swap(ready);
        drop(flights);
        // Values may be dropped with the last snapshot that has them: never under the lock.
        drop(before);
        Some(slot.value.clone())
    }

    /// Takes everything out of the cache that is in it now, for the caller to close.
    ///
    /// Builds under way are not touched: they end after this call, and their values are cached then,
    /// as if they had begun after it. So every value is always either in the cache or in the hands of
    /// a caller who took it out, and none is left unclosed. Who wants the cache empty for good stops
    /// the callers first, or calls `clear` again.
    #[must_use = "the values are no longer cached, so the caller has to close them"]
    pub fn clear(&self) -> Vec<(K, V)> {
        let flights = lock(&self.flights);
        let held = self.ready.swap(HashMap::new());
        drop(flights);
        held.iter()
            .map(|(key, slot)| (key.clone(), slot.value.clone()))
            .collect()
    }

    /// Everything cached now, in no order. Counts no hits.
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

    /// Decides what a caller does next who wants a value that is not stale.
    pub(crate) fn turn(&self, key: &K, is_stale: &impl Fn(&V) -> bool) -> Turn<'_, K, V, E> {
        loop {
            let ready = self.ready.load();
            let judged = match ready.get(key) {
                Some(slot) if !is_stale(&slot.value) => return Turn::Take(slot.hit()),
                slot => slot.map(Arc::clone),
            };
            drop(ready);
            let mut flights = lock(&self.flights);
            // While the lock is held nobody can publish, but somebody may have since the look above.
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

    /// The claim, or the flight to wait for before asking again.
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
        let slot = Arc::new(Slot::new(value, self.apart));
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

/// Shows no key and no value: either may be made of secrets.
impl<K, V, E> fmt::Debug for Cache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
