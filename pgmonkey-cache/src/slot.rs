use std::time::Instant;

use crate::hits::{Hits, SHARDS, shard};

/// A cached value and what `entries()` tells about it.
#[derive(Debug)]
pub(crate) struct Slot<V> {
    pub(crate) value: V,
    pub(crate) created: Instant,
    hits: Hits,
    /// One for each shard of threads; none where the value is good enough for all.
    copies: Box<[V]>,
}

impl<V: Clone> Slot<V> {
    pub(crate) fn new(value: V, apart: Option<fn(&V) -> V>) -> Self {
        let copies = apart.map(|apart| (0..SHARDS).map(|_| apart(&value)).collect());
        Self {
            value,
            created: Instant::now(),
            hits: Hits::default(),
            copies: copies.unwrap_or_default(),
        }
    }

    /// Hands the value out and counts it.
    pub(crate) fn hit(&self) -> V {
        let shard = shard();
        self.hits.add(shard);
        self.copies.get(shard).unwrap_or(&self.value).clone()
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits.total()
    }
}
