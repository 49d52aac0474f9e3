//! One session's cache of prepared statements, which evicts the least recently used first.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LinkedHashMap;
use hashlink::linked_hash_map::RawEntryMut;
use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use super::stale_statements::Kept;
use crate::status::StatementCacheStatus;

/// The statement argument of standalone calls: SQL text, which goes through the statement cache, or
/// a prepared [`Statement`], which is used directly.
///
/// The drivers' `ToStatement` has the same purpose, but its methods are private to the drivers.
/// This trait is implemented for the same types, and cannot be implemented for others.
///
/// ```
/// use pgmonkey_connect::AsStatement;
///
/// assert_eq!("SELECT 1".text(), Some("SELECT 1"));
/// assert_eq!(String::from("SELECT 1").text(), Some("SELECT 1"));
/// ```
pub trait AsStatement: tokio_postgres::ToStatement {
    /// Returns the text or the prepared statement.
    fn as_statement(&self) -> StatementRef<'_>;

    /// The SQL text; `None` for a prepared statement.
    fn text(&self) -> Option<&str> {
        match self.as_statement() {
            StatementRef::Text(text) => Some(text),
            StatementRef::Prepared(_) => None,
        }
    }
}

/// A statement argument.
#[derive(Debug, Clone, Copy)]
pub enum StatementRef<'a> {
    /// SQL text.
    Text(&'a str),
    /// A prepared statement.
    Prepared(&'a Statement),
}

impl AsStatement for str {
    fn as_statement(&self) -> StatementRef<'_> {
        StatementRef::Text(self)
    }
}

impl AsStatement for String {
    fn as_statement(&self) -> StatementRef<'_> {
        StatementRef::Text(self)
    }
}

impl AsStatement for Statement {
    fn as_statement(&self) -> StatementRef<'_> {
        StatementRef::Prepared(self)
    }
}

/// Counters shared by all statement caches of a pool.
#[derive(Debug, Default)]
pub struct StatementCounts {
    hits: Mutex<Hits>,
    misses: AtomicU64,
    evictions: AtomicU64,
    stale: AtomicU64,
    healed: AtomicU64,
}

/// Each session has its own counter, so that sessions on different cores do not contend for a cache
/// line with every statement.
#[derive(Debug, Default)]
struct Hits {
    sessions: Vec<Arc<SessionHits>>,
    /// Hits of sessions that have ended.
    ended: u64,
}

/// Two cache lines wide, because processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct SessionHits(AtomicU64);

impl SessionHits {
    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl StatementCounts {
    fn begin(&self) -> Arc<SessionHits> {
        let session = Arc::<SessionHits>::default();
        self.hits().sessions.push(Arc::clone(&session));
        session
    }

    fn end(&self, session: &Arc<SessionHits>) {
        let mut hits = self.hits();
        hits.sessions.retain(|other| !Arc::ptr_eq(other, session));
        hits.ended += session.read();
    }

    fn hits(&self) -> MutexGuard<'_, Hits> {
        // No panic can leave it half-changed.
        self.hits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a statement that was prepared and executed again, and succeeded.
    pub fn count_healed(&self) {
        self.healed.fetch_add(1, Ordering::Relaxed);
    }

    /// The current statistics.
    pub fn status(&self) -> StatementCacheStatus {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let hits = self.hits();
        let of_sessions: u64 = hits.sessions.iter().map(|session| session.read()).sum();
        StatementCacheStatus {
            hits: hits.ended + of_sessions,
            misses: read(&self.misses),
            evictions: read(&self.evictions),
            stale: read(&self.stale),
            healed: read(&self.healed),
        }
    }
}

/// One session's prepared statements, by text and requested parameter types.
///
/// A hit does not allocate. Removed statements are returned rather than dropped, because dropping a
/// [`Statement`] makes the driver close it on the server.
///
/// ```
/// use std::sync::Arc;
/// use pgmonkey_connect::statement_cache::{StatementCache, StatementCounts};
///
/// let counts = Arc::new(StatementCounts::default());
/// let mut cache = StatementCache::<&str>::new(1, Arc::clone(&counts));
/// assert!(cache.get("SELECT 1", &[]).is_none());
/// cache.insert("SELECT 1", &[], "s0");
/// assert_eq!(cache.get("SELECT 1", &[]), Some("s0"));
/// assert_eq!(cache.insert("SELECT 2", &[], "s1"), Some("s0"));
/// assert_eq!((counts.status().hits, counts.status().evictions), (1, 1));
/// ```
pub struct StatementCache<S = Kept> {
    kept: LinkedHashMap<Key, S>,
    capacity: usize,
    counts: Arc<StatementCounts>,
    hits: Arc<SessionHits>,
}

#[derive(PartialEq, Eq)]
struct Key {
    text: Box<str>,
    types: Box<[Type]>,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrowed(&self.text, &self.types).hash(state);
    }
}

