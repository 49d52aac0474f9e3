//! The table of all scenarios, its goals, and what counts as a broken guarantee.

use std::fmt;
use std::time::Duration;

use super::callers::Seen;
use super::scenario::Outcome;

/// The type beside which the others stand.
const REFERENCE: &str = "psql";
/// A switchover pauses writes at most this many times as long as a new connection for each row.
const SWITCHOVER_RATIO: f64 = 1.5;
/// From a promotion to the first row, where the old primary is frozen.
const AFTER_PROMOTION: Duration = Duration::from_secs(2);

/// What the callers of one type saw in one scenario.
#[derive(Debug)]
pub(crate) struct Row {
    scenario: &'static str,
    seen: Seen,
    /// The pause of the reference.
    reference: Option<Duration>,
    reference_lost: u64,
    left: u64,
    /// Of all types together.
    open: usize,
}

impl Row {
    pub(crate) fn of(scenario: &'static str, outcome: Outcome) -> Vec<Self> {
        let reference = outcome.seen.iter().find(|seen| seen.kind == REFERENCE);
        let pause = reference.map(|seen| seen.longest);
        let lost = reference.map_or(0, |seen| seen.lost);
        let row = |seen: Seen| Self {
            scenario,
            left: outcome.left.get(&seen.kind).copied().unwrap_or(0),
            open: outcome.open,
            reference: pause,
            reference_lost: lost,
            seen,
        };
        outcome.seen.into_iter().map(row).collect()
    }

    /// Whether the cluster has lost rows by itself: `psql` misses some too.
    fn cluster_lost(&self) -> bool {
        self.reference_lost > 0
    }

    /// The guarantees that were broken.
    pub(crate) fn broken(&self) -> Option<String> {
        let seen = &self.seen;
        if seen.kind == REFERENCE {
            return None;
        }
        let (lost, stale) = match self.cluster_lost() {
            true => (0, 0),
            false => (seen.lost, seen.stale),
        };
        let counts = [
            (lost, "acknowledged rows are not there"),
            (
                seen.refused,
                "errors are neither transient nor of unknown outcome",
            ),
            (seen.misled, "writes reached a reader"),
            (stale, "reads with a token saw less than was written"),
            (self.left, "sessions are left on the old primary"),
            (
                self.open as u64,
                "connections to the old primary were left open (all types)",
            ),
        ];
        let broken = counts.iter().filter(|(count, _)| *count > 0);
        let texts: Vec<_> = broken
            .map(|(count, text)| format!("{count} {text}"))
            .collect();
        let text = texts.join(", ");
        (!texts.is_empty()).then(|| format!("{}, {}: {text}", self.scenario, seen.kind))
    }

    fn is_of_cluster(&self) -> bool {
        self.seen.kind.contains("cluster")
    }

    fn only_reads(&self) -> bool {
        self.seen.kind.ends_with("_reads") || self.has_tokens()
    }

    fn has_tokens(&self) -> bool {
        self.seen.kind.ends_with("_tokens")
    }

    fn is_reference(&self) -> bool {
        self.seen.kind == REFERENCE
    }

    fn pause(&self) -> String {
        let pause = self.seen.longest.as_secs_f64();
        let goal = self
            .reference
            .filter(|_| self.scenario == "switchover" && !self.only_reads());
        match goal.filter(|_| !self.is_reference()) {
            Some(goal) => format!(
                "{pause:.2} s (at most {:.2})",
                goal.as_secs_f64() * SWITCHOVER_RATIO
            ),
            None => format!("{pause:.2} s"),
        }
    }

    fn after(&self) -> String {
        let Some(after) = self.seen.after else {
            return "-".to_owned();
        };
        let after = after.as_secs_f64();
        match self.scenario == "freeze" && !self.is_reference() && !self.only_reads() {
            true => format!(
                "{after:.2} s (at most {:.0})",
                AFTER_PROMOTION.as_secs_f64()
            ),
            false => format!("{after:.2} s"),
        }
    }

