//! The public items of a Rust source, as far as twins can be compared by them. It is read as
//! text, for many of them are made by macros.

use std::fmt;

use crate::tidy::tokens::{Piece, attribute, leaves, pieces};

pub(super) struct Item {
    /// `Pool::acquire`, `statements!` for the documentation that a macro is given.
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) signature: Option<Signature>,
    /// The lines of its documentation, without their marks.
    pub(super) docs: Vec<(usize, String)>,
}

/// That of a function.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Signature {
    /// Names and types. A type that is generic has none, and neither has `self`.
    pub(super) parameters: Vec<(String, Option<String>)>,
    pub(super) result: String,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, kind): &(String, Option<String>)| match kind {
            Some(kind) => format!("{name}: {kind}"),
            None => name.clone(),
        };
        let parameters: Vec<_> = self.parameters.iter().map(shown).collect();
        write!(f, "({}) -> {}", parameters.join(", "), self.result)
    }
}

/// In the order of the source.
pub(super) fn items(source: &str) -> Vec<Item> {
    let pieces = pieces(source);
    let mut reader = Reader::default();
    let mut at = 0;
    while at < pieces.len() {
        at += reader.step(&pieces[at..]);
    }
    reader.found
}

/// What an open brace belongs to.
#[derive(Default)]
struct Owner {
    name: String,
    is_macro: bool,
    /// Its functions are public without saying so.
    is_public_trait: bool,
}

#[derive(Default)]
struct Reader {
    found: Vec<Item>,
    owners: Vec<Owner>,
    docs: Vec<(usize, String)>,
    is_public: bool,
}

