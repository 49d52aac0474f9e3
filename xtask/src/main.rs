//! Workspace tasks: `cargo xtask help` lists them.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use args::Task;

mod args;
mod book;
mod ci;
mod demo;
mod docs;
mod fuzz;
mod install;
mod matrix;
mod process;
mod programs;
mod servers;
mod soak;
mod test;
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
    process::listen_for_interrupts()?;
    match task {
        Task::Help => {
            println!("{}", args::USAGE);
            Ok(())
        }
        Task::Test(options) if !options.versions.is_empty() => matrix::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Demo(options) => demo::run(&options, &demo::TOUR),
        Task::Bench(options) => demo::run(&options, &demo::BENCH),
        Task::Fuzz {
            seconds,
            targets,
            install,
        } => fuzz::run(seconds, &targets, install),
        Task::Soak { options, minutes } => soak::run(&options, &minutes),
        Task::Ci { options, tests } => ci::run(&options, tests),
        Task::Tidy => tidy::run(),
        Task::Docs { install } => docs::run(install),
    }
}
