//! Splits a text into its statements.

use super::lexer::{Lexer, Token};

/// The statements of a text, without the semicolons between them and without empty ones; `None` if
/// the text cannot be tokenized with certainty. A semicolon inside of a statement (`CREATE RULE`,
/// `BEGIN ATOMIC`) splits it.
///
/// ```
/// use pgmonkey_connect::sql::statements;
///
/// let text = "BEGIN; SET LOCAL app.tenant = 'a;b';";
/// assert_eq!(statements(text), Some(vec!["BEGIN", "SET LOCAL app.tenant = 'a;b'"]));
/// assert_eq!(statements("SELECT 'open"), None);
/// ```
pub fn statements(text: &str) -> Option<Vec<&str>> {
    let mut lexer = Lexer::new(text.as_bytes(), false);
    let (mut found, mut start, mut is_empty) = (Vec::new(), 0, true);
    while let Some(token) = lexer.next() {
        match token {
            Token::Unsure => return None,
            Token::Symbol(b';') => {
                let end = text.len() - lexer.rest().len();
                if !is_empty {
                    found.push(text.get(start..end - 1)?.trim());
                }
                (start, is_empty) = (end, true);
            }
            _ => is_empty = false,
        }
    }
    if !is_empty {
        found.push(text.get(start..)?.trim());
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_inside_of_literals_and_comments_separate_nothing() {
        let one = |text| assert_eq!(statements(text).map(|found| found.len()), Some(1), "{text}");
        one("SELECT ';'");
        one("SELECT $a$;$a$");
        one("SELECT 1 /* ; */ -- ;");
        one("SELECT \";\"");
        one(";; SELECT 1 ; -- the end");
        assert_eq!(statements(" ; -- nothing"), Some(vec![]));
        assert_eq!(
            statements("SELECT 1;SELECT 2").map(|found| found.len()),
            Some(2)
        );
    }
}
