//! The `pgmonkey` CLI: it creates, validates, shows and tests configuration files, compares a
//! server with what a file needs, and copies tables from and to CSV files.
//!
//! This is the CLI as a library: [`run`] parses the arguments, runs the command and returns the
//! exit code.
//! [`run_as_program`] also prints what the library reports, such as its warnings.
//!
//! Results go to stdout, everything else to stderr. The exit code is 0 on success, 1 on failure, 2
//! on a usage error and 130 if interrupted.

#![forbid(unsafe_code)]

mod codegen;
mod command;
mod csv;
mod error;
mod server;
mod transfer;
mod ui;
mod verbosity;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::command::args::Args;
use crate::command::argument;
pub use crate::error::Error;
use crate::ui::notes;
use crate::ui::output::Output;

/// Runs the CLI with its arguments, the first of which is its name, and returns instead of exiting.
/// It blocks, but may be called within an async runtime.
///
/// The library's warnings are events, which go to the `tracing` subscriber of the caller.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_with(args, |_| {})
}

/// Runs the CLI as [`run`] does, and prints the library's warnings on stderr; with `-v`, `-vv` or
/// the variable `RUST_LOG` also its other events. It installs a subscriber for the process.
pub fn run_as_program(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_with(args, |args| args.verbosity.install())
}

fn run_with(args: impl IntoIterator<Item = OsString>, prepare: impl FnOnce(&Args)) -> ExitCode {
    let words: Vec<OsString> = args.into_iter().collect();
    let args = match Args::try_parse_from(&words) {
        Ok(args) => args,
        Err(usage) => {
            // Help and version are results, anything else is a usage error; clap knows the stream
            // for each.
            let text = argument::usage(&usage, &words);
            if usage.use_stderr() && argument::check(&words).is_err() {
                notes::note(&text);
            } else {
                let _ = usage.print();
            }
            if usage.use_stderr() && argument::wants_json(&words) {
                let line = text.lines().next().unwrap_or_default();
                let line = line.strip_prefix("error: ").unwrap_or(line);
                Output::stdout().failure(&Error::Usage(line.to_owned()));
            }
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    prepare(&args);
    let json = argument::wants_json(&words);
    let outcome = match argument::check(&words) {
        Ok(()) => act(args, json),
        Err(error) => {
            if json {
                Output::stdout().failure(&error);
            }
            Err(error)
        }
    };
    if let Err(error) = &outcome {
        notes::failure(error);
    }
    ExitCode::from(outcome.map_or_else(|error| error.exit_code(), |()| 0))
}

/// Runs the command. Within an async runtime it gets a thread of its own, because a thread that
/// runs tasks must not block and half of the commands have a runtime of their own.
///
/// A program that asked for JSON gets it on failure too.
fn act(args: Args, json: bool) -> Result<(), Error> {
    let work = move || {
        let mut out = Output::stdout();
        let outcome = args.command.run(&mut out);
        if let (true, Err(error)) = (json, &outcome) {
            out.failure(error);
        }
        outcome
    };
    if tokio::runtime::Handle::try_current().is_err() {
        return work();
    }
    match std::thread::spawn(work).join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
