//! Why a text that is no YAML may be none: its indentation.

/// The reason, and the line and the column of it, from 1. `last` is the line of the parser's error:
/// what comes after it is no reason.
pub(super) fn defect(text: &str, last: Option<u64>) -> Option<(String, u64, u64)> {
    // The parser may find a wrong indent only at the end of what it opens.
    let last = last.unwrap_or(u64::MAX).saturating_add(1);
    let lines = (1..)
        .zip(text.lines())
        .take_while(|(line, _)| *line <= last);
    let mut open: Vec<usize> = Vec::new();
    let mut valued = false;
    for (line, text) in lines {
        let content = text.trim_start();
        let indent = text.len() - content.len();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if let Some(at) = text[..indent].find('\t') {
            let reason = "a tab in the indentation, where YAML allows only spaces";
            return Some((reason.to_owned(), line, at as u64 + 1));
        }
        // The lines of a block, a flow or a document marker have other rules.
        if content.starts_with(['-', '{', '[', '"', '\'', '%', '.', '?', '&', '!']) {
            return None;
        }
        let before = open.last().copied();
        while open.last().is_some_and(|level| *level > indent) {
            open.pop();
        }
        match open.last() {
            Some(level) if *level == indent => {}
            _ if before.is_some_and(|before| before > indent) => {
                let levels: Vec<String> = open.iter().map(ToString::to_string).collect();
                let levels = match levels.as_slice() {
                    [] => "0".to_owned(),
                    levels => levels.join(" or "),
                };
                let before = before.unwrap_or_default();
                let reason = format!(
                    "indented by {}, unlike any line above it; write {before} to go on with the section, or {levels} to end it",
                    spaces(indent)
                );
                return Some((reason, line, indent as u64 + 1));
            }
            Some(level) if valued => {
                let reason = format!(
                    "indented by {}, but the line above has {level} and a value; give both the same indentation",
                    spaces(indent)
                );
                return Some((reason, line, indent as u64 + 1));
            }
            _ => open.push(indent),
        }
        let value = content.split_once(':').map(|(_, value)| value);
        let value = value.map(|value| value.split(" #").next().unwrap_or_default().trim());
        if value.is_some_and(|value| value.starts_with(['|', '>', '{', '[', '&', '"', '\''])) {
            let closed = |value: &str| value.ends_with(['}', ']', '"', '\'']) && value.len() > 1;
            if !value.is_some_and(closed) {
                return None;
            }
        }
        valued = value.is_none_or(|value| !value.is_empty());
    }
    None
}

fn spaces(count: usize) -> String {
    match count {
        1 => "1 space".to_owned(),
        count => format!("{count} spaces"),
    }
}

#[cfg(test)]
mod tests {
    use super::defect;

    #[test]
    fn tabs_and_wrong_indents_are_named() {
        for (text, reason, at) in [
            ("a:\n\tb: 1\n", "a tab", (2, 1)),
            ("a:\n  b: 1\n \tc: 1\n", "a tab", (3, 2)),
            ("a:\n  b: 1\n   c: 1\n", "the line above has 2", (3, 4)),
            ("a:\n  b: 1\n c: 1\n", "write 2 to go on", (3, 2)),
            ("a: 1\n  b: 1\n", "the line above has 0", (2, 3)),
        ] {
            let (found, line, column) = defect(text, Some(3)).expect(text);
            assert!(found.contains(reason), "{text}: {found}");
            assert_eq!((line, column), at, "{text}");
        }
        for text in [
            "a: |\n   x\n  y\n",
            "a: [1,\n2]\n",
            "a:\n  b: *x\n",
            "a: {\n  b: 1\n c: 2 }\n",
        ] {
            assert_eq!(defect(text, Some(2)), None, "{text}");
        }
    }
}