    fn errors(&self) -> String {
        match self.is_reference() {
            true => self.seen.errors.to_string(),
            false => format!("{} (at most 1)", self.seen.errors),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = &self.seen;
        let (left, open) = match self.is_reference() {
            true => ("-".to_owned(), "-".to_owned()),
            false => (self.left.to_string(), self.open.to_string()),
        };
        let misled = shown(seen.misled, self.is_of_cluster() && !self.only_reads());
        let stale = shown(seen.stale, self.has_tokens());
        // A failed psql says nothing of the kind.
        let unknown = format!("{} ({} written)", seen.unknown, seen.arrived);
        write!(
            f,
            "| {} | {} | {} | {} | {} | {} | {unknown} | {} | {} | {} | {left} | {open} | {misled} | {stale} |",
            self.scenario,
            seen.kind,
            self.pause(),
            self.after(),
            self.errors(),
            seen.transient,
            seen.refused,
            seen.acknowledged,
            seen.lost,
        )
    }
}

/// A number, where there is something to count.
fn shown(count: u64, is_counted: bool) -> String {
    match is_counted {
        true => count.to_string(),
        false => "-".to_owned(),
    }
}

pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text =
        "| scenario | type | longest pause | after the promotion | errors of a caller | \
                    transient | unknown outcome | other errors | acknowledged | lost | \
                    sessions left | connections left | writes to a reader | reads that saw less |\n\
                    |---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
            .to_owned();
    for row in rows {
        text.push('\n');
        text.push_str(&row.to_string());
    }
    for row in rows.iter().filter(|row| row.is_reference()) {
        if row.cluster_lost() {
            let (scenario, lost) = (row.scenario, row.reference_lost);
            text.push_str(&format!(
                "\n\n{scenario}: the cluster itself lost rows, {lost} of psql among them."
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn rows(line: &str, left: u64, open: usize) -> Vec<Row> {
        let psql = "psql\t1000\t10\t9\t0\t9\t0\t1\t50\t0\t0\t0";
        let outcome = Outcome {
            seen: [line, psql].map(|line| Seen::read(line).unwrap()).into(),
            open,
            left: BTreeMap::from([("pool".to_owned(), left)]),
        };
        Row::of("switchover", outcome)
    }

    #[test]
    fn a_value_stands_beside_its_goal() {
        let rows = rows("pool\t1200\t80\t1\t1\t2\t0\t2\t500\t0\t0\t0", 0, 0);
        let text = markdown(&rows);
        assert!(
            text.contains("| pool | 1.20 s (at most 1.50) | 0.08 s | 1 (at most 1) |"),
            "{text}"
        );
        assert!(text.contains("| psql | 1.00 s | 0.01 s | 9 |"), "{text}");
        assert!(rows.iter().all(|row| row.broken().is_none()));
    }

    #[test]
    fn rows_that_the_cluster_lost_are_no_broken_guarantee() {
        let lines = [
            "pool\t1\t-\t0\t0\t0\t0\t0\t500\t3\t0\t0",
            "psql\t1000\t10\t9\t0\t9\t0\t1\t50\t2\t0\t0",
        ];
        let outcome = Outcome {
            seen: lines.map(|line| Seen::read(line).unwrap()).into(),
            open: 0,
            left: BTreeMap::new(),
        };
        let rows = Row::of("freeze", outcome);
        assert!(rows.iter().all(|row| row.broken().is_none()));
        let text = markdown(&rows);
        assert!(
            text.contains("freeze: the cluster itself lost rows, 2 of psql"),
            "{text}"
        );
    }

    #[test]
    fn each_broken_guarantee_is_named() {
        for (line, left, open, expected) in [
            (
                "pool\t1\t-\t0\t0\t0\t0\t0\t500\t3\t0\t0",
                0,
                0,
                "3 acknowledged rows",
            ),
            (
                "pool\t1\t-\t1\t0\t0\t2\t0\t500\t0\t0\t0",
                0,
                0,
                "2 errors are neither",
            ),
            (
                "pool\t1\t-\t0\t0\t0\t0\t0\t500\t0\t0\t0",
                4,
                0,
                "4 sessions are left",
            ),
            (
                "pool\t1\t-\t0\t0\t0\t0\t0\t500\t0\t0\t0",
                0,
                5,
                "5 connections",
            ),
            (
                "cluster\t1\t-\t0\t0\t0\t0\t0\t500\t0\t6\t0",
                0,
                0,
                "6 writes reached",
            ),
            (
                "cluster_tokens\t1\t-\t0\t0\t0\t0\t0\t500\t0\t0\t7",
                0,
                0,
                "7 reads with",
            ),
        ] {
            let rows = rows(line, left, open);
            let broken: Vec<_> = rows.iter().filter_map(Row::broken).collect();
            assert_eq!(broken.len(), 1, "{broken:?}");
            assert!(broken[0].contains(expected), "{broken:?}");
        }
    }
}
