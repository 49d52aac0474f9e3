//! The results: as a table, as JSON, as a chart.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use crate::SESSIONS;
use crate::round::{Contestant, Kind, Work};

/// One kind of work with one number of callers, and all contestants.
pub(crate) struct Contest {
    place: &'static str,
    work: Work,
    callers: usize,
    contestants: Vec<Contestant>,
}

impl Contest {
    pub(crate) fn new(
        place: &'static str,
        work: Work,
        callers: usize,
        contestants: Vec<Contestant>,
    ) -> Self {
        Self {
            place,
            work,
            callers,
            contestants,
        }
    }

    fn title(&self) -> String {
        let Self {
            place,
            work: Work { what, .. },
            callers,
            ..
        } = self;
        format!("{place}: {what}, {callers} callers over {SESSIONS} sessions")
    }

    fn rounds(&self) -> usize {
        self.contestants.first().map_or(0, |one| one.rounds.len())
    }

    fn peers(&self) -> Vec<&Contestant> {
        let all = self.contestants.iter();
        all.filter(|one| one.kind == Kind::Peer).collect()
    }

    fn of(&self, kind: Kind) -> Vec<&Contestant> {
        let all = self.contestants.iter();
        all.filter(|one| one.kind == kind).collect()
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        println!(
            "\n{} ({} rounds of {:?}, in rotation, medians)",
            self.title(),
            self.rounds(),
            self.work.span,
        );
        println!(
            "  {:<34} {:>9} {:>9} {:>9} {:>8} {:>7} {:>9} {:>10} {:>6}",
            "", "turns/s", "p50 µs", "p99 µs", "unlucky", "waits", "preempts", "best peer", "bare"
        );
        let (peers, bare) = (self.peers(), self.of(Kind::Bare));
        for one in &self.contestants {
            let ratio = |others: &[&Contestant]| {
                one.ratio(others)
                    .map_or(String::new(), |ratio| format!("{ratio:.2}"))
            };
            let [waits, preempts] = one.switches().map_or_else(Default::default, |counts| {
                counts.map(|count| format!("{count:.3}"))
            });
            println!(
                "  {:<34} {:>9.0} {:>9.1} {:>9.1} {:>8.2} {waits:>7} {preempts:>9} {:>10} {:>6}",
                one.name,
                one.per_second(),
                one.p50().as_secs_f64() * 1e6,
                one.p99().as_secs_f64() * 1e6,
                one.unluckiest(),
                ratio(&peers),
                ratio(&bare),
            );
        }
    }

    /// Prints how the ratios of one contestant to another are distributed over the rounds, for pairs
    /// of their numbers.
    pub(crate) fn print_quartiles(&self, pairs: &[(usize, usize)]) {
        for (one, other) in pairs {
            let (one, other) = (&self.contestants[*one], &self.contestants[*other]);
            let [lower, median, upper] = one.quartiles(other);
            println!(
                "  {median:.3} ({lower:.3} to {upper:.3}): {}, of {}",
                one.name, other.name
            );
        }
    }

    fn json(&self) -> Value {
        let (peers, bare) = (self.peers(), self.of(Kind::Bare));
        let contestants: Vec<Value> = self
            .contestants
            .iter()
            .map(|one| {
                json!({
                    "name": one.name,
                    "per_second": one.per_second().round(),
                    "p50_us": one.p50().as_secs_f64() * 1e6,
                    "p99_us": one.p99().as_secs_f64() * 1e6,
                    "unluckiest_share": one.unluckiest(),
                    "switches_per_turn": one.switches(),
                    "ratio_to_best_peer": one.ratio(&peers),
                    "ratio_to_bare": one.ratio(&bare),
                })
            })
            .collect();
        json!({
            "where": self.place,
            "what": self.work.what,
            "callers": self.callers,
            "sessions": SESSIONS,
            "rounds": self.rounds(),
            "span_ms": self.work.span.as_secs_f64() * 1e3,
            "contestants": contestants,
        })
    }
}

/// Writes `pools.json` and `pools.svg` into `folder`.
pub(crate) fn write(contests: &[Contest], folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let results: Vec<Value> = contests.iter().map(Contest::json).collect();
    let json = serde_json::to_string_pretty(&results)? + "\n";
    let chart = chart(contests).context("a text takes any")?;
    for (name, text) in [("pools.json", json), ("pools.svg", chart)] {
        std::fs::write(folder.join(name), text)?;
    }
    println!("\nwritten to {}", folder.display());
    Ok(())
}

const WIDTH: f64 = 760.0;
const NAMES: f64 = 250.0;
const ROW: f64 = 18.0;

/// One bar per contestant, one group per contest; black without a background, so that it is legible
/// on any.
fn chart(contests: &[Contest]) -> Result<String, std::fmt::Error> {
    let rows: usize = contests.iter().map(|one| one.contestants.len() + 2).sum();
    let height = ROW * rows as f64 + 20.0;
    let mut svg = String::new();
    write!(
        svg,
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' \
         font-family='sans-serif' font-size='12'>\n<style>text {{ fill: #333 }} \
         @media (prefers-color-scheme: dark) {{ text {{ fill: #ddd }} }}</style>\n"
    )?;
    let mut y = 20.0;
    for contest in contests {
        writeln!(
            svg,
            "<text x='0' y='{y}' font-weight='bold'>{}</text>",
            contest.title()
        )?;
        let most = contest.contestants.iter().map(Contestant::per_second);
        let most = most.fold(1.0, f64::max);
        for one in &contest.contestants {
            y += ROW;
            let length = (WIDTH - NAMES - 80.0) * one.per_second() / most;
            let colour = match one.kind {
                Kind::Ours => "#2a7",
                Kind::Peer => "#89a",
                Kind::Bare => "#ccb",
            };
            writeln!(
                svg,
                "<text x='{}' y='{y}' text-anchor='end'>{}</text>\
                 <rect x='{NAMES}' y='{}' width='{length:.1}' height='13' fill='{colour}'/>\
                 <text x='{:.1}' y='{y}'>{:.0}/s</text>",
                NAMES - 8.0,
                one.name,
                y - 11.0,
                NAMES + length + 6.0,
                one.per_second(),
            )?;
        }
        y += 2.0 * ROW;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}
