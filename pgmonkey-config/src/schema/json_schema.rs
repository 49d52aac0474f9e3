//! The JSON Schema of a configuration file, made from the table of keys.

use serde_json::{Map, Value, json};

use crate::schema::choice::{AuthMethod, Choice};
use crate::schema::keys::{self, Key, Kind, MOST_HOSTS, Unsupported};

/// The dialect of the schema.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A whole number in a text, and a number with or without a unit.
const WHOLE: &str = r"^\s*\+?[0-9]+\s*$";
const DURATION: &str = r"^\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*(ms|s|m|h)?\s*$";
/// What counts as true or false in a text, in any case.
const FLAG: &str = r"^\s*([Tt][Rr][Uu][Ee]|[Oo][Nn]|[Yy][Ee][Ss]|1|[Ff][Aa][Ll][Ss][Ee]|[Oo][Ff][Ff]|[Nn][Oo]|0)\s*$";
const ENCODING: &str = r"^([Uu][Tt][Ff]-?8|[Uu][Nn][Ii][Cc][Oo][Dd][Ee]|[Aa][Uu][Tt][Oo])$";
/// What turns off a report that has no limit by default.
const OFF: &str = "off";
const PORT: &str = r"^\s*\+?0*[1-9][0-9]{0,4}\s*$";
const PORTS: &str = r"^\s*(\+?[0-9]{1,5})?\s*(,\s*(\+?[0-9]{1,5})?\s*)*$";

/// Returns the JSON Schema (2020-12) of a configuration file, for editors.
///
/// A file that it accepts may still be refused by the loader, which also checks what a schema cannot
/// say, such as combinations of keys and the ranges of quoted numbers. It accepts every file that the
/// loader accepts.
///
/// ```
/// let schema = pgmonkey_config::json_schema();
/// let timeout = &schema["properties"]["pool_settings"]["anyOf"][0]["properties"]["timeout"];
/// assert_eq!(timeout["description"], "Longest wait for a session; 0 means no wait. Default: 30");
/// ```
pub fn json_schema() -> Value {
    let mut properties = sections();
    let overlay = json!({
        "anyOf": [object(properties.clone()), { "$ref": "#/$defs/unset" }],
    });
    let profiles = keys::find("", keys::PROFILES).map_or("", |key| key.doc);
    properties.insert(
        keys::PROFILES.into(),
        json!({
            "description": profiles,
            "anyOf": [
                { "type": "object", "additionalProperties": { "$ref": "#/$defs/overlay" } },
                { "$ref": "#/$defs/unset" },
            ],
        }),
    );
    let wrapped = object(properties.clone());
    properties.insert(
        keys::WRAPPER.into(),
        json!({
            "description": "The wrapper of pgmonkey 2: the sections belong at the top level.",
            "deprecated": true,
            "allOf": [wrapped],
        }),
    );
    let mut schema = object(properties);
    schema["$schema"] = DIALECT.into();
    schema["title"] = "pgmonkey configuration".into();
    schema["$defs"] = definitions(overlay);
    schema
}

/// What may stand in place of a value of any kind.
fn definitions(overlay: Value) -> Value {
    json!({
        "overlay": overlay,
        "readers": {
            "anyOf": [object(properties_of(keys::READERS)), { "$ref": "#/$defs/unset" }],
        },
        "unset": {
            "description": "Not set: the next weaker source, then the default, applies.",
            "enum": [null, ""],
        },
        "variable": {
            "description": "A text with ${NAME} or ${NAME:-default}.",
            "type": "string",
            "pattern": r"\$\{",
        },
        "reference": {
            "description": "The value of a variable, or the content of a file.",
            "type": "object",
            "properties": {
                "from_env": { "type": "string", "minLength": 1 },
                "from_file": { "type": "string", "minLength": 1 },
            },
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": false,
        },
    })
}

fn sections() -> Map<String, Value> {
    properties_of("")
}

