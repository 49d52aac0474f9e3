//! Callers of all four connection types and of both clusters, and `psql` beside them, that insert rows
//! and read while a cluster changes its primary. `cargo xtask ha` starts it, causes the change, and makes a table of what it
//! prints.
//!
//! `ha CONFIG CONNINFO NODE...`: the config file, which has a profile for each type; the hosts as
//! libpq takes them; each node by itself. Standard input has one command a line. `run` starts the
//! callers. `stop` ends them, and prints the figures of each type, the rest, and `done`.

#![forbid(unsafe_code)]

mod callers;
mod clusters;
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
/// A cluster with a writer and readers, by its profile, and how those of its callers are called that
/// read: what is there, and what was just written.
const CLUSTERS: [([&str; 3], ConnectionType); 2] = [
    (
        ["cluster", "cluster_reads", "cluster_tokens"],
        ConnectionType::Pool,
    ),
    (
        [
            "async_cluster",
            "async_cluster_reads",
            "async_cluster_tokens",
        ],
        ConnectionType::AsyncPool,
    ),
];
const PSQL: &str = "psql";
/// Callers of each type: the first half inserts with one statement, the other in a transaction. Of a
/// cluster half as many write, and as many read in each way.
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
    let load = |name, kind| {
        let loaded = Config::loader().file(&file).profile(name).load();
        loaded.map(|config| config.with_connection_type(kind))
    };
    let kinds = TYPES.map(|(name, kind)| Ok((name, load(name, kind)?)));
    let kinds = kinds.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let clusters = CLUSTERS.map(|(names, kind)| Ok((names, load(names[0], kind)?)));
    let clusters = clusters.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let mut run = None;
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        match (line?.as_str(), run.take()) {
            ("run", None) => {
                nodes.forget_promotion();
                let mut started = Run::start(&runtime, &kinds, &conninfo, number)?;
                started.add_clusters(&runtime, &clusters)?;
                run = Some(started);
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

    fn add_clusters(
        &mut self,
        runtime: &tokio::runtime::Runtime,
        clusters: &[([&'static str; 3], Config)],
    ) -> anyhow::Result<()> {
        for ([writes, reads, tokens], config) in clusters {
            for index in 0..CALLERS / 2 {
                let writer = self.caller(writes, index)?;
                let [plain, after] = [*reads, *tokens].map(|kind| Caller {
                    kind,
                    only_reads: true,
                    ..writer
                });
                let (config, stop) = (config.clone(), Arc::clone(&self.stop));
                if config.connection_type.is_async() {
                    let [(promises, kept), (none, never)] =
                        [(); 2].map(|()| tokio::sync::mpsc::unbounded_channel());
                    let read = clusters::read_in_task(writer, config.clone(), never);
                    let read_after = clusters::read_in_task(writer, config.clone(), kept);
                    let write = clusters::write_in_task(writer, config, stop, promises);
                    self.tasks.push((plain, runtime.spawn(read)));
                    self.tasks.push((after, runtime.spawn(read_after)));
                    let write = async move {
                        // Its other half reads without promises, and ends with this.
                        let _none = none;
                        write.await
                    };
                    self.tasks.push((writer, runtime.spawn(write)));
                } else {
                    let [(promises, kept), (none, never)] =
                        [(); 2].map(|()| std::sync::mpsc::channel());
                    for (caller, promises) in [(plain, never), (after, kept)] {
                        let config = config.clone();
                        let read = move || clusters::read_on_thread(writer, &config, &promises);
                        self.threads.push((caller, std::thread::spawn(read)));
                    }
                    let write = move || {
                        // As above.
                        let _none = none;
                        clusters::write_on_thread(writer, &config, &stop, &promises)
                    };
                    self.threads.push((writer, std::thread::spawn(write)));
                }
            }
        }
        Ok(())
    }

    fn caller(&self, kind: &'static str, index: usize) -> anyhow::Result<Caller> {
        Ok(Caller {
            kind,
            index: i32::try_from(index)?,
            run: self.number,
            in_transaction: index >= CALLERS / 2,
            only_reads: false,
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
        let types = TYPES.iter().map(|(name, _)| *name);
        let clusters = CLUSTERS.iter().flat_map(|(names, _)| *names);
        for kind in types.chain(clusters).chain([PSQL]) {
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
