//! The tree of a file, with its keys in the order in which they were added.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::redact;

pub(super) enum Node {
    Text(String),
    Number(u64),
    Flag(bool),
    // Not a text: writing a path that is not valid Unicode must fail instead of changing it.
    Path(PathBuf),
    List(Vec<Self>),
    Map(Map),
}

impl Node {
    pub(super) fn holds_reference(&self) -> bool {
        match self {
            Self::Text(text) => text.contains("${"),
            Self::Path(path) => path.to_string_lossy().contains("${"),
            Self::List(items) => items.iter().any(Self::holds_reference),
            Self::Map(map) => map.holds_reference(),
            Self::Number(_) | Self::Flag(_) => false,
        }
    }

    /// Returns the value of this key for display; a path that is not valid Unicode is shown
    /// lossily.
    pub(super) fn shown(self, key: &str) -> serde_json::Value {
        use serde_json::Value;
        let value = match self {
            Self::Text(text) => Value::String(text),
            Self::Number(number) => number.into(),
            Self::Flag(flag) => flag.into(),
            Self::Path(path) => path.to_string_lossy().into_owned().into(),
            Self::List(items) => items.into_iter().map(|item| item.shown(key)).collect(),
            Self::Map(Map(entries)) => {
                let entries = entries.into_iter();
                let shown = entries.map(|(key, node)| (key.clone(), node.shown(&key)));
                Value::Object(shown.collect())
            }
        };
        // Free text, such as `options`, may contain a secret too.
        let shown = redact::redact(&serde_json::json!({ key: value }));
        shown[key].clone()
    }
}

/// Keeps the order of the documentation.
#[derive(Default)]
pub(super) struct Map(pub(super) Vec<(String, Node)>);

impl Map {
    pub(super) fn put(&mut self, name: &str, node: Node) {
        self.0.push((name.to_owned(), node));
    }

    pub(super) fn map(&mut self, name: &str, map: Self) {
        if !map.0.is_empty() {
            self.put(name, Node::Map(map));
        }
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.put(name, Node::Text(text.to_owned()));
    }

    pub(super) fn optional_text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    pub(super) fn path(&mut self, name: &str, path: Option<&Path>) {
        if let Some(path) = path {
            self.put(name, Node::Path(path.to_owned()));
        }
    }

    pub(super) fn flag(&mut self, name: &str, flag: bool) {
        self.put(name, Node::Flag(flag));
    }

    pub(super) fn number(&mut self, name: &str, number: u64) {
        self.put(name, Node::Number(number));
    }

    /// Writes no limit as zero, as in a file.
    pub(super) fn limit(&mut self, name: &str, limit: Option<Duration>) {
        self.duration(name, limit.unwrap_or_default(), Duration::from_secs(1), "s");
    }

    pub(super) fn milliseconds(&mut self, name: &str, limit: Option<Duration>) {
        self.duration(
            name,
            limit.unwrap_or_default(),
            Duration::from_millis(1),
            "ms",
        );
    }

    /// Writes a whole number in the unit of the key if that is exact, else text with a unit.
    fn duration(&mut self, name: &str, time: Duration, unit: Duration, word: &str) {
        let whole = time.as_nanos() / unit.as_nanos();
        match u64::try_from(whole) {
            Ok(number) if time.as_nanos().is_multiple_of(unit.as_nanos()) => {
                self.number(name, number);
            }
            _ if word == "s" => {
                let text = format!("{}.{:09}s", time.as_secs(), time.subsec_nanos());
                self.text(name, &text);
            }
            _ => {
                let text = format!("{whole}.{:06}ms", time.as_nanos() % unit.as_nanos());
                self.text(name, &text);
            }
        }
    }

    pub(super) fn list(&mut self, name: &str, items: impl ExactSizeIterator<Item = Node>) {
        if items.len() > 0 {
            self.put(name, Node::List(items.collect()));
        }
    }
}

impl Map {
    pub(super) fn holds_reference(&self) -> bool {
        self.0.iter().any(|(_, node)| node.holds_reference())
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Path(path) => path.serialize(serializer),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(Map(entries)) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (name, node) in entries {
                    map.serialize_entry(name, node)?;
                }
                map.end()
            }
        }
    }
}
