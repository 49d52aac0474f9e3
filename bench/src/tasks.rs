//! Pools for tasks: ours, the others at their fastest settings, and the bare driver.

use std::sync::Arc;

use bb8_postgres::PostgresConnectionManager;
use deadpool_postgres::{ManagerConfig, RecyclingMethod};
use mobc_postgres::PgConnectionManager;
use pgmonkey::tokio_postgres::{self, NoTls};
use pgmonkey::{AsyncPool, Config};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use crate::report::Contest;
use crate::round::{Contestant, Kind, turns, with_tasks};
use crate::{CALLERS, ROUNDS, SESSIONS, SPAN, driver, with_pools};

const SIMPLE: &str = "SELECT 1";
const EXTENDED: &str = "SELECT $1::int4";

/// Everybody who takes part.
struct Field {
    ours: AsyncPool,
    shared: AsyncPool,
    bare: Vec<Arc<tokio_postgres::Client>>,
    statements: Vec<tokio_postgres::Statement>,
    deadpool: deadpool_postgres::Pool,
    bb8: bb8_postgres::bb8::Pool<PostgresConnectionManager<NoTls>>,
    mobc: mobc::Pool<PgConnectionManager<NoTls>>,
    mobc_unchecked: mobc::Pool<PgConnectionManager<NoTls>>,
    sqlx: PgPool,
}

/// All contests on a runtime with a thread for each core.
pub(crate) fn run(config: &Config) -> anyhow::Result<Vec<Contest>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism()?.get())
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let field = Field::open(config).await?;
        let mut contests = Vec::new();
        for callers in CALLERS {
            contests.push(field.simple("tasks", callers).await?);
            contests.push(field.extended("tasks", callers).await?);
        }
        Ok(contests)
    })
}

/// One caller on one thread, where client and server share one core.
pub(crate) fn run_pinned(config: &Config) -> anyhow::Result<Vec<Contest>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let field = Field::open(config).await?;
        Ok(vec![
            field.simple("tasks, one core", 1).await?,
            field.extended("tasks, one core", 1).await?,
        ])
    })
}

impl Field {
    async fn open(config: &Config) -> anyhow::Result<Self> {
        let ours = AsyncPool::new(&with_pools(config, false)?).await?;
        let shared = AsyncPool::new(&with_pools(config, true)?).await?;
        let (mut bare, mut statements) = (Vec::new(), Vec::new());
        for _ in 0..SESSIONS {
            let (client, connection) = driver(config).connect(NoTls).await?;
            tokio::spawn(connection);
            statements.push(client.prepare(EXTENDED).await?);
            bare.push(Arc::new(client));
        }
        let fast = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = deadpool_postgres::Manager::from_config(driver(config), NoTls, fast);
        let deadpool = deadpool_postgres::Pool::builder(manager)
            .max_size(SESSIONS as usize)
            .build()?;
        let manager = PostgresConnectionManager::new(driver(config), NoTls);
        let bb8 = bb8_postgres::bb8::Pool::builder()
            .max_size(SESSIONS)
            .test_on_check_out(false)
            .build(manager)
            .await?;
        let mobc = |builder: mobc::Builder<PgConnectionManager<NoTls>>| {
            builder.build(PgConnectionManager::new(driver(config), NoTls))
        };
        let sqlx = PgPoolOptions::new()
            .max_connections(SESSIONS)
            .test_before_acquire(false)
            .connect_with(options(config))
            .await?;
        Ok(Self {
            ours,
            shared,
            bare,
            statements,
            deadpool,
            bb8,
            mobc: mobc(mobc::Pool::builder().max_open(u64::from(SESSIONS))),
            mobc_unchecked: mobc(
                mobc::Pool::builder()
                    .max_open(u64::from(SESSIONS))
                    .max_idle(u64::from(SESSIONS))
                    .test_on_check_out(false),
            ),
            sqlx,
        })
    }

