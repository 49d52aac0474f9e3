//! Where a session is driven, in a program with a single-threaded runtime for each worker, as
//! actix-web has: in the runtime of the worker that uses it, by a thread apart, or, as in other
//! pools, wherever it was opened.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pgmonkey::tokio_postgres::{Client, NoTls, Statement};
use pgmonkey::{AsyncPool, Config};
use tokio::runtime::{Builder, Handle};
use tokio::task::AbortHandle;

use crate::report::Contest;
use crate::round::{Contestant, Kind, Round, Work, turns, with_tasks_in};
use crate::{ROUNDS, SESSIONS, driver, rounds, with_pools};

const WORKERS: usize = 4;
const CALLERS: usize = 16;
const BALANCED: Work = Work {
    what: "extended query, four runtimes of one thread",
    statement: "SELECT $1::int4",
    span: Duration::from_millis(200),
};
const UNBALANCED: Work = Work {
    what: "extended query, three runtimes of one thread beside one that computes",
    ..BALANCED
};
/// How long the computing worker lets nothing else run.
const BURST: Duration = Duration::from_millis(20);

/// Sessions of the bare driver, with a prepared statement each.
type Bare = Vec<Arc<(Client, Statement)>>;

struct Field {
    workers: Vec<Handle>,
    at_home: Bare,
    apart: Bare,
    ours: AsyncPool,
    deadpool: deadpool_postgres::Pool,
}

/// With equal load, then with one worker computing.
pub(crate) fn run(config: &Config) -> anyhow::Result<Vec<Contest>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let workers = (0..WORKERS).map(|_| start()).collect::<Result<_, _>>()?;
    runtime.block_on(async {
        let field = Field::open(config, workers).await?;
        Ok(vec![field.balanced().await?, field.unbalanced().await?])
    })
}

/// Starts a worker: a thread with a runtime of its own.
fn start() -> anyhow::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    Ok(handle)
}

/// Opens sessions that these runtimes drive, in rotation.
async fn bare(config: &Config, runtimes: &[Handle]) -> anyhow::Result<Bare> {
    let mut clients = Vec::new();
    for number in 0..SESSIONS as usize {
        let driver = driver(config);
        let opening = runtimes[number % runtimes.len()].spawn(async move {
            let (client, connection) = driver.connect(NoTls).await?;
            tokio::spawn(connection);
            let statement = client.prepare(BALANCED.statement).await?;
            anyhow::Ok((client, statement))
        });
        clients.push(Arc::new(opening.await??));
    }
    Ok(clients)
}

impl Field {
    async fn open(config: &Config, workers: Vec<Handle>) -> anyhow::Result<Self> {
        let manager = deadpool_postgres::Manager::from_config(
            driver(config),
            NoTls,
            deadpool_postgres::ManagerConfig {
                recycling_method: deadpool_postgres::RecyclingMethod::Fast,
            },
        );
        let deadpool = deadpool_postgres::Pool::builder(manager)
            .max_size(SESSIONS as usize)
            .build()?;
        Ok(Self {
            at_home: bare(config, &workers).await?,
            apart: bare(config, &[start()?]).await?,
            ours: AsyncPool::new(&with_pools(config, false)?).await?,
            deadpool,
            workers,
        })
    }

    async fn balanced(&self) -> anyhow::Result<Contest> {
        self.contest(BALANCED, &self.workers).await
    }

    async fn unbalanced(&self) -> anyhow::Result<Contest> {
        let (busy, others) = self.workers.split_last().expect("four workers");
        // Opened before, so that the busy worker drives sessions in pools that let it.
        let computing = compute_in(busy);
        let contest = self.contest(UNBALANCED, others).await;
        computing.abort();
        contest
    }

    async fn contest(&self, work: Work, workers: &[Handle]) -> anyhow::Result<Contest> {
        let mut contestants = [
            Contestant::new("bare sessions, at home", Kind::Bare),
            Contestant::new("bare sessions, by a thread apart", Kind::Bare),
            Contestant::new("pgmonkey async_pool", Kind::Ours),
            Contestant::new("deadpool-postgres", Kind::Peer),
        ];
        for _ in 0..rounds(ROUNDS)? {
            let round = self.round(work, workers).await?;
            for (contestant, own) in contestants.iter_mut().zip(round) {
                contestant.rounds.push(own);
            }
        }
        Ok(Contest::new("tasks", work, CALLERS, contestants.into()))
    }

    async fn round(&self, work: Work, workers: &[Handle]) -> anyhow::Result<[Round; 4]> {
        let Work {
            statement: text,
            span,
            ..
        } = work;
        let bare = |clients: &Bare, caller: usize| {
            // The sessions of the caller's worker, in rotation.
            let number = caller % workers.len() + WORKERS * (caller / workers.len() % 2);
            let client = Arc::clone(&clients[number]);
            turns!(span, client.0.query_one(&client.1, &[&1_i32]).await?)
        };
        let at_home = with_tasks_in(workers, CALLERS, span, |caller| bare(&self.at_home, caller));
        let at_home = at_home.await?;
        let apart = with_tasks_in(workers, CALLERS, span, |caller| bare(&self.apart, caller));
        let apart = apart.await?;
        let ours = with_tasks_in(workers, CALLERS, span, |_| {
            let pool = self.ours.clone();
            turns!(span, pool.query_one(text, &[&1_i32]).await?)
        })
        .await?;
        let deadpool = with_tasks_in(workers, CALLERS, span, |_| {
            let pool = self.deadpool.clone();
            turns!(span, {
                let client = pool.get().await?;
                let statement = client.prepare_cached(text).await?;
                client.query_one(&statement, &[&1_i32]).await?
            })
        })
        .await?;
        Ok([at_home, apart, ours, deadpool])
    }
}

/// Computes in bursts, with a pause after each in which the runtime may run other tasks.
fn compute_in(worker: &Handle) -> AbortHandle {
    let computing = worker.spawn(async {
        loop {
            let began = Instant::now();
            while began.elapsed() < BURST {
                std::hint::spin_loop();
            }
            tokio::task::yield_now().await;
        }
    });
    computing.abort_handle()
}
