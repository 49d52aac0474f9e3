//! One file a command. Each takes its arguments and writes its result.

pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod export;
mod form;
pub(crate) mod import;
pub(crate) mod pool;
pub(crate) mod server;