impl Reader {
    /// Says how many pieces it took.
    fn step(&mut self, pieces: &[Piece<'_>]) -> usize {
        let piece = &pieces[0];
        let next = pieces.get(1).map_or("", |next| next.text);
        match piece.text {
            "#" => return attribute(pieces).max(1),
            "pub" if next != "(" => self.is_public = true,
            "async" | "unsafe" => {}
            "const" if next == "fn" => {}
            "fn" if next != "(" => return self.function(pieces),
            "use" if self.is_public => self.exports(pieces),
            "struct" | "enum" | "union" | "type" | "const" | "static" | "mod" | "trait"
                if self.is_public =>
            {
                self.push(next, piece.line, None);
                return self.opening(pieces, piece.text == "trait");
            }
            "impl" | "macro_rules" | "trait" => return self.opening(pieces, false),
            "{" => self.enter(Owner::default()),
            "}" => self.leave(piece.line),
            doc if doc.starts_with("///") => {
                let doc = doc[3..].trim_end();
                let doc = doc.strip_prefix(' ').unwrap_or(doc);
                self.docs.push((piece.line, doc.to_owned()));
            }
            _ if piece.is_comment() => {}
            _ => self.reset(),
        }
        1
    }

    fn reset(&mut self) {
        self.docs.clear();
        self.is_public = false;
    }

    fn enter(&mut self, owner: Owner) {
        self.reset();
        self.owners.push(owner);
    }

    /// Documentation that no item follows is what a macro is given.
    fn leave(&mut self, line: usize) {
        let of = self.owners.iter().find(|owner| owner.is_macro);
        let name = of.map(|owner| format!("{}!", owner.name));
        if let Some(name) = name.filter(|_| !self.docs.is_empty()) {
            let docs = std::mem::take(&mut self.docs);
            let line = docs.first().map_or(line, |(line, _)| *line);
            self.found.push(Item {
                name,
                line,
                signature: None,
                docs,
            });
        }
        self.owners.pop();
        self.reset();
    }

    fn push(&mut self, name: &str, line: usize, signature: Option<Signature>) {
        let owner = self.owners.iter().rev().find(|o| !o.name.is_empty());
        let owner = owner.filter(|owner| !owner.is_macro);
        let owner = owner.map(|owner| format!("{}::", owner.name));
        let docs = std::mem::take(&mut self.docs);
        self.found.push(Item {
            name: owner.unwrap_or_default() + name,
            line,
            signature,
            docs,
        });
        self.is_public = false;
    }

    fn exports(&mut self, pieces: &[Piece<'_>]) {
        let tokens: Vec<&str> = pieces[1..].iter().map(|piece| piece.text).collect();
        for leaf in leaves(&tokens) {
            self.push(&format!("use {}", leaf.name), pieces[0].line, None);
        }
    }

    /// Goes into the braces of an item, or to its end.
    fn opening(&mut self, pieces: &[Piece<'_>], is_public_trait: bool) -> usize {
        let end = end(pieces);
        let header: Vec<&str> = pieces[..end].iter().map(|piece| piece.text).collect();
        if pieces.get(end).is_some_and(|piece| piece.text == "{") {
            self.enter(Owner {
                name: owner(&header),
                is_macro: header[0] == "macro_rules",
                is_public_trait,
            });
        }
        self.reset();
        end + 1
    }

    /// Its body is passed over.
    fn function(&mut self, pieces: &[Piece<'_>]) -> usize {
        let end = end(pieces);
        let of_trait = self.owners.last().is_some_and(|o| o.is_public_trait);
        if (self.is_public || of_trait) && end > 1 {
            let header: Vec<&str> = pieces[1..end]
                .iter()
                .filter(|piece| !piece.is_comment())
                .map(|piece| piece.text)
                .collect();
            self.push(header[0], pieces[0].line, Some(signature(&header[1..])));
        }
        self.reset();
        let mut depth = 0_usize;
        for (at, piece) in pieces.iter().enumerate().skip(end) {
            match piece.text {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return at + 1;
            }
        }
        pieces.len()
    }
}

/// Where the header of an item ends: at a brace or a semicolon outside of all brackets.
fn end(pieces: &[Piece<'_>]) -> usize {
    let mut depth = 0_usize;
    for (at, piece) in pieces.iter().enumerate() {
        match piece.text {
            "(" | "[" => depth += 1,
            // One more closes the call of a macro that the header is in.
            ")" | "]" if depth == 0 => return at,
            ")" | "]" => depth -= 1,
            "{" | ";" if depth == 0 => return at,
            _ => {}
        }
    }
    pieces.len()
}

/// The name of what an `impl`, a trait or a macro is for.
fn owner(header: &[&str]) -> String {
    let rest = &header[1..];
    let rest = &rest[generics(rest)..];
    let of = rest.iter().position(|token| *token == "for");
    let rest = of.map_or(rest, |of| &rest[of + 1..]);
    let name = rest.iter().find(|token| is_word(token));
    name.map(|name| (*name).to_owned()).unwrap_or_default()
}

/// How many tokens the generic parameters take that they begin with.
fn generics(tokens: &[&str]) -> usize {
    if tokens.first() != Some(&"<") {
        return 0;
    }
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "<" => depth += 1,
            ">" if tokens[at - 1] != "-" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Of the tokens behind the name.
fn signature(tokens: &[&str]) -> Signature {
    let open = generics(tokens);
    let generic = &tokens[..open];
    let (inner, rest) = bracketed(&tokens[open..]);
    let parameters = split(inner).into_iter().filter(|one| !one.is_empty());
    let parameters = parameters.map(|one| parameter(one, generic)).collect();
    let result = match rest {
        ["-", ">", result @ ..] => {
            let end = result.iter().position(|token| *token == "where");
            plain(&result[..end.unwrap_or(result.len())])
        }
        _ => "()".to_owned(),
    };
    Signature { parameters, result }
}

/// What the first bracket encloses, and what follows.
fn bracketed<'a, 't>(tokens: &'t [&'a str]) -> (&'t [&'a str], &'t [&'a str]) {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (tokens.get(1..at).unwrap_or_default(), &tokens[at + 1..]);
        }
    }
    (&[], &[])
}

/// At the commas outside of all brackets.
fn split<'a, 't>(tokens: &'t [&'a str]) -> Vec<&'t [&'a str]> {
    let mut depth = 0_isize;
    let mut in_arrow = false;
    let is_comma = |token: &&str| {
        depth += match *token {
            "(" | "[" | "<" => 1,
            ">" if in_arrow => 0,
            ")" | "]" | ">" => -1,
            _ => 0,
        };
        in_arrow = *token == "-";
        *token == "," && depth == 0
    };
    tokens.split(is_comma).collect()
}

