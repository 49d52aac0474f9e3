//! References inside `url`.

use super::Scope;
use super::template::{Piece, Template, no_default, pieces};
use crate::error::ProblemKind;
use crate::schema::keys;
use crate::source::url::parse;
use crate::source::url::template::{Filling, UrlTemplate};

/// Reads a text with references. One at the beginning stands for the beginning of the connection
/// string, or for all of it: it is replaced before the text is split.
pub(super) fn template(text: &str, scope: &Scope<'_>) -> Result<UrlTemplate, ProblemKind> {
    let mut template = UrlTemplate::default();
    let expand = |written: &str, sensitive| Template { scope, sensitive }.expand(written);
    for (index, piece) in pieces(text)?.into_iter().enumerate() {
        match piece {
            Piece::Text(text) => template.text(text),
            Piece::Reference(reference, written) if index == 0 => {
                let value = expand(written, false)?;
                if expand(written, true).is_err() && holds_sensitive(&value) {
                    return Err(no_default(reference.name));
                }
                template.lead(value);
            }
            Piece::Reference(_, written) => {
                let filling = Filling {
                    length: written.chars().count(),
                    open: expand(written, false),
                    sensitive: expand(written, true),
                };
                if !template.reference(filling) {
                    return Err(unusual());
                }
            }
        }
    }
    match template.is_unambiguous() {
        true => Ok(template),
        false => Err(unusual()),
    }
}

/// Whether a connection string sets a sensitive key.
fn holds_sensitive(text: &str) -> bool {
    match parse(text) {
        Ok(parts) => parts.iter().any(|(name, _)| keys::is_sensitive(name)),
        Err(_) => text.contains(['@', '=']),
    }
}

fn unusual() -> ProblemKind {
    ProblemKind::Reference(
        "a url with references must not contain private-use characters (U+100000 and above)".into(),
    )
}
