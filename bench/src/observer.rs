//! The cost of observing the wire: the drivers bare, bare again to show the noise, and through the
//! observing connector, in rotation.

use std::time::{Duration, Instant};

use pgmonkey::Config;
use pgmonkey::postgres::{self, SimpleQueryMessage};
use pgmonkey::tokio_postgres::config::{SslMode, SslNegotiation};
use pgmonkey::tokio_postgres::{self, NoTls};
use pgmonkey_connect::Connector;

use crate::{Times, driver, report_as};

/// The number of rows in the large result.
const ROWS: u32 = 300_000;

/// One kind of work: its statement, how often it runs per round, how many rounds.
struct Work {
    title: &'static str,
    statement: String,
    repeats: u32,
    rounds: usize,
}

fn works() -> [Work; 2] {
    [
        Work {
            title: "SELECT 1",
            statement: "SELECT 1".to_owned(),
            repeats: 500,
            rounds: 61,
        },
        Work {
            title: "300,000 rows",
            statement: format!("SELECT n, n + 1, 'some text' FROM generate_series(1, {ROWS}) n"),
            repeats: 1,
            rounds: 41,
        },
    ]
}

const NAMES: [&str; 3] = ["bare", "bare once more", "observed"];

/// Runs both drivers through all kinds of work.
pub(crate) fn run(config: &Config) -> anyhow::Result<()> {
    for work in works() {
        report_as(
            &format!("postgres, {}", work.title),
            &threads(config, &work)?,
        );
        report_as(
            &format!("tokio-postgres, {}", work.title),
            &tasks(config, &work)?,
        );
    }
    Ok(())
}

/// The driver settings with which it hands the socket to the connector.
fn handing_over(config: &Config) -> tokio_postgres::Config {
    let mut driver = driver(config);
    driver
        .ssl_mode(SslMode::Require)
        .ssl_negotiation(SslNegotiation::Direct);
    driver
}

fn threads(config: &Config, work: &Work) -> anyhow::Result<Vec<Times>> {
    let mut clients = [
        postgres::Config::from(driver(config)).connect(NoTls)?,
        postgres::Config::from(driver(config)).connect(NoTls)?,
        postgres::Config::from(handing_over(config)).connect(Connector::new(None))?,
    ];
    let mut times = NAMES.map(|name| Times(name, Vec::new()));
    for round in 0..work.rounds {
        for turn in order(round) {
            let began = Instant::now();
            for _ in 0..work.repeats {
                take(clients[turn].simple_query(&work.statement)?);
            }
            times[turn].1.push(began.elapsed() / work.repeats);
        }
    }
    Ok(times.into())
}

fn tasks(config: &Config, work: &Work) -> anyhow::Result<Vec<Times>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..2 {
            let (client, connection) = driver(config).connect(NoTls).await?;
            tokio::spawn(connection);
            clients.push(client);
        }
        let (client, connection) = handing_over(config).connect(Connector::new(None)).await?;
        tokio::spawn(connection);
        clients.push(client);
        let mut times = NAMES.map(|name| Times(name, Vec::new()));
        for round in 0..work.rounds {
            for turn in order(round) {
                let began = Instant::now();
                for _ in 0..work.repeats {
                    take(clients[turn].simple_query(&work.statement).await?);
                }
                times[turn].1.push(began.elapsed() / work.repeats);
            }
        }
        Ok(times.into())
    })
}

/// Each contestant is first, second and last equally often.
fn order(round: usize) -> [usize; 3] {
    const ORDERS: [[usize; 3]; 6] = [
        [0, 1, 2],
        [2, 1, 0],
        [1, 2, 0],
        [0, 2, 1],
        [2, 0, 1],
        [1, 0, 2],
    ];
    ORDERS[round % ORDERS.len()]
}

fn take(answer: Vec<SimpleQueryMessage>) {
    std::hint::black_box(answer.len());
}

/// The median of each round's ratio to the first contestant, because a disturbance affects the
/// whole round.
pub(crate) fn paired(bare: &[Duration], other: &[Duration]) -> f64 {
    let mut ratios: Vec<f64> = bare
        .iter()
        .zip(other)
        .map(|(bare, other)| other.as_secs_f64() / bare.as_secs_f64())
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}
