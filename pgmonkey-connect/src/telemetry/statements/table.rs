//! The texts of a handle that take the most time, with their numbers.

use std::collections::HashMap;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::histogram::Histogram;
use crate::status::StatementStatus;
use crate::wire::{StatementRecord, StatementText};

/// How many texts are counted. With the numbers of one this is some twenty kilobytes, and the texts.
const MOST: usize = 64;

/// The numbers of one handle's texts.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
    places: HashMap<u64, u32>,
    /// All but the total of the durations.
    all: StatementStatus,
    total: u64,
}

#[derive(Debug)]
struct Entry {
    text: Arc<StatementText>,
    count: u64,
    errors: u64,
    rows: u64,
    /// In nanoseconds, as is the next.
    total: u64,
    max: u64,
    place: Option<&'static Location<'static>>,
    durations: Histogram,
}

impl Entry {
    fn new(text: Arc<StatementText>) -> Self {
        Self {
            text,
            count: 0,
            errors: 0,
            rows: 0,
            total: 0,
            max: 0,
            place: None,
            durations: Histogram::default(),
        }
    }
}

/// A text and its numbers since the handle was opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TopStatement {
    /// The first word, such as `SELECT`.
    pub operation: &'static str,
    /// The operations and what they act on, such as `SELECT users`.
    pub summary: String,
    /// The text, as far as `statement_text` allows it to be shown.
    pub text: Option<String>,
    /// How often it has run.
    pub count: u64,
    /// How many of its runs failed.
    pub errors: u64,
    /// How many rows it has returned, changed or copied.
    pub rows: u64,
    /// The time of all its runs, with the network's.
    pub total: Duration,
    /// The duration that 99 in 100 runs do not exceed, to within an eighth.
    pub p99: Duration,
    /// The longest run.
    pub max: Duration,
    /// The place in the program that sent it last.
    pub place: Option<&'static Location<'static>>,
}

