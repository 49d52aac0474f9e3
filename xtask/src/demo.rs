//! `cargo xtask demo`: all four connection types, seen at work.

use std::fs;
use std::time::Instant;

use pgmonkey_testserver::ScratchDir;

use crate::args::Options;
use crate::process::{self, cargo};
use crate::servers::{Servers, Wanted};

const EXAMPLE: [&str; 5] = ["--release", "--package", "pgmonkey", "--example", "tour"];

/// Gets the server first: where there is none, nobody waits for a build to learn that.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let begin = Instant::now();
    let servers = Servers::start(options, Wanted::Plain)?;
    let scratch = ScratchDir::new()?;
    let file = scratch.path().join("pgmonkey.yaml");
    fs::write(&file, servers.plain().config_yaml("pool"))?;
    let started = begin.elapsed();

    process::run(cargo(&["build"]).args(EXAMPLE))?;

    let begin = Instant::now();
    process::run(
        cargo(&["run", "--quiet"])
            .args(EXAMPLE)
            .arg("--")
            .arg(&file),
    )?;
    drop(servers);
    let took = (started + begin.elapsed()).as_secs_f64();
    eprintln!("the server is gone again; without the build all of it took {took:.1} s");
    Ok(())
}
