//! Fills values into the commented template.

use serde_json::Value;

use crate::command::config::yaml;

/// Keys that identify the server. If no source sets one, the template's example value must not take
/// effect.
const EXAMPLES: [&str; 4] = ["host", "port", "dbname", "user"];

/// Puts values into the template by section and key; all other lines stay unchanged.
pub(crate) fn fill(template: &str, values: &[(String, Value)]) -> String {
    let mut filled = String::new();
    let mut section = String::new();
    let mut left: Vec<&(String, Value)> = values.iter().collect();
    for line in template.lines() {
        if !line.starts_with([' ', '#']) && line.contains(':') {
            section = line.trim_end_matches(':').to_owned();
            filled.push_str(line);
            filled.push('\n');
            put_strangers(&mut filled, &section, &mut left, template);
            continue;
        }
        let line = match key_of(line) {
            Some(key) => put(line, &section, key, &mut left),
            None => line.to_owned(),
        };
        filled.push_str(&line);
        filled.push('\n');
    }
    filled
}

/// The key that a line sets, or would set without the `#` before it.
fn key_of(line: &str) -> Option<&str> {
    let line = line.strip_prefix("  ")?;
    let line = line.strip_prefix("# ").unwrap_or(line);
    let (key, _) = line.split_once(':')?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (!key.is_empty() && key.bytes().all(plain)).then_some(key)
}

fn put(line: &str, section: &str, key: &str, left: &mut Vec<&(String, Value)>) -> String {
    let path = format!("{section}.{key}");
    if let Some(at) = left.iter().position(|(name, _)| *name == path) {
        let (_, value) = left.remove(at);
        return format!("  {key}: {}", yaml::value(value));
    }
    let example = section == "connection_settings" && EXAMPLES.contains(&key);
    match line.strip_prefix("  ") {
        Some(rest) if example && !rest.starts_with('#') => format!("  # {rest}"),
        _ => line.to_owned(),
    }
}

/// Appends values that the template has no line for: server parameters.
fn put_strangers(
    filled: &mut String,
    section: &str,
    left: &mut Vec<&(String, Value)>,
    template: &str,
) {
    let known: Vec<&str> = template.lines().filter_map(key_of).collect();
    left.retain(|(path, value)| {
        let key = path
            .strip_prefix(section)
            .and_then(|rest| rest.strip_prefix('.'));
        let Some(key) = key.filter(|key| !known.contains(key)) else {
            return true;
        };
        filled.push_str(&format!("  {key}: {}\n", yaml::value(value)));
        false
    });
}

#[cfg(test)]
mod tests {
    use pgmonkey::Config;
    use pgmonkey::config::template;
    use serde_json::json;

    use super::*;

    fn filled(values: &[(&str, Value)]) -> (String, Config) {
        let values: Vec<_> = values
            .iter()
            .map(|(k, v)| (k.to_string(), v.clone()))
            .collect();
        let text = fill(template(), &values);
        let loader = Config::loader().libpq_sources(false).yaml(&*text);
        let config = loader
            .load()
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
        (text, config)
    }

    #[test]
    fn nothing_put_in_leaves_nothing_but_a_file_without_a_server() {
        let (text, config) = filled(&[]);
        assert_eq!(text.lines().count(), template().lines().count());
        assert!(config.connection_settings.host.is_empty());
        assert_eq!(config.connection_settings.user, None);
    }

    #[test]
    fn values_stand_where_their_comments_are() {
        let (text, config) = filled(&[
            ("connection_settings.host", json!(["a", "b"])),
            ("connection_settings.password", json!("it's # 'S3cret'")),
            (
                "connection_settings.target_session_attrs",
                json!("read-write"),
            ),
            ("sync_settings.TimeZone", json!("UTC")),
        ]);
        let settings = &config.connection_settings;
        assert_eq!(settings.host.len(), 2);
        assert_eq!(settings.password, Some("it's # 'S3cret'".into()));
        assert_eq!(settings.target_session_attrs.as_str(), "read-write");
        assert_eq!(config.sync_settings.value("TimeZone"), Some("UTC"));
        assert!(text.contains("  # any | read-write"), "{text}");
    }
}
