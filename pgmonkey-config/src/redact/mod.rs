use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::schema::keys;
use crate::secret::REDACTED;
use crate::source::url;

mod options;
pub(crate) mod suspicion;

pub(crate) use options::{has_stray_word, options};
pub use suspicion::is_connection_string;

/// Replaces possible secrets in a tree of values with [`REDACTED`].
///
/// It replaces everything under a key whose name is that of a secret (also in lists and nested
/// maps), and the secret parts of connection strings, under any key, and of the settings in
/// `options`. Empty texts, null, 0 and false are kept: they contain no secret, and show that
/// nothing is set. Paths of certificates are kept too, and so are references to secrets:
/// `{ from_env: name }`, `{ from_file: path }`, and the program of `{ from_command: [...] }` without
/// its arguments.
///
/// ```
/// use pgmonkey_config::redact;
///
/// let tree = serde_json::json!({
///     "user": "app", "password": "S3cret", "servers": [{ "api_key": ["S3cret"] }],
///     "url": "postgres://app:S3cret@db/shop",
/// });
/// let shown = redact(&tree);
/// assert!(!shown.to_string().contains("S3cret"));
/// assert_eq!(shown["url"], "postgres://app:***REDACTED***@db/shop");
/// ```
pub fn redact(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| (key.clone(), redact_under(key, value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(redact).collect()),
        Value::String(text) => Value::String(redact_text(text)),
        other => other.clone(),
    }
}

fn redact_under(key: &str, value: &Value) -> Value {
    if keys::is_secret(key) {
        if let Some(reference) = value.as_object().and_then(reference) {
            return reference;
        }
        return if hides_nothing(value) {
            value.clone()
        } else {
            Value::String(REDACTED.to_owned())
        };
    }
    match value {
        Value::String(text) => Value::String(told(key, text).into_owned()),
        value => redact(value),
    }
}

/// Returns a reference to a secret for display: the variable, the path, or the program without its
/// arguments; `None` for another mapping.
fn reference(map: &Map<String, Value>) -> Option<Value> {
    let mut shown = Map::new();
    for (key, value) in map {
        let value = match (key.as_str(), value) {
            ("from_env", Value::String(name)) if is_variable(name) => value.clone(),
            ("from_file", Value::String(path)) => told("passfile", path).into(),
            ("from_command", Value::Array(items)) => command(items),
            ("ttl" | "timeout", Value::Number(_)) => value.clone(),
            ("ttl" | "timeout", Value::String(time)) if suspicion::is_number(time) => value.clone(),
            ("from_env" | "from_command" | "ttl" | "timeout", _) => REDACTED.into(),
            _ => return None,
        };
        shown.insert(key.clone(), value);
    }
    let forms = ["from_env", "from_file", "from_command"];
    let any = forms.iter().any(|form| shown.contains_key(*form));
    any.then_some(Value::Object(shown))
}

fn is_variable(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Hides the arguments, which may be secrets.
fn command(items: &[Value]) -> Value {
    let shown = items.iter().enumerate().map(|(index, item)| match item {
        Value::String(text) if index == 0 => {
            let program = text.split_whitespace().next().unwrap_or_default();
            Value::from(told("passfile", program))
        }
        _ => Value::from(REDACTED),
    });
    shown.collect::<Vec<_>>().into()
}

/// Returns a value for display, without its secrets.
pub(crate) fn told<'a>(key: &str, text: &'a str) -> Cow<'a, str> {
    let shown = match key {
        _ if text.is_empty() => return Cow::Borrowed(text),
        _ if keys::is_secret(key) => REDACTED.to_owned(),
        // Only the key tells key=value text from other text.
        "url" => redact_connection_string(text),
        "options" => options(text),
        _ if NAMES.contains(&key) && suspicion::is_named(key, text) => return Cow::Borrowed(text),
        "user" if !suspicion::is_connection_string(text) => {
            let name = text.split(':').next().unwrap_or_default();
            format!("{name}:{REDACTED}")
        }
        _ if NAMES.contains(&key) => REDACTED.to_owned(),
        _ => redact_text(text),
    };
    Cow::Owned(shown)
}

