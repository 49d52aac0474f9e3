//! The `pgmonkey` program: it makes, checks, shows and tries configuration files, compares a server
//! with what one needs, and moves tables from and to CSV files, for programs in any language.
//!
//! This is the program as a library: parsing its arguments never does anything, and what is
//! done says how the process ends.
//!
//! Results go to stdout, everything else to stderr. Exit code 0 means that it worked, 1 that it
//! failed, 2 that it was called wrongly.

#![forbid(unsafe_code)]

mod advice;
mod args;
mod argument;
mod capacity;
mod codegen;
mod command;
mod configuration;
mod csv;
mod error;
mod finding;
mod hba;
mod notes;
mod origin;
mod output;
mod server;
mod table;
mod template;
mod transfer;
mod trial;
mod yaml;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;
pub use crate::error::Error;
use crate::output::Output;

/// Runs the program with its arguments, the first of which is its name. The process goes on; a
/// caller inside a runtime is kept waiting, but may be one.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = args.into_iter().collect();
    let args = match Args::try_parse_from(&words) {
        Ok(args) => args,
        Err(usage) => {
            // Help and version are results, anything else is a wrong call; clap knows where
            // each belongs.
            if usage.use_stderr() && argument::check(&words).is_err() {
                notes::note(argument::usage(&usage, &words));
            } else {
                let _ = usage.print();
            }
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    let outcome = argument::check(&words).and_then(|()| act(args));
    if let Err(error) = &outcome {
        notes::failure(error);
    }
    ExitCode::from(outcome.map_or_else(|error| error.exit_code(), |()| 0))
}

/// Does what was asked for. A thread that runs tasks must not block, and half of the commands
/// have a runtime of their own, so that within one they get a thread of theirs.
fn act(args: Args) -> Result<(), Error> {
    let work = move || args.command.run(&mut Output::stdout());
    if tokio::runtime::Handle::try_current().is_err() {
        return work();
    }
    match std::thread::spawn(work).join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
