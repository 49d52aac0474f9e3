//! Workspace tasks: `cargo xtask help` lists them.
//!
//! Built without features it has the tasks of users. The tasks of contributors need more crates: for
//! those it builds and runs itself again with the feature `checks`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use args::Task;

mod args;
mod demo;
mod install;
mod process;
mod servers;
mod standin;
mod weight;

#[cfg(feature = "checks")]
mod battery;
#[cfg(feature = "checks")]
mod book;
#[cfg(feature = "checks")]
mod ci;
#[cfg(feature = "checks")]
mod docs;
#[cfg(feature = "checks")]
mod fuzz;
#[cfg(feature = "checks")]
mod ha;
#[cfg(feature = "checks")]
mod matrix;
#[cfg(feature = "checks")]
mod programs;
#[cfg(feature = "checks")]
mod soak;
#[cfg(feature = "checks")]
mod test;
#[cfg(feature = "checks")]
mod tidy;

fn main() -> ExitCode {
    let task = match args::parse(std::env::args().skip(1)) {
        Ok(task) => task,
        Err(error) => {
            eprintln!("error: {error:#}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            process::exit_code(&error)
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Help => {
            println!("{}", args::USAGE);
            Ok(())
        }
        Task::Demo(options) => demo::run(&options, &demo::TOUR),
        Task::DemoReaders => demo::run_readers(),
        Task::Bench(options) if options.filters.first().is_some_and(|name| name == "weight") => {
            weight::run(&options.filters[1..])
        }
        Task::Bench(options) => demo::bench(options),
        Task::Standin(options) => standin::run(&options),
        task => check(task),
    }
}

#[cfg(feature = "checks")]
fn check(task: Task) -> anyhow::Result<()> {
    process::listen_for_interrupts()?;
    match task {
        Task::Test(options) if options.everywhere => matrix::everywhere(&options),
        Task::Test(options) if !options.versions.is_empty() => matrix::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Fuzz {
            seconds,
            targets,
            install,
        } => fuzz::run(seconds, &targets, install),
        Task::Ha(options) => ha::run(&options),
        Task::Soak { options, minutes } => soak::run(&options, &minutes),
        Task::Ci { options, tests } => ci::run(&options, tests),
        Task::CiFull { options, seconds } => ci::run_full(options, seconds),
        Task::Tidy => tidy::run(),
        Task::Docs { install } => docs::run(install),
        Task::Help | Task::Demo(_) | Task::DemoReaders | Task::Bench(_) | Task::Standin(_) => {
            unreachable!("a task of users")
        }
    }
}

#[cfg(not(feature = "checks"))]
fn check(_: Task) -> anyhow::Result<()> {
    process::run_with_checks()
}
