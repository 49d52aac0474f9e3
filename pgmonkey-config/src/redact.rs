use serde_json::Value;

use crate::keys;
use crate::secret::REDACTED;
use crate::source::url;

/// The human form of any tree of values: what may be secret is replaced by [`REDACTED`].
///
/// That is everything under a key whose name tells of a secret (also in lists and nested maps), and
/// the secret parts of connection strings under any key. Empty texts, null, 0 and false stay: they
/// hide nothing, and show that nothing is set. Paths of certificates stay too.
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
        return if hides_nothing(value) {
            value.clone()
        } else {
            Value::String(REDACTED.to_owned())
        };
    }
    match value {
        // A key=value text can only be told from other text by its key.
        Value::String(text) if key == "url" => Value::String(redact_connection_string(text)),
        value => redact(value),
    }
}

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
    if text.contains("://") || text.contains("password") {
        redact_connection_string(text)
    } else {
        text.to_owned()
    }
}

fn redact_connection_string(text: &str) -> String {
    let harmless = url::parse(text).is_ok_and(|parts| {
        let mut names = parts.iter().map(|(name, _)| name);
        !names.any(|name| keys::is_secret(name))
    });
    if harmless {
        return text.to_owned();
    }
    hide_user_info(text).unwrap_or_else(|| REDACTED.to_owned())
}

/// `scheme://user:password@rest`, if nothing but the part before the @ is secret.
fn hide_user_info(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let (user_info, rest) = rest.rsplit_once('@')?;
    let (user, _) = user_info.split_once(':')?;
    let open = format!("{scheme}://{user}@{rest}");
    let parts = url::parse(&open).ok()?;
    let secret = parts.iter().any(|(name, _)| keys::is_secret(name));
    (!secret).then(|| format!("{scheme}://{user}:{REDACTED}@{rest}"))
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
