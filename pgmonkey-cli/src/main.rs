//! The `pgmonkey` CLI.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    pgmonkey_cli::run_as_program(std::env::args_os())
}
