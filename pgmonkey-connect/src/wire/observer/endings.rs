//! The ends of a session's transactions.

use std::sync::atomic::Ordering;

use super::Observer;
use crate::wire::framing::TransactionEnd;

/// How many transactions of a session have ended, modulo 2³², and how the last one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionEnds {
    /// If two readings differ, a transaction ended in between.
    pub count: u32,
    /// How the last transaction ended.
    pub last: Option<TransactionEnd>,
}

impl Observer {
    /// How many transactions have ended, and how the last one ended. Costs one load.
    #[inline]
    pub fn transaction_ends(&self) -> TransactionEnds {
        let ends = self.ends.load(Ordering::Acquire);
        TransactionEnds {
            count: ends as u32,
            last: match (ends >> 32) as u8 {
                1 => Some(TransactionEnd::Commit),
                2 => Some(TransactionEnd::Rollback),
                3 => Some(TransactionEnd::Prepare),
                _ => None,
            },
        }
    }

    pub(super) fn note_end(&self, end: TransactionEnd) {
        let last = match end {
            TransactionEnd::Commit => 1,
            TransactionEnd::Rollback => 2,
            TransactionEnd::Prepare => 3,
        };
        // One writer.
        let count = (self.ends.load(Ordering::Relaxed) as u32).wrapping_add(1);
        let ends = u64::from(count) | last << 32;
        self.ends.store(ends, Ordering::Release);
    }
}