/// `generic` is what the function declares.
fn parameter(tokens: &[&str], generic: &[&str]) -> (String, Option<String>) {
    // A macro takes the receiver from its caller.
    if tokens.contains(&"self") || tokens.last() == Some(&"this") {
        return ("self".to_owned(), None);
    }
    let colon = tokens.iter().position(|token| *token == ":");
    let (name, kind) = tokens.split_at(colon.unwrap_or(tokens.len()));
    let kind = kind.get(1..).unwrap_or_default();
    let is_generic = kind.contains(&"impl") || kind.len() == 1 && generic.contains(&kind[0]);
    let name = name.iter().filter(|token| **token != "mut");
    let name = name.copied().collect::<String>();
    (name, (!is_generic).then(|| plain(kind)))
}

/// A type without what only one of the twins needs: futures, lifetimes, `mut`, `Send`, and
/// the paths that lead to its names.
fn plain(tokens: &[&str]) -> String {
    let mut plain: Vec<&str> = Vec::new();
    let mut tokens = tokens.iter().copied().peekable();
    while let Some(token) = tokens.next() {
        match token {
            "'" => drop(tokens.next()),
            "$" if tokens.peek() == Some(&"life") => drop(tokens.next()),
            "$" | "mut" => {}
            "::" => {
                if plain.last().is_some_and(|before| is_word(before)) {
                    plain.pop();
                }
            }
            _ => plain.push(token),
        }
    }
    let mut text = plain.join(" ");
    // `U` is what a sink of the driver takes.
    for bound in [" + Send", " + Sync", " < >", " < U >", " +"] {
        text = text.replace(bound, "");
    }
    let output = text.strip_prefix("impl Future < Output = ");
    let output = output.and_then(|text| text.strip_suffix(" >"));
    output.map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &str) -> Vec<String> {
        items(source).into_iter().map(|item| item.name).collect()
    }

    fn signature_of(source: &str) -> Signature {
        let item = items(source).pop();
        item.and_then(|item| item.signature).expect("a function")
    }

    #[test]
    fn public_items_have_the_name_of_their_owner() {
        let source = "pub use a::{B, c as C};\npub struct D { e: fn(u8), }\nimpl<F: Fn() -> u8> D<F> {\n\
                      pub const fn g(self) { fn h() {} }\nfn i() {}\npub(crate) fn j() {}\n}\n\
                      impl fmt::Debug for D { fn fmt() {} }\npub trait K: L { fn m(); }\n\
                      trait N { fn o(); }\nmacro_rules! p { ($kind:ty) => { impl $kind { pub fn q() {} } } }\n";
        let expected = ["use B", "use C", "D", "D::g", "K", "K::m", "kind::q"];
        assert_eq!(names(source), expected);
    }

    #[test]
    fn signatures_of_twins_are_the_same() {
        let sync = "pub fn a<T>(&self, b: &mut C, f: impl FnOnce(&D) -> T) -> Result<E<'_>, F> {}";
        let twin = "pub fn a<T, G>(&mut self, mut b: &x::C, f: G) -> impl Future<Output = Result<E, F>> + Send + '_\n\
                    where G: FnOnce(D) -> T { g() }";
        assert_eq!(signature_of(sync), signature_of(twin));
        let expected = [("self", None), ("b", Some("& C")), ("f", None)];
        let expected = expected.map(|(name, kind)| (name.to_owned(), kind.map(str::to_owned)));
        assert_eq!(signature_of(sync).parameters, expected);
        assert_eq!(signature_of(sync).result, "Result < E , F >");
        assert_ne!(
            signature_of("pub fn a(b: u8) {}"),
            signature_of("pub fn a(b: u16) {}")
        );
        assert_eq!(
            signature_of("pub fn a(b: (u8, C<D, u8>), c: E) {}")
                .parameters
                .len(),
            2
        );
    }

    #[test]
    fn documentation_belongs_to_what_follows() {
        let source = "/// a\n#[b]\n/// c\npub fn d() {}\n/// e\nfn f() {}\n\
                      macro_rules! g {\n() => { h! {\n/// i\n} }\n}\n";
        let found: Vec<_> = items(source)
            .into_iter()
            .map(|i| (i.name, i.docs))
            .collect();
        let docs = |lines: &[(usize, &str)]| -> Vec<(usize, String)> {
            lines
                .iter()
                .map(|(line, text)| (*line, (*text).to_owned()))
                .collect()
        };
        let expected = [
            ("d".to_owned(), docs(&[(1, "a"), (3, "c")])),
            ("g!".to_owned(), docs(&[(9, "i")])),
        ];
        assert_eq!(found, expected);
    }
}
