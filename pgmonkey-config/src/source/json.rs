//! Parses JSON: refuses duplicate keys and records the position of every key.

use std::cell::Cell;
use std::fmt;

use figment::value::Value;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::document::{Defect, Entry, Node, Spot};

/// The error for a duplicate key; `parse` recognises it among the parser's own messages.
const DUPLICATE: &str = "the same key is set twice; remove one";

pub(super) fn parse(text: &str) -> Result<Node, Defect> {
    let keys = Keys::new(text);
    let mut parser = serde_json::Deserializer::from_str(text);
    let node = Seed(&keys).deserialize(&mut parser);
    let node = node.and_then(|node| parser.end().map(|()| node));
    node.map_err(|error| {
        let duplicate = error.to_string().starts_with(DUPLICATE);
        let reason = if duplicate {
            DUPLICATE
        } else {
            "not valid JSON"
        };
        Defect::new(reason, Some((error.line() as u64, error.column() as u64)))
    })
}

/// Iterates over the keys of a text in the order in which the parser reads them.
///
/// serde_json does not report the positions of keys. In valid JSON a string is a key if and only if
/// a colon follows it.
struct Keys<'a> {
    text: &'a str,
    next: Cell<usize>,
}

impl<'a> Keys<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            next: Cell::new(0),
        }
    }

    fn next(&self) -> Spot {
        let bytes = self.text.as_bytes();
        let mut at = self.next.get();
        while let Some(start) = find_quote(bytes, at) {
            let end = end_of_text(bytes, start);
            at = end;
            if bytes[end..].trim_ascii_start().first() == Some(&b':') {
                self.next.set(end);
                return Spot::Byte(start);
            }
        }
        Spot::Byte(bytes.len())
    }
}

fn find_quote(bytes: &[u8], from: usize) -> Option<usize> {
    let found = bytes.get(from..)?.iter().position(|byte| *byte == b'"');
    found.map(|offset| from + offset)
}

/// Returns the index after the closing quote.
fn end_of_text(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[derive(Clone, Copy)]
struct Seed<'a>(&'a Keys<'a>);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let spot = self.0.next();
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(DUPLICATE));
            }
            let value = map.next_value_seed(self)?;
            entries.push(Entry { key, spot, value });
        }
        Ok(Node::Map(entries))
    }
}
