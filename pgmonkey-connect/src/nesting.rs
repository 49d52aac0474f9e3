//! The statements that begin and end a transaction at a depth: 0 is the transaction itself,
//! then savepoints inward.

use std::borrow::Cow;

/// Opens a transaction or a savepoint.
pub fn begin(depth: u32) -> Cow<'static, str> {
    match depth {
        0 => "BEGIN".into(),
        _ => format!("SAVEPOINT pgmonkey_{depth}").into(),
    }
}

/// Keeps its work.
pub fn commit(depth: u32) -> Cow<'static, str> {
    match depth {
        0 => "COMMIT".into(),
        _ => format!("RELEASE SAVEPOINT pgmonkey_{depth}").into(),
    }
}

/// Undoes its work.
pub fn rollback(depth: u32) -> Cow<'static, str> {
    match depth {
        0 => "ROLLBACK".into(),
        // Going back to a savepoint keeps it; releasing it as well leaves nothing behind.
        _ => format!("ROLLBACK TO SAVEPOINT pgmonkey_{depth}; RELEASE SAVEPOINT pgmonkey_{depth}")
            .into(),
    }
}
