//! Splits SQL text into words and symbols, without literals and comments.
//!
//! Reference: PostgreSQL, "Lexical Structure". Whether a backslash escapes a following quote
//! depends on `standard_conforming_strings`; unless that is known to be on, the lexer gives up.

/// A token that matters for the effects of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or name, or the content of a quoted name.
    Word(&'a [u8]),
    /// Any other single byte outside of literals: `;`, `(`, `,`, an operator.
    Symbol(u8),
    /// A string literal, including a dollar-quoted one.
    Literal,
    /// The rest of the text, which cannot be tokenized with certainty.
    Unsure,
}

/// Tokenizes a text in one pass.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    rest: &'a [u8],
    /// Whether a backslash is an ordinary character, as in standard SQL.
    standard: bool,
}

/// Whether a byte can be part of an unquoted name; non-ASCII bytes can.
const IN_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let ascii = byte as u8;
        table[byte] = ascii.is_ascii_alphanumeric() || matches!(ascii, b'_' | b'$' | 0x80..);
        byte += 1;
    }
    table
};

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8], standard: bool) -> Self {
        Self {
            rest: text,
            standard,
        }
    }

    /// The next token; `None` at the end.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let (&byte, after) = self.rest.split_first()?;
            if matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\x0b' | b'\x0c') {
                self.rest = after;
                continue;
            }
            if IN_WORD[usize::from(byte)] && byte != b'$' {
                return Some(self.word());
            }
            match (byte, after.first()) {
                (b'-', Some(b'-')) => self.skip_line(),
                (b'/', Some(b'*')) => {
                    if !self.skip_comment() {
                        return Some(self.give_up());
                    }
                }
                (b'\'', _) => return Some(self.literal(false)),
                (b'"', _) => return Some(self.quoted_name()),
                (b'$', _) => return Some(self.dollar()),
                _ => {
                    self.rest = after;
                    return Some(Token::Symbol(byte));
                }
            }
        }
    }

    /// What is left of the text.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Consumes the next token and returns it if it is a word.
    pub(super) fn next_word(&mut self) -> Option<&'a [u8]> {
        match self.next() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    #[inline]
    fn word(&mut self) -> Token<'a> {
        let mut length = 1;
        while let Some(byte) = self.rest.get(length)
            && IN_WORD[usize::from(*byte)]
        {
            length += 1;
        }
        let (word, after) = self.rest.split_at(length);
        self.rest = after;
        match (word, after.first()) {
            // `E'…'` has escapes; `B'…'`, `X'…'` and `N'…'` are read like a plain literal.
            (b"e" | b"E", Some(b'\'')) => self.literal(true),
            // A name or literal written with Unicode escapes could be anything.
            (b"u" | b"U", Some(b'&')) if matches!(after.get(1), Some(b'\'' | b'"')) => {
                self.give_up()
            }
            _ => Token::Word(word),
        }
    }

    /// Reads from the opening to the closing quote. A doubled quote is read as two adjacent
    /// literals, which makes no difference here.
    fn literal(&mut self, escapes: bool) -> Token<'a> {
        let mut at = 1;
        loop {
            match self.rest.get(at) {
                None => return self.give_up(),
                Some(b'\'') => break,
                Some(b'\\') if escapes => at += 2,
                // Whether this quote ends the literal depends on a session setting.
                Some(b'\\') if !self.standard && self.rest.get(at + 1) == Some(&b'\'') => {
                    return self.give_up();
                }
                Some(_) => at += 1,
            }
        }
        self.rest = &self.rest[at + 1..];
        if escapes && self.rest.first() == Some(&b'\'') {
            return self.literal(true);
        }
        Token::Literal
    }

    fn quoted_name(&mut self) -> Token<'a> {
        let after = &self.rest[1..];
        let Some(length) = after.iter().position(|byte| *byte == b'"') else {
            return self.give_up();
        };
        self.rest = &after[length + 1..];
        Token::Word(&after[..length])
    }

    /// A dollar-quoted literal, or a parameter.
    fn dollar(&mut self) -> Token<'a> {
        let after = &self.rest[1..];
        let name = after
            .iter()
            .position(|byte| *byte == b'$' || !IN_WORD[usize::from(*byte)])
            .unwrap_or(after.len());
        let is_quote =
            after.get(name) == Some(&b'$') && !after.first().is_some_and(u8::is_ascii_digit);
        if !is_quote {
            self.rest = &after[name..];
            return Token::Symbol(b'$');
        }
        let (delimiter, body) = self.rest.split_at(name + 2);
        let end = body
            .windows(delimiter.len())
            .position(|window| window == delimiter);
        match end {
            Some(end) => {
                self.rest = &body[end + delimiter.len()..];
                Token::Literal
            }
            None => self.give_up(),
        }
    }

    fn skip_line(&mut self) {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        self.rest = end.map_or(&[], |end| &self.rest[end..]);
    }

    /// Skips a comment, which may be nested; false if it does not end.
    fn skip_comment(&mut self) -> bool {
        let (mut depth, mut at) = (1_usize, 2);
        while depth > 0 {
            match self.rest.get(at..at + 2) {
                Some(b"*/") => {
                    depth -= 1;
                    at += 2;
                }
                Some(b"/*") => {
                    depth += 1;
                    at += 2;
                }
                Some(_) => at += 1,
                None => return false,
            }
        }
        self.rest = &self.rest[at..];
        true
    }

    fn give_up(&mut self) -> Token<'a> {
        self.rest = &[];
        Token::Unsure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokens(text: &str) -> Vec<Token<'_>> {
        let mut lexer = Lexer::new(text.as_bytes(), false);
        std::iter::from_fn(|| lexer.next()).collect()
    }

    fn words(text: &str) -> Vec<&str> {
        let word = |token| match token {
            Token::Word(word) => std::str::from_utf8(word).ok(),
            Token::Unsure => Some("?"),
            _ => None,
        };
        tokens(text).into_iter().filter_map(word).collect()
    }

    #[test]
    fn literals_and_comments_hold_no_words() {
        let cases: [(&str, &[&str]); 14] = [
            ("SELECT 'a b''c' x", &["SELECT", "x"]),
            ("SELECT E'a\\'b' x", &["SELECT", "x"]),
            ("SELECT e'a\\\\' x", &["SELECT", "x"]),
            ("SELECT E'a''b' x", &["SELECT", "x"]),
            ("SELECT 'a\\b' x", &["SELECT", "x"]),
            ("SELECT 'a\\' x", &["SELECT", "?"]),
            ("SELECT 'a", &["SELECT", "?"]),
            ("a -- b\nc", &["a", "c"]),
            ("a /* b /* c */ d */ e", &["a", "e"]),
            ("a /* b", &["a", "?"]),
            ("a \"b c\" d", &["a", "b c", "d"]),
            ("a $$ b $$ c $x$ d $$ e $x$ f", &["a", "c", "f"]),
            ("a $1 b $2$ c", &["a", "b", "c"]),
            ("a U&\"\\0061\" b", &["a", "?"]),
        ];
        for (text, wanted) in cases {
            assert_eq!(words(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_backslash_escapes_no_quote_where_strings_are_standard() {
        let mut lexer = Lexer::new(b"'a\\' b '\\'", true);
        let tokens: Vec<_> = std::iter::from_fn(|| lexer.next()).collect();
        assert_eq!(tokens, [Token::Literal, Token::Word(b"b"), Token::Literal]);
    }

    #[test]
    fn operators_are_symbols() {
        assert_eq!(
            tokens("a&b;"),
            [
                Token::Word(b"a"),
                Token::Symbol(b'&'),
                Token::Word(b"b"),
                Token::Symbol(b';')
            ]
        );
        assert_eq!(words("u & 1"), ["u", "1"]);
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut lexer = Lexer::new(&text, true);
            let mut count = 0;
            while lexer.next().is_some() {
                count += 1;
                prop_assert!(count <= text.len());
            }
        }
    }
}
