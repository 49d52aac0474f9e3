//! The handles that a program opens and clones, and the statements run on them.

mod acquire;
pub(crate) mod cluster;
pub(crate) mod connection;
pub(crate) mod database;
pub(crate) mod execute;
pub(crate) mod pool;
pub(crate) mod queries;
pub(crate) mod successor;
mod test_transaction;
pub(crate) mod timed;
pub(crate) mod transaction_builder;
