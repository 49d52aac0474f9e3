//! Converts one value of the tree, for the formats that write it in different ways.

use figment::value::{Num, Value};

use crate::model::connection::DEFAULT_PORT;
use crate::schema::keys::MOST_HOSTS;

/// Text, or a whole number without quotes.
pub(crate) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Num(..) => integer_of(value).map(|number| number.to_string()),
        _ => None,
    }
}

pub(crate) fn number_or_text(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Bool(_, flag) => Some(flag.to_string()),
        Value::Num(_, Num::F64(number)) => Some(number.to_string()),
        Value::Num(_, Num::F32(number)) => Some(number.to_string()),
        value => integer_of(value).map(|number| number.to_string()),
    }
}

pub(super) fn integer_of(value: &Value) -> Option<i128> {
    match value {
        Value::String(_, text) => text.trim().parse().ok(),
        Value::Num(_, Num::F64(number)) => whole(*number),
        Value::Num(_, number) => number
            .to_i128()
            .or_else(|| number.to_u128().and_then(|n| i128::try_from(n).ok())),
        _ => None,
    }
}

/// Reads 30.0 as 30; some formats have no other numbers.
fn whole(number: f64) -> Option<i128> {
    let whole = number.fract() == 0.0 && number.abs() < 1e15;
    whole.then_some(number as i128)
}

pub(crate) fn flag_of(value: &Value) -> Option<bool> {
    if let Value::Bool(_, flag) = value {
        return Some(*flag);
    }
    match number_or_text(value)?.trim().to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// Returns the items of a list, or of a text with commas, without the spaces around them.
pub(super) fn items_of(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(_, items) => items
            .iter()
            .map(|item| Some(text_of(item)?.trim().to_owned()))
            .collect(),
        value => Some(
            text_of(value)?
                .split(',')
                .map(|item| item.trim().to_owned())
                .collect(),
        ),
    }
}

/// Like [`items_of`], for keys with one value for each host: bounds their number.
pub(super) fn hosts_of(value: &Value) -> Option<Vec<String>> {
    let count = match value {
        Value::Array(_, items) => items.len(),
        value => value.as_str().map_or(1, |text| text.split(',').count()),
    };
    (count <= MOST_HOSTS).then(|| items_of(value)).flatten()
}

/// An empty item in a list of ports is the default port, as in libpq.
pub(super) fn port_of(text: &str) -> Option<u16> {
    if text.is_empty() {
        return Some(DEFAULT_PORT);
    }
    text.parse().ok().filter(|port| *port != 0)
}

pub(super) fn parameter_of(value: &Value) -> Option<String> {
    match value {
        Value::Array(_, items) => {
            let items: Option<Vec<String>> = items.iter().map(number_or_text).collect();
            Some(items?.join(","))
        }
        value => number_or_text(value),
    }
}