impl TopStatement {
    /// The mean duration of a run.
    pub fn mean(&self) -> Duration {
        let nanos = self.total.as_nanos() / u128::from(self.count.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Table {
    /// The text that is counted under this key.
    pub(super) fn get(&self, key: u64) -> Option<Arc<StatementText>> {
        let at = *self.places.get(&key)?;
        Some(Arc::clone(&self.entries[at as usize].text))
    }

    /// Adds a text, in place of the one that has taken the least time if there are too many.
    fn add(&mut self, text: Arc<StatementText>) -> usize {
        let (key, entry) = (text.key, Entry::new(text));
        let at = match self.entries.len() < MOST {
            true => self.entries.len(),
            false => {
                let entries = self.entries.iter().enumerate();
                let least = entries.min_by_key(|(_, entry)| entry.total);
                let (at, least) = least.expect("there are many");
                self.places.remove(&least.text.key);
                at
            }
        };
        self.places.insert(key, at as u32);
        entry.text.slot.store(at as u32, Ordering::Relaxed);
        match self.entries.get_mut(at) {
            Some(place) => *place = entry,
            None => self.entries.push(entry),
        }
        at
    }

    #[inline]
    pub(super) fn count(&mut self, record: &StatementRecord, duration: Duration) {
        let key = record.text.key;
        let mut at = record.text.slot.load(Ordering::Relaxed) as usize;
        if self
            .entries
            .get(at)
            .is_none_or(|entry| entry.text.key != key)
        {
            at = self.find(&record.text);
        }
        let entry = &mut self.entries[at];
        let errors = u64::from(record.outcome.is_error());
        let nanos = duration.as_secs().saturating_mul(1_000_000_000);
        let nanos = nanos.saturating_add(duration.subsec_nanos().into());
        entry.count += 1;
        entry.errors += errors;
        entry.rows = entry.rows.wrapping_add(record.rows);
        // Five hundred years.
        entry.total = entry.total.saturating_add(nanos);
        entry.max = entry.max.max(nanos);
        entry.place = record.place;
        entry.durations.count(nanos);
        self.all.count += 1;
        self.all.errors += errors;
        self.total = self.total.saturating_add(nanos);
    }

    /// The entry of a text that has not run before, or has made room for another since.
    #[cold]
    fn find(&mut self, text: &Arc<StatementText>) -> usize {
        match self.places.get(&text.key) {
            Some(at) => *at as usize,
            None => self.add(Arc::clone(text)),
        }
    }

    /// The numbers of all texts together.
    pub(super) fn all(&self) -> StatementStatus {
        StatementStatus {
            total: Duration::from_nanos(self.total),
            ..self.all
        }
    }

    /// The texts that have taken the most time, at most `most`.
    pub(super) fn top(&self, most: usize) -> Vec<TopStatement> {
        let ran = self.entries.iter().filter(|entry| entry.count > 0);
        let mut entries: Vec<_> = ran.collect();
        entries.sort_by_key(|entry| (std::cmp::Reverse(entry.total), entry.text.key));
        entries.truncate(most);
        let told = |entry: &Entry| TopStatement {
            operation: entry.text.operation,
            summary: entry.text.summary.to_string(),
            text: entry.text.text.as_deref().map(str::to_owned),
            count: entry.count,
            errors: entry.errors,
            rows: entry.rows,
            total: Duration::from_nanos(entry.total),
            p99: entry
                .durations
                .quantile(0.99)
                .min(Duration::from_nanos(entry.max)),
            max: Duration::from_nanos(entry.max),
            place: entry.place,
        };
        entries.into_iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::StatementOutcome;
    use std::sync::atomic::AtomicU32;

    fn text(key: u64) -> StatementText {
        StatementText {
            operation: "SELECT",
            summary: format!("SELECT t{key}").into(),
            text: None,
            key,
            slot: AtomicU32::new(0),
        }
    }

    fn run(table: &mut Table, text: &Arc<StatementText>, millis: u64, outcome: StatementOutcome) {
        let mut record = StatementRecord::new(Arc::clone(text), None, 0, 0);
        (record.rows, record.outcome) = (2, outcome);
        table.count(&record, Duration::from_millis(millis));
    }

    #[test]
    fn the_texts_that_take_the_most_time_stay() {
        let mut table = Table::default();
        let heavy = Arc::new(text(0));
        run(&mut table, &heavy, 100, StatementOutcome::Done);
        run(&mut table, &heavy, 300, StatementOutcome::Failed(*b"42601"));
        for key in 1..1000 {
            let light = Arc::new(text(key));
            run(&mut table, &light, key % 7, StatementOutcome::Done);
        }
        let top = table.top(3);
        assert_eq!(top.len(), 3);
        assert_eq!((top[0].count, top[0].errors, top[0].rows), (2, 1, 4));
        assert_eq!(top[0].summary, "SELECT t0");
        assert_eq!(top[0].mean(), Duration::from_millis(200));
        assert_eq!(top[0].max, Duration::from_millis(300));
        assert!(top[0].p99 > Duration::from_millis(260) && top[0].p99 <= top[0].max);
        assert!(top[1].total >= top[2].total);
        assert_eq!(table.all().count, 1001);
        assert!(table.entries.len() == MOST && table.places.len() == MOST);
    }

    #[test]
    fn a_text_that_made_room_for_another_is_counted_under_its_own_name() {
        let mut table = Table::default();
        let first = Arc::new(text(0));
        run(&mut table, &first, 1, StatementOutcome::Done);
        for key in 1..=MOST as u64 {
            let other = Arc::new(text(key));
            run(&mut table, &other, 5, StatementOutcome::Done);
        }
        assert!(table.get(0).is_none() && table.get(1).is_some());
        run(&mut table, &first, 50, StatementOutcome::Done);
        assert_eq!(table.top(1)[0].summary, "SELECT t0");
        for key in 0..=MOST as u64 {
            if let Some(at) = table.places.get(&key) {
                assert_eq!(table.entries[*at as usize].text.key, key);
            }
        }
    }
}
