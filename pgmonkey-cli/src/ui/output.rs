//! Where results go and in which format.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use pgmonkey::printable;
use serde::Serialize;

use super::finding::Finding;
use super::style::{colour, folded, width};
use super::table::Table;
use crate::error::Error;

/// The format of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people.
    #[default]
    Table,
    /// JSON for programs; the fields are documented.
    Json,
}

/// The `--format` option.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct FormatOption {
    /// The output format: for people or for programs.
    #[arg(
        long,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "table|json"
    )]
    pub(crate) format: Format,
}

/// Why a command failed, as JSON.
#[derive(Serialize)]
struct Failure {
    ok: bool,
    error: Cause,
}

#[derive(Serialize)]
struct Cause {
    message: String,
    hint: Option<String>,
    exit_code: u8,
    /// What is wrong with the configuration.
    findings: Vec<Finding>,
}

impl Failure {
    fn of(error: &Error) -> Self {
        let findings = match error {
            Error::Config(error) => {
                let problems = error.problems().iter();
                problems
                    .map(|problem| Finding::error(problem, ""))
                    .collect()
            }
            _ => Vec::new(),
        };
        Self {
            ok: false,
            error: Cause {
                message: error.message(),
                hint: error.hint(),
                exit_code: error.exit_code(),
                findings,
            },
        }
    }
}

/// Where results go: stdout, with colour only on a terminal.
pub(crate) struct Output<'a> {
    sink: Box<dyn Write + 'a>,
    colour: bool,
    width: Option<u16>,
    /// Whether anything was written.
    used: bool,
}

impl Output<'static> {
    /// The standard output of the process.
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self {
            colour: colour(terminal),
            width: width(terminal),
            sink: Box::new(stdout.lock()),
            used: false,
        }
    }
}

impl Output<'_> {
    /// Writes one or more lines. Control characters are escaped.
    pub(crate) fn line(&mut self, text: impl std::fmt::Display) -> Result<(), Error> {
        let text = text.to_string();
        self.used = true;
        writeln!(self.sink, "{}", printable::lines(&text)).map_err(Error::print)
    }

    /// Writes sentences, folded at the terminal's width. Text that is meant to be copied uses
    /// `line`.
    pub(crate) fn prose(&mut self, text: impl std::fmt::Display) -> Result<(), Error> {
        let text = folded(&text.to_string(), self.width);
        self.line(text)
    }

    /// Writes text unchanged.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Error> {
        self.used = true;
        self.sink.write_all(text.as_bytes()).map_err(Error::print)
    }

    /// Writes a value as indented JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Error::print(io::Error::other(error)))?;
        self.line(escaped(&text))
    }

    /// Writes a table, at most as wide as the terminal.
    pub(crate) fn table(&mut self, table: &Table) -> Result<(), Error> {
        let text = table.render(self.width, self.colour);
        self.text(&text)
    }

    /// The raw stream, for output that is not our own text.
    pub(crate) fn writer(&mut self) -> &mut dyn Write {
        self.used = true;
        &mut *self.sink
    }

    /// Writes why the command failed as JSON, unless its result was written.
    pub(crate) fn failure(&mut self, error: &Error) {
        if !self.used {
            // A failure to write is the one that is being reported, or of no interest.
            let _ = self.json(&Failure::of(error));
        }
    }
}

/// Escapes the control characters in JSON; parsers read the same text.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter == '\n' || !printable::is_escaped(letter) {
            text.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            text.push_str(&format!("\\u{unit:04x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_the_same_without_a_word_to_the_terminal() {
        let value = serde_json::json!({ "a\u{9b}": "b\u{1b}\u{202e}\u{e0001}\n\u{7f}é" });
        let mut sink = Vec::new();
        let mut output = Output {
            sink: Box::new(&mut sink),
            colour: false,
            width: None,
            used: false,
        };
        output.json(&value).expect("written to memory");
        drop(output);
        let text = String::from_utf8(sink).expect("UTF-8");
        let quiet = |letter: char| letter == '\n' || !printable::is_escaped(letter);
        assert!(text.chars().all(quiet), "{text:?}");
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read, value);
    }
}
