//! Reads the file ahead of the sessions that load it.

use std::sync::Arc;
use std::thread;

use tokio::sync::mpsc::{self, Receiver};

use crate::csv::decode::Evidence;
use crate::csv::dialect;
use crate::csv::scan::{LeftOut, RowError, RowErrorKind, Rows, Scanner};
use crate::csv::types::Kind;
use crate::error::Error;
use crate::transfer::progress::Progress;

use super::input::{BLOCK, Input};
use super::plan::Plan;
use super::plan::doubt::{BLANK_BEFORE_QUOTE, TRIM};

/// The longest row that the server accepts.
const LONGEST_ROW: usize = 1 << 30;

/// A part of the file: rows, or its end with the number of lines that were left out.
pub(crate) enum Part {
    Rows(Rows),
    End(LeftOut),
}

/// Reads on a thread of its own, which ends when the receiver is dropped.
pub(crate) fn start(
    input: Input,
    plan: Arc<Plan>,
    progress: Progress,
    ahead: usize,
) -> Receiver<Result<Part, Error>> {
    let (sender, receiver) = mpsc::channel(ahead);
    thread::spawn(move || {
        let send = |part| sender.blocking_send(part).is_ok();
        let mut feed = Feed {
            input,
            scanner: plan.scanner(),
            plan,
            progress,
        };
        if let Err(error) = feed.run(&send) {
            send(Err(error));
        }
    });
    receiver
}

struct Feed {
    input: Input,
    scanner: Scanner,
    plan: Arc<Plan>,
    progress: Progress,
}

impl Feed {
    fn run(&mut self, send: &dyn Fn(Result<Part, Error>) -> bool) -> Result<(), Error> {
        loop {
            let mut rows = Rows::default();
            rows.bytes.reserve(self.input.buffer.len() + 1);
            let (buffer, ended) = (&self.input.buffer, self.input.ended);
            let taken = self.scanner.take(buffer, ended, &mut rows);
            let taken = taken.map_err(|error| self.wrong(&error))?;
            self.progress.set(self.input.read(), rows.count);
            self.input.buffer.drain(..taken);
            if rows.count > 0 && !send(Ok(Part::Rows(rows))) {
                return Ok(());
            }
            if self.input.ended {
                send(Ok(Part::End(self.scanner.left_out())));
                return Ok(());
            }
            let left = self.input.buffer.len();
            if left > LONGEST_ROW {
                return Err(self.too_long());
            }
            // Doubled for a longer row, so that the row is not scanned too often.
            let amount = if taken == 0 { left.max(BLOCK) } else { BLOCK };
            self.read(amount)?;
        }
    }

    fn read(&mut self, amount: usize) -> Result<(), Error> {
        let guessed = |input: &Input| input.found().1 == Evidence::Guess;
        let before = guessed(&self.input);
        self.input.more(amount, self.scanner.line())?;
        if guessed(&self.input) && !before {
            let (name, charset) = (&self.input.name, self.input.found().0);
            self.progress.note(format_args!(
                "{name}: not UTF-8 after line {}: read as {charset}, the most likely encoding; --encoding overrides it",
                self.scanner.line()
            ));
        }
        Ok(())
    }

    fn wrong(&self, error: &RowError) -> Error {
        let column = match self.plan.columns.get(error.field) {
            Some(name) => format!("column {} ({name})", error.field + 1),
            None => format!("column {}", error.field + 1),
        };
        let (what, hint) = match &error.kind {
            RowErrorKind::Width { found, expected } => {
                let which = if found < expected {
                    "missing"
                } else {
                    "too many"
                };
                let found = fields(*found);
                let what = format!("{which}; the row has {found} and the file has {expected}");
                (what, None)
            }
            RowErrorKind::TextAfterQuote => (
                "text after a closing quote; a quote within quotes must be written twice"
                    .to_owned(),
                Some("--trim allows blanks there; --escape '\\' reads \\\" as a quote".to_owned()),
            ),
            RowErrorKind::BlankBeforeQuote => {
                (BLANK_BEFORE_QUOTE.to_owned(), Some(TRIM.to_owned()))
            }
            RowErrorKind::OpenQuote => ("a quote is opened here and never closed".to_owned(), None),
            RowErrorKind::Delimiter(byte) => {
                let name = dialect::name(*byte);
                (
                    format!(
                        "a {name}, which no row before it contains: whether it separates fields is unclear"
                    ),
                    Some(format!(
                        "--single-column loads each line as one value; --delimiter {name} separates them"
                    )),
                )
            }
            RowErrorKind::Value { value, kind } => (
                format!("{} would change the value {}", kind.name(), shown(value)),
                Some(self.mended(error.field, *kind)),
            ),
        };
        Error::Failed {
            text: format!("{}:{}: {column}: {what}", self.input.name, error.line),
            hint,
        }
    }

    /// What to do about a column whose type does not keep a value.
    fn mended(&self, column: usize, kind: Kind) -> String {
        match self.plan.created {
            true => format!(
                "the type was inferred from the first rows. Either --create, which makes every column text, or create the table first and repeat the import:\n{}",
                self.plan.with_text(column)
            ),
            false => format!(
                "the column is {}, and --infer-types refuses what it would change; without that option the server decides",
                kind.name()
            ),
        }
    }

    fn too_long(&self) -> Error {
        let (name, line) = (&self.input.name, self.scanner.line());
        Error::failed(format!(
            "{name}:{line}: the row is longer than 1 GiB; check for a quote that is never closed"
        ))
    }
}

fn fields(count: usize) -> String {
    match count {
        1 => "1 field".to_owned(),
        count => format!("{count} fields"),
    }
}

/// A value as it is shown in an error.
fn shown(value: &[u8]) -> String {
    const MOST: usize = 60;
    let text = String::from_utf8_lossy(value);
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{:?}…", &text[..at]),
        None => format!("{text:?}"),
    }
}
