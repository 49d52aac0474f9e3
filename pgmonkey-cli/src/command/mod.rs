//! The commands, one file each: it parses its arguments and writes its result. Beside them are the
//! parts that several commands share: arguments, the configuration file, the CSV format.

pub(crate) mod args;
pub(crate) mod argument;
mod completions;
mod config;
mod configuration;
mod export;
mod form;
mod import;
mod pool;
mod server;
