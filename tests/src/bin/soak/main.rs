//! 64 tasks and 16 threads move money, panic, give up and drop futures, on a server that is
//! restarted and whose sessions are killed or cut off at their commits; then the balances are checked.
//!
//! `cargo xtask soak [--minutes N]`, or `soak MINUTES`. Exits with 1 and the reason if a guarantee
//! was broken.

#![forbid(unsafe_code)]

mod bank;
mod chaos;
mod tasks;
mod threads;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pgmonkey::{AsyncPool, Config, Pool, Status};
use pgmonkey_testserver::{Cluster, Proxy};

use bank::Bank;

const TASKS: u64 = 64;
const THREADS: u64 = 16;
const MIN_SIZE: u32 = 2;
const MAX_SIZE: u32 = 8;

fn main() -> anyhow::Result<()> {
    let minutes = std::env::args().nth(1).map_or(Ok(2.0), |text| text.parse());
    let span = Duration::from_secs_f64(60.0 * minutes.context("usage: soak MINUTES")?);
    let cluster = Cluster::builder()
        .setting("max_connections", "60")
        // A confirmed commit survives a crash of the server.
        .setting("synchronous_commit", "on")
        .start()?;
    let bank = Arc::new(Bank::open(&cluster)?);
    let proxy = Proxy::to((cluster.host(), cluster.port()))?;
    let config = config(&cluster, &proxy)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let tasks = runtime.block_on(AsyncPool::new(&config))?;
    let threads = Pool::new(&config)?;

    println!("{TASKS} tasks and {THREADS} threads for {span:?}, {MAX_SIZE} sessions each");
    let stop = Arc::new(AtomicBool::new(false));
    let memory = std::thread::scope(|scope| {
        let chaos = scope.spawn(|| chaos::run(&cluster, &proxy, &stop));
        for seed in 0..TASKS {
            let (pool, bank, stop) = (tasks.clone(), Arc::clone(&bank), Arc::clone(&stop));
            runtime.spawn(tasks::work(pool, bank, stop, seed));
        }
        for seed in 0..THREADS {
            let (pool, bank, stop) = (threads.clone(), &bank, &stop);
            scope.spawn(move || threads::work(&pool, bank, stop, TASKS + seed));
        }
        let memory = watch(span);
        stop.store(true, Ordering::SeqCst);
        let disturbed = chaos
            .join()
            .map_err(|_| anyhow::anyhow!("the fault injection panicked"))??;
        println!("{disturbed}");
        anyhow::Ok(memory)
    })?;

    settle(&tasks.status(), || tasks.status()).context("tasks")?;
    settle(&threads.status(), || threads.status()).context("threads")?;
    bank.check()?;
    slots(&runtime, &tasks, &threads)?;
    println!("{bank}\nmemory: {memory}");
    memory.check()?;
    runtime.shutdown_timeout(Duration::from_secs(5));
    println!("all guarantees held");
    Ok(())
}

fn config(cluster: &Cluster, proxy: &Proxy) -> anyhow::Result<Config> {
    let pool = format!(
        "{{ min_size: {MIN_SIZE}, max_size: {MAX_SIZE}, timeout: 60, max_idle: 2, max_lifetime: 5 }}"
    );
    let yaml = format!(
        "{}pool_settings: {pool}\nasync_pool_settings: {pool}\n",
        cluster.config_yaml("pool").replace(
            &format!("port: {}", cluster.port()),
            &format!("port: {}", proxy.port())
        )
    );
    Ok(Config::loader().yaml(yaml).libpq_sources(false).load()?)
}

/// How much memory the process used after a third of the time, and at its end.
struct Memory {
    early: u64,
    late: u64,
}

impl Memory {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.late < self.early + self.early / 4 + 8192,
            "memory use grew: {self}"
        );
        Ok(())
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} kB after a third, {} kB at the end",
            self.early, self.late
        )
    }
}

fn watch(span: Duration) -> Memory {
    std::thread::sleep(span / 3);
    let early = resident();
    std::thread::sleep(span - span / 3);
    Memory {
        early,
        late: resident(),
    }
}

/// The process's resident memory in kB; 0 without /proc.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let digits = line.and_then(|line| line.split_whitespace().nth(1));
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// All sessions are released and the excess is closed: back to `min_size`.
fn settle(first: &Status, now: impl Fn() -> Status) -> anyhow::Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    println!("{first}");
    loop {
        let status = now();
        if (status.in_use, status.waiting, status.size) == (0, 0, MIN_SIZE) {
            println!("{status:?}");
            return Ok(());
        }
        ensure!(Instant::now() < end, "not back to min_size: {status:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// No permit was lost: `max_size` sessions can be acquired at the same time.
fn slots(
    runtime: &tokio::runtime::Runtime,
    tasks: &AsyncPool,
    threads: &Pool,
) -> anyhow::Result<()> {
    let held: Result<Vec<_>, _> = (0..MAX_SIZE).map(|_| threads.acquire()).collect();
    drop(held?);
    runtime.block_on(async {
        let mut held = Vec::new();
        for _ in 0..MAX_SIZE {
            held.push(tasks.acquire().await?);
        }
        anyhow::Ok(())
    })
}
