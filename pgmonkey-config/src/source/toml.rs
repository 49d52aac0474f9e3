//! Parses TOML, with the position of every key.

use figment::value::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{Defect, Entry, Node, Spot, end_of};

pub(super) fn parse(text: &str) -> Result<Node, Defect> {
    let table = DeTable::parse(text).map_err(|error| defect(&error, text))?;
    Ok(map(table.into_inner()))
}

/// Reports only the kind of error and its position: the parser's message may quote a value.
fn defect(error: &toml::de::Error, text: &str) -> Defect {
    let position = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map(|before| end_of(before.as_bytes()));
    let reason = if error.message().starts_with("duplicate key") {
        "the same key is set twice; remove one"
    } else {
        "not valid TOML; put text values in quotes"
    };
    Defect::new(reason, position)
}

fn map(table: DeTable<'_>) -> Node {
    let entries = table.into_iter().map(|(key, value)| Entry {
        spot: Spot::Byte(key.span().start),
        key: key.into_inner().into_owned(),
        value: node(value),
    });
    Node::Map(entries.collect())
}

fn node(value: Spanned<DeValue<'_>>) -> Node {
    match value.into_inner() {
        DeValue::String(value) => Node::Scalar(Value::from(value.into_owned())),
        DeValue::Integer(number) => {
            let value = i64::from_str_radix(number.as_str(), number.radix());
            Node::Scalar(value.map_or_else(|_| Value::from(number.as_str()), Value::from))
        }
        DeValue::Float(number) => {
            let value = number.as_str().parse::<f64>();
            Node::Scalar(value.map_or_else(|_| Value::from(number.as_str()), Value::from))
        }
        DeValue::Boolean(value) => Node::Scalar(Value::from(value)),
        DeValue::Datetime(value) => Node::Scalar(Value::from(value.to_string())),
        DeValue::Array(items) => Node::List(items.into_iter().map(node).collect()),
        DeValue::Table(table) => map(table),
    }
}
