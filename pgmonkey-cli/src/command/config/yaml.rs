//! Writes values as YAML that reads back as the same value.

use serde_json::Value;

/// A value on one line; a list with one element is written as that element.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::String(text) => text_of(text),
        Value::Array(items) if items.len() == 1 => self::value(&items[0]),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(self::value).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| match value {
                // Here a list with one element must stay a list.
                Value::Array(items) if items.len() == 1 => {
                    format!("{key}: [{}]", self::value(value))
                }
                value => format!("{key}: {}", self::value(value)),
            });
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A text in single quotes, where only the quote itself is special. A text that does not fit on one
/// line is written as JSON, which YAML reads. It is not a reference: `${` is escaped.
fn text_of(text: &str) -> String {
    let text = &text.replace("${", "$${");
    if text.chars().any(char::is_control) {
        return Value::from(text.as_str()).to_string();
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
            "a${B}",
            "$${B:-$}$",
        ] {
            let yaml = format!("connection_settings: {{ dbname: {} }}", value(&text.into()));
            let loader = pgmonkey::Config::loader().libpq_sources(false).yaml(yaml);
            let config = loader.load().expect(text);
            let expected = (!text.is_empty()).then_some(text);
            assert_eq!(config.connection_settings.dbname.as_deref(), expected);
        }
        assert_eq!(value(&serde_json::json!(["a", 5, true])), "['a', 5, true]");
        let command = serde_json::json!({ "from_command": ["x"], "ttl": 5 });
        assert_eq!(value(&command), "{ from_command: ['x'], ttl: 5 }");
    }
}
