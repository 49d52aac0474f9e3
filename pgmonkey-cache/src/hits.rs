use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The number of shards. More would cost memory without a measurable gain on today's machines; more
/// threads than shards share them.
pub(crate) const SHARDS: usize = 16;

/// A counter that threads increment without contending for a cache line.
#[derive(Debug, Default)]
pub(crate) struct Hits([Shard; SHARDS]);

/// Two cache lines wide, because processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(AtomicU64);

impl Hits {
    pub(crate) fn add(&self, shard: usize) {
        // Relaxed: the number is only displayed; nothing depends on it.
        self.0[shard].0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn total(&self) -> u64 {
        self.0
            .iter()
            .map(|shard| shard.0.load(Ordering::Relaxed))
            .sum()
    }
}

/// Returns the shard of this thread; shards are assigned to threads round-robin.
pub(crate) fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    // A thread that is exiting has no thread locals left and uses the first shard.
    MINE.try_with(|mine| *mine).unwrap_or(0)
}
