//! What a handle costs beside the server's work: a session lent and given back, a cached handle
//! looked up.

use std::time::{Duration, Instant};

use pgmonkey::{Config, ConnectionManager};

use crate::with_pools;

const ROUNDS: usize = 15;
const TURNS: u32 = 20_000;

/// Prints the medians.
pub(crate) fn run(config: &Config) -> anyhow::Result<()> {
    let config = with_pools(config, false)?;
    println!("\nbeside the server's work; one caller, median of {ROUNDS} rounds of {TURNS}");
    let manager = ConnectionManager::new();
    let pool = manager.pool(&config)?;
    drop(pool.acquire()?);
    let lent = median(|| {
        for _ in 0..TURNS {
            drop(pool.acquire()?);
        }
        Ok(())
    })?;
    print("pool: acquire, release", lent);
    let found = median(|| {
        for _ in 0..TURNS {
            drop(manager.pool(&config)?);
        }
        Ok(())
    })?;
    print("manager: a cached pool", found);
    for threads in [1, 2] {
        let each = together(threads, || manager.pool(&config).map(drop))?;
        println!("  {threads} threads looking it up: {each:>8.1} million a second in all");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let pool = manager.async_pool(&config).await?;
        drop(pool.acquire().await?);
        // The driver's task has its first turns.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let began = Instant::now();
            for _ in 0..TURNS {
                drop(pool.acquire().await?);
            }
            times.push(began.elapsed() / TURNS);
        }
        times.sort_unstable();
        print("async_pool: acquire, release", times[ROUNDS / 2]);
        anyhow::Ok(())
    })
}

fn print(what: &str, time: Duration) {
    println!("  {what:<32} {:>8.0} ns", time.as_secs_f64() * 1e9);
}

fn median(work: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        work()?;
        times.push(began.elapsed() / TURNS);
    }
    times.sort_unstable();
    Ok(times[ROUNDS / 2])
}

/// Millions of turns a second of this many threads together.
fn together(
    threads: u32,
    work: impl Fn() -> Result<(), pgmonkey::Error> + Sync,
) -> anyhow::Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..10 * TURNS).for_each(|_| drop(work())));
            }
        });
        let turns = f64::from(threads) * f64::from(10 * TURNS);
        rates.push(turns / began.elapsed().as_secs_f64() / 1e6);
    }
    rates.sort_unstable_by(f64::total_cmp);
    Ok(rates[ROUNDS / 2])
}
