//! Makes untrusted text safe for a log line or a terminal.
//!
//! Text from a server is untrusted: before the login a man-in-the-middle may answer in its place,
//! and afterwards messages contain what other users stored in tables. Control characters affect a
//! terminal, reversed text and line breaks mislead a reader, and an endless message fills a log.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// The maximum number of characters that [`line()`] shows.
pub const LONGEST: usize = 2_000;

/// Returns the text as one line: control and format characters, including line ends, are escaped as
/// in Rust's string literals, and text beyond [`LONGEST`] characters is replaced by its size in
/// bytes.
///
/// The errors, log lines and output of the pgmonkey crates apply this to all text from a server.
/// The drivers' own errors, which guards pass on, do not: apply it before showing one.
///
/// ```
/// use pgmonkey_connect::printable;
///
/// assert_eq!(printable::line("no such table"), "no such table");
/// assert_eq!(printable::line("\u{1b}[2Jgone\n"), r"\u{1b}[2Jgone\n");
/// let long = printable::line(&"x".repeat(900_000)).into_owned();
/// assert!(long.ends_with("… [898000 more bytes]"));
/// ```
pub fn line(text: &str) -> Cow<'_, str> {
    let end = text.char_indices().nth(LONGEST).map(|(end, _)| end);
    let shown = &text[..end.unwrap_or(text.len())];
    let mut line = escaped(shown, &[]);
    if let Some(end) = end {
        let cut = text.len() - end;
        // Writing to a `String` cannot fail.
        let _ = write!(line.to_mut(), "… [{cut} more bytes]");
    }
    line
}

/// Returns the whole text with line feeds and tabs kept; other control and format characters are
/// escaped.
///
/// ```
/// use pgmonkey_connect::printable;
///
/// assert_eq!(printable::lines("a\n\tb\u{7}"), "a\n\tb\\u{7}");
/// ```
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, &['\n', '\t'])
}

fn escaped<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    let is_kept = |letter: char| kept.contains(&letter) || !is_escaped(letter);
    let Some(first) = text.find(|letter| !is_kept(letter)) else {
        return Cow::Borrowed(text);
    };
    let mut shown = text[..first].to_owned();
    for letter in text[first..].chars() {
        match is_kept(letter) {
            true => shown.push(letter),
            false => shown.extend(letter.escape_default()),
        }
    }
    Cow::Owned(shown)
}

/// Whether a character is invisible or has an effect: Unicode's control characters (C0, C1 and
/// DEL), its format characters, which change the direction of text or hide in it, and its line and
/// paragraph separators.
///
/// ```
/// use pgmonkey_connect::printable::is_escaped;
///
/// assert!(is_escaped('\u{9b}') && is_escaped('\u{202e}') && is_escaped('\u{2028}'));
/// assert!(!is_escaped('é') && !is_escaped('漢'));
/// ```
pub fn is_escaped(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Displays its value through [`line()`].
pub(crate) struct Line<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Line<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&line(&self.0.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_tricks_is_left_as_it_is() {
        for text in [
            "",
            "FATAL: größe 漢字 🐒",
            "a\\u{1b}b",
            &"x".repeat(LONGEST),
        ] {
            assert!(matches!(line(text), Cow::Borrowed(shown) if shown == text));
        }
    }

    #[test]
    fn every_trick_is_shown() {
        assert_eq!(line("a\r\n\tb"), "a\\r\\n\\tb");
        assert_eq!(line("\u{1b}]0;title\u{7}"), "\\u{1b}]0;title\\u{7}");
        assert_eq!(line("\u{9b}31m\u{7f}"), "\\u{9b}31m\\u{7f}");
        assert_eq!(line("\u{202e}txt\u{2066}"), "\\u{202e}txt\\u{2066}");
        assert_eq!(lines("a\r\nb\u{2028}"), "a\\r\nb\\u{2028}");
        for code in 0..=0x10_ffff {
            let Some(letter) = char::from_u32(code) else {
                continue;
            };
            let shown = line(letter.encode_utf8(&mut [0; 4])).into_owned();
            assert!(!shown.chars().any(is_escaped), "{code:x}");
        }
    }

    #[test]
    fn what_is_cut_is_counted_and_characters_stay_whole() {
        let text = "ä".repeat(LONGEST + 3);
        let shown = line(&text).into_owned();
        assert_eq!(shown, format!("{}… [6 more bytes]", "ä".repeat(LONGEST)));
        // Escaping lengthens the text by a constant factor, and it is cut only once.
        let shown = line(&"\u{1b}".repeat(900_000)).into_owned();
        assert!(shown.len() < 7 * LONGEST, "{}", shown.len());
    }
}
