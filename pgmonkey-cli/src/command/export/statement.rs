//! The one statement of `--query`, taken as psql takes it.
//!
//! Reference: PostgreSQL, "Lexical Structure": a semicolon within a literal, a quoted name, a
//! dollar-quoted text or a comment ends nothing.

use crate::error::Error;

/// The statement without the semicolon at its end, which `COPY` does not allow, and what follows it.
///
/// # Errors
///
/// If a second statement follows, or none is there.
pub(super) fn single(query: &str) -> Result<&str, Error> {
    let text = query.as_bytes();
    let mut end = None;
    let mut empty = true;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if let Some(length) = blank(rest) {
            at += length;
            continue;
        }
        if rest[0] == b';' {
            // Semicolons before the statement are empty statements.
            if end.is_none() && !empty {
                end = Some(at);
            }
            at += 1;
            continue;
        }
        if end.is_some() {
            return Err(Error::Failed {
                text: format!("--query contains more than one statement: the second begins at character {}", query[..at].chars().count() + 1),
                hint: Some("an export takes one SELECT, VALUES or TABLE; the settings that it needs go into the file's sync_settings".to_owned()),
            });
        }
        empty = false;
        at += token(text, at);
    }
    match empty {
        true => Err(Error::Usage("--query contains no statement".to_owned())),
        false => Ok(query[..end.unwrap_or(query.len())].trim_start_matches([';', ' ', '\n'])),
    }
}

/// The length of the blanks or the comment at the front.
fn blank(text: &[u8]) -> Option<usize> {
    match text {
        [b'-', b'-', ..] => Some(memchr::memchr(b'\n', text).unwrap_or(text.len())),
        [b'/', b'*', ..] => Some(block(text)),
        [byte, ..] if byte.is_ascii_whitespace() => Some(1),
        _ => None,
    }
}

/// The length of a block comment, which may contain others.
fn block(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        match &text[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the literal, the quoted name or the single character at `at`.
fn token(text: &[u8], at: usize) -> usize {
    let rest = &text[at..];
    let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
    match rest[0] {
        b'\'' => {
            // E'…' has escapes, unless the E is the end of a longer word.
            let before = &text[..at];
            let escapes = matches!(before, [.., b'e' | b'E']);
            let word = before.len() > 1 && in_word(&before[before.len() - 2]);
            quoted(rest, escapes && !word)
        }
        b'"' => quoted(rest, false),
        b'$' if at == 0 || !in_word(&text[at - 1]) => {
            let tag = rest[1..]
                .iter()
                .position(|byte| *byte == b'$' || !in_word(byte));
            let tag = match tag {
                Some(length) if rest[1 + length] == b'$' => &rest[..length + 2],
                _ => return 1,
            };
            let body = &rest[tag.len()..];
            let end = memchr::memmem::find(body, tag).map(|end| end + tag.len());
            tag.len() + end.unwrap_or(body.len())
        }
        _ => 1,
    }
}

/// The length of a text in quotes; a doubled quote does not end it.
fn quoted(text: &[u8], escapes: bool) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' if escapes => at += 1,
            byte if byte == text[0] => {
                if text.get(at + 1) != Some(&byte) {
                    return at + 1;
                }
                at += 1;
            }
            _ => {}
        }
        at += 1;
    }
    text.len().min(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_ends_with_its_semicolon() {
        for (query, statement) in [
            ("SELECT 1", "SELECT 1"),
            ("SELECT 1;", "SELECT 1"),
            (" SELECT 1 ; -- done; really\n", "SELECT 1 "),
            (
                "SELECT 1 /* a; /* b */ c; */;;",
                "SELECT 1 /* a; /* b */ c; */",
            ),
            (
                "SELECT ';', \"a;b\", $$;$$, $x$;$$;$x$",
                "SELECT ';', \"a;b\", $$;$$, $x$;$$;$x$",
            ),
            ("SELECT E'it\\';', 'a\\';", "SELECT E'it\\';', 'a\\'"),
            ("SELECT ''';', a$1;", "SELECT ''';', a$1"),
            ("SELECT 1 -- x;", "SELECT 1 -- x;"),
            ("; SELECT 1", "SELECT 1"),
        ] {
            assert_eq!(single(query).ok(), Some(statement), "{query}");
        }
    }

    #[test]
    fn two_statements_are_named() {
        for query in [
            "SELECT 1; SELECT 2",
            "SET x = 1;\n-- then\nSELECT 1;",
            "SELECT 'a''b'; x",
        ] {
            let error = single(query).expect_err(query).to_string();
            assert!(error.contains("more than one statement"), "{error}");
        }
        for query in ["", ";", " -- nothing", "/* open"] {
            assert!(
                single(query)
                    .expect_err(query)
                    .to_string()
                    .contains("no statement")
            );
        }
    }
}
