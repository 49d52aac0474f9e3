//! How a program uses a session: guards, transactions, streams, and the statements run on them.

pub(crate) mod chunks;
mod confirmation;
pub(crate) mod copy;
mod coroutine;
mod encoded;
pub(crate) mod guard;
mod last_statement;
mod plan;
pub(crate) mod savepoint_builder;
pub(crate) mod statements;
pub(crate) mod stream;
pub(crate) mod timed;
pub(crate) mod transaction;