/// A borrowed key; hashes like [`Key`].
struct Borrowed<'a>(&'a str, &'a [Type]);

impl Hash for Borrowed<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        for parameter in self.1 {
            parameter.oid().hash(state);
        }
    }
}

impl<S: Clone> StatementCache<S> {
    /// Creates a cache for `capacity` statements; 0 turns it off.
    pub fn new(capacity: usize, counts: Arc<StatementCounts>) -> Self {
        Self {
            kept: LinkedHashMap::new(),
            capacity,
            hits: counts.begin(),
            counts,
        }
    }

    /// Whether the cache is turned off.
    pub fn is_off(&self) -> bool {
        self.capacity == 0
    }

    /// The number of cached statements.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether no statement is cached.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Returns the statement for this text and marks it as most recently used. Counts a hit if
    /// there is one.
    pub fn get(&mut self, text: &str, types: &[Type]) -> Option<S> {
        match self.entry(text, types) {
            RawEntryMut::Occupied(mut entry) => {
                entry.to_back();
                let found = entry.get().clone();
                self.hits.0.fetch_add(1, Ordering::Relaxed);
                Some(found)
            }
            RawEntryMut::Vacant(_) => None,
        }
    }

    /// As [`get`](Self::get), but neither counts a hit nor changes the order.
    pub fn peek(&mut self, text: &str, types: &[Type]) -> Option<S> {
        match self.entry(text, types) {
            RawEntryMut::Occupied(entry) => Some(entry.get().clone()),
            RawEntryMut::Vacant(_) => None,
        }
    }

    /// Returns the text of the first statement for which `is_it` returns true.
    pub fn text_where(&self, is_it: impl Fn(&S) -> bool) -> Option<Box<str>> {
        let found = self.kept.iter().find(|(_, statement)| is_it(statement));
        found.map(|(key, _)| key.text.clone())
    }

    /// Adds a statement that was just prepared and counts a miss. Returns the statement that it
    /// replaces: the previous one for this text, or the least recently used.
    #[must_use = "dropping a statement closes it: better not under a lock"]
    pub fn insert(&mut self, text: &str, types: &[Type], statement: S) -> Option<S> {
        if self.is_off() {
            return Some(statement);
        }
        self.counts.misses.fetch_add(1, Ordering::Relaxed);
        match self.entry(text, types) {
            RawEntryMut::Occupied(mut entry) => {
                entry.to_back();
                return Some(entry.replace_value(statement));
            }
            RawEntryMut::Vacant(entry) => {
                let key = Key {
                    text: text.into(),
                    types: types.into(),
                };
                entry.insert(key, statement);
            }
        }
        if self.kept.len() <= self.capacity {
            return None;
        }
        self.counts.evictions.fetch_add(1, Ordering::Relaxed);
        self.kept.pop_front().map(|(_, statement)| statement)
    }

    /// Removes a stale statement.
    #[must_use = "dropping a statement closes it: better not under a lock"]
    pub fn remove(&mut self, text: &str, types: &[Type]) -> Option<S> {
        match self.entry(text, types) {
            RawEntryMut::Occupied(entry) => {
                let removed = entry.remove();
                self.counts.stale.fetch_add(1, Ordering::Relaxed);
                Some(removed)
            }
            RawEntryMut::Vacant(_) => None,
        }
    }

    /// Removes all statements as stale.
    #[must_use = "dropping a statement closes it: better not under a lock"]
    pub fn clear(&mut self) -> Vec<S> {
        let removed: Vec<S> = self.kept.drain().map(|(_, statement)| statement).collect();
        self.counts
            .stale
            .fetch_add(removed.len() as u64, Ordering::Relaxed);
        removed
    }

    /// Removes the statements for which `is_stale` returns true.
    #[must_use = "dropping a statement closes it: better not under a lock"]
    pub fn remove_where(&mut self, is_stale: impl Fn(&S) -> bool) -> Vec<S> {
        let mut removed = Vec::new();
        self.kept.retain(|_, statement| {
            let stale = is_stale(statement);
            if stale {
                removed.push(statement.clone());
            }
            !stale
        });
        self.counts
            .stale
            .fetch_add(removed.len() as u64, Ordering::Relaxed);
        removed
    }

    fn entry(
        &mut self,
        text: &str,
        types: &[Type],
    ) -> RawEntryMut<'_, Key, S, impl BuildHasher + use<S>> {
        let hash = self.kept.hasher().hash_one(Borrowed(text, types));
        self.kept
            .raw_entry_mut()
            .from_hash(hash, |key| *key.text == *text && *key.types == *types)
    }
}

