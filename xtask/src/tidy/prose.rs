//! The prose of a source: what people read in it that is not code.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::tokens::{Piece, attribute, pieces};

/// Stands for what is no prose.
const CODE: char = '\u{1}';

/// A text as it is read in one go, and the line where it begins; its line breaks are the file's.
pub(super) struct Block {
    pub(super) line: usize,
    pub(super) text: String,
}

/// The comments and the texts of a Rust source.
pub(super) fn of_rust(source: &str) -> Vec<Block> {
    let pieces = pieces(source);
    let mut blocks = comments(&pieces);
    // A single word is a name or a value, not prose.
    let is_prose = |piece: &&Piece<'_>| piece.is_string() && piece.text.contains(' ');
    let strings = pieces.iter().filter(is_prose);
    blocks.extend(strings.map(|piece| Block {
        line: piece.line,
        text: unescaped(piece.text),
    }));
    blocks
}

/// The text of a page, without its code. Its length and its line breaks stay as they are.
pub(super) fn of_markdown(page: &str) -> String {
    let blank = |c: char| if c.is_whitespace() { c } else { CODE };
    let mut text = String::with_capacity(page.len());
    let mut done = 0;
    let mut in_code = false;
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    for (event, range) in Parser::new_ext(page, options).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(_)) => in_code = true,
            Event::End(TagEnd::CodeBlock) => in_code = false,
            Event::Text(_) if !in_code => {
                text.extend(page[done..range.start].chars().map(blank));
                text.push_str(&page[range.clone()]);
                done = range.end;
            }
            _ => {}
        }
    }
    text.extend(page[done..].chars().map(blank));
    text
}

fn comments(pieces: &[Piece<'_>]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < pieces.len() {
        let taken = marker(&pieces[at]).map(|marker| comment(&pieces[at..], marker));
        at += match taken {
            Some((taken, block)) => {
                blocks.push(block);
                taken
            }
            None => 1,
        };
    }
    blocks
}

/// What each line of a comment begins with.
fn marker(piece: &Piece<'_>) -> Option<&'static str> {
    let mut markers = ["//!", "///", "//", "/*"].into_iter();
    markers.find(|marker| piece.text.starts_with(marker))
}

/// The comment that the pieces begin with, and how many of them it takes. One attribute between
/// its lines may be a line of it that a macro writes.
fn comment(pieces: &[Piece<'_>], of: &str) -> (usize, Block) {
    let line = pieces[0].line;
    let mut text = String::new();
    let mut taken = 0;
    loop {
        let between = attribute(&pieces[taken..]);
        let next = pieces.get(taken + between);
        let Some(next) = next.filter(|next| marker(next) == Some(of)) else {
            break;
        };
        let lines = next.line - line - text.matches('\n').count();
        text.extend(std::iter::repeat_n('\n', lines));
        let inner = next.text[of.len()..].trim_end();
        text.push_str(inner.strip_prefix(' ').unwrap_or(inner));
        taken += between + 1;
    }
    let text = of_markdown(&text);
    (taken, Block { line, text })
}

/// Without the escapes and without the values that are put into it.
fn unescaped(literal: &str) -> String {
    let (mut escaped, mut value) = (false, false);
    let read = |c: char| {
        let hidden = escaped || value || c == '\\' || c == '{';
        escaped = !escaped && c == '\\';
        value = c == '{' || value && c != '}' && !c.is_whitespace();
        if hidden && c != '\n' { CODE } else { c }
    };
    literal.chars().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Vec<(usize, String)> {
        let shown = |block: Block| (block.line, block.text.replace(CODE, "#"));
        of_rust(source).into_iter().map(shown).collect()
    }

    #[test]
    fn code_is_no_prose() {
        let page = "A `b` c.\n\n```\nd\n```\n\n* e\n  [f](g)\n\n| h |\n| - |\n| `i` |\n";
        let prose = of_markdown(page);
        assert_eq!(prose.len(), page.len());
        let words: Vec<_> = prose.split(|c: char| !c.is_alphanumeric()).collect();
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        assert_eq!(words, ["A", "c", "e", "f", "h"]);
    }

    #[test]
    fn the_lines_of_a_comment_are_one_block() {
        let source = "//! a\n//! b\n\n/// c\n/// ```\n#[doc = \"d d\"]\n/// e\n/// ```\n/// f\nfn g() {} // h\n";
        let expected = [
            (1, "a\nb"),
            (4, "c\n###\n\n#\n###\nf"),
            (10, "h"),
            (6, "\"d d\""),
        ];
        assert_eq!(
            read(source),
            expected.map(|(line, text)| (line, text.to_owned()))
        );
    }

    #[test]
    fn a_text_is_read_without_its_values_and_escapes() {
        let source = "f(\"a\\nb {c:?} {{d e}}\", 'x', r#\"g\n\"h \"#, \"i\")";
        let expected = [(1, "\"a##b ##### ####e}}\""), (1, "r#\"g\n\"h \"#")];
        assert_eq!(
            read(source),
            expected.map(|(line, text)| (line, text.to_owned()))
        );
    }
}