    async fn simple(&self, where_: &'static str, callers: usize) -> anyhow::Result<Contest> {
        let mut contestants = [
            Contestant::new("tokio-postgres, one connection", Kind::Bare),
            Contestant::new("pgmonkey async_pool", Kind::Ours),
            Contestant::new("deadpool-postgres", Kind::Peer),
            Contestant::new("bb8-postgres, check off", Kind::Peer),
            Contestant::new("mobc-postgres, as it comes", Kind::Peer),
            Contestant::new("mobc-postgres, check off", Kind::Peer),
            Contestant::new("sqlx, test off", Kind::Peer),
        ];
        for _ in 0..ROUNDS {
            let [bare, ours, deadpool, bb8, mobc, mobc_unchecked, sqlx] = &mut contestants;
            let client = &self.bare[0];
            // One caller at a time: the bare connection is what a pool cannot be faster than.
            let round = with_tasks(1, SPAN, |_| {
                let client = Arc::clone(client);
                turns!(SPAN, client.simple_query(SIMPLE).await?)
            });
            bare.rounds.push(round.await?);
            let round = with_tasks(callers, SPAN, |_| {
                let pool = self.ours.clone();
                turns!(SPAN, pool.acquire().await?.simple_query(SIMPLE).await?)
            });
            ours.rounds.push(round.await?);
            let round = with_tasks(callers, SPAN, |_| {
                let pool = self.deadpool.clone();
                turns!(SPAN, pool.get().await?.simple_query(SIMPLE).await?)
            });
            deadpool.rounds.push(round.await?);
            let round = with_tasks(callers, SPAN, |_| {
                let pool = self.bb8.clone();
                turns!(SPAN, pool.get().await?.simple_query(SIMPLE).await?)
            });
            bb8.rounds.push(round.await?);
            let round = with_tasks(callers, SPAN, |_| {
                let pool = self.mobc.clone();
                turns!(SPAN, pool.get().await?.simple_query(SIMPLE).await?)
            });
            mobc.rounds.push(round.await?);
            let round = with_tasks(callers, SPAN, |_| {
                let pool = self.mobc_unchecked.clone();
                turns!(SPAN, pool.get().await?.simple_query(SIMPLE).await?)
            });
            mobc_unchecked.rounds.push(round.await?);
            let round = with_tasks(callers, SPAN, |_| {
                let pool = self.sqlx.clone();
                turns!(SPAN, {
                    let mut session = pool.acquire().await?;
                    sqlx::raw_sql(SIMPLE).execute(&mut *session).await?
                })
            });
            sqlx.rounds.push(round.await?);
        }
        Ok(Contest::new(
            where_,
            "simple query",
            callers,
            contestants.into(),
        ))
    }

    async fn extended(&self, where_: &'static str, callers: usize) -> anyhow::Result<Contest> {
        let mut contestants = [
            Contestant::new("tokio-postgres, pipelined over all", Kind::Bare),
            Contestant::new("pgmonkey async_pool", Kind::Ours),
            Contestant::new("pgmonkey async_pool, multiplex", Kind::Ours),
            Contestant::new("deadpool-postgres", Kind::Peer),
            Contestant::new("bb8-postgres, check off", Kind::Peer),
            Contestant::new("mobc-postgres, check off", Kind::Peer),
            Contestant::new("sqlx, test off", Kind::Peer),
        ];
        for _ in 0..ROUNDS {
            let [bare, ours, shared, deadpool, bb8, mobc, sqlx] = &mut contestants;
            let round = with_tasks(callers, SPAN, |caller| {
                let which = caller % self.bare.len();
                let client = Arc::clone(&self.bare[which]);
                let statement = self.statements[which].clone();
                turns!(SPAN, client.query_one(&statement, &[&1_i32]).await?)
            });
            bare.rounds.push(round.await?);
            let round = with_tasks(callers, SPAN, |_| {
                let pool = self.ours.clone();
                turns!(SPAN, pool.query_one(EXTENDED, &[&1_i32]).await?)
            });
            ours.rounds.push(round.await?);
            let round = with_tasks(callers, SPAN, |_| {
                let pool = self.shared.clone();
                turns!(SPAN, pool.query_one(EXTENDED, &[&1_i32]).await?)
            });
            shared.rounds.push(round.await?);
            let round = with_tasks(callers, SPAN, |_| {
                let pool = self.deadpool.clone();
                turns!(SPAN, {
                    let client = pool.get().await?;
                    let statement = client.prepare_cached(EXTENDED).await?;
                    client.query_one(&statement, &[&1_i32]).await?
                })
            });
            deadpool.rounds.push(round.await?);
            let round = with_tasks(callers, SPAN, |_| {
                let pool = self.bb8.clone();
                turns!(
                    SPAN,
                    pool.get().await?.query_one(EXTENDED, &[&1_i32]).await?
                )
            });
            bb8.rounds.push(round.await?);
            let round = with_tasks(callers, SPAN, |_| {
                let pool = self.mobc_unchecked.clone();
                turns!(
                    SPAN,
                    pool.get().await?.query_one(EXTENDED, &[&1_i32]).await?
                )
            });
            mobc.rounds.push(round.await?);
            let round = with_tasks(callers, SPAN, |_| {
                let pool = self.sqlx.clone();
                turns!(
                    SPAN,
                    sqlx::query(EXTENDED).bind(1_i32).fetch_one(&pool).await?
                )
            });
            sqlx.rounds.push(round.await?);
        }
        let what = "extended query, prepared once where the pool can";
        Ok(Contest::new(where_, what, callers, contestants.into()))
    }
}

fn options(config: &Config) -> PgConnectOptions {
    let settings = &config.connection_settings;
    let target = &settings.targets()[0];
    let options = PgConnectOptions::new()
        .host(&target.host.to_string())
        .port(target.port)
        .username(&settings.effective_user())
        .database(&settings.effective_dbname())
        .ssl_mode(sqlx::postgres::PgSslMode::Disable);
    match &settings.password {
        Some(password) => options.password(password.expose()),
        None => options,
    }
}
