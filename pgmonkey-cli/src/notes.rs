//! What is not a result: warnings, failures and hints, on stderr.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Color, Style};
use pgmonkey::printable;

use crate::error::Error;
use crate::output::{self, colour, folded, styled};

const fn bold(shade: AnsiColor) -> Style {
    Style::new().bold().fg_color(Some(Color::Ansi(shade)))
}

/// How an error is marked.
pub(crate) const ERROR: Style = bold(AnsiColor::Red);
/// How a warning is marked.
pub(crate) const WARNING: Style = bold(AnsiColor::Yellow);
/// How advice is marked.
pub(crate) const HINT: Style = bold(AnsiColor::Cyan);

/// Says something beside the result.
pub(crate) fn note(text: impl std::fmt::Display) {
    say(&fitted(&printable::lines(&text.to_string())));
}

/// Says a line of our own making, with its colours.
pub(crate) fn painted(text: &str) {
    say(text);
}

/// Says something with its kind in front.
pub(crate) fn marked(style: Style, kind: &str, text: impl std::fmt::Display) {
    // Colours take no room: they come after the folding.
    let kind = format!("{kind}:");
    let text = text.to_string();
    let text = fitted(&format!("{kind} {}", printable::lines(&text)));
    let shown = styled(colour(io::stderr().is_terminal()), style, &kind);
    say(&format!("{shown}{}", &text[kind.len()..]));
}

fn say(text: &str) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Folded for the terminal, but for lines that begin with a blank: those are a file's, with marks
/// under them.
fn fitted(text: &str) -> String {
    let width = Some(io::stderr().is_terminal()).filter(|terminal| *terminal);
    let Some(width) = width.and_then(output::width) else {
        return text.to_owned();
    };
    let fit = |line: &str| match line.starts_with(' ') {
        true => line.to_owned(),
        false => folded(line, Some(width)),
    };
    text.split('\n').map(fit).collect::<Vec<_>>().join("\n")
}

/// Warns of something that does not keep the command from going on.
pub(crate) fn warning(text: impl std::fmt::Display) {
    marked(WARNING, "warning", text);
}

/// Says why the program failed and what to do about it.
pub(crate) fn failure(error: &Error) {
    if error.is_told() {
        return;
    }
    // The server's own word for it would say it twice.
    // With the server's DETAIL: the operator may see the rows.
    let text = format!("{error:#}");
    marked(
        ERROR,
        "error",
        text.strip_prefix("ERROR: ").unwrap_or(&text),
    );
    if let Some(hint) = error.hint() {
        marked(HINT, "hint", hint);
    }
}
