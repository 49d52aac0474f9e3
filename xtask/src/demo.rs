//! `cargo xtask demo` and `cargo xtask bench`: a program that gets a configuration file and a
//! server for it.

use std::fs;
use std::time::Instant;

use pgmonkey_testserver::ScratchDir;

use crate::args::Options;
use crate::process::{self, cargo};
use crate::servers::{Servers, Wanted};

/// The example that shows all four connection types.
pub(crate) const TOUR: [&str; 4] = ["--package", "pgmonkey", "--example", "tour"];
/// Ours and the bare drivers, side by side.
pub(crate) const BENCH: [&str; 2] = ["--package", "pgmonkey-bench"];

/// Starts the server first, so that a missing one is reported before the build.
pub(crate) fn run(options: &Options, program: &[&str]) -> anyhow::Result<()> {
    let begin = Instant::now();
    let servers = Servers::start(options, Wanted::Plain)?;
    let scratch = ScratchDir::new()?;
    let file = scratch.path().join("pgmonkey.yaml");
    fs::write(&file, servers.plain().config_yaml("pool"))?;
    let started = begin.elapsed();

    let profile = profile(program);
    process::run(cargo(&["build"]).args(profile).args(program))?;

    let begin = Instant::now();
    process::run(
        cargo(&["run", "--quiet"])
            .args(profile)
            .args(program)
            .arg("--")
            .arg(&file)
            .args(&options.filters),
    )?;
    drop(servers);
    let took = (started + begin.elapsed()).as_secs_f64();
    eprintln!("removed the server; took {took:.1} s without the build");
    Ok(())
}

/// Benchmarks use a release build. Without a terminal the tour uses the build of the tests.
fn profile(program: &[&str]) -> &'static [&'static str] {
    let unseen = std::env::var("CI").is_ok_and(|value| value == "true");
    if unseen && program == TOUR {
        return &[];
    }
    &["--release"]
}
