//! Pools for tasks: ours, the others with their fastest settings, and the bare driver.

use std::sync::Arc;
use std::time::Duration;

use bb8_postgres::PostgresConnectionManager;
use deadpool_postgres::{ManagerConfig, RecyclingMethod};
use mobc_postgres::PgConnectionManager;
use pgmonkey::tokio_postgres::{self, NoTls};
use pgmonkey::{AsyncPool, Config};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::runtime::Runtime;

use crate::report::Contest;
use crate::round::{Contestant, Kind, Round, Work, turns, with_tasks};
use crate::{CALLERS, CROWDS, EXTENDED, MILLISECOND, ROUNDS, SESSIONS, SIMPLE};
use crate::{driver, rounds, with_pools};

/// All contestants.
pub(crate) struct Field {
    pub(crate) ours: AsyncPool,
    shared: AsyncPool,
    bare: Vec<Arc<tokio_postgres::Client>>,
    statements: Vec<tokio_postgres::Statement>,
    pub(crate) deadpool: deadpool_postgres::Pool,
    pub(crate) bb8: bb8_postgres::bb8::Pool<PostgresConnectionManager<NoTls>>,
    mobc: mobc::Pool<PgConnectionManager<NoTls>>,
    pub(crate) mobc_unchecked: mobc::Pool<PgConnectionManager<NoTls>>,
    pub(crate) sqlx: PgPool,
}

/// The contests with quick statements, on a runtime with one thread per core.
pub(crate) fn run(config: &Config) -> anyhow::Result<Vec<Contest>> {
    runtime()?.block_on(async {
        let field = Field::open(config).await?;
        let mut contests = Vec::new();
        for callers in CALLERS {
            contests.push(field.simple("tasks", SIMPLE, callers).await?);
            contests.push(field.extended("tasks", callers).await?);
        }
        Ok(contests)
    })
}

/// The contests with statements that take the server a millisecond.
pub(crate) fn run_millisecond(config: &Config) -> anyhow::Result<Vec<Contest>> {
    runtime()?.block_on(async {
        let field = Field::open(config).await?;
        let mut contests = Vec::new();
        for callers in CROWDS {
            contests.push(field.simple("tasks", MILLISECOND, callers).await?);
        }
        Ok(contests)
    })
}

pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism()?.get())
        .enable_all()
        .build()?)
}

/// One caller on one thread, with client and server on one core.
pub(crate) fn run_pinned(config: &Config) -> anyhow::Result<Vec<Contest>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let field = Field::open(config).await?;
        Ok(vec![
            field.simple("tasks, one core", SIMPLE, 1).await?,
            field.extended("tasks, one core", 1).await?,
        ])
    })
}

