//! Transactions and first statements where each round trip takes half a millisecond longer: through
//! a proxy that waits a quarter of one before it forwards anything, in both directions.

use std::time::{Duration, Instant};

use deadpool_postgres::{ManagerConfig, RecyclingMethod};
use pgmonkey::tokio_postgres::NoTls;
use pgmonkey::{AsyncPool, Config};
use pgmonkey_testserver::Proxy;
use sqlx::postgres::{PgPool, PgPoolOptions};

use crate::report::Contest;
use crate::round::{Contestant, Kind, Round, Work, median, turns, with_tasks};
use crate::tasks::{options, runtime};
use crate::{ROUNDS, SESSIONS, driver, rounds, with_pools};

/// How long the proxy waits.
const DELAY: Duration = Duration::from_micros(250);
const TABLE: &str = "CREATE TABLE IF NOT EXISTS pgmonkey_round_trips (n int)";
const UNTABLE: &str = "DROP TABLE IF EXISTS pgmonkey_round_trips";
const INSERT: Work = Work {
    what: "transaction of one INSERT, 0.25 ms away",
    statement: "INSERT INTO pgmonkey_round_trips VALUES ($1)",
    span: Duration::from_millis(200),
};
const CALLERS: [usize; 2] = [1, SESSIONS as usize];

/// The contests of transactions. First statements are printed at once.
pub(crate) fn run(config: &Config) -> anyhow::Result<Vec<Contest>> {
    let target = &config.connection_settings.targets()[0];
    let proxy = Proxy::to((target.host.to_string(), target.port))?;
    proxy.delay(DELAY);
    let far = format!(
        "connection_settings: {{ host: 127.0.0.1, port: {}, sslmode: disable }}",
        proxy.port()
    );
    let whole = serde_json::to_string(&config.exposed())?;
    let config = Config::loader().json(whole).yaml(far).load()?;
    runtime()?.block_on(async {
        let admin = AsyncPool::new(&config).await?;
        admin.batch_execute(TABLE).await?;
        let contests = transactions(&config).await;
        let firsts = first_statements(&config).await;
        admin.batch_execute(UNTABLE).await?;
        firsts?;
        contests
    })
}

/// The pools, all without checks.
struct Pools {
    ours: AsyncPool,
    deadpool: deadpool_postgres::Pool,
    sqlx: PgPool,
}

impl Pools {
    async fn open(config: &Config) -> anyhow::Result<Self> {
        let fast = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = deadpool_postgres::Manager::from_config(driver(config), NoTls, fast);
        let sqlx = PgPoolOptions::new()
            .max_connections(SESSIONS)
            .test_before_acquire(false)
            .connect_with(options(config));
        Ok(Self {
            ours: AsyncPool::new(&with_pools(config, false)?).await?,
            deadpool: deadpool_postgres::Pool::builder(manager)
                .max_size(SESSIONS as usize)
                .build()?,
            sqlx: sqlx.await?,
        })
    }
}

async fn transactions(config: &Config) -> anyhow::Result<Vec<Contest>> {
    let pools = Pools::open(config).await?;
    let mut contests = Vec::new();
    for callers in CALLERS {
        let mut contestants = [
            Contestant::new("pgmonkey, execute_and_commit", Kind::Ours),
            Contestant::new("pgmonkey, execute, commit", Kind::Ours),
            Contestant::new("deadpool-postgres", Kind::Peer),
            Contestant::new("sqlx, test off", Kind::Peer),
        ];
        for _ in 0..rounds(ROUNDS)? {
            let round = round(&pools, callers).await?;
            for (contestant, own) in contestants.iter_mut().zip(round) {
                contestant.rounds.push(own);
            }
        }
        contests.push(Contest::new("tasks", INSERT, callers, contestants.into()));
    }
    Ok(contests)
}

/// One round of each contestant, in their order.
async fn round(pools: &Pools, callers: usize) -> anyhow::Result<[Round; 4]> {
    let (insert, span) = (INSERT.statement, INSERT.span);
    let together = with_tasks(callers, span, |_| {
        let pool = pools.ours.clone();
        turns!(span, {
            let transaction = pool.begin().await?;
            transaction.execute_and_commit(insert, &[&1_i32]).await?
        })
    })
    .await?;
    let apart = with_tasks(callers, span, |_| {
        let pool = pools.ours.clone();
        turns!(span, {
            let transaction = pool.begin().await?;
            transaction.execute(insert, &[&1_i32]).await?;
            transaction.commit().await?;
        })
    })
    .await?;
    let deadpool = with_tasks(callers, span, |_| {
        let pool = pools.deadpool.clone();
        turns!(span, {
            let mut client = pool.get().await?;
            let statement = client.prepare_cached(insert).await?;
            let transaction = client.transaction().await?;
            transaction.execute(&statement, &[&1_i32]).await?;
            transaction.commit().await?;
        })
    })
    .await?;
    let sqlx = with_tasks(callers, span, |_| {
        let pool = pools.sqlx.clone();
        turns!(span, {
            let mut transaction = pool.begin().await?;
            sqlx::query(insert)
                .bind(1_i32)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
        })
    })
    .await?;
    Ok([together, apart, deadpool, sqlx])
}

/// The time of the first statement in each session of a pool but one, which ran it before.
async fn first_statements(config: &Config) -> anyhow::Result<()> {
    let insert = INSERT.statement;
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    let micros = |began: Instant| began.elapsed().as_secs_f64() * 1e6;
    for _ in 0..rounds(ROUNDS)?.div_ceil(5) {
        let pools = Pools::open(config).await?;
        let (mut ours, mut deadpool, mut sqlx) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..SESSIONS {
            ours.push(pools.ours.acquire().await?);
            deadpool.push(pools.deadpool.get().await?);
            sqlx.push(pools.sqlx.acquire().await?);
        }
        ours[0].execute(insert, &[&1_i32]).await?;
        for at in 1..SESSIONS as usize {
            let began = Instant::now();
            ours[at].execute(insert, &[&1_i32]).await?;
            times[0].push(micros(began));
            let began = Instant::now();
            let statement = deadpool[at].prepare_cached(insert).await?;
            deadpool[at].execute(&statement, &[&1_i32]).await?;
            times[1].push(micros(began));
            let began = Instant::now();
            sqlx::query(insert)
                .bind(1_i32)
                .execute(&mut *sqlx[at])
                .await?;
            times[2].push(micros(began));
        }
    }
    let medians = times.map(median);
    let best = medians[1].min(medians[2]);
    println!("\nthe first INSERT in a new session, 0.25 ms away, medians");
    for (name, time) in ["pgmonkey async_pool", "deadpool-postgres", "sqlx"]
        .iter()
        .zip(medians)
    {
        println!(
            "  {name:<34} {time:>9.0} µs   best peer {:>5.2}",
            best / time
        );
    }
    Ok(())
}
