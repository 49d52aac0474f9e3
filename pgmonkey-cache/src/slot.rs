use std::time::Instant;

use crate::hits::Hits;

/// A cached value and what `entries()` tells about it.
#[derive(Debug)]
pub(crate) struct Slot<V> {
    pub(crate) value: V,
    pub(crate) created: Instant,
    hits: Hits,
}

impl<V: Clone> Slot<V> {
    pub(crate) fn new(value: V) -> Self {
        Self {
            value,
            created: Instant::now(),
            hits: Hits::default(),
        }
    }

    /// Hands the value out and counts it.
    pub(crate) fn hit(&self) -> V {
        self.hits.add();
        self.value.clone()
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits.total()
    }
}
