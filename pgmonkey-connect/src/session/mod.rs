//! One session after its login: statements, transactions, notifications, and the report of a ping.

pub mod answer;
pub mod cursor;
pub mod listening;
pub mod outcome;
pub mod parameter_types;
pub(crate) mod report;
pub mod savepoint;
pub mod sharing;
pub mod stale_statements;
pub mod statement_cache;
pub mod test_transaction;
pub mod unread;
