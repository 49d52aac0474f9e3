//! Behaviour against a real server: one binary, a module a behaviour.

#![forbid(unsafe_code)]

mod acquire;
mod bad_input;
mod cache;
mod close;
mod crates;
mod exit;
mod limits;
mod outage;
mod readme;
mod recycle;
mod runtimes;
mod session_settings;
mod transaction;
mod wire;
