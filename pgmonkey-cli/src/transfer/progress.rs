//! Progress: a bar on a terminal, otherwise a line at intervals.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::ui::notes;

/// How often a line is written without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Counts bytes and rows, and shows them.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Inner>);

struct Inner {
    began: Instant,
    bytes: AtomicU64,
    rows: AtomicU64,
    show: Show,
}

enum Show {
    Nothing,
    Bar(ProgressBar),
    Lines {
        total: Option<u64>,
        last: Mutex<Instant>,
    },
}

impl Progress {
    /// `total` is the expected number of bytes, if known.
    pub(crate) fn new(total: Option<u64>, quiet: bool) -> Self {
        let show = if quiet {
            Show::Nothing
        } else if io::stderr().is_terminal() {
            Show::Bar(bar(total))
        } else {
            Show::Lines {
                total,
                last: Mutex::new(Instant::now()),
            }
        };
        Self(Arc::new(Inner {
            began: Instant::now(),
            bytes: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            show,
        }))
    }

    /// Sets the number of bytes so far and adds a number of rows.
    pub(crate) fn set(&self, bytes: u64, more_rows: u64) {
        self.0.bytes.store(bytes, Ordering::Relaxed);
        let rows = self.0.rows.fetch_add(more_rows, Ordering::Relaxed) + more_rows;
        match &self.0.show {
            Show::Nothing => {}
            Show::Bar(bar) => {
                bar.set_position(bytes);
                bar.set_message(HumanCount(rows).to_string());
            }
            Show::Lines { total, last } => {
                let mut last = last.lock().expect("not poisoned");
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    notes::note(self.line(bytes, rows, *total));
                }
            }
        }
    }

    fn line(&self, bytes: u64, rows: u64, total: Option<u64>) -> String {
        let seconds = self.0.began.elapsed().as_secs_f64().max(0.001);
        let rate = bytes as f64 / seconds;
        let of = total
            .map(|total| format!(" of {}", HumanBytes(total)))
            .unwrap_or_default();
        let left = total.map(|total| {
            let left = total.saturating_sub(bytes) as f64 / rate.max(1.0);
            format!(", about {left:.0} s left")
        });
        format!(
            "{}{of}, {} rows, {}/s{}",
            HumanBytes(bytes),
            HumanCount(rows),
            HumanBytes(rate as u64),
            left.unwrap_or_default()
        )
    }

    /// Prints a note without breaking the bar.
    pub(crate) fn note(&self, text: impl std::fmt::Display) {
        match &self.0.show {
            Show::Nothing => {}
            Show::Bar(bar) => bar.suspend(|| notes::note(text)),
            Show::Lines { .. } => notes::note(text),
        }
    }

    /// Removes the bar when the work is over, also when it is interrupted.
    pub(crate) fn shown(&self) -> Shown {
        Shown(self.clone())
    }

    /// `1,000 rows, 64 KiB in 0.6 s`.
    pub(crate) fn summary(&self, rows: u64) -> String {
        let bytes = self.0.bytes.load(Ordering::Relaxed);
        let took = self.0.began.elapsed().as_secs_f64();
        let plural = if rows == 1 { "" } else { "s" };
        format!(
            "{} row{plural}, {} in {took:.1} s",
            HumanCount(rows),
            HumanBytes(bytes)
        )
    }
}

/// Removes the bar when dropped.
pub(crate) struct Shown(Progress);

impl Drop for Shown {
    fn drop(&mut self) {
        if let Show::Bar(bar) = &self.0.0.show {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => {
            "[{bar:18}] {percent:>3}% {binary_bytes}/{binary_total_bytes} {msg} rows {binary_bytes_per_sec} ETA {eta}"
        }
        None => "{spinner} {binary_bytes} {msg} rows {binary_bytes_per_sec} {elapsed}",
    };
    let style = ProgressStyle::with_template(template).expect("valid template");
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::new_spinner(),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
    bar.set_style(style.progress_chars("=> "));
    bar.set_message("0");
    bar
}