/// Keys whose value is a name, not a connection string.
pub(crate) const NAMES: [&str; 7] = [
    "application_name",
    "dbname",
    "host",
    "passfile",
    keys::PASSWORD_FILE,
    "service",
    "user",
];

fn hides_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// Hides the secrets in a text if it looks like a connection string.
pub(crate) fn redact_text(text: &str) -> String {
    if text.contains("://") || text.contains("password") || suspicion::holds_secret(text) {
        redact_connection_string(text)
    } else {
        text.to_owned()
    }
}

fn redact_connection_string(text: &str) -> String {
    if is_harmless(text) {
        return text.to_owned();
    }
    hide_user_info(text).unwrap_or_else(|| REDACTED.to_owned())
}

/// Whether the text is a connection string without a secret.
fn is_harmless(text: &str) -> bool {
    url::parse(text).is_ok_and(|parts| {
        let mut parts = parts.iter();
        parts.all(|(name, value)| !keys::is_secret(name) && told(name, value) == *value)
    })
}

/// Returns `scheme://user:***REDACTED***@rest`, if nothing else in the URL is secret.
fn hide_user_info(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let (user_info, rest) = rest.rsplit_once('@')?;
    let (user, _) = user_info.split_once(':')?;
    let open = format!("{scheme}://{user}@{rest}");
    is_harmless(&open).then(|| format!("{scheme}://{user}:{REDACTED}@{rest}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_under_a_secret_key_goes_whole() {
        let tree = json!({
            "password": { "value": "S3cret" },
            "credentials": { "pw": "S3cret" },
            "servers": [{ "sslpassword": "S3cret" }, { "passwd": ["S3cret", "b"] }],
            "profiles": { "test": { "connection_settings": { "Password": 5 } } },
        });
        let shown = redact(&tree);
        assert!(!shown.to_string().contains("S3cret"), "{shown}");
        assert_eq!(shown["password"], REDACTED);
        assert_eq!(
            shown["profiles"]["test"]["connection_settings"]["Password"],
            REDACTED
        );
    }

    #[test]
    fn what_hides_nothing_stays() {
        let tree = json!({ "password": "", "token": null, "secret": 0, "credential": false });
        assert_eq!(redact(&tree), tree);
        let tree = json!({ "sslkey": "/etc/key", "passfile": "~/.pgpass", "host": "db" });
        assert_eq!(redact(&tree), tree);
    }

    #[test]
    fn names_that_are_connection_strings_go_whole() {
        for key in NAMES {
            let shown = redact(&json!({ key: "postgres://app:S3cret@db" }));
            assert_eq!(shown[key], REDACTED);
        }
        let tree = json!({ "user": "app:S3cret", "options": "-c my.token=S3cret -c geqo=off" });
        let shown = redact(&tree);
        assert_eq!(shown["user"], "app:***REDACTED***");
        assert_eq!(shown["options"], "-c my.token=***REDACTED*** -c geqo=off");
        let plain = json!({ "user": "app", "dbname": "me@corp", "application_name": "a: b@c" });
        assert_eq!(redact(&plain), plain);
    }

    #[test]
    fn connection_strings_lose_their_secrets() {
        for text in [
            "postgres://app:S3cret@db",
            "postgresql://app:S3cret@db:5432/shop?sslmode=require",
            "postgres://app:S3@cret@db",
            "postgres://db/shop?user=app&password=S3cret",
            "postgres://app:S3cret@db/shop?sslpassword=S3cret",
            "http://app:S3cret@db",
            "host=db password=S3cret",
            "host=db password = 'S3cret",
            "postgres://app:/S3cret@db/shop",
            "postgres://app@db/shop?options=-c%20my.token%3DS3cret",
            "postgres://db/shop?user=app:S3cret",
        ] {
            let shown = redact(&json!({ "url": text, "other": [text] })).to_string();
            assert!(
                !shown.contains("S3cret") && !shown.contains("cret@"),
                "{shown}"
            );
        }
        let open = json!({ "url": "postgres://app@db/shop", "other": "host=db dbname=x" });
        assert_eq!(redact(&open), open);
    }
}
