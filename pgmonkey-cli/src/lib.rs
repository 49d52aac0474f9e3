//! The `pgmonkey` program as a library: parsing its arguments never does anything, and what is
//! done says how the process ends.
//!
//! Results go to stdout, everything else to stderr. Exit code 0 means that it worked, 1 that it
//! failed, 2 that it was called wrongly.

#![forbid(unsafe_code)]

mod args;
mod command;
mod error;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;
pub use crate::error::Error;

/// Runs the program with its arguments, the first of which is its name.
pub fn run(args: impl IntoIterator<Item = OsString>, out: &mut dyn Write) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(usage) => {
            // Help and version are results, anything else is a wrong call; clap knows where
            // each belongs.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    match args.command.run(out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
