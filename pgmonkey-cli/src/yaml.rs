//! Values as YAML that reads back as the same.

use serde_json::Value;

/// A value on one line; a list of one is that one.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::String(text) => text_of(text),
        Value::Array(items) if items.len() == 1 => self::value(&items[0]),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(self::value).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// In single quotes, where nothing but the quote itself has a meaning; what cannot stand on one
/// line is written as JSON, which YAML reads.
fn text_of(text: &str) -> String {
    if text.chars().any(char::is_control) {
        return Value::from(text).to_string();
    }
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in [
            "plain",
            "",
            "it's",
            "a: b # c",
            "*x",
            "\"q\"",
            "line\nbreak",
            "tab\t",
            "größe 🐒",
            "\\n",
        ] {
            let yaml = format!("connection_settings: {{ dbname: {} }}", value(&text.into()));
            let loader = pgmonkey::Config::loader().libpq_sources(false).yaml(yaml);
            let config = loader.load().expect(text);
            let expected = (!text.is_empty()).then_some(text);
            assert_eq!(config.connection_settings.dbname.as_deref(), expected);
        }
        assert_eq!(value(&serde_json::json!(["a", 5, true])), "['a', 5, true]");
    }
}
