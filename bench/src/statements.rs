//! What it costs to follow single statements: the same handle with nothing of it, as it is by
//! default, and with more. Times on one core, in rotation; instructions by callgrind.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use pgmonkey::{AsyncPool, Config, Pool};

use crate::{Times, report_as, rounds};

const ROUNDS: usize = 60;
const REPEATS: u32 = 500;
/// How many statements callgrind sees: what all but the first cost is the difference of two runs.
const COUNTS: [u32; 2] = [500, 2500];
const RUNS: usize = 3;

/// A handle's name and its settings.
struct Kind {
    name: &'static str,
    settings: &'static str,
    /// Whether a recorder of metrics is installed before the handle is opened.
    recorded: bool,
}

const fn kind(name: &'static str, settings: &'static str) -> Kind {
    let recorded = false;
    Kind {
        name,
        settings,
        recorded,
    }
}

const KINDS: [Kind; 5] = [
    kind("nothing", "statement_stats: false"),
    kind("nothing once more", "statement_stats: false"),
    kind("default", ""),
    kind(
        "slow_statement alone",
        "statement_stats: false\nslow_statement: 1h",
    ),
    Kind {
        name: "default and metrics",
        settings: "",
        recorded: true,
    },
];

/// Those of this build.
fn kinds() -> impl Iterator<Item = &'static Kind> {
    KINDS
        .iter()
        .filter(|kind| cfg!(feature = "metrics") || !kind.recorded)
}

#[cfg(feature = "metrics")]
fn install_recorder() -> anyhow::Result<()> {
    use metrics_exporter_prometheus::PrometheusBuilder;

    let buckets = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
    PrometheusBuilder::new()
        .set_buckets(&buckets)?
        .install_recorder()?;
    Ok(())
}

#[cfg(not(feature = "metrics"))]
fn install_recorder() -> anyhow::Result<()> {
    bail!("built without the feature metrics")
}

/// The same server, with the settings of a kind.
fn config(config: &Config, kind: &Kind) -> anyhow::Result<Config> {
    let sizes = "{ min_size: 1, max_size: 1 }";
    let settings = format!(
        "pool_settings: {sizes}\nasync_pool_settings: {sizes}\n{}\n",
        kind.settings
    );
    let whole = serde_json::to_string(&config.exposed())?;
    Ok(Config::loader().json(whole).yaml(settings).load()?)
}

const TWINS: [&str; 2] = ["threads", "tasks"];
const WORKS: [&str; 2] = ["simple", "extended"];

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build()?)
}

fn on_threads(pool: &Pool, work: &str, count: u32) -> Result<(), pgmonkey::Error> {
    for n in 0..count as i32 {
        match work {
            "simple" => pool.batch_execute("SELECT 1")?,
            _ => drop(pool.query_one("SELECT $1::int4", &[&n])?),
        }
    }
    Ok(())
}

async fn in_tasks(pool: &AsyncPool, work: &str, count: u32) -> Result<(), pgmonkey::Error> {
    for n in 0..count as i32 {
        match work {
            "simple" => pool.batch_execute("SELECT 1").await?,
            _ => drop(pool.query_one("SELECT $1::int4", &[&n]).await?),
        }
    }
    Ok(())
}

/// Prints the times of both twins.
pub(crate) fn run(base: &Config) -> anyhow::Result<()> {
    let (mut threads, mut tasks) = (Vec::new(), Vec::new());
    let runtime = runtime()?;
    for kind in kinds() {
        if kind.recorded {
            install_recorder()?;
        }
        let config = config(base, kind)?;
        threads.push(Pool::new(&config)?);
        tasks.push(runtime.block_on(AsyncPool::new(&config))?);
    }
    for (twin, work) in TWINS
        .iter()
        .flat_map(|twin| WORKS.map(|work| (*twin, work)))
    {
        let mut times: Vec<_> = kinds().map(|kind| Times(kind.name, Vec::new())).collect();
        for round in 0..rounds(ROUNDS)? {
            for turn in 0..times.len() {
                let at = (turn + round) % times.len();
                let began = Instant::now();
                match twin {
                    "threads" => on_threads(&threads[at], work, REPEATS)?,
                    _ => runtime.block_on(in_tasks(&tasks[at], work, REPEATS))?,
                }
                times[at].1.push(began.elapsed() / REPEATS);
            }
        }
        report_as(&format!("{twin}, {work}"), &times);
    }
    Ok(())
}

/// Prints the instructions of both twins for one statement.
pub(crate) fn count_instructions(path: &str) -> anyhow::Result<()> {
    println!("\ninstructions of this program for one statement, and the ratio to the first");
    for (twin, work) in TWINS
        .iter()
        .flat_map(|twin| WORKS.map(|work| (*twin, work)))
    {
        println!("\n{twin}, {work}");
        let mut first = None;
        for kind in kinds().filter(|kind| kind.name != "nothing once more") {
            let [few, many] = COUNTS.map(|count| least(path, kind.name, (twin, work), count));
            let each = (many? - few?) / f64::from(COUNTS[1] - COUNTS[0]);
            let ratio = each / *first.get_or_insert(each);
            println!("  {:<28} {each:>9.0}      ratio {ratio:.3}", kind.name);
        }
    }
    Ok(())
}

/// The least of a few runs: on a busy machine some have to look at the socket more often.
fn least(path: &str, kind: &str, what: (&str, &str), count: u32) -> anyhow::Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..RUNS {
        least = least.min(instructions(path, kind, what, count)?);
    }
    Ok(least)
}

fn instructions(
    path: &str,
    kind: &str,
    (twin, work): (&str, &str),
    count: u32,
) -> anyhow::Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args([path, COUNTED, kind, twin, work, &count.to_string()])
        .output()
        .context("valgrind, which counts the instructions")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind: {told}");
    let found = told
        .lines()
        .find_map(|line| line.split("Collected :").nth(1));
    let found = found.context("valgrind tells no number")?;
    Ok(found.trim().parse()?)
}

/// What this program is called with by [`count_instructions`].
pub(crate) const COUNTED: &str = "--counted";

/// Sends the statements of one of its runs: the kind, the twin, the work, the number.
pub(crate) fn run_counted(base: &Config, args: &[String]) -> anyhow::Result<()> {
    let [name, twin, work, count] = args else {
        bail!("{COUNTED} KIND TWIN WORK COUNT");
    };
    let kind = kinds().find(|kind| kind.name == name);
    let kind = kind.context("an unknown kind")?;
    if kind.recorded {
        install_recorder()?;
    }
    let (config, count) = (config(base, kind)?, count.parse()?);
    if twin == "threads" {
        on_threads(&Pool::new(&config)?, work, count)?;
    } else {
        runtime()?.block_on(async {
            let pool = AsyncPool::new(&config).await?;
            in_tasks(&pool, work, count).await
        })?;
    }
    Ok(())
}
