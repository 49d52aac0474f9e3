//! Parses YAML with serde-saphyr: strict where YAML 1.1 guesses, and with the exact text of
//! scalars.

use std::fmt;

use figment::providers::Format;
use figment::value::{Num, Tag, Value};
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error, Location, Spanned};

use super::document::{Defect, Entry, MOST_VALUES, Node, Spot};

mod indentation;

/// A file needs seven levels: wrapper, profile, section, key, list. The parser recurses with large
/// stack frames: in an unoptimised build, sixty of them overflow the stack of a thread.
const DEEPEST: usize = 16;

/// The maximum number of bytes of text, including what aliases repeat: a few times the largest
/// file.
const MOST_BYTES: usize = 4 << 20;

/// serde-saphyr with our options as a format of figment.
struct Yaml;

impl Format for Yaml {
    type Error = Error;

    const NAME: &'static str = "YAML";

    fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: DEEPEST,
                max_documents: 2,
                max_nodes: MOST_VALUES,
                max_events: 4 * MOST_VALUES,
                max_aliases: MOST_VALUES,
                max_anchors: MOST_VALUES,
                max_recorded_anchor_events: MOST_VALUES,
                max_merge_keys: MOST_VALUES,
                max_total_scalar_bytes: MOST_BYTES,
                max_recorded_anchor_bytes: MOST_BYTES,
            },
            alias_limits: serde_saphyr::alias_limits! {
                max_total_replayed_events: MOST_VALUES,
            },
            duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
            strict_booleans: true,
            leading_zero_numbers_as_strings: true,
            underscored_numbers_as_strings: true,
            reject_unsupported_tags: true,
            with_snippet: false,
        };
        serde_saphyr::from_str_with_options(text, options)
    }
}

pub(super) fn parse(text: &str) -> Result<Node, Defect> {
    let shape: Spanned<Shape> = Yaml::from_str(text).map_err(|error| defect(&error, text))?;
    Ok(node(shape, text))
}

/// Reports only the kind of error and its position: the parser's message may quote a value.
fn defect(error: &Error, text: &str) -> Defect {
    let position = error.location().and_then(position);
    match reason(error) {
        Some(reason) => Defect::new(reason, position),
        None => match indentation::defect(text, position.map(|(line, _)| line)) {
            Some((reason, line, column)) => Defect::new(reason, Some((line, column))),
            None => Defect::new(NOT_YAML.to_owned(), position),
        },
    }
}

const NOT_YAML: &str = "not valid YAML; close every bracket and quote, and put a value in quotes if it \
                        starts with one of * & ! % @ ` or contains `: ` or ` #`";

/// `None` for an error of the syntax.
fn reason(error: &Error) -> Option<String> {
    let text = match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => return reason(error),
        Error::DuplicateMappingKey { .. } => "the same key is set twice; remove one",
        Error::MultipleDocuments { .. } => "more than one YAML document; keep one",
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => {
            return Some(format!(
                "too large: at most {DEEPEST} levels, {MOST_VALUES} keys and values and {MOST_BYTES} bytes of text, including what aliases (*) repeat"
            ));
        }
        Error::UnknownAnchor { .. } => {
            "unknown alias (*); put a value that starts with * in quotes"
        }
        Error::Eof { .. } => "the text is empty",
        _ => return None,
    };
    Some(text.to_owned())
}

fn position(location: Location) -> Option<(u64, u64)> {
    (location.line() > 0).then(|| (location.line(), location.column()))
}

/// A parsed value; numbers and booleans keep their location, so that their text can be read.
enum Shape {
    Null,
    Text(String),
    Plain(Value),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

fn node(spanned: Spanned<Shape>, text: &str) -> Node {
    match spanned.value {
        Shape::Null => Node::Null,
        Shape::Text(value) => Node::Scalar(Value::from(value)),
        Shape::Plain(value) => match exact(spanned.defined, text) {
            Some(exact) => Node::Scalar(Value::from(exact)),
            None => Node::Scalar(value),
        },
        Shape::List(items) => Node::List(items.into_iter().map(|item| node(item, text)).collect()),
        Shape::Map(entries) => Node::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    spot: Spot::Position(position(key.defined).unwrap_or((1, 1))),
                    key: key.value,
                    value: node(value, text),
                })
                .collect(),
        ),
    }
}

/// Returns the text of an unquoted number or boolean, so that the password `1e5` is kept as
/// written.
fn exact(location: Location, text: &str) -> Option<&str> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    let word = text.get(start..start.checked_add(length)?)?.trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    (!word.is_empty() && word.bytes().all(plain)).then_some(word)
}

impl<'de> serde::Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shape, E> {
        Ok(Shape::Plain(Value::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Shape, E> {
        Ok(Shape::Plain(Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Shape, E> {
        Ok(Shape::Plain(Value::from(value)))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Shape, E> {
        Ok(Shape::Plain(Value::Num(Tag::Default, Num::I128(value))))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Shape, E> {
        Ok(Shape::Plain(Value::Num(Tag::Default, Num::U128(value))))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Shape, E> {
        Ok(Shape::Plain(Value::from(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Shape, E> {
        Ok(Shape::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Shape::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Shape::Map(entries))
    }
}
