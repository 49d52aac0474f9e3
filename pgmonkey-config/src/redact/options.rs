//! Hides secrets in `options`, the command-line options for a session.
//!
//! Reference: PostgreSQL, `pg_split_opts`: spaces separate options, a backslash escapes the next
//! character.

use super::suspicion;
use crate::schema::keys;
use crate::secret::REDACTED;

/// Returns the text with [`REDACTED`] in place of the value of every setting whose name is that of
/// a secret, or whose value contains one.
///
/// If quotes or spaces make the end of a value uncertain, the rest of the text is replaced.
pub(crate) fn options(text: &str) -> String {
    if suspicion::is_login(text) && !text.trim_start().starts_with('-') {
        return REDACTED.to_owned();
    }
    let mut shown = String::new();
    let mut done = 0;
    let words = words(text);
    for (index, (start, end)) in words.iter().copied().enumerate() {
        let (name, value) = match text[start..end].split_once('=') {
            Some((name, value)) => (name, Some(value).filter(|value| !value.is_empty())),
            None => (&text[start..end], None),
        };
        let secret = keys::is_secret(&name.replace('\\', ""));
        let Some(value) = value else {
            let next = words.get(index + 1).map(|(next, _)| &text[*next..]);
            if secret && next.is_some_and(|next| !next.starts_with('-')) {
                shown.push_str(&text[done..end]);
                return shown + " " + REDACTED;
            }
            continue;
        };
        if secret || suspicion::holds_secret(value) {
            shown.push_str(&text[done..end - value.len()]);
            shown.push_str(REDACTED);
            if text[start..].contains(['\'', '"']) {
                return shown;
            }
            done = end;
        }
    }
    shown.push_str(&text[done..]);
    shown
}

/// Whether options with a secret contain a word that is not an option. The server rejects the word
/// and repeats it in its error, and the word may be the rest of a secret with a space in it.
pub(crate) fn has_stray_word(text: &str) -> bool {
    let words: Vec<&str> = words(text)
        .iter()
        .map(|(start, end)| &text[*start..*end])
        .collect();
    // `-c` and other single letters take an argument; that of `-c` contains a `=`.
    let takes = |word: &str| word.len() == 2 && word.starts_with('-');
    let stray = words.iter().enumerate().any(|(index, word)| {
        let before = index.checked_sub(1).map_or("", |before| words[before]);
        let value = before == "-c" && !word.contains('=');
        value || (!word.starts_with('-') && !takes(before))
    });
    stray && options(text) != text
}

/// Returns the start and end of each word of the text.
fn words(text: &str) -> Vec<(usize, usize)> {
    let mut words = Vec::new();
    let (mut start, mut escaped) = (None, false);
    for (at, letter) in text.char_indices() {
        let blank = letter.is_ascii_whitespace() && !escaped;
        match (start, blank) {
            (None, false) => start = Some(at),
            (Some(begin), true) => {
                words.push((begin, at));
                start = None;
            }
            _ => {}
        }
        escaped = letter == '\\' && !escaped;
    }
    words.extend(start.map(|begin| (begin, text.len())));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_values_of_secrets_are_hidden() {
        for (text, expected) in [
            ("-c geqo=off", "-c geqo=off"),
            ("-c app.api_token=S3cret", "-c app.api_token=***REDACTED***"),
            (
                "-c app.password=S3\\ cret -c geqo=off",
                "-c app.password=***REDACTED*** -c geqo=off",
            ),
            ("--app.api-key=S3cret", "--app.api-key=***REDACTED***"),
            ("-capp.pwd=S3cret", "-capp.pwd=***REDACTED***"),
            (
                "-c app.dsn=postgres://u:S3cret@h/d -c x=1",
                "-c app.dsn=***REDACTED*** -c x=1",
            ),
            ("-c app.token= -c x=1", "-c app.token= -c x=1"),
            ("-c password_encryption=md5", "-c password_encryption=md5"),
        ] {
            assert_eq!(options(text), expected);
            assert!(!has_stray_word(text), "{text}");
        }
    }

    #[test]
    fn where_a_value_ends_is_not_guessed() {
        for text in [
            "-c app.token = S3cret",
            "-c app.token S3cret",
            "-c app.token='S3cret S3cret'",
            "-c \"app.token=a S3cret\"",
            "-c app.tok\\en=S3cret",
            "postgres://u:S3cret@h",
            "host=h password=S3cret",
            "password S3cret",
        ] {
            let shown = options(text);
            assert!(!shown.contains("S3cret"), "{text}: {shown}");
            assert!(shown.contains(REDACTED), "{text}: {shown}");
        }
    }

    #[test]
    fn the_rest_of_a_secret_is_not_left_to_the_server() {
        for text in [
            "-c app.token=a S3cret",
            "-c app.token = S3cret",
            "-c app.token S3cret",
            "--app.token='a S3cret'",
        ] {
            assert!(has_stray_word(text), "{text}");
        }
        for text in ["-c geqo=off x", "-c app.token=a -d 5", "-c app.token=a\\ b"] {
            assert!(!has_stray_word(text), "{text}");
        }
    }
}
