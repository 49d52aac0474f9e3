//! The settings file that the Python tool keeps beside a CSV file.

use std::io;
use std::path::{Path, PathBuf};

use pgmonkey::config::files;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

/// The contents of a settings file. The caller applies the Python tool's defaults for missing keys,
/// because a missing file has no such defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    #[serde(default)]
    pub(crate) has_headers: Option<Flag>,
    #[serde(default)]
    pub(crate) auto_create_table: Option<Flag>,
    #[serde(default)]
    pub(crate) enforce_lowercase: Option<Flag>,
    #[serde(default)]
    pub(crate) delimiter: Option<String>,
    /// `Some(None)`: no quoting.
    #[serde(default, deserialize_with = "present")]
    pub(crate) quotechar: Option<Option<String>>,
    #[serde(default)]
    pub(crate) encoding: Option<String>,
}

const KEYS: [&str; 6] = [
    "auto_create_table",
    "delimiter",
    "encoding",
    "enforce_lowercase",
    "has_headers",
    "quotechar",
];

/// The sections of a connection file, which the Python tool mistakes for a settings file of the
/// same stem.
const CONNECTION_KEYS: [&str; 3] = ["connection_settings", "connection_type", "postgresql"];

/// A boolean, also in the words of YAML 1.1: 'false' is false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = Flag;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true or false")
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Flag, E> {
                self.visit_str(&value.to_string())
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Flag, E> {
                self.visit_str(&value.to_string())
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Flag, E> {
                match value.to_ascii_lowercase().as_str() {
                    "true" | "yes" | "on" | "1" => Ok(Flag(true)),
                    "false" | "no" | "off" | "0" => Ok(Flag(false)),
                    _ => Err(E::custom(format!("{value:?} is neither true nor false"))),
                }
            }
        }
        deserializer.deserialize_any(Words)
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// What was found beside a CSV file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Settings(Settings),
    /// A file of that name that is not a settings file.
    Other(&'static str),
    Nothing,
}

/// The path of a CSV file's settings file: `.yaml` in place of its last extension. An extension for
/// compression does not count.
pub(crate) fn path(file: &Path) -> PathBuf {
    let compressed = file
        .extension()
        .is_some_and(|ending| ending == "gz" || ending == "zst");
    match compressed {
        true => file.with_extension("").with_extension("yaml"),
        false => file.with_extension("yaml"),
    }
}

/// Reads a settings file. `connection` is the connection file, which is never a settings file.
///
/// # Errors
///
/// A message that says what is wrong in it.
pub(crate) fn read(path: &Path, connection: &Path) -> Result<Found, String> {
    let text = match files::read(path, files::OWN_LIMIT) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| "not valid UTF-8".to_owned())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error.to_string()),
    };
    let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same(path, connection) {
        return Ok(Found::Other("it is the connection file"));
    }
    parse(&text)
}

fn parse(text: &str) -> Result<Found, String> {
    let keys: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with([' ', '#', '-', '\t']))
        .filter_map(|line| line.split_once(':'))
        .map(|(key, _)| key.trim().trim_matches(['"', '\'']))
        .collect();
    if keys.iter().any(|key| CONNECTION_KEYS.contains(key)) {
        return Ok(Found::Other("it is a connection file"));
    }
    let blank = text
        .lines()
        .all(|line| line.trim().is_empty() || line.starts_with('#'));
    if !blank && !text.trim_start().starts_with('{') && !keys.iter().any(|key| KEYS.contains(key)) {
        return Ok(Found::Other("it has none of the settings"));
    }
    if blank {
        return Ok(Found::Settings(Settings::default()));
    }
    let settings = serde_saphyr::from_str(text).map_err(|error| {
        // The first line says what and where; the rest quotes the file.
        error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    })?;
    Ok(Found::Settings(settings))
}