fn properties_of(section_name: &str) -> Map<String, Value> {
    let keys = keys::of_section(section_name).unwrap_or_default();
    let known = keys.into_iter().filter(|key| key.name != keys::PROFILES);
    let mut properties = Map::new();
    for key in known {
        let schema = match key.kind {
            Kind::Section if key.name == keys::READERS => json!({
                "description": key.doc,
                "$ref": "#/$defs/readers",
            }),
            Kind::Section => section(key),
            _ => property(key),
        };
        properties.insert(key.name.into(), schema);
    }
    properties
}

fn section(key: &Key) -> Value {
    let content = match keys::of_section(key.name) {
        Some(keys) => {
            let mut properties: Map<String, Value> = keys
                .into_iter()
                .map(|key| (key.name.to_owned(), property(key)))
                .collect();
            if key.name == "connection_settings" {
                add_other_names(&mut properties);
            }
            object(properties)
        }
        // Any server parameter.
        None => json!({
            "type": "object",
            "propertyNames": { "not": { "const": "from_command" } },
            "additionalProperties": {
                "anyOf": [
                    { "type": ["string", "number", "boolean", "null"] },
                    { "type": "array", "items": { "type": ["string", "number", "boolean"] } },
                    { "$ref": "#/$defs/reference" },
                ],
            },
        }),
    };
    json!({
        "description": key.doc,
        "anyOf": [content, { "$ref": "#/$defs/unset" }],
    })
}

/// The names in `connection_settings` that are no rows of the table.
fn add_other_names(properties: &mut Map<String, Value>) {
    for (alias, name) in keys::ALIASES {
        let mut schema = properties[*name].clone();
        schema["description"] = format!("An alias of `{name}`.").into();
        properties.insert((*alias).into(), schema);
    }
    properties.insert(
        keys::FALLBACK_APPLICATION_NAME.into(),
        with_substitutes(
            "The application name if no other is set, as in libpq.",
            kinds(Kind::Text),
        ),
    );
    for Unsupported { name, harmless } in keys::UNSUPPORTED {
        properties.insert(
            (*name).into(),
            json!({
                "description": "A key of libpq that the Rust drivers do not support.",
                "deprecated": true,
                "anyOf": [words_as_written(harmless), { "$ref": "#/$defs/unset" }],
            }),
        );
    }
}

/// Words in any case, which may also be written as a number or as true or false, without quotes.
fn words_as_written(words: &[&str]) -> Value {
    let mut values: Vec<Value> = Vec::new();
    for word in words {
        values.extend(word.parse::<f64>().ok().map(Value::from));
        values.extend(word.parse::<bool>().ok().map(Value::from));
    }
    let in_any_case = |word: &&str| -> String {
        let letters = word.chars().map(|letter| match letter {
            letter if letter.is_ascii_alphabetic() => {
                format!("[{}{letter}]", letter.to_ascii_uppercase())
            }
            letter => letter.to_string().replace('.', r"\."),
        });
        letters.collect()
    };
    let words: Vec<String> = words.iter().map(in_any_case).collect();
    let pattern = format!(r"^\s*({})\s*$", words.join("|"));
    json!({ "anyOf": [{ "type": "string", "pattern": pattern }, { "enum": values }] })
}

fn property(key: &Key) -> Value {
    let description = match key.default {
        "" => key.doc.to_owned(),
        default => format!("{} Default: {default}", key.doc),
    };
    let mut kinds = kinds(key.kind);
    match key.name {
        "client_encoding" => kinds = vec![json!({ "type": "string", "pattern": ENCODING })],
        "password" => kinds.push(command()),
        _ if key.default == OFF => kinds.push(json!({ "const": OFF })),
        _ => {}
    }
    let mut schema = with_substitutes(&description, kinds);
    if let Some(default) = default_value(key) {
        schema["default"] = default;
    }
    schema
}

