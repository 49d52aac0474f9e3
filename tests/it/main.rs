//! Behaviour against a real server: one binary, one module per topic.

#![forbid(unsafe_code)]
#![allow(
    clippy::too_many_lines,
    reason = "a test is one table or one sequence of events"
)]

mod abandoned;
mod acquire;
mod bad_input;
mod bare;
mod budget;
mod cache;
mod close;
mod cluster;
mod confirmation;
mod crates;
mod deadline;
mod defects;
mod encryption;
mod ended;
mod errors;
mod execute;
mod exit;
mod exported;
mod failover;
mod fork;
mod frozen;
mod haproxy;
mod hooks;
mod hostile;
mod hotpath;
mod last_statement;
mod leftovers;
mod limits;
mod listener;
mod maintenance;
mod managers;
mod misuse;
mod multiplex;
mod network;
#[cfg(target_os = "linux")]
mod network_deadline;
mod observation;
mod outage;
mod outcome;
mod own_files;
mod pgbouncer;
mod pgbouncer_copies;
mod pgbouncer_modes;
mod pgbouncer_transactions;
mod pgpool;
mod poolers;
mod program;
mod provider;
mod recipes;
mod recycle;
mod retry;
mod roles;
mod rotation;
mod round_trips;
mod runtimes;
mod schema_changes;
mod secrets;
mod session_settings;
mod silence;
mod sources;
mod statement_cache;
mod statements;
mod streams;
mod successor;
mod tenants;
mod test_transaction;
mod threads;
mod tls;
mod told_statements;
mod trace_comments;
mod transaction;
mod transaction_deadline;
mod transaction_options;
mod under_load;
mod unread;
mod wire;
