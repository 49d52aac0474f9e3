//! Counts how often a text runs in one checkout.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::wire::StatementRecord;

/// How many texts of a checkout are counted.
const MOST_TEXTS: usize = 1000;

/// The texts of a session's current checkout.
#[derive(Debug)]
pub(super) struct Repeated {
    /// The count that is reported.
    limit: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    checkout: u32,
    texts: HashMap<u64, (u32, Duration)>,
}

impl Repeated {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            counts: Mutex::default(),
        }
    }

    /// Counts a statement. Returns how often its text has run in the checkout and how long, once it
    /// has run as often as is to be reported.
    pub(super) fn count(
        &self,
        record: &StatementRecord,
        duration: Duration,
    ) -> Option<(u32, Duration)> {
        // Not on behalf of a caller.
        record.place?;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.checkout != record.checkout {
            counts.checkout = record.checkout;
            counts.texts.clear();
        }
        let is_full = counts.texts.len() >= MOST_TEXTS;
        if is_full && !counts.texts.contains_key(&record.text.key) {
            return None;
        }
        let (count, total) = counts.texts.entry(record.text.key).or_default();
        *count += 1;
        *total += duration;
        (*count == self.limit).then_some((*count, *total))
    }
}
