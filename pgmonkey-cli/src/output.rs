//! Where results go, and in which form.

use std::io::{self, IsTerminal, Write};

use anstyle::Style;
use clap::ValueEnum;
use pgmonkey::printable;
use serde::Serialize;

use crate::error::Error;
use crate::table::Table;

/// The form of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs; the fields are documented.
    Json,
}

/// The `--format` option.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct FormatOption {
    /// For people or for programs.
    #[arg(
        long,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "table|json"
    )]
    pub(crate) format: Format,
}

/// Where results go: stdout, without colour unless it is a terminal.
pub(crate) struct Output<'a> {
    sink: Box<dyn Write + 'a>,
    colour: bool,
    width: Option<u16>,
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
        }
    }
}

impl Output<'_> {
    /// Writes a line, or several. Control characters in it are not a terminal's business.
    pub(crate) fn line(&mut self, text: impl std::fmt::Display) -> Result<(), Error> {
        let text = text.to_string();
        writeln!(self.sink, "{}", printable::lines(&text)).map_err(Error::print)
    }

    /// Writes sentences, folded where the terminal ends. What is to be copied is a line instead.
    pub(crate) fn prose(&mut self, text: impl std::fmt::Display) -> Result<(), Error> {
        let text = folded(&text.to_string(), self.width);
        self.line(text)
    }

    /// Writes text as it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Error> {
        self.sink.write_all(text.as_bytes()).map_err(Error::print)
    }

    /// Writes a value as indented JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Error::print(io::Error::other(error)))?;
        self.line(escaped(&text))
    }

    /// Writes a table, as wide as the terminal at most.
    pub(crate) fn table(&mut self, table: &Table) -> Result<(), Error> {
        let text = table.render(self.width, self.colour);
        self.text(&text)
    }

    /// The bytes' way out, for what is not text of ours.
    pub(crate) fn writer(&mut self) -> &mut dyn Write {
        &mut *self.sink
    }
}

/// JSON without the characters that a terminal obeys; programs read the same text.
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

/// The text with each line broken between words, so that none is longer than `width`. What
/// follows a break stands under its line; a word that is longer stays whole.
pub(crate) fn folded(text: &str, width: Option<u16>) -> String {
    let Some(width) = width.map(usize::from) else {
        return text.to_owned();
    };
    let lines: Vec<String> = text.split('\n').map(|line| fold(line, width)).collect();
    lines.join("\n")
}

fn fold(line: &str, width: usize) -> String {
    let (indent, rest) = line.split_at(line.len() - line.trim_start_matches(' ').len());
    let mut folded = indent.to_owned();
    let mut column = indent.len();
    for (number, word) in rest.split(' ').enumerate() {
        let letters = word.chars().count();
        if number > 0 && column + 1 + letters > width {
            folded.push('\n');
            folded.push_str(indent);
            column = indent.len();
        } else if number > 0 {
            folded.push(' ');
            column += 1;
        }
        folded.push_str(word);
        column += letters;
    }
    folded
}

/// A text in a style if colours are shown.
pub(crate) fn styled(colour: bool, style: Style, text: &str) -> String {
    if colour {
        format!("{style}{text}{style:#}")
    } else {
        text.to_owned()
    }
}

/// Whether a stream gets colours: only a terminal does, and only if nobody objects. See
/// <https://no-color.org>.
pub(crate) fn colour(terminal: bool) -> bool {
    let objects = std::env::var_os("NO_COLOR").is_some_and(|text| !text.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|name| name == "dumb");
    terminal && !objects && !dumb
}

/// `COLUMNS`, else the terminal's width; what is piped to another program is not folded.
pub(crate) fn width(terminal: bool) -> Option<u16> {
    let columns = std::env::var("COLUMNS").ok();
    let given = columns.and_then(|text| text.trim().parse().ok());
    let found = || terminal.then(terminal_size::terminal_size).flatten();
    given.or_else(|| found().map(|(width, _)| width.0))
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
        };
        output.json(&value).expect("it can be written");
        drop(output);
        let text = String::from_utf8(sink).expect("UTF-8");
        let quiet = |letter: char| letter == '\n' || !printable::is_escaped(letter);
        assert!(text.chars().all(quiet), "{text:?}");
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read, value);
    }

    #[test]
    fn lines_break_between_words() {
        let text = "one two three\n  four five six\n\nunbreakable-word x";
        assert_eq!(
            folded(text, Some(9)),
            "one two\nthree\n  four\n  five\n  six\n\nunbreakable-word\nx"
        );
        for width in [1, 5, 13, 40] {
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(words(&folded(text, Some(width))), words(text));
        }
        assert_eq!(folded(text, None), text);
        assert_eq!(folded(text, Some(40)), text);
        assert_eq!(folded("a  b", Some(40)), "a  b");
    }
}
