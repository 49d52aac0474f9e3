//! Behaviour against a real server: one binary, a module a behaviour.

#![forbid(unsafe_code)]

mod abandoned;
mod acquire;
mod bad_input;
mod bare;
mod book;
mod cache;
mod close;
mod crates;
mod defects;
mod encryption;
mod errors;
mod execute;
mod exit;
mod hooks;
mod hostile;
mod hotpath;
mod leftovers;
mod limits;
mod listener;
mod multiplex;
mod observation;
mod outage;
mod own_files;
mod pgbouncer;
mod program;
mod provider;
mod readme;
mod recipes;
mod recycle;
mod regressions;
mod roles;
mod runtimes;
mod secrets;
mod session_settings;
mod sources;
mod statement_cache;
mod statements;
mod streams;
mod tls;
mod traffic;
mod transaction;
mod upkeep;
mod wire;
mod workload;
