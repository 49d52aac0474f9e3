//! Detects SQL text that makes the server wait for data from the client.

use super::lexer::{Lexer, Token};

/// Whether one of the statements in a text is a `COPY … FROM STDIN`.
///
/// ```
/// use pgmonkey_connect::sql::takes_data;
///
/// assert!(takes_data("SELECT 1; COPY t (a, b) FROM STDIN WITH (FORMAT csv)"));
/// assert!(!takes_data("COPY t TO STDOUT") && !takes_data("SELECT 'COPY t FROM STDIN'"));
/// ```
pub fn takes_data(text: &str) -> bool {
    let mut lexer = Lexer::new(text.as_bytes(), true);
    let (mut begins, mut copies, mut from) = (true, false, false);
    while let Some(token) = lexer.next() {
        let word = match token {
            Token::Word(word) => word,
            _ => b"",
        };
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        if begins {
            copies = is(b"copy");
        }
        if copies && from && is(b"stdin") {
            return true;
        }
        from = is(b"from");
        begins = token == Token::Symbol(b';');
    }
    false
}
