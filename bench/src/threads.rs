//! Pools for threads: ours and r2d2 as it comes.

use pgmonkey::tokio_postgres::NoTls;
use pgmonkey::{Config, Pool, postgres};
use r2d2_postgres::PostgresConnectionManager;

use crate::report::Contest;
use crate::round::{Contestant, Kind, with_threads};
use crate::{CALLERS, ROUNDS, SESSIONS, SPAN, driver, with_pools};

type R2d2 = r2d2::Pool<PostgresConnectionManager<NoTls>>;

const SIMPLE: &str = "SELECT 1";
const EXTENDED: &str = "SELECT $1::int4";

/// All contests.
pub(crate) fn run(config: &Config) -> anyhow::Result<Vec<Contest>> {
    let ours = Pool::new(&with_pools(config, false)?)?;
    let (checked, unchecked) = (r2d2(config, true)?, r2d2(config, false)?);
    let mut contests = Vec::new();
    for callers in CALLERS {
        contests.push(simple(config, &ours, [&checked, &unchecked], callers)?);
        contests.push(extended(&ours, [&checked, &unchecked], callers)?);
    }
    Ok(contests)
}

fn r2d2(config: &Config, check: bool) -> anyhow::Result<R2d2> {
    let manager = PostgresConnectionManager::new(driver(config).into(), NoTls);
    let builder = r2d2::Pool::builder().max_size(SESSIONS);
    Ok(builder.test_on_check_out(check).build(manager)?)
}

fn simple(
    config: &Config,
    ours: &Pool,
    r2d2: [&R2d2; 2],
    callers: usize,
) -> anyhow::Result<Contest> {
    let bare = postgres::Config::from(driver(config)).connect(NoTls)?;
    let bare = std::sync::Mutex::new(bare);
    let mut contestants = [
        Contestant::new("postgres, one connection", Kind::Bare),
        Contestant::new("pgmonkey pool", Kind::Ours),
        Contestant::new("r2d2_postgres, as it comes", Kind::Peer),
        Contestant::new("r2d2_postgres, check off", Kind::Peer),
    ];
    for _ in 0..ROUNDS {
        let [alone, pool, checked, unchecked] = &mut contestants;
        alone.rounds.push(with_threads(1, SPAN, || {
            let mut bare = bare.lock().map_err(|_| anyhow::anyhow!("poisoned"))?;
            Ok(bare.simple_query(SIMPLE).map(drop)?)
        })?);
        pool.rounds.push(with_threads(callers, SPAN, || {
            Ok(ours.acquire()?.simple_query(SIMPLE).map(drop)?)
        })?);
        for (contestant, r2d2) in [checked, unchecked].into_iter().zip(r2d2) {
            contestant.rounds.push(with_threads(callers, SPAN, || {
                Ok(r2d2.get()?.simple_query(SIMPLE).map(drop)?)
            })?);
        }
    }
    Ok(Contest::new(
        "threads",
        "simple query",
        callers,
        contestants.into(),
    ))
}

fn extended(ours: &Pool, r2d2: [&R2d2; 2], callers: usize) -> anyhow::Result<Contest> {
    let mut contestants = [
        Contestant::new("pgmonkey pool", Kind::Ours),
        Contestant::new("r2d2_postgres, as it comes", Kind::Peer),
        Contestant::new("r2d2_postgres, check off", Kind::Peer),
    ];
    for _ in 0..ROUNDS {
        let [pool, checked, unchecked] = &mut contestants;
        pool.rounds.push(with_threads(callers, SPAN, || {
            Ok(ours.query_one(EXTENDED, &[&1_i32]).map(drop)?)
        })?);
        for (contestant, r2d2) in [checked, unchecked].into_iter().zip(r2d2) {
            contestant.rounds.push(with_threads(callers, SPAN, || {
                Ok(r2d2.get()?.query_one(EXTENDED, &[&1_i32]).map(drop)?)
            })?);
        }
    }
    let what = "extended query, prepared once where the pool can";
    Ok(Contest::new("threads", what, callers, contestants.into()))
}