/// The default as a value, where it is not described in words.
fn default_value(key: &Key) -> Option<Value> {
    match key.kind {
        Kind::Flag => key.default.parse::<bool>().ok().map(Value::from),
        Kind::Count { .. } | Kind::Seconds { .. } | Kind::Milliseconds { .. } | Kind::Ports => {
            key.default.parse::<u64>().ok().map(Value::from)
        }
        Kind::Word(words) => words().contains(&key.default).then(|| key.default.into()),
        _ => None,
    }
}

fn with_substitutes(description: &str, mut kinds: Vec<Value>) -> Value {
    for name in ["variable", "reference", "unset"] {
        kinds.push(json!({ "$ref": format!("#/$defs/{name}") }));
    }
    json!({ "description": description, "anyOf": kinds })
}

fn command() -> Value {
    let duration = with_substitutes("A duration.", kinds(keys::SECONDS));
    json!({
        "type": "object",
        "properties": {
            "from_command": {
                "description": "The program and its arguments; its standard output is the password.",
                "type": "array",
                "items": { "anyOf": kinds(Kind::Text) },
                "minItems": 1,
            },
            "ttl": duration,
            "timeout": duration,
        },
        "required": ["from_command"],
        "additionalProperties": false,
    })
}

/// The values of a kind, the first in the form that an editor suggests.
fn kinds(kind: Kind) -> Vec<Value> {
    match kind {
        Kind::Text => vec![json!({ "type": "string" }), json!({ "type": "integer" })],
        Kind::Secret | Kind::Url | Kind::Path | Kind::Roots => vec![json!({ "type": "string" })],
        Kind::Hosts => list_or_one(&json!({ "anyOf": kinds(Kind::Text) })),
        Kind::Addresses => list_or_one(&json!({ "type": "string" })),
        Kind::Ports => {
            let port = json!({ "type": "integer", "minimum": 1, "maximum": 65535 });
            let text = json!({ "type": "string", "pattern": PORT });
            let item = json!({ "anyOf": [port, text, { "const": "" }] });
            let mut kinds = list_or_one(&item);
            kinds.push(json!({ "type": "string", "pattern": PORTS }));
            kinds
        }
        Kind::Flag => vec![
            json!({ "type": "boolean" }),
            json!({ "enum": [0, 1] }),
            json!({ "type": "string", "pattern": FLAG }),
        ],
        Kind::Count { min, max } => vec![
            json!({ "type": "integer", "minimum": min, "maximum": max }),
            json!({ "type": "string", "pattern": WHOLE }),
        ],
        Kind::Seconds { min, max } | Kind::Milliseconds { min, max } => {
            let mut kinds = vec![json!({ "type": "number", "minimum": min, "maximum": max })];
            if min > 0 {
                kinds.push(json!({ "const": 0 }));
            }
            kinds.push(json!({ "type": "string", "pattern": DURATION }));
            kinds
        }
        Kind::Word(words) => vec![json!({ "enum": words() })],
        Kind::Methods => methods(),
        Kind::Section => vec![json!({ "type": "object" })],
    }
}

fn list_or_one(item: &Value) -> Vec<Value> {
    vec![
        item.clone(),
        json!({ "type": "array", "items": item, "maxItems": MOST_HOSTS }),
    ]
}

/// A list of methods, all with or all without `!`.
fn methods() -> Vec<Value> {
    let names: Vec<&str> = AuthMethod::ALL.iter().map(|(_, name)| *name).collect();
    let names = names.join("|");
    let mut kinds = Vec::new();
    for sign in ["", "!"] {
        let item = format!(r"\s*{sign}({names})\s*");
        let list = json!({ "type": "string", "pattern": format!("^{item}(,{item})*$") });
        kinds.push(json!({ "type": "array", "items": list }));
        kinds.push(list);
    }
    kinds
}

fn object(properties: Map<String, Value>) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}
