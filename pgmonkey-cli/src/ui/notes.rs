//! Everything that is not a result: warnings, failures and hints, on stderr.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Color, Style};
use pgmonkey::printable;

use super::style::{self, colour, folded, styled};
use crate::error::Error;

const fn bold(shade: AnsiColor) -> Style {
    Style::new().bold().fg_color(Some(Color::Ansi(shade)))
}

/// The style of an error.
pub(crate) const ERROR: Style = bold(AnsiColor::Red);
/// The style of a warning.
pub(crate) const WARNING: Style = bold(AnsiColor::Yellow);
/// The style of a hint.
pub(crate) const HINT: Style = bold(AnsiColor::Cyan);

/// Prints a note on stderr.
pub(crate) fn note(text: impl std::fmt::Display) {
    say(&fitted(&printable::lines(&text.to_string())));
}

/// Prints a line that already contains its colours.
pub(crate) fn painted(text: &str) {
    say(text);
}

/// Prints a text with its kind in front.
pub(crate) fn marked(style: Style, kind: &str, text: impl std::fmt::Display) {
    // Colours do not count for the width, so they are added after folding.
    let kind = format!("{kind}:");
    let text = text.to_string();
    let text = fitted(&format!("{kind} {}", printable::lines(&text)));
    let shown = styled(colour(io::stderr().is_terminal()), style, &kind);
    say(&format!("{shown}{}", &text[kind.len()..]));
}

fn say(text: &str) {
    // A failure to write to stderr cannot be reported.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Folds text for the terminal, or at `COLUMNS`, except for lines that begin with a blank: those
/// quote a file, with marks under them.
fn fitted(text: &str) -> String {
    let Some(width) = style::width(io::stderr().is_terminal()) else {
        return text.to_owned();
    };
    let fit = |line: &str| match line.starts_with(' ') {
        true => line.to_owned(),
        false => folded(line, Some(width)),
    };
    text.split('\n').map(fit).collect::<Vec<_>>().join("\n")
}

/// Warns about something that does not stop the command.
pub(crate) fn warning(text: impl std::fmt::Display) {
    marked(WARNING, "warning", text);
}

/// Prints why the command failed and what to do about it.
pub(crate) fn failure(error: &Error) {
    if error.is_told() {
        return;
    }
    match error {
        Error::Config(error) => error
            .problems()
            .iter()
            .for_each(|problem| marked(ERROR, "error", problem)),
        error => marked(ERROR, "error", error.message()),
    }
    if let Some(hint) = error.hint() {
        marked(HINT, "hint", hint);
    }
}
