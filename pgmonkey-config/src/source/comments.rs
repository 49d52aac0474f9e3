//! Finds unquoted secrets that may have been cut off: in YAML a blank and `#` begin a comment.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

use super::document::Position;
use crate::schema::keys;

/// Returns the keys of secrets after which a comment begins on the same line.
pub(super) fn cut_secrets(
    text: &str,
    root: &Dict,
    spots: &BTreeMap<Vec<String>, Position>,
) -> Vec<Vec<String>> {
    if !text.contains(" #") && !text.contains("\t#") {
        return Vec::new();
    }
    let lines: Vec<&str> = text.lines().collect();
    let is_cut = |key: &[String], (line, column): Position| {
        let name = key.last()?;
        let value = value_at(root, key)?.as_str()?;
        let line = lines.get(usize::try_from(line).ok()?.checked_sub(1)?)?;
        let at = usize::try_from(column).ok()?.checked_sub(1)?;
        let from_key: String = line.chars().skip(at).collect();
        let comment = comment_after(&from_key, name, value)?;
        // A reference ends at its brace. A connection string has no secret before its `@`.
        let ends_itself = value.starts_with("${") && value.ends_with('}');
        let holds_secret = match name.as_str() {
            "url" => comment.contains('@'),
            name => keys::is_secret(name),
        };
        (holds_secret && !ends_itself).then_some(())
    };
    let cut = spots
        .iter()
        .filter(|(key, spot)| is_cut(key, **spot).is_some());
    cut.map(|(key, _)| key.clone()).collect()
}

fn value_at<'a>(root: &'a Dict, key: &[String]) -> Option<&'a Value> {
    let (first, rest) = key.split_first()?;
    let mut value = root.get(first)?;
    for name in rest {
        value = value.as_dict()?.get(name)?;
    }
    Some(value)
}

/// Returns the comment that follows `name: value`, if the value is not in quotes.
fn comment_after<'a>(line: &'a str, name: &str, value: &str) -> Option<&'a str> {
    let quotes = ['"', '\''];
    let rest = line.trim_start_matches(quotes).strip_prefix(name)?;
    let rest = rest
        .trim_start_matches(quotes)
        .trim_start()
        .strip_prefix(':')?;
    let after = rest.trim_start().strip_prefix(value)?;
    let comment = after.trim_start();
    let begins = !value.is_empty() && comment.len() < after.len() && comment.starts_with('#');
    begins.then_some(comment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_follows_a_plain_value_only() {
        let found = |line: &str| comment_after(line, "password", "pa").is_some();
        for line in [
            "password: pa #ss",
            "password:  pa\t# x",
            "\"password\" : pa #ss",
        ] {
            assert!(found(line), "{line}");
        }
        for line in [
            "password: pa",
            "password: pa#ss",
            "password: 'pa' #ss",
            "password: \"pa\" #ss",
            "password: pa, user: x } # y",
            "password: pa } # y",
            "passwords: pa # y",
        ] {
            assert!(!found(line), "{line}");
        }
    }
}
