//! What a handle costs besides the server's work: acquiring and releasing a session, here and with
//! the other pools, and looking up a cached handle.

use std::time::{Duration, Instant};

use pgmonkey::{Config, ConnectionManager, Pool};

use crate::round::median;
use crate::tasks::Field;
use crate::threads::r2d2;
use crate::{rounds, with_pools};

const ROUNDS: usize = 25;
const TURNS: u32 = 20_000;
/// sqlx pings a released session: each of its turns is a round trip.
const PINGED_TURNS: u32 = 200;

/// A contestant's name and its nanoseconds per turn, one value per round.
struct Cost(&'static str, Vec<f64>);

/// The nanoseconds per turn of this many that do `$work` and drop the result.
macro_rules! timed {
    ($turns:expr, $work:expr) => {{
        let began = Instant::now();
        for _ in 0..$turns {
            drop($work);
        }
        began.elapsed().as_secs_f64() * 1e9 / f64::from($turns)
    }};
}

/// Prints the medians.
pub(crate) fn run(config: &Config) -> anyhow::Result<()> {
    let config = with_pools(config, false)?;
    let rounds = rounds(ROUNDS)?;
    println!(
        "\nexcluding the server's work; one caller, an idle session, {rounds} rounds of {TURNS} turns, medians"
    );
    print(&threads(&config, rounds)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    print(&runtime.block_on(tasks(&config, rounds))?);
    lookups(&config, rounds)
}

fn threads(config: &Config, rounds: usize) -> anyhow::Result<[Cost; 2]> {
    let pool = Pool::new(config)?;
    let r2d2 = r2d2(config, false)?;
    drop((pool.acquire()?, r2d2.get()?));
    let names = ["pgmonkey pool", "r2d2_postgres, check off"];
    let mut costs = names.map(|name| Cost(name, Vec::new()));
    for _ in 0..rounds {
        let [ours, peer] = &mut costs;
        ours.1.push(timed!(TURNS, pool.acquire()?));
        peer.1.push(timed!(TURNS, r2d2.get()?));
    }
    Ok(costs)
}

async fn tasks(config: &Config, rounds: usize) -> anyhow::Result<[Cost; 5]> {
    let field = Field::open(config).await?;
    drop((field.ours.acquire().await?, field.deadpool.get().await?));
    drop((field.bb8.get().await?, field.mobc_unchecked.get().await?));
    drop(field.sqlx.acquire().await?);
    // Lets the drivers' tasks run once.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let names = [
        "pgmonkey async_pool",
        "deadpool-postgres",
        "bb8-postgres, check off",
        "mobc-postgres, check off",
        "sqlx, pings when released",
    ];
    let mut costs = names.map(|name| Cost(name, Vec::new()));
    for _ in 0..rounds {
        let [ours, deadpool, bb8, mobc, sqlx] = &mut costs;
        ours.1.push(timed!(TURNS, field.ours.acquire().await?));
        deadpool.1.push(timed!(TURNS, field.deadpool.get().await?));
        bb8.1.push(timed!(TURNS, field.bb8.get().await?));
        mobc.1
            .push(timed!(TURNS, field.mobc_unchecked.get().await?));
        sqlx.1
            .push(timed!(PINGED_TURNS, field.sqlx.acquire().await?));
    }
    Ok(costs)
}

/// Nanoseconds, and the ratio of the first to each: the median of the rounds' ratios.
fn print(costs: &[Cost]) {
    println!(
        "\n  {:<32} {:>11} {:>10}",
        "acquire, release", "", "ours / it"
    );
    for Cost(name, times) in costs {
        let ratios = costs[0].1.iter().zip(times).map(|(ours, it)| ours / it);
        println!(
            "  {name:<32} {:>8.0} ns {:>10.2}",
            median(times.clone()),
            median(ratios.collect())
        );
    }
}

fn lookups(config: &Config, rounds: usize) -> anyhow::Result<()> {
    let manager = ConnectionManager::new();
    let found: anyhow::Result<_> = (0..rounds)
        .map(|_| Ok(timed!(TURNS, manager.pool(config)?)))
        .collect();
    println!(
        "\n  {:<32} {:>8.0} ns",
        "manager: a cached pool",
        median(found?)
    );
    for threads in [1, 2] {
        let each = together(threads, rounds, || manager.pool(config).map(drop))?;
        println!("  {threads} threads looking it up: {each:>8.1} million per second in total");
    }
    Ok(())
}

/// Millions of turns per second of this many threads together.
fn together(
    threads: u32,
    rounds: usize,
    work: impl Fn() -> Result<(), pgmonkey::Error> + Sync,
) -> anyhow::Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..10 * TURNS).for_each(|_| drop(work())));
            }
        });
        let turns = f64::from(threads) * f64::from(10 * TURNS);
        rates.push(turns / began.elapsed().as_secs_f64() / 1e6);
    }
    Ok(median(rates))
}