impl Field {
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Self> {
        let ours = AsyncPool::new(&with_pools(config, false)?).await?;
        let shared = AsyncPool::new(&with_pools(config, true)?).await?;
        let (mut bare, mut statements) = (Vec::new(), Vec::new());
        for _ in 0..SESSIONS {
            let (client, connection) = driver(config).connect(NoTls).await?;
            tokio::spawn(connection);
            statements.push(client.prepare(EXTENDED.statement).await?);
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

    async fn simple(
        &self,
        place: &'static str,
        work: Work,
        callers: usize,
    ) -> anyhow::Result<Contest> {
        let mut contestants = [
            Contestant::new("tokio-postgres, one connection", Kind::Bare),
            Contestant::new("pgmonkey async_pool", Kind::Ours),
            Contestant::new("deadpool-postgres", Kind::Peer),
            Contestant::new("bb8-postgres, check off", Kind::Peer),
            Contestant::new("mobc-postgres, as it comes", Kind::Peer),
            Contestant::new("mobc-postgres, check off", Kind::Peer),
            Contestant::new("sqlx, test off", Kind::Peer),
        ];
        for _ in 0..rounds(ROUNDS)? {
            let (statement, span) = (work.statement, work.span);
            let round = self.simple_round(statement, span, callers).await?;
            for (contestant, own) in contestants.iter_mut().zip(round) {
                contestant.rounds.push(own);
            }
        }
        Ok(Contest::new(place, work, callers, contestants.into()))
    }

    /// One round of each contestant, in their order.
    async fn simple_round(
        &self,
        statement: &'static str,
        span: Duration,
        callers: usize,
    ) -> anyhow::Result<[Round; 7]> {
        let client = &self.bare[0];
        // One caller at a time: a pool cannot be faster than the bare connection.
        let bare = with_tasks(1, span, |_| {
            let client = Arc::clone(client);
            turns!(span, client.simple_query(statement).await?)
        })
        .await?;
        let ours = with_tasks(callers, span, |_| {
            let pool = self.ours.clone();
            turns!(span, pool.acquire().await?.simple_query(statement).await?)
        })
        .await?;
        let deadpool = with_tasks(callers, span, |_| {
            let pool = self.deadpool.clone();
            turns!(span, pool.get().await?.simple_query(statement).await?)
        })
        .await?;
        let bb8 = with_tasks(callers, span, |_| {
            let pool = self.bb8.clone();
            turns!(span, pool.get().await?.simple_query(statement).await?)
        })
        .await?;
        let mobc = with_tasks(callers, span, |_| {
            let pool = self.mobc.clone();
            turns!(span, pool.get().await?.simple_query(statement).await?)
        })
        .await?;
        let mobc_unchecked = with_tasks(callers, span, |_| {
            let pool = self.mobc_unchecked.clone();
            turns!(span, pool.get().await?.simple_query(statement).await?)
        })
        .await?;
        let sqlx = with_tasks(callers, span, |_| {
            let pool = self.sqlx.clone();
            turns!(span, {
                let mut session = pool.acquire().await?;
                sqlx::raw_sql(statement).execute(&mut *session).await?
            })
        })
        .await?;
        Ok([bare, ours, deadpool, bb8, mobc, mobc_unchecked, sqlx])
    }

    async fn extended(&self, place: &'static str, callers: usize) -> anyhow::Result<Contest> {
        let mut contestants = [
            Contestant::new("tokio-postgres, pipelined over all", Kind::Bare),
            Contestant::new("pgmonkey async_pool", Kind::Ours),
            Contestant::new("pgmonkey async_pool, multiplex", Kind::Ours),
            Contestant::new("deadpool-postgres", Kind::Peer),
            Contestant::new("bb8-postgres, check off", Kind::Peer),
            Contestant::new("mobc-postgres, check off", Kind::Peer),
            Contestant::new("sqlx, test off", Kind::Peer),
        ];
        for _ in 0..rounds(ROUNDS)? {
            let round = self.extended_round(callers).await?;
            for (contestant, own) in contestants.iter_mut().zip(round) {
                contestant.rounds.push(own);
            }
        }
        Ok(Contest::new(place, EXTENDED, callers, contestants.into()))
    }

    /// One round of each contestant, in their order.
    async fn extended_round(&self, callers: usize) -> anyhow::Result<[Round; 7]> {
        let Work {
            statement: text,
            span,
            ..
        } = EXTENDED;
        let bare = with_tasks(callers, span, |caller| {
            let which = caller % self.bare.len();
            let client = Arc::clone(&self.bare[which]);
            let statement = self.statements[which].clone();
            turns!(span, client.query_one(&statement, &[&1_i32]).await?)
        })
        .await?;
        let ours = with_tasks(callers, span, |_| {
            let pool = self.ours.clone();
            turns!(span, pool.query_one(text, &[&1_i32]).await?)
        })
        .await?;
        let shared = with_tasks(callers, span, |_| {
            let pool = self.shared.clone();
            turns!(span, pool.query_one(text, &[&1_i32]).await?)
        })
        .await?;
        let deadpool = with_tasks(callers, span, |_| {
            let pool = self.deadpool.clone();
            turns!(span, {
                let client = pool.get().await?;
                let statement = client.prepare_cached(text).await?;
                client.query_one(&statement, &[&1_i32]).await?
            })
        })
        .await?;
        let bb8 = with_tasks(callers, span, |_| {
            let pool = self.bb8.clone();
            turns!(span, pool.get().await?.query_one(text, &[&1_i32]).await?)
        })
        .await?;
        let mobc = with_tasks(callers, span, |_| {
            let pool = self.mobc_unchecked.clone();
            turns!(span, pool.get().await?.query_one(text, &[&1_i32]).await?)
        })
        .await?;
        let sqlx = with_tasks(callers, span, |_| {
            let pool = self.sqlx.clone();
            turns!(span, sqlx::query(text).bind(1_i32).fetch_one(&pool).await?)
        })
        .await?;
        Ok([bare, ours, shared, deadpool, bb8, mobc, sqlx])
    }
}

pub(crate) fn options(config: &Config) -> PgConnectOptions {
    let settings = &config.connection_settings;
    let target = &settings.targets()[0];
    let options = PgConnectOptions::new()
        .host(&target.host.to_string())
        .port(target.port)
        .username(&settings.effective_user())
        .database(&settings.effective_dbname())
        .ssl_mode(sqlx::postgres::PgSslMode::Disable);
    match &settings.password {
        Some(password) => options.password(password.value().expect("a literal password").expose()),
        None => options,
    }
}
