use std::time::Instant;

use crate::hits::{Hits, SHARDS, shard};

/// A cached value and what `entries()` reports about it.
#[derive(Debug)]
pub(crate) struct Slot<V> {
    pub(crate) value: V,
    pub(crate) created: Instant,
    hits: Hits,
    /// One copy for each shard of threads; empty if all threads share `value`.
    copies: Box<[V]>,
}

impl<V: Clone> Slot<V> {
    pub(crate) fn new(value: V, shard: Option<fn(&V) -> V>) -> Self {
        let copies = shard.map(|shard| (0..SHARDS).map(|_| shard(&value)).collect());
        Self {
            value,
            created: Instant::now(),
            hits: Hits::default(),
            copies: copies.unwrap_or_default(),
        }
    }

    /// Returns a clone of the value and counts the hit.
    pub(crate) fn hit(&self) -> V {
        let shard = shard();
        self.hits.add(shard);
        self.copies.get(shard).unwrap_or(&self.value).clone()
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits.total()
    }
}
