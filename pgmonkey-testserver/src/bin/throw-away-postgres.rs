//! Runs a throw-away PostgreSQL server until its standard input ends or it is interrupted.
//!
//! Prints the server's process id, its data directory and its URL, one per line. With the argument
//! `panic` it panics when its input ends, to show that the server is removed anyway. With
//! `pgbouncer` it runs PgBouncer in front of the server and prints PgBouncer's process id,
//! configuration file and URL instead.

#![forbid(unsafe_code)]

use std::io::Read;

use anyhow::Context;
use pgmonkey_testserver::{Cluster, Pgbouncer};

fn main() -> anyhow::Result<()> {
    let cluster = Cluster::builder().start()?;
    let argument = std::env::args().nth(1).unwrap_or_default();
    let pooler = (argument == "pgbouncer").then(|| in_front_of(&cluster));
    let pooler = pooler.transpose()?;
    let (pid, files, server) = match &pooler {
        Some(pooler) => (Some(pooler.pid()), pooler.file(), pooler.endpoint()),
        None => (cluster.pid(), cluster.data_dir(), cluster.endpoint()),
    };
    println!("{}", pid.unwrap_or_default());
    println!("{}", files.display());
    println!("{}", server.url());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    assert!(argument != "panic", "told to panic");
    Ok(())
}

fn in_front_of(cluster: &Cluster) -> anyhow::Result<Pgbouncer> {
    let program = Pgbouncer::find().context("pgbouncer is not installed")?;
    Pgbouncer::start(&program, cluster, &[])
}