/// The text of a settings file, which the Python tool can read too.
pub(crate) fn render(
    header: bool,
    create: bool,
    lower: bool,
    delimiter: u8,
    quote: Option<u8>,
    encoding: &str,
) -> String {
    let quoted = |byte: u8| match byte {
        b'\t' => "\"\\t\"".to_owned(),
        b'\'' => "\"'\"".to_owned(),
        other => format!("'{}'", char::from(other)),
    };
    let quote = quote.map_or_else(|| "null".to_owned(), quoted);
    let delimiter = quoted(delimiter);
    format!(
        "auto_create_table: {create}\n\
         delimiter: {delimiter}\n\
         encoding: {encoding}\n\
         enforce_lowercase: {lower}\n\
         has_headers: {header}\n\
         quotechar: {quote}\n\
         \n\
         # auto_create_table: make the table, with text columns, if it is missing\n\
         # delimiter: the field separator, one character; \"\\t\" is a tab\n\
         # encoding: utf-8, iso-8859-1, windows-1252, utf-16, ...\n\
         # enforce_lowercase: whether names of new columns are made lower case\n\
         # has_headers: whether the first row names the columns\n\
         # quotechar: the quote character; null for none\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        match parse(text) {
            Ok(Found::Settings(settings)) => settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_python_writes_is_read() {
        let found = settings(
            "auto_create_table: true\ndelimiter: ;\nencoding: ISO-8859-1\nenforce_lowercase: true\nhas_headers: false\nquotechar: '\"'\n\n# Import configuration options:\n",
        );
        assert_eq!(found.delimiter.as_deref(), Some(";"));
        assert_eq!(found.has_headers, Some(Flag(false)));
        assert_eq!(found.quotechar, Some(Some("\"".to_owned())));
        assert_eq!(found.encoding.as_deref(), Some("ISO-8859-1"));
    }

    #[test]
    fn d10_the_text_false_is_false() {
        for text in ["'false'", "no", "off", "0", "'0'", "False"] {
            assert_eq!(
                settings(&format!("has_headers: {text}\n")).has_headers,
                Some(Flag(false)),
                "{text}"
            );
        }
        assert!(parse("has_headers: maybe\n").is_err());
    }

    #[test]
    fn d33_both_ways_to_write_a_tab() {
        assert_eq!(
            settings("delimiter: '\\t'\n").delimiter.as_deref(),
            Some("\\t")
        );
        assert_eq!(
            settings("delimiter: \"\\t\"\n").delimiter.as_deref(),
            Some("\t")
        );
        assert_eq!(settings("quotechar: null\n").quotechar, Some(None));
        assert_eq!(settings("delimiter: ','\n").quotechar, None);
    }

    #[test]
    fn d14_an_empty_settings_file_is_all_defaults() {
        assert_eq!(settings(""), Settings::default());
        assert_eq!(settings("# nothing\n"), Settings::default());
    }

    #[test]
    fn d32_a_connection_file_is_no_settings_file() {
        assert!(matches!(
            parse("connection_type: normal\nconnection_settings:\n  host: x\n"),
            Ok(Found::Other(_))
        ));
        assert!(matches!(
            parse("services:\n  db: {}\n"),
            Ok(Found::Other(_))
        ));
        assert!(parse("delimiter: ','\nhas_header: true\n").is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (delimiter, quote) in [(b'\t', Some(b'"')), (b';', None), (b',', Some(b'\''))] {
            let text = render(true, false, true, delimiter, quote, "utf-8");
            let found = settings(&text);
            let written = |text: Option<String>| text.map(|text| text.into_bytes());
            assert_eq!(written(found.delimiter), Some(vec![delimiter]));
            assert_eq!(
                found.quotechar.map(written),
                Some(quote.map(|quote| vec![quote]))
            );
            assert_eq!(found.auto_create_table, Some(Flag(false)));
        }
    }

    #[test]
    fn the_file_is_beside() {
        assert_eq!(path(Path::new("a/b.csv")), Path::new("a/b.yaml"));
        assert_eq!(path(Path::new("b.csv.gz")), Path::new("b.yaml"));
        assert_eq!(path(Path::new("public.users")), Path::new("public.yaml"));
    }
}
