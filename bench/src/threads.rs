//! Pools for threads: ours and r2d2 with its defaults.

use pgmonkey::tokio_postgres::NoTls;
use pgmonkey::{Config, Pool, postgres};
use r2d2_postgres::PostgresConnectionManager;

use crate::report::Contest;
use crate::round::{Contestant, Kind, Work, with_threads};
use crate::{CALLERS, CROWDS, EXTENDED, MILLISECOND, ROUNDS, SESSIONS, SIMPLE};
use crate::{driver, rounds, with_pools};

pub(crate) type R2d2 = r2d2::Pool<PostgresConnectionManager<NoTls>>;

/// The contests with quick statements.
pub(crate) fn run(config: &Config) -> anyhow::Result<Vec<Contest>> {
    let ours = Pool::new(&with_pools(config, false)?)?;
    let (checked, unchecked) = (r2d2(config, true)?, r2d2(config, false)?);
    let mut contests = Vec::new();
    for callers in CALLERS {
        contests.push(simple(
            config,
            &ours,
            [&checked, &unchecked],
            SIMPLE,
            callers,
        )?);
        contests.push(extended(&ours, [&checked, &unchecked], callers)?);
    }
    Ok(contests)
}

/// The contests with statements that take the server a millisecond.
pub(crate) fn run_millisecond(config: &Config) -> anyhow::Result<Vec<Contest>> {
    let ours = Pool::new(&with_pools(config, false)?)?;
    let (checked, unchecked) = (r2d2(config, true)?, r2d2(config, false)?);
    let peers = [&checked, &unchecked];
    let contests = CROWDS.map(|callers| simple(config, &ours, peers, MILLISECOND, callers));
    contests.into_iter().collect()
}

pub(crate) fn r2d2(config: &Config, check: bool) -> anyhow::Result<R2d2> {
    let manager = PostgresConnectionManager::new(driver(config).into(), NoTls);
    let builder = r2d2::Pool::builder().max_size(SESSIONS);
    Ok(builder.test_on_check_out(check).build(manager)?)
}

fn simple(
    config: &Config,
    ours: &Pool,
    r2d2: [&R2d2; 2],
    work: Work,
    callers: usize,
) -> anyhow::Result<Contest> {
    let Work {
        statement, span, ..
    } = work;
    let bare = postgres::Config::from(driver(config)).connect(NoTls)?;
    let bare = std::sync::Mutex::new(bare);
    let mut contestants = [
        Contestant::new("postgres, one connection", Kind::Bare),
        Contestant::new("pgmonkey pool", Kind::Ours),
        Contestant::new("r2d2_postgres, as it comes", Kind::Peer),
        Contestant::new("r2d2_postgres, check off", Kind::Peer),
    ];
    for _ in 0..rounds(ROUNDS)? {
        let [alone, pool, checked, unchecked] = &mut contestants;
        alone.rounds.push(with_threads(1, span, || {
            let mut bare = bare.lock().map_err(|_| anyhow::anyhow!("poisoned"))?;
            Ok(bare.simple_query(statement).map(drop)?)
        })?);
        pool.rounds.push(with_threads(callers, span, || {
            Ok(ours.acquire()?.simple_query(statement).map(drop)?)
        })?);
        for (contestant, r2d2) in [checked, unchecked].into_iter().zip(r2d2) {
            contestant.rounds.push(with_threads(callers, span, || {
                Ok(r2d2.get()?.simple_query(statement).map(drop)?)
            })?);
        }
    }
    Ok(Contest::new("threads", work, callers, contestants.into()))
}

fn extended(ours: &Pool, r2d2: [&R2d2; 2], callers: usize) -> anyhow::Result<Contest> {
    let Work {
        statement, span, ..
    } = EXTENDED;
    let mut contestants = [
        Contestant::new("pgmonkey pool", Kind::Ours),
        Contestant::new("r2d2_postgres, as it comes", Kind::Peer),
        Contestant::new("r2d2_postgres, check off", Kind::Peer),
    ];
    for _ in 0..rounds(ROUNDS)? {
        let [pool, checked, unchecked] = &mut contestants;
        pool.rounds.push(with_threads(callers, span, || {
            Ok(ours.query_one(statement, &[&1_i32]).map(drop)?)
        })?);
        for (contestant, r2d2) in [checked, unchecked].into_iter().zip(r2d2) {
            contestant.rounds.push(with_threads(callers, span, || {
                Ok(r2d2.get()?.query_one(statement, &[&1_i32]).map(drop)?)
            })?);
        }
    }
    Ok(Contest::new(
        "threads",
        EXTENDED,
        callers,
        contestants.into(),
    ))
}
