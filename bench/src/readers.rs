//! Reading through a cluster of two standbys, beside a plain pool of as many sessions at one of them;
//! beside another such pool, to show the noise, and a plain pool at both, to show what two servers
//! cost. It starts these servers itself.

use std::time::Duration;

use pgmonkey::{AsyncCluster, AsyncPool, Cluster, Config, Error, Pool};
use pgmonkey_testserver::Cluster as Server;

use crate::report::Contest;
use crate::round::{Contestant, Kind, Round, Work, turns, with_tasks, with_threads};
use crate::tasks::runtime;
use crate::{rounds, with_pools};

const ROUNDS: usize = 400;
const CALLERS: usize = 16;
const SPAN: Duration = Duration::from_millis(25);
const STATEMENT: &str = "SELECT $1::int4";
const READ: Work = Work {
    what: "a READ ONLY transaction of one statement",
    statement: STATEMENT,
    span: SPAN,
};
const ALONE: Work = Work {
    what: "a statement by itself",
    ..READ
};
const NAMES: [(&str, Kind); 4] = [
    ("plain pool at one standby", Kind::Bare),
    ("plain pool once more", Kind::Ours),
    ("plain pool at both standbys", Kind::Ours),
    ("cluster of two standbys", Kind::Ours),
];

/// The servers, and how to reach them.
struct Servers {
    _held: [Server; 3],
    cluster: Config,
    plain: Config,
    both: Config,
}

impl Servers {
    fn start() -> anyhow::Result<Self> {
        let primary = Server::builder().start()?;
        let standbys = [primary.standby()?, primary.standby()?];
        let [one, other] = standbys.each_ref().map(|one| one.port());
        let host = primary.host();
        let readers = format!(
            "readers:\n  connection_settings: {{ host: '{host},{host}', port: '{one},{other}' }}\n"
        );
        let writer = Config::from_yaml(&primary.endpoint().config_yaml("pool"))?;
        let plain = Config::from_yaml(&standbys[0].endpoint().config_yaml("pool"))?;
        let whole = serde_json::to_string(&with_pools(&writer, false)?.exposed())?;
        let [first, second] = standbys;
        Ok(Self {
            cluster: Config::loader().json(whole).yaml(readers).load()?,
            both: with_hosts(&plain, &format!("'{host},{host}', port: '{one},{other}'"))?,
            plain: with_pools(&plain, false)?,
            _held: [primary, first, second],
        })
    }
}

/// A plain pool at these hosts, which it uses at random.
fn with_hosts(plain: &Config, hosts: &str) -> anyhow::Result<Config> {
    let hosts = format!("connection_settings: {{ host: {hosts}, load_balance_hosts: random }}");
    let whole = serde_json::to_string(&with_pools(plain, false)?.exposed())?;
    Ok(Config::loader().json(whole).yaml(hosts).load()?)
}

/// Prints the results of both twins.
pub(crate) fn run() -> anyhow::Result<()> {
    let servers = Servers::start()?;
    let mut contests = runtime()?.block_on(tasks(&servers))?;
    contests.extend(threads(&servers)?);
    for contest in contests {
        contest.print();
        contest.print_quartiles(&[(1, 0), (2, 0), (3, 0), (3, 2)]);
    }
    Ok(())
}

/// Each contestant is first, second and last equally often.
fn order(round: usize) -> [usize; 4] {
    [0, 1, 2, 3].map(|turn| (turn + round) % 4)
}

fn contestants() -> [Contestant; 4] {
    NAMES.map(|(name, kind)| Contestant::new(name, kind))
}

async fn tasks(servers: &Servers) -> anyhow::Result<Vec<Contest>> {
    let pools = [
        AsyncPool::new(&servers.plain).await?,
        AsyncPool::new(&servers.plain).await?,
        AsyncPool::new(&servers.both).await?,
    ];
    let cluster = AsyncCluster::new(&servers.cluster).await?;
    let mut contests = Vec::new();
    for work in [READ, ALONE] {
        let mut contestants = contestants();
        for round in 0..rounds(ROUNDS)? {
            for turn in order(round) {
                let is_read = work.what == READ.what;
                let done = match (pools.get(turn), is_read) {
                    (Some(pool), true) => read_in_tasks(pool).await,
                    (None, true) => read_in_tasks_of(&cluster).await,
                    (pool, false) => alone_in_tasks(pool.unwrap_or(cluster.reader())).await,
                };
                contestants[turn].rounds.push(done?);
            }
        }
        contests.push(Contest::new("tasks", work, CALLERS, contestants.into()));
    }
    Ok(contests)
}

async fn read_in_tasks(pool: &AsyncPool) -> anyhow::Result<Round> {
    with_tasks(CALLERS, SPAN, |_| {
        let pool = pool.clone();
        turns!(SPAN, {
            let read = pool.build_transaction().read_only(true);
            let one = read.run(async |tx| tx.query_one(STATEMENT, &[&1_i32]).await);
            one.await?
        })
    })
    .await
}

async fn read_in_tasks_of(cluster: &AsyncCluster) -> anyhow::Result<Round> {
    with_tasks(CALLERS, SPAN, |_| {
        let cluster = cluster.clone();
        turns!(SPAN, {
            let one = cluster.read(async |tx| tx.query_one(STATEMENT, &[&1_i32]).await);
            one.await?
        })
    })
    .await
}

async fn alone_in_tasks(pool: &AsyncPool) -> anyhow::Result<Round> {
    with_tasks(CALLERS, SPAN, |_| {
        let pool = pool.clone();
        turns!(SPAN, pool.query_one(STATEMENT, &[&1_i32]).await?)
    })
    .await
}

fn threads(servers: &Servers) -> anyhow::Result<Vec<Contest>> {
    let pools = [&servers.plain, &servers.plain, &servers.both];
    let pools = pools.map(Pool::new);
    let pools = pools.into_iter().collect::<Result<Vec<_>, _>>()?;
    let cluster = Cluster::new(&servers.cluster)?;
    let mut contests = Vec::new();
    for work in [READ, ALONE] {
        let mut contestants = contestants();
        for round in 0..rounds(ROUNDS)? {
            for turn in order(round) {
                let is_read = work.what == READ.what;
                let done = with_threads(CALLERS, SPAN, || match (pools.get(turn), is_read) {
                    (Some(pool), true) => Ok(read(pool)?),
                    (None, true) => {
                        Ok(cluster.read(|tx| tx.query_one(STATEMENT, &[&1_i32]).map(drop))?)
                    }
                    (pool, false) => {
                        let pool = pool.unwrap_or(cluster.reader());
                        Ok(pool.query_one(STATEMENT, &[&1_i32]).map(drop)?)
                    }
                });
                contestants[turn].rounds.push(done?);
            }
        }
        contests.push(Contest::new("threads", work, CALLERS, contestants.into()));
    }
    Ok(contests)
}

fn read(pool: &Pool) -> Result<(), Error> {
    let read = pool.build_transaction().read_only(true);
    read.run(|tx| tx.query_one(STATEMENT, &[&1_i32]).map(drop))
}
