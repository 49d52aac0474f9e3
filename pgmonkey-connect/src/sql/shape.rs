//! What may be said of a text without its values: the operation, the names it uses, and the text
//! with `?` in place of literals.

use super::lexer::{Lexer, Token};
use summary::Summary;

mod summary;

/// The longest text that is kept, in bytes.
pub(crate) const LONGEST: usize = 2048;

/// A text without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The first word of the statement: `SELECT`, `INSERT`, …; `OTHER` if it is unknown.
    pub(crate) operation: &'static str,
    /// The operations and the names of what they act on.
    pub(crate) summary: String,
    /// The text with `?` in place of each literal, without comments.
    pub(crate) text: String,
    /// Whether the text has parameters (`$1`).
    pub(crate) has_parameters: bool,
}

/// Describes one statement; `standard` says whether `standard_conforming_strings` is known to be on.
pub(crate) fn of(text: &[u8], standard: bool) -> Shape {
    let mut lexer = Lexer::new(text, standard);
    let mut summary = Summary::default();
    let mut out = Out {
        text: Vec::with_capacity(text.len().min(LONGEST)),
        before: Before::Nothing,
    };
    let mut has_parameters = false;
    let mut end = 0;
    while let Some(token) = lexer.next() {
        let gap = &text[end..];
        end = text.len() - lexer.rest().len();
        summary.take(token);
        match token {
            Token::Word(word) => out.word(text, word, gap, lexer.rest()),
            Token::Symbol(b'$') => {
                let start = text[..end].iter().rposition(|byte| *byte == b'$');
                has_parameters |= end - start.unwrap_or(end) > 1;
                out.push(gap, &text[start.unwrap_or(end)..end]);
            }
            Token::Symbol(symbol) => out.symbol(gap, symbol),
            Token::Literal => out.literal(gap),
            // What follows may be part of a literal.
            Token::Unsure => {
                out.push(gap, "…".as_bytes());
                break;
            }
        }
        if out.text.len() >= LONGEST {
            break;
        }
    }
    let (operation, summary) = summary.finish();
    Shape {
        operation,
        summary,
        text: cut(&out.text),
        has_parameters,
    }
}

/// A text as it is, up to the longest that is kept.
pub(crate) fn cut(text: &[u8]) -> String {
    let Some(short) = text.get(..LONGEST) else {
        return String::from_utf8_lossy(text).trim().to_owned();
    };
    let whole = match std::str::from_utf8(short) {
        Ok(_) => short.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => short.len(),
    };
    String::from_utf8_lossy(&short[..whole]).trim().to_owned() + "…"
}

/// What was written last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Literal,
    Number,
    /// A point directly behind a number.
    Point,
}

/// The text without literals, as it grows.
struct Out {
    text: Vec<u8>,
    before: Before,
}

impl Out {
    fn push(&mut self, gap: &[u8], bytes: &[u8]) {
        if is_gap(gap) && !self.text.is_empty() {
            self.text.push(b' ');
        }
        self.text.extend_from_slice(bytes);
        self.before = Before::Nothing;
    }

    fn word(&mut self, text: &[u8], word: &[u8], gap: &[u8], rest: &[u8]) {
        if word.first().is_some_and(u8::is_ascii_digit) {
            if self.before == Before::Point && !is_gap(gap) {
                self.before = Before::Number;
                return;
            }
            self.placeholder(gap);
            self.before = Before::Number;
            return;
        }
        // `B'…'`, `X'…'` and `N'…'`.
        if word.len() == 1 && rest.first() == Some(&b'\'') {
            return;
        }
        let start = word.as_ptr().addr() - text.as_ptr().addr();
        let is_quoted = text.len() - rest.len() > start + word.len();
        match is_quoted {
            true => self.push(gap, &text[start - 1..=start + word.len()]),
            false => self.push(gap, word),
        }
    }

    fn symbol(&mut self, gap: &[u8], symbol: u8) {
        if symbol == b'.' && self.before == Before::Number && !is_gap(gap) {
            self.before = Before::Point;
            return;
        }
        self.push(gap, &[symbol]);
    }

    fn literal(&mut self, gap: &[u8]) {
        // A doubled quote is read as two literals, and adjacent literals are one.
        if self.before != Before::Literal {
            self.placeholder(gap);
        }
        self.before = Before::Literal;
    }

    /// A list of literals becomes one `?`, so that lists of all lengths are the same text.
    fn placeholder(&mut self, gap: &[u8]) {
        if self.text.ends_with(b"?,") {
            self.text.pop();
            return;
        }
        self.push(gap, b"?");
    }
}

/// Whether a token is separated from the one before it, given the text behind that.
fn is_gap(gap: &[u8]) -> bool {
    match gap {
        [first, ..] if first.is_ascii_whitespace() || *first == b'\x0b' => true,
        [b'-', b'-', ..] | [b'/', b'*', ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn literals_become_question_marks() {
        let cases = [
            (
                "SELECT * FROM t WHERE a = 'x''y' AND b = 1.5e3",
                "SELECT * FROM t WHERE a = ? AND b = ?",
            ),
            ("  SELECT  1 -- secret\n + 2", "SELECT ? + ?"),
            ("SELECT E'a\\'b', $$ secret $$, B'01', x'ff'", "SELECT ?"),
            ("WHERE id IN (1, 2,3) AND x[1]", "WHERE id IN (?) AND x[?]"),
            ("VALUES (1, 'a'), (2, 'b')", "VALUES (?), (?)"),
            (
                "SELECT \"a b\".c, t1.x::int4 FROM \"T\"",
                "SELECT \"a b\".c, t1.x::int4 FROM \"T\"",
            ),
            ("SELECT -5, a-1", "SELECT -?, a-?"),
            ("SELECT $1, $22::text, 'x'", "SELECT $1, $22::text, ?"),
            ("ALTER ROLE r PASSWORD 'secret'", "ALTER ROLE r PASSWORD ?"),
            ("SELECT 'open, secret", "SELECT …"),
            ("SELECT 1.", "SELECT ?"),
            ("", ""),
        ];
        for (text, wanted) in cases {
            assert_eq!(of(text.as_bytes(), true).text, wanted, "{text}");
        }
        assert!(of(b"SELECT $1", true).has_parameters);
        assert!(!of(b"SELECT '$1', $$ $1 $$", true).has_parameters);
    }

    #[test]
    fn a_long_text_is_cut() {
        let text = format!("SELECT '{}', a{}", "x".repeat(5000), "é".repeat(5000));
        let shown = of(text.as_bytes(), true).text;
        assert!(
            shown.len() <= LONGEST + 3 && shown.starts_with("SELECT ?, aé") && shown.ends_with('…')
        );
    }

    proptest! {
        #[test]
        fn a_literal_never_shows(
            before in "[a-z =,(]{0,20}", secret in "[A-Z]{4,10}", after in "[a-z =,)']{0,20}",
            quote in prop::sample::select(vec![("'", "'"), ("E'", "'"), ("$$", "$$"), ("$x$", "$x$")]),
        ) {
            let text = format!("{before} {}{secret}{} {after}", quote.0, quote.1);
            let shape = of(text.as_bytes(), true);
            prop_assert!(!shape.text.contains(&secret), "{text}: {shape:?}");
            prop_assert!(!shape.summary.contains(&secret), "{text}: {shape:?}");
        }

        #[test]
        fn any_bytes_have_a_shape(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            of(&text, true);
            of(&text, false);
        }
    }
}
