//! The trace that a statement belongs to, as a comment at its end, in the format of sqlcommenter.

use std::borrow::Cow;

const OPENING: &str = "/*traceparent='";
const CLOSING: &str = "'*/";
/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// Appends `traceparent` to a text. One that has a comment is left as it is, as sqlcommenter asks,
/// because it may have been appended before.
#[cfg_attr(not(any(feature = "otel", test)), allow(dead_code))]
pub(crate) fn with<'a>(text: &'a str, traceparent: &str) -> Cow<'a, str> {
    debug_assert_eq!(traceparent.len(), LENGTH);
    if text.contains("/*") || text.trim_ascii().is_empty() {
        return Cow::Borrowed(text);
    }
    // A comment to the end of the line would take it in.
    let gap = if text.contains("--") { "\n" } else { " " };
    Cow::Owned([text, gap, OPENING, traceparent, CLOSING].concat())
}

/// The text without what [`with`] has appended.
#[inline]
pub(crate) fn without(text: &[u8]) -> &[u8] {
    if !text.ends_with(CLOSING.as_bytes()) {
        return text;
    }
    let added = 1 + OPENING.len() + LENGTH + CLOSING.len();
    match text.split_at_checked(text.len().wrapping_sub(added)) {
        Some((own, [_, comment @ ..])) if comment.starts_with(OPENING.as_bytes()) => own,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_comment_is_appended_and_taken_away() {
        for text in ["SELECT 1", "SELECT 1;", "SELECT 1 -- one", "SELECT '"] {
            let whole = with(text, PARENT);
            assert!(whole.starts_with(text) && whole.ends_with(&format!("{PARENT}'*/")));
            assert_eq!(without(whole.as_bytes()), text.as_bytes());
        }
        assert!(with("SELECT 1 -- one", PARENT).contains("one\n/*"));
    }

    #[test]
    fn other_texts_are_left_as_they_are() {
        for text in ["", " \n", "SELECT 1 /*a*/", "/*+ IndexScan(t) */ SELECT 1"] {
            assert_eq!(with(text, PARENT), text);
        }
        let foreign = format!("SELECT 1 /*tracestate='{}'*/", &PARENT[1..]);
        for text in ["", "'*/", "SELECT 1 /*a='b'*/", &foreign] {
            assert_eq!(without(text.as_bytes()), text.as_bytes());
        }
    }
}
