//! Reads a configuration text up to a size limit and parses it, with the position of every key.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Empty, Tag, Value};

use crate::error::{Error, Place, Problem, ProblemKind};
use crate::source::files;

/// Line and column, both from 1.
pub(crate) type Position = (u64, u64);

/// The maximum number of keys and values of a text, including those that aliases repeat. A file
/// with every key and twenty profiles has about a thousand.
pub(super) const MOST_VALUES: usize = 10_000;

/// The place of a key: a position from the parser, or a byte offset in the text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Spot {
    Position(Position),
    Byte(usize),
}

/// The format of a configuration text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    Yaml,
    Toml,
    Json,
}

impl Syntax {
    /// Returns the format for the extension of the file name; YAML unless it is `toml` or `json`.
    fn of(path: &Path) -> Self {
        let ending = path.extension().and_then(|ending| ending.to_str());
        match ending.map(str::to_ascii_lowercase).as_deref() {
            Some("toml") => Self::Toml,
            Some("json") => Self::Json,
            _ => Self::Yaml,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Yaml => "YAML",
            Self::Toml => "TOML",
            Self::Json => "JSON",
        }
    }
}

/// A parsed text.
pub(crate) struct Document {
    path: Option<PathBuf>,
    pub(crate) root: Dict,
    spots: BTreeMap<Vec<String>, Position>,
    /// The keys whose secret may have been cut off by a comment.
    pub(crate) cut: Vec<Vec<String>>,
}

impl Document {
    /// Reads and parses a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let fail = |reason| {
            let place = Place::File {
                path: path.to_owned(),
                position: None,
            };
            Error::from(Problem::new(place, None, ProblemKind::Unreadable(reason)))
        };
        let bytes =
            files::read_or_pipe(path, files::OWN_LIMIT).map_err(|error| fail(reason(&error)))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let place = Place::File {
                path: path.to_owned(),
                position: Some(end_of(
                    &error.as_bytes()[..error.utf8_error().valid_up_to()],
                )),
            };
            let kind = ProblemKind::Syntax("not valid UTF-8 text; save the file as UTF-8".into());
            Error::from(Problem::new(place, None, kind))
        })?;
        Self::parse(Syntax::of(path), &text, Some(path.to_owned()))
    }

    /// Parses a text.
    pub(crate) fn parse(syntax: Syntax, text: &str, path: Option<PathBuf>) -> Result<Self, Error> {
        let fail = |defect: Defect| {
            let place = place(path.clone(), defect.position);
            Error::from(Problem::new(
                place,
                None,
                ProblemKind::Syntax(defect.reason),
            ))
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let node = parse(syntax, text).map_err(fail)?;
        if let Some(reason) = node.excess() {
            return Err(fail(Defect::new(reason, None)));
        }
        let Node::Map(entries) = node else {
            let reason = match node {
                Node::Null => format!("the {} text is empty", syntax.name()),
                _ => "expected sections (key: value) at the top level".to_owned(),
            };
            return Err(fail(Defect::new(reason, None)));
        };
        let mut spots = BTreeMap::new();
        let root = dict(entries, &mut Vec::new(), &mut spots);
        let spots = positions(spots, text);
        let cut = match syntax {
            Syntax::Yaml => super::comments::cut_secrets(text, &root, &spots),
            Syntax::Toml | Syntax::Json => Vec::new(),
        };
        Ok(Self {
            path,
            root,
            spots,
            cut,
        })
    }

    /// Returns the folder from which relative paths in the file are resolved.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        let path = std::path::absolute(self.path.as_ref()?).ok()?;
        path.parent().map(Path::to_owned)
    }

    /// Returns the path of the file, if the text is from one.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Returns the place of a key, or of the nearest section around it.
    pub(crate) fn place(&self, key: &[String]) -> Place {
        let position = (1..=key.len())
            .rev()
            .find_map(|length| self.spots.get(&key[..length]));
        place(self.path.clone(), position.copied())
    }
}

fn dict(
    entries: Vec<Entry>,
    path: &mut Vec<String>,
    spots: &mut BTreeMap<Vec<String>, Spot>,
) -> Dict {
    let mut dict = Dict::new();
    for entry in entries {
        path.push(entry.key.clone());
        spots.insert(path.clone(), entry.spot);
        let value = value(entry.value, path, spots);
        path.pop();
        dict.insert(entry.key, value);
    }
    dict
}

