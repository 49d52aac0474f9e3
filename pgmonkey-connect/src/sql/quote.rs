//! Quotes text as a literal or as an identifier.

/// Returns `text` as a string literal that is valid under either value of
/// `standard_conforming_strings`.
///
/// Text with a backslash becomes an `E'…'` literal, as from libpq's `PQescapeLiteral`: in a plain
/// literal a backslash escapes the next character if that setting is off. A PostgreSQL literal
/// cannot contain a zero byte; the server rejects such a statement.
///
/// ```
/// use pgmonkey_connect::sql::literal;
///
/// assert_eq!(literal("it's"), "'it''s'");
/// assert_eq!(literal(r"a\b"), r"E'a\\b'");
/// ```
#[must_use]
pub fn literal(text: &str) -> String {
    let quotes = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!("E'{}'", quotes.replace('\\', "\\\\")),
        false => format!("'{quotes}'"),
    }
}

/// Returns `name` as a quoted identifier, which preserves it exactly.
///
/// ```
/// use pgmonkey_connect::sql::identifier;
///
/// assert_eq!(identifier("My \"T\""), "\"My \"\"T\"\"\"");
/// ```
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The text of the literal at the front of `sql`, and the rest, read as the server does: a
    /// backslash escapes in an `E'…'` literal, and in a plain one unless strings conform.
    fn read(sql: &str, conforming: bool) -> Option<(String, &str)> {
        let (escapes, body) = match sql.strip_prefix("E'") {
            Some(body) => (true, body),
            None => (!conforming, sql.strip_prefix('\'')?),
        };
        let mut text = String::new();
        let mut letters = body.char_indices().peekable();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\'' if letters.peek().is_some_and(|(_, next)| *next == '\'') => {
                    letters.next();
                    text.push('\'');
                }
                '\'' => return Some((text, &body[at + 1..])),
                '\\' if escapes => text.push(letters.next()?.1),
                letter => text.push(letter),
            }
        }
        None
    }

    proptest! {
        #[test]
        fn a_literal_is_read_as_one_text_under_either_setting(
            text in "([a-z'\\\\\";$-]|\\PC){0,40}",
        ) {
            let sql = format!("{}; SELECT 1", literal(&text));
            for conforming in [true, false] {
                prop_assert_eq!(read(&sql, conforming), Some((text.clone(), "; SELECT 1")));
            }
        }

        #[test]
        fn an_identifier_ends_where_it_should(name in "([a-z'\\\\\";]|\\PC){1,40}") {
            let sql = identifier(&name);
            let inside = &sql[1..sql.len() - 1];
            prop_assert!(!inside.replace("\"\"", "").contains('"'));
            prop_assert_eq!(inside.replace("\"\"", "\""), name);
        }
    }
}
