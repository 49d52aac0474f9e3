//! Text with references: `${NAME}`, `${NAME:-default}`, and `$${` for a literal `${`.

use super::{Scope, not_set};
use crate::error::ProblemKind;

/// Limits for texts with references: they bound the time and the recursion depth.
const LONGEST: usize = 4 * 1024;
const DEEPEST: usize = 8;

/// A part of a text.
pub(super) enum Piece<'a> {
    /// Text that stands for itself.
    Text(&'a str),
    /// A reference, and how it is written.
    Reference(Reference<'a>, &'a str),
}

/// Splits a text into its references and the text between them.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, ProblemKind> {
    if text.len() > LONGEST {
        return Err(too_long());
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, found) = rest.split_at(dollar);
        pieces.push(Piece::Text(before));
        rest = if let Some(after) = found.strip_prefix("$${") {
            pieces.push(Piece::Text("${"));
            after
        } else if let Some(reference) = Reference::parse(found) {
            let (written, after) = found.split_at(reference.length);
            pieces.push(Piece::Reference(reference, written));
            after
        } else {
            pieces.push(Piece::Text("$"));
            &found[1..]
        };
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| !matches!(piece, Piece::Text("")));
    Ok(pieces)
}

/// Replaces references by their values.
pub(super) struct Template<'a> {
    pub(super) scope: &'a Scope<'a>,
    /// Whether the text belongs to a sensitive key, whose references must not have a default.
    pub(super) sensitive: bool,
}

impl Template<'_> {
    /// Returns the text with the values in place of its references.
    pub(super) fn expand(&self, text: &str) -> Result<String, ProblemKind> {
        self.expand_at(text, 0)
    }

    /// `depth` is the number of defaults that enclose the text.
    fn expand_at(&self, text: &str, depth: usize) -> Result<String, ProblemKind> {
        if depth > DEEPEST {
            return Err(too_long());
        }
        let mut out = String::new();
        for piece in pieces(text)? {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Reference(reference, _) => out.push_str(&self.value(&reference, depth)?),
            }
        }
        Ok(out)
    }

    fn value(&self, reference: &Reference<'_>, depth: usize) -> Result<String, ProblemKind> {
        if let Some(value) = (self.scope.lookup)(reference.name) {
            return Ok(value);
        }
        let Some(default) = reference.default else {
            let advice = "set it, give a default (`${NAME:-default}`), or write `$${` for `${`";
            return Err(not_set(reference.name, advice));
        };
        if self.sensitive && !self.scope.allow_sensitive_defaults {
            return Err(no_default(reference.name));
        }
        self.expand_at(default, depth + 1)
    }
}

fn too_long() -> ProblemKind {
    ProblemKind::Reference(format!(
        "a text with references is limited to {LONGEST} bytes and {DEEPEST} nested defaults"
    ))
}

pub(super) fn no_default(name: &str) -> ProblemKind {
    ProblemKind::Reference(format!(
        "a default is not allowed for a sensitive key; set the environment variable {name}"
    ))
}

/// `${NAME}` or `${NAME:-default}` at the beginning of a text.
pub(super) struct Reference<'a> {
    pub(super) name: &'a str,
    default: Option<&'a str>,
    length: usize,
}

impl<'a> Reference<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix("${")?;
        let end = inner
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|end| *end > 0)?;
        let name = &inner[..end];
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let rest = &inner[end..];
        if rest.starts_with('}') {
            return Some(Self {
                name,
                default: None,
                length: 2 + end + 1,
            });
        }
        let default = rest.strip_prefix(":-")?;
        let close = closing_brace(default)?;
        Some(Self {
            name,
            default: Some(&default[..close]),
            length: 2 + end + 2 + close + 1,
        })
    }
}

/// Returns the index of the brace that ends a default; nested references are skipped.
fn closing_brace(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0;
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if index > 0 && bytes[index - 1] == b'$' => depth += 1,
            b'}' if depth == 0 => return Some(index),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}
