//! The words and signs of Rust source, as far as the checks need them.

/// A token, a literal or a comment, and the line where it begins.
pub(super) struct Piece<'a> {
    pub(super) line: usize,
    pub(super) text: &'a str,
}

impl Piece<'_> {
    pub(super) fn is_comment(&self) -> bool {
        self.text.starts_with("//") || self.text.starts_with("/*")
    }

    /// A text; a character is none.
    pub(super) fn is_string(&self) -> bool {
        let start = self.text.trim_start_matches(['b', 'c', 'r', '#']);
        start.starts_with('"')
    }
}

/// The source with its comments; a literal is one piece.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let (mut rest, mut line) = (text, 1);
    loop {
        let start = rest.trim_start();
        line += lines(&rest[..rest.len() - start.len()]);
        let Some(first) = start.chars().next() else {
            return found;
        };
        let (text, after) = start.split_at(length(start, first).min(start.len()));
        found.push(Piece { line, text });
        line += lines(text);
        rest = after;
    }
}

fn lines(text: &str) -> usize {
    text.matches('\n').count()
}

/// The source without its comments.
pub(super) fn tokens(text: &str) -> Vec<&str> {
    let code = pieces(text).into_iter().filter(|piece| !piece.is_comment());
    code.map(|piece| piece.text).collect()
}

/// How many pieces the attribute takes that they begin with; 0 if there is none.
pub(super) fn attribute(pieces: &[Piece<'_>]) -> usize {
    let mut depth = 0_usize;
    for (at, piece) in pieces.iter().enumerate() {
        match (at, piece.text) {
            (0, "#") | (1, "!") => {}
            (_, "[") => depth += 1,
            (_, "]") if depth == 1 => return at + 1,
            (_, "]") => depth -= 1,
            _ if depth == 0 => return 0,
            _ => {}
        }
    }
    0
}

/// Of the token, the literal or the comment that the text begins with.
fn length(text: &str, first: char) -> usize {
    let is_of_word = |c: char| c.is_alphanumeric() || c == '_';
    match first {
        '/' if text.starts_with("//") => text.find('\n').unwrap_or(text.len()),
        '/' if text.starts_with("/*") => comment(text),
        ':' if text.starts_with("::") => 2,
        '"' => quoted(text, '"'),
        // Anything else that begins like a character is a lifetime.
        '\'' if text.starts_with("'\\") || text.chars().nth(2) == Some('\'') => quoted(text, '\''),
        _ if is_of_word(first) => {
            let end = text.find(|c| !is_of_word(c)).unwrap_or(text.len());
            let raw = ["r", "br", "cr"].contains(&&text[..end]);
            end + raw.then(|| raw_quoted(&text[end..])).flatten().unwrap_or(0)
        }
        _ => first.len_utf8(),
    }
}

/// Comments may stand in comments.
fn comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(mark) = text[at..].find(['/', '*']) {
        at += mark;
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if !escaped && c == quote {
            return at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    text.len()
}

/// What follows the `r` of a raw string, if it is one.
fn raw_quoted(text: &str) -> Option<usize> {
    let inner = text.trim_start_matches('#');
    let hashes = text.len() - inner.len();
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inner.strip_prefix('"')?.find(&end)?;
    Some(hashes + 1 + length + end.len())
}

/// A path of a `use` or an expression, and the name that a `use` gives to what it leads to.
pub(super) struct Leaf<'a> {
    pub(super) path: Vec<&'a str>,
    pub(super) name: &'a str,
}

/// All paths of the tree that the tokens begin with: two for `a::{b, c as d}`.
pub(super) fn leaves<'a>(tokens: &[&'a str]) -> Vec<Leaf<'a>> {
    let mut found = Vec::new();
    tree(tokens, &[], &mut found);
    found
}

/// Says how many tokens it took.
fn tree<'a>(tokens: &[&'a str], before: &[&'a str], found: &mut Vec<Leaf<'a>>) -> usize {
    let mut path = before.to_vec();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        if *token == "{" {
            return at + branches(&tokens[at..], &path, found);
        }
        path.push(token);
        let goes_on = tokens.get(at) == Some(&"::");
        // Not so before the `<` of a generic argument.
        let to_name = tokens.get(at + 1).is_some_and(|next| {
            *next == "{"
                || *next == "*"
                || next.starts_with(|c: char| c.is_alphabetic() || c == '_')
        });
        if !goes_on || !to_name {
            break;
        }
        at += 1;
    }
    let own = path.iter().rev().find(|part| **part != "self").copied();
    let name = match tokens.get(at..at + 2) {
        Some(["as", name]) => {
            at += 2;
            Some(*name)
        }
        _ => own,
    };
    found.extend(name.map(|name| Leaf { path, name }));
    at
}

fn branches<'a>(tokens: &[&'a str], before: &[&'a str], found: &mut Vec<Leaf<'a>>) -> usize {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match *token {
            "}" => return at + 1,
            "," => at += 1,
            _ => at += tree(&tokens[at..], before, found),
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_one_token() {
        let text = r##"f<'z>(b'\'', r#"a"b"#, 'x', "\\", r#type) // end"##;
        let expected = r###"f|<|'|z|>|(|b|'\''|,|r#"a"b"#|,|'x'|,|"\\"|,|r|#|type|)"###;
        assert_eq!(tokens(text).join("|"), expected);
    }

    #[test]
    fn a_piece_has_its_line() {
        let pieces = pieces("a\n// b\n\n\"c\n\" /* d\n*/ e");
        let found: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.line, piece.text))
            .collect();
        let expected = [
            (1, "a"),
            (2, "// b"),
            (4, "\"c\n\""),
            (5, "/* d\n*/"),
            (6, "e"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_attribute_ends_at_its_bracket() {
        assert_eq!(attribute(&pieces("#[a([b], \"]\")] c")), 11);
        assert_eq!(attribute(&pieces("# a [b]")), 0);
    }

    #[test]
    fn a_tree_has_a_path_for_each_leaf() {
        let tokens = tokens("a::{b::{self, C as D}, e::*, f}; g");
        let found = leaves(&tokens);
        let found: Vec<_> = found
            .iter()
            .map(|leaf| (leaf.path.join("::"), leaf.name))
            .collect();
        let expected = [
            ("a::b::self", "b"),
            ("a::b::C", "D"),
            ("a::e::*", "*"),
            ("a::f", "f"),
        ];
        assert_eq!(found, expected.map(|(path, name)| (path.to_owned(), name)));
    }

    #[test]
    fn a_path_ends_before_its_arguments() {
        let tokens = tokens("crate::a::f::<u8>(b)");
        assert_eq!(leaves(&tokens)[0].path, ["crate", "a", "f"]);
    }
}
