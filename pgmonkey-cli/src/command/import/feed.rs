//! Reads the file ahead of the sessions that load it.

use std::thread;

use tokio::sync::mpsc::{self, Receiver};

use crate::csv::decode::Evidence;
use crate::csv::scan::{RowError, RowErrorKind, Rows, Scanner};
use crate::error::Error;
use crate::transfer::progress::Progress;

use super::input::{BLOCK, Input};

/// The longest row that the server accepts.
const LONGEST_ROW: usize = 1 << 30;

/// A part of the file: rows, or its end with the number of blank lines.
pub(crate) enum Part {
    Rows(Rows),
    End { blank: u64 },
}

/// Reads on a thread of its own, which ends when the receiver is dropped.
pub(crate) fn start(
    input: Input,
    scanner: Scanner,
    columns: Vec<String>,
    progress: Progress,
    ahead: usize,
) -> Receiver<Result<Part, Error>> {
    let (sender, receiver) = mpsc::channel(ahead);
    thread::spawn(move || {
        let send = |part| sender.blocking_send(part).is_ok();
        let mut feed = Feed {
            input,
            scanner,
            columns,
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
    columns: Vec<String>,
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
                send(Ok(Part::End {
                    blank: self.scanner.skipped(),
                }));
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
        let column = |index: usize| match self.columns.get(index) {
            Some(name) => format!("column {} ({name})", index + 1),
            None => format!("column {}", index + 1),
        };
        let what = match error.kind {
            RowErrorKind::Width { found, expected } if found < expected => {
                format!(
                    "{}: missing; the row has {} and the file has {expected}",
                    column(error.field),
                    fields(found)
                )
            }
            RowErrorKind::Width { found, expected } => {
                format!(
                    "{}: too many; the row has {} and the file has {expected}",
                    column(error.field),
                    fields(found)
                )
            }
            RowErrorKind::TextAfterQuote => {
                format!(
                    "{}: text after a closing quote; a quote within quotes must be written twice",
                    column(error.field)
                )
            }
            RowErrorKind::OpenQuote => {
                format!(
                    "{}: a quote is opened here and never closed",
                    column(error.field)
                )
            }
        };
        Error::failed(format!("{}:{}: {what}", self.input.name, error.line))
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