impl<S> Drop for StatementCache<S> {
    fn drop(&mut self) {
        self.counts.end(&self.hits);
    }
}

impl<S> fmt::Debug for StatementCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatementCache")
            .field("kept", &self.kept.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cache(capacity: usize) -> StatementCache<u32> {
        StatementCache::new(capacity, Arc::default())
    }

    #[test]
    fn types_are_part_of_the_name() {
        let mut cache = cache(4);
        assert_eq!(cache.insert("SELECT $1", &[], 1), None);
        assert_eq!(cache.insert("SELECT $1", &[Type::INT4], 2), None);
        assert_eq!(cache.insert("SELECT $1", &[Type::INT8], 3), None);
        assert_eq!(cache.get("SELECT $1", &[Type::INT4]), Some(2));
        assert_eq!(cache.get("SELECT $1", &[]), Some(1));
        assert_eq!(cache.get("SELECT $1", &[Type::TEXT]), None);
        assert_eq!(cache.insert("SELECT $1", &[], 4), Some(1), "replaced");
        assert_eq!(cache.len(), 3);
    }

    #[test]
    fn switched_off_it_keeps_nothing() {
        let mut cache = cache(0);
        assert!(cache.is_off());
        assert_eq!(cache.insert("SELECT 1", &[], 1), Some(1));
        assert_eq!(cache.get("SELECT 1", &[]), None);
        assert_eq!(cache.counts.status().evictions, 0);
    }

    #[test]
    fn hits_of_all_sessions_count_also_of_those_that_have_ended() {
        let counts = Arc::<StatementCounts>::default();
        let session = || {
            let mut cache = StatementCache::new(1, Arc::clone(&counts));
            assert_eq!(cache.insert("a", &[], 0), None);
            assert_eq!(cache.get("a", &[]), Some(0));
            cache
        };
        let (first, second) = (session(), session());
        assert_eq!(counts.status().hits, 2);
        drop(first);
        assert_eq!(counts.status().hits, 2);
        drop(second);
        assert_eq!(counts.status().hits, 2);
        assert!(counts.hits().sessions.is_empty(), "nothing is kept of them");
    }

    #[test]
    fn what_is_taken_out_is_counted() {
        let mut cache = cache(3);
        for text in ["a", "b", "c"] {
            assert_eq!(cache.insert(text, &[], 0), None);
        }
        assert_eq!(cache.remove("b", &[]), Some(0));
        assert_eq!(cache.remove("b", &[]), None);
        assert_eq!(cache.clear().len(), 2);
        assert!(cache.is_empty());
        let status = cache.counts.status();
        assert_eq!((status.stale, status.evictions), (3, 0));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Use(u8),
        Remove(u8),
        Clear,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            12 => (0..12u8).prop_map(Step::Use),
            2 => (0..12u8).prop_map(Step::Remove),
            1 => Just(Step::Clear),
        ];
        proptest::collection::vec(step, 0..120)
    }

    proptest! {
        /// The model is a list with the most recently used at its end.
        #[test]
        fn the_least_recently_used_goes_first(capacity in 1..8usize, steps in steps()) {
            let mut cache = cache(capacity);
            let mut model: Vec<u8> = Vec::new();
            let (mut hits, mut misses, mut evictions) = (0, 0, 0);
            for step in steps {
                match step {
                    Step::Use(n) => {
                        let text = n.to_string();
                        let known = model.iter().position(|m| *m == n).map(|at| model.remove(at));
                        prop_assert_eq!(cache.get(&text, &[]), known.map(u32::from));
                        model.push(n);
                        if known.is_some() {
                            hits += 1;
                            continue;
                        }
                        misses += 1;
                        let wanted = (model.len() > capacity).then(|| model.remove(0));
                        evictions += u64::from(wanted.is_some());
                        prop_assert_eq!(cache.insert(&text, &[], n.into()), wanted.map(u32::from));
                    }
                    Step::Remove(n) => {
                        let known = model.iter().position(|m| *m == n).map(|at| model.remove(at));
                        prop_assert_eq!(cache.remove(&n.to_string(), &[]), known.map(u32::from));
                    }
                    Step::Clear => {
                        let removed: Vec<u8> = cache.clear().into_iter().map(|n| n as u8).collect();
                        prop_assert_eq!(removed, std::mem::take(&mut model));
                    }
                }
                prop_assert_eq!(cache.len(), model.len());
            }
            let status = cache.counts.status();
            prop_assert_eq!((status.hits, status.misses, status.evictions), (hits, misses, evictions));
        }
    }
}