fn value(node: Node, path: &mut Vec<String>, spots: &mut BTreeMap<Vec<String>, Spot>) -> Value {
    match node {
        Node::Null => Value::Empty(Tag::Default, Empty::Unit),
        Node::Scalar(value) => value,
        Node::List(nodes) => {
            let items = nodes.into_iter().map(|node| value(node, path, spots));
            Value::Array(Tag::Default, items.collect())
        }
        Node::Map(entries) => Value::Dict(Tag::Default, dict(entries, path, spots)),
    }
}

/// Converts byte offsets to positions, in one pass for all keys.
fn positions(spots: BTreeMap<Vec<String>, Spot>, text: &str) -> BTreeMap<Vec<String>, Position> {
    let mut spots: Vec<_> = spots.into_iter().collect();
    spots.sort_by_key(|(_, spot)| match spot {
        Spot::Position(_) => 0,
        Spot::Byte(at) => *at,
    });
    let (mut line, mut column, mut done) = (1, 1, 0);
    let mut position = |spot| match spot {
        Spot::Position(position) => position,
        Spot::Byte(at) => {
            for letter in text.get(done..at).unwrap_or_default().chars() {
                (line, column) = match letter {
                    '\n' => (line + 1, 1),
                    _ => (line, column + 1),
                };
            }
            done = at;
            (line, column)
        }
    };
    let found = spots.into_iter().map(|(key, spot)| (key, position(spot)));
    found.collect()
}

/// The result of a parser, the same for every format.
pub(super) enum Node {
    Null,
    Scalar(Value),
    List(Vec<Self>),
    Map(Vec<Entry>),
}

impl Node {
    /// Returns the error if it has too many values.
    fn excess(&self) -> Option<String> {
        (self.count() > MOST_VALUES)
            .then(|| format!("too large: at most {MOST_VALUES} keys and values"))
    }

    fn count(&self) -> usize {
        let inside = match self {
            Self::Null | Self::Scalar(_) => 0,
            Self::List(nodes) => nodes.iter().map(Self::count).sum(),
            Self::Map(entries) => entries.iter().map(|entry| 1 + entry.value.count()).sum(),
        };
        1 + inside
    }
}

pub(super) struct Entry {
    pub(super) key: String,
    pub(super) spot: Spot,
    pub(super) value: Node,
}

/// Why a text cannot be parsed. The reason never quotes the text, which may contain a password.
#[derive(Debug)]
pub(super) struct Defect {
    pub(super) reason: String,
    pub(super) position: Option<Position>,
}

impl Defect {
    pub(super) fn new(reason: impl Into<String>, position: Option<Position>) -> Self {
        Self {
            reason: reason.into(),
            position,
        }
    }
}

fn parse(syntax: Syntax, text: &str) -> Result<Node, Defect> {
    if text.len() as u64 > files::OWN_LIMIT {
        return Err(Defect::new(files::too_large(files::OWN_LIMIT), None));
    }
    if let Some(at) = text.find('\0') {
        let position = Some(end_of(&text.as_bytes()[..at]));
        return Err(Defect::new("not text: contains a zero byte", position));
    }
    if text.trim().is_empty() {
        return Ok(Node::Null);
    }
    match syntax {
        Syntax::Yaml => super::yaml::parse(text),
        #[cfg(feature = "toml")]
        Syntax::Toml => super::toml::parse(text),
        #[cfg(not(feature = "toml"))]
        Syntax::Toml => Err(Defect::new(
            "TOML needs the feature `toml` of pgmonkey, which is off; turn it on in Cargo.toml, or \
             write the file as YAML",
            None,
        )),
        Syntax::Json => super::json::parse(text),
    }
}

/// Returns the position after a text.
pub(super) fn end_of(text: &[u8]) -> Position {
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    let line = text.rsplit(|byte| *byte == b'\n').next().unwrap_or(&[]);
    let column = String::from_utf8_lossy(line).chars().count();
    (lines as u64 + 1, column as u64 + 1)
}

fn place(path: Option<PathBuf>, position: Option<Position>) -> Place {
    match path {
        Some(path) => Place::File { path, position },
        None => Place::Text { position },
    }
}

/// Describes an error of the operating system, with the same text on every platform where possible.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "file not found".into(),
        io::ErrorKind::IsADirectory => "is a directory, not a file".into(),
        io::ErrorKind::PermissionDenied => "no permission to read the file".into(),
        // Too large, or not a file: messages of this crate.
        io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput => error.to_string(),
        _ => format!("cannot read the file: {error}"),
    }
}
