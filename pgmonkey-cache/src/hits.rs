use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// More shards than this cost memory and gain nothing on the machines in use; it is no limit.
pub(crate) const SHARDS: usize = 16;

/// A counter that threads raise without waiting for each other's cache line.
#[derive(Debug, Default)]
pub(crate) struct Hits([Shard; SHARDS]);

/// Two lines wide, because processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(AtomicU64);

impl Hits {
    pub(crate) fn add(&self, shard: usize) {
        // Relaxed: a number for people to look at; nothing is decided by it.
        self.0[shard].0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn total(&self) -> u64 {
        self.0
            .iter()
            .map(|shard| shard.0.load(Ordering::Relaxed))
            .sum()
    }
}

/// The shard of this thread; threads take them in turn.
pub(crate) fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    // A thread that is already ending has no locals left and takes the first.
    MINE.try_with(|mine| *mine).unwrap_or(0)
}
