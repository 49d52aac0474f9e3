//! Many callers over few sessions and no statement: this measures the pool's queue and its lock.
//!
//! A session is held while other callers run, so that most callers find none idle. The column of
//! voluntary context switches shows how often threads wait for a lock or for work.

use std::time::Duration;

use pgmonkey::{Config, Pool};
use tokio::task::yield_now;

use crate::report::Contest;
use crate::round::{Contestant, Kind, Work, turns, with_tasks, with_threads};
use crate::tasks::{Field, runtime};
use crate::threads::r2d2;
use crate::{ROUNDS, rounds, with_pools};

const CALLERS: usize = 128;

const HELD: Work = Work {
    what: "acquire, yield, release",
    statement: "",
    span: Duration::from_millis(100),
};

/// Runs both contests.
pub(crate) fn run(config: &Config) -> anyhow::Result<[Contest; 2]> {
    let tasks = runtime()?.block_on(tasks(config))?;
    Ok([tasks, threads(config)?])
}

async fn tasks(config: &Config) -> anyhow::Result<Contest> {
    let field = Field::open(config).await?;
    let Work { span, .. } = HELD;
    let mut contestants = [
        Contestant::new("pgmonkey async_pool", Kind::Ours),
        Contestant::new("deadpool-postgres", Kind::Peer),
        Contestant::new("bb8-postgres, check off", Kind::Peer),
        Contestant::new("mobc-postgres, check off", Kind::Peer),
        Contestant::new("sqlx, pings when released", Kind::Peer),
    ];
    for _ in 0..rounds(ROUNDS)? {
        let [ours, deadpool, bb8, mobc, sqlx] = &mut contestants;
        macro_rules! hold {
            ($contestant:expr, $pool:expr, $acquire:ident) => {
                let round = with_tasks(CALLERS, span, |_| {
                    let pool = $pool.clone();
                    turns!(span, {
                        let _session = pool.$acquire().await?;
                        yield_now().await
                    })
                });
                $contestant.rounds.push(round.await?);
            };
        }
        hold!(ours, field.ours, acquire);
        hold!(deadpool, field.deadpool, get);
        hold!(bb8, field.bb8, get);
        hold!(mobc, field.mobc_unchecked, get);
        hold!(sqlx, field.sqlx, acquire);
    }
    Ok(Contest::new("tasks", HELD, CALLERS, contestants.into()))
}

fn threads(config: &Config) -> anyhow::Result<Contest> {
    let ours = Pool::new(&with_pools(config, false)?)?;
    let r2d2 = r2d2(config, false)?;
    let Work { span, .. } = HELD;
    let mut contestants = [
        Contestant::new("pgmonkey pool", Kind::Ours),
        Contestant::new("r2d2_postgres, check off", Kind::Peer),
    ];
    for _ in 0..rounds(ROUNDS)? {
        let [pool, peer] = &mut contestants;
        pool.rounds.push(with_threads(CALLERS, span, || {
            let _session = ours.acquire()?;
            std::thread::yield_now();
            Ok(())
        })?);
        peer.rounds.push(with_threads(CALLERS, span, || {
            let _session = r2d2.get()?;
            std::thread::yield_now();
            Ok(())
        })?);
    }
    Ok(Contest::new("threads", HELD, CALLERS, contestants.into()))
}
