//! Measures the cost of a cache hit, on one thread and on many:
//! `cargo run --release -p pgmonkey-cache --example hit`.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pgmonkey_cache::Cache;

const ROUNDS: u32 = 5_000_000;

fn main() {
    let cache: Cache<[u8; 32], Arc<u32>, ()> = Cache::new();
    for key in 0..8 {
        let built = cache.get_or_try_init(&[key; 32], || Ok(Arc::new(key.into())));
        built.expect("the builder does not fail");
    }
    let bare = Arc::new(1_u32);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, threads, 2 * threads] {
        let hit = time(threads, || drop(black_box(cache.get(black_box(&[3; 32])))));
        let clone = time(threads, || drop(black_box(Arc::clone(black_box(&bare)))));
        println!(
            "{threads} threads: a hit {hit:?}, of which cloning and dropping an Arc {clone:?}"
        );
    }
}

/// The average time of one call while `threads` threads run the same job.
fn time(threads: usize, job: impl Fn() + Sync) -> Duration {
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..ROUNDS).for_each(|_| job()));
        }
    });
    start.elapsed() / ROUNDS
}
