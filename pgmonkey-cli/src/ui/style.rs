//! Colours and line width, as the terminal and its user request.

use anstyle::Style;

/// Breaks each line of the text between words, so that none is longer than `width`. Continuation
/// lines keep the indent of their line; a longer word stays whole.
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

/// The text in a style, if colours are shown.
pub(crate) fn styled(colour: bool, style: Style, text: &str) -> String {
    if colour {
        format!("{style}{text}{style:#}")
    } else {
        text.to_owned()
    }
}

/// Whether a stream gets colours: only a terminal, and not if `NO_COLOR` is set. See
/// <https://no-color.org>.
pub(crate) fn colour(terminal: bool) -> bool {
    let objects = std::env::var_os("NO_COLOR").is_some_and(|text| !text.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|name| name == "dumb");
    terminal && !objects && !dumb
}

/// `COLUMNS`, otherwise the terminal's width; output to a pipe is not folded.
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
