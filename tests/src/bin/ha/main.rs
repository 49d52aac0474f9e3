//! Callers of all four connection types, and `psql` beside them, that insert rows while a cluster
//! changes its primary. `cargo xtask ha` starts it, causes the change, and makes a table of what it
//! prints.
//!
//! `ha CONFIG CONNINFO NODE...`: the config file, which has a profile for each type; the hosts as
//! libpq takes them; each node by itself. Standard input has one command a line. `run` starts the
//! callers. `stop` ends them, and prints the figures of each type, the rest, and `done`.

#![forbid(unsafe_code)]

mod callers;
mod figures;
mod nodes;

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use pgmonkey::{Config, ConnectionType};
use postgres::NoTls;

use callers::Caller;
use figures::Figures;
use nodes::Nodes;

/// As the type is called in the config file, which has a profile of this name.
const TYPES: [(&str, ConnectionType); 4] = [
    ("normal", ConnectionType::Normal),
    ("pool", ConnectionType::Pool),
    ("async", ConnectionType::Async),
    ("async_pool", ConnectionType::AsyncPool),
];
const PSQL: &str = "psql";
/// Callers of each type: the first half inserts with one statement, the other in a transaction.
const CALLERS: usize = 4;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS written (kind text, caller int, run int, n bigint, \
                     PRIMARY KEY (run, kind, caller, n))";

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: ha CONFIG CONNINFO NODE...";
    let (file, conninfo) = args.next().zip(args.next()).context(usage)?;
    let nodes = Nodes::watch(args.collect())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    postgres::Client::connect(&conninfo, NoTls)?.batch_execute(TABLE)?;
    let kinds = TYPES.map(|(name, kind)| {
        let loaded = Config::loader().file(&file).profile(name).load();
        loaded.map(|config| (name, config.with_connection_type(kind)))
    });
    let kinds = kinds.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut run = None;
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        match (line?.as_str(), run.take()) {
            ("run", None) => {
                nodes.forget_promotion();
                run = Some(Run::start(&runtime, &kinds, &conninfo, number)?);
            }
            ("stop", Some(running)) => {
                running.stop(&runtime, &conninfo, &nodes)?;
            }
            (other, _) => bail!("unexpected command `{other}`"),
        }
    }
    Ok(())
}

/// Callers at work.
struct Run {
    number: i32,
    stop: Arc<AtomicBool>,
    threads: Vec<(Caller, JoinHandle<Figures>)>,
    tasks: Vec<(Caller, tokio::task::JoinHandle<Figures>)>,
}

impl Run {
    fn start(
        runtime: &tokio::runtime::Runtime,
        kinds: &[(&'static str, Config)],
        conninfo: &str,
        number: usize,
    ) -> anyhow::Result<Self> {
        let mut run = Self {
            number: i32::try_from(number)?,
            stop: Arc::default(),
            threads: Vec::new(),
            tasks: Vec::new(),
        };
        for (kind, config) in kinds {
            for index in 0..CALLERS {
                let caller = run.caller(kind, index)?;
                let (config, stop) = (config.clone(), Arc::clone(&run.stop));
                if config.connection_type.is_async() {
                    let task = runtime.spawn(callers::task(caller, config, stop));
                    run.tasks.push((caller, task));
                } else {
                    let thread =
                        std::thread::spawn(move || callers::thread(caller, &config, &stop));
                    run.threads.push((caller, thread));
                }
            }
        }
        let caller = run.caller(PSQL, 0)?;
        let (conninfo, stop) = (conninfo.to_owned(), Arc::clone(&run.stop));
        let thread = std::thread::spawn(move || callers::psql(caller, &conninfo, &stop));
        run.threads.push((caller, thread));
        Ok(run)
    }

    fn caller(&self, kind: &'static str, index: usize) -> anyhow::Result<Caller> {
        Ok(Caller {
            kind,
            index: i32::try_from(index)?,
            run: self.number,
            in_transaction: index >= CALLERS / 2,
        })
    }

    fn stop(
        self,
        runtime: &tokio::runtime::Runtime,
        conninfo: &str,
        nodes: &Nodes,
    ) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        let mut figures = Vec::new();
        for (caller, thread) in self.threads {
            let done = thread.join();
            figures.push((
                caller,
                done.map_err(|_| anyhow::anyhow!("a caller panicked"))?,
            ));
        }
        for (caller, task) in self.tasks {
            figures.push((caller, runtime.block_on(task)?));
        }
        let mut server = postgres::Client::connect(conninfo, NoTls)?;
        let written = figures::written(&mut server, self.number)?;
        let promoted = nodes.promoted_at();
        for kind in TYPES.map(|(name, _)| name).into_iter().chain([PSQL]) {
            let of_kind = figures.iter().filter(|(caller, _)| caller.kind == kind);
            println!("{}", figures::line(kind, of_kind, promoted, &written));
        }
        for note in figures::notes(&figures) {
            println!("note\t{note}");
        }
        println!("done");
        Ok(())
    }
}
