//! What the callers saw.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use postgres::Client;

use crate::callers::Caller;

/// How long an error's text may be in a note.
const NOTE: usize = 300;

/// What became of one row.
#[derive(Debug)]
pub(crate) enum Outcome {
    Acknowledged,
    /// Not written; the same call may succeed later.
    Transient(String),
    /// Written or not.
    Unknown(String),
    Final(String),
}

/// What one caller saw.
#[derive(Debug)]
pub(crate) struct Figures {
    began: Instant,
    acknowledged: Vec<(i64, Instant)>,
    /// The longest time without a row, from the start to the end.
    longest: Duration,
    unknown: Vec<i64>,
    transient: usize,
    refused: usize,
    /// Writes of a cluster that reached a reader.
    misled: usize,
    /// Reads with a token that saw less than was acknowledged.
    stale: usize,
    /// The class and text of each error.
    errors: Vec<String>,
}

impl Figures {
    pub(crate) fn begin() -> Self {
        Self {
            began: Instant::now(),
            acknowledged: Vec::new(),
            longest: Duration::ZERO,
            unknown: Vec::new(),
            transient: 0,
            refused: 0,
            misled: 0,
            stale: 0,
            errors: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, n: i64, outcome: Outcome) {
        match outcome {
            Outcome::Acknowledged => {
                let now = Instant::now();
                self.longest = self.longest.max(self.silence(now));
                self.acknowledged.push((n, now));
            }
            Outcome::Transient(text) => {
                self.transient += 1;
                self.errors.push(format!("transient: {text}"));
            }
            Outcome::Unknown(text) => {
                self.unknown.push(n);
                self.errors.push(format!("unknown: {text}"));
            }
            Outcome::Final(text) => {
                self.refused += 1;
                self.errors.push(format!("FINAL: {text}"));
            }
        }
    }

    /// Counts a write that reached a reader, if this one did.
    pub(crate) fn misled(&mut self, is_misled: bool) {
        self.misled += usize::from(is_misled);
    }

    /// Counts a read that saw less than its token stands for, if this one did.
    pub(crate) fn stale(&mut self, is_stale: bool) {
        self.stale += usize::from(is_stale);
    }

    /// How many rows were acknowledged.
    pub(crate) fn acknowledged(&self) -> i64 {
        i64::try_from(self.acknowledged.len()).expect("fewer than a run has milliseconds")
    }

    pub(crate) fn end(mut self) -> Self {
        self.longest = self.longest.max(self.silence(Instant::now()));
        self
    }

    fn silence(&self, now: Instant) -> Duration {
        let last = self.acknowledged.last().map_or(self.began, |(_, at)| *at);
        now.saturating_duration_since(last)
    }

    /// How long after this moment the first row was written.
    fn after(&self, moment: Instant) -> Option<Duration> {
        let first = self.acknowledged.iter().find(|(_, at)| *at >= moment)?;
        Some(first.1 - moment)
    }
}

/// The rows that the server has.
pub(crate) type Written = HashSet<(String, i32, i64)>;

pub(crate) fn written(server: &mut Client, run: i32) -> Result<Written, postgres::Error> {
    let ask = "SELECT kind, caller, n FROM written WHERE run = $1";
    let rows = server.query(ask, &[&run])?;
    let key = |row: &postgres::Row| (row.get(0), row.get(1), row.get(2));
    Ok(rows.iter().map(key).collect())
}

/// One line, with tabs: the type; milliseconds of the caller with the longest pause; milliseconds
/// from the promotion to the first row of the caller that was last, or `-`; the most errors of one
/// caller; errors that are transient, whose outcome is unknown, final; rows of unknown outcome that
/// are there; rows acknowledged; of these, lost; writes that reached a reader; reads with a token that
/// saw less. Of callers that only read: reads instead of rows.
pub(crate) fn line<'a>(
    kind: &str,
    callers: impl Iterator<Item = &'a (Caller, Figures)>,
    promoted: Option<Instant>,
    written: &Written,
) -> String {
    let callers: Vec<&(Caller, Figures)> = callers.collect();
    let all = || callers.iter().map(|(_, figures)| figures);
    let longest = all().map(|one| one.longest).max().unwrap_or_default();
    let after = promoted.and_then(|moment| all().filter_map(|one| one.after(moment)).max());
    let is_there = |caller: &Caller, n: i64| written.contains(&(kind.to_owned(), caller.index, n));
    let mut lost = 0;
    let mut arrived = 0;
    for (caller, figures) in &callers {
        let rows = figures.acknowledged.iter().filter(|_| !caller.only_reads);
        lost += rows.filter(|(n, _)| !is_there(caller, *n)).count();
        arrived += figures
            .unknown
            .iter()
            .filter(|n| is_there(caller, **n))
            .count();
    }
    [
        kind.to_owned(),
        longest.as_millis().to_string(),
        after.map_or("-".to_owned(), |after| after.as_millis().to_string()),
        all()
            .map(|one| one.errors.len())
            .max()
            .unwrap_or_default()
            .to_string(),
        all().map(|one| one.transient).sum::<usize>().to_string(),
        all()
            .map(|one| one.unknown.len())
            .sum::<usize>()
            .to_string(),
        all().map(|one| one.refused).sum::<usize>().to_string(),
        arrived.to_string(),
        all()
            .map(|one| one.acknowledged.len())
            .sum::<usize>()
            .to_string(),
        lost.to_string(),
        all().map(|one| one.misled).sum::<usize>().to_string(),
        all().map(|one| one.stale).sum::<usize>().to_string(),
    ]
    .join("\t")
}

/// The texts of the errors, each once, with how often it occurred.
pub(crate) fn notes(figures: &[(Caller, Figures)]) -> Vec<String> {
    let mut counts = BTreeMap::new();
    for (caller, figures) in figures {
        for error in &figures.errors {
            let text: String = error.chars().take(NOTE).collect();
            let text = format!("{} {}", caller.kind, text.replace('\n', " "));
            *counts.entry(text).or_insert(0) += 1;
        }
    }
    let mut notes: Vec<_> = counts.into_iter().collect();
    notes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    notes
        .into_iter()
        .map(|(text, count)| format!("{count} x {text}"))
        .collect()
}
