//! The JSON Schema of the file, beside the loader: a schema validator and the loader judge the same
//! files, and each difference has a reason.

use std::collections::BTreeSet;
use std::path::Path;

use jsonschema::Validator;
use pgmonkey_config::{Error, Loader, ProblemKind, json_schema, template};
use serde_json::{Value, json};

const SECTIONS: [&str; 3] = [
    "connection_settings",
    "pool_settings",
    "async_pool_settings",
];

fn validator() -> Validator {
    jsonschema::draft202012::new(&json_schema()).expect("a valid schema")
}

fn loader() -> Loader {
    let variables = [("HOME", "/nonexistent"), ("NUMBER", "5")];
    Loader::new().variables(variables).allow_commands(true)
}

/// Whether the loader objects to the file, apart from what no schema can know: whether values fit
/// each other, and what is in variables and files.
fn refused(outcome: &Result<pgmonkey_config::Config, Error>) -> Option<String> {
    let problems = outcome.as_ref().err()?.problems();
    let fits = |kind: &ProblemKind| matches!(kind, ProblemKind::Conflict(reason) if !reason.contains("from_command"));
    let meant = problems.iter().find(|problem| !fits(&problem.kind));
    meant.map(ToString::to_string)
}

/// Values of every sort, for every key.
fn values() -> Vec<Value> {
    let mut values = vec![
        json!(null),
        json!(true),
        json!(false),
        json!([]),
        json!({}),
        json!({ "other": 1 }),
        json!({ "from_env": "NUMBER" }),
        json!({ "from_env": "NUMBER", "from_file": "/a" }),
        json!({ "from_command": ["program", 1] }),
        json!({ "from_command": ["program"], "ttl": "5m", "timeout": 2 }),
        json!({ "from_command": [] }),
        json!({ "from_command": ["program"], "limit": 2 }),
        json!([null]),
        json!([true]),
        json!([["a"]]),
        json!(["app", "shop"]),
        json!(["10.0.0.1", "::1"]),
        json!(["5432", 5433]),
        json!(["md5", "none"]),
        json!(["!md5", "none"]),
        json!(vec!["db"; 257]),
    ];
    values.extend([0, 1, 2, -1, 5433, 40_000, 70_000].map(Value::from));
    values.extend([1.5, 3.0, -0.5, 1e12, 1e20].map(Value::from));
    let texts = "|0|1|-1|+2| 5 |1.5|3.|.5|30s|500ms|1h|5 m|5x|1e3|40000|70000|99999999999|true|OFF|Yes|maybe|off\
                 |app|a,b|/tmp|10.0.0.1|::1|10.0.0.1,::1|5433,5434|5433,,5434|0,1|5433,x|system|md5|!md5|md5, !none\
                 | md5 , none|md5,md5|md6|UTF8|utf-8|LATIN1|TLSv1.1|${NUMBER}|$${NUMBER}|x${NUMBER}|$NUMBER\
                 |postgres://app@db/shop|host=db user=app|host=";
    values.extend(texts.split('|').map(Value::from));
    values
}

/// All words that the schema mentions for a key.
fn words(schema: &Value, into: &mut BTreeSet<String>) {
    match schema {
        Value::Object(entries) => {
            for (name, value) in entries {
                match (name.as_str(), value) {
                    ("enum", Value::Array(listed)) => {
                        into.extend(listed.iter().filter_map(Value::as_str).map(str::to_owned));
                    }
                    _ => words(value, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| words(item, into)),
        _ => {}
    }
}

/// Why the schema accepts a value that the loader refuses.
fn reason(key: &str, schema: &Value, value: &Value) -> Option<&'static str> {
    let text = value.as_str().unwrap_or_default();
    let takes = |pattern: &str| schema.to_string().contains(pattern);
    let number = takes(r#""type":"integer""#) || takes(r#""type":"number""#);
    if text.contains("${") || value.get("from_env").is_some() {
        return Some("the value of a variable is not in the file");
    }
    match key {
        "password_file" | "service" => Some("what another file has is not in this one"),
        "hostaddr" => Some("the forms of IP addresses are too many for a pattern"),
        "url" => Some("a connection string is parsed, and its settings are checked, by the loader"),
        "host" | "user" | "dbname" | "database" | "password" | "sslpassword"
            if text.contains("://") || text.contains('=') =>
        {
            Some("a connection string in the place of a name is recognised by its contents")
        }
        _ if value.as_f64().is_some_and(|number| number >= 1e15) => {
            Some("a number that large is not exact")
        }
        "require_auth" => Some("a method named twice, or none left, needs counting"),
        _ if number && value.is_string() => Some("the range of a quoted number needs arithmetic"),
        _ if number && value.is_array() => Some("the range of a quoted number needs arithmetic"),
        _ => None,
    }
}

#[test]
fn the_verdicts_on_every_key_are_those_of_the_loader() {
    let (validator, schema) = (validator(), json_schema());
    let (mut wrong, mut used, mut tried) = (Vec::new(), BTreeSet::new(), 0);
    let readers = &schema["$defs"]["readers"]["anyOf"][0]["properties"];
    for (readers, section) in [None, Some(readers)]
        .into_iter()
        .flat_map(|readers| [""].iter().chain(&SECTIONS).map(move |s| (readers, *s)))
    {
        let top = readers.unwrap_or(&schema["properties"]);
        let properties = match section {
            "" => top,
            section => &top[section]["anyOf"][0]["properties"],
        };
        for (key, of_key) in properties.as_object().expect("properties") {
            let mut named = BTreeSet::new();
            if section.is_empty()
                && (SECTIONS.contains(&key.as_str()) || of_key.get("allOf").is_some())
            {
                // Their keys are tried one by one.
            } else {
                words(of_key, &mut named);
            }
            for value in values()
                .into_iter()
                .chain(named.into_iter().map(Value::from))
            {
                let file = match section {
                    "" => json!({ key: value }),
                    section => json!({ section: { key: value } }),
                };
                let file = match readers {
                    Some(_) => json!({ "readers": file }),
                    None => file,
                };
                tried += 1;
                let refused = refused(&loader().json(file.to_string()).load());
                match (validator.is_valid(&file), &refused) {
                    (true, None) | (false, Some(_)) => {}
                    (false, None) => wrong.push(format!("only the schema refuses {file}")),
                    (true, Some(error)) => match reason(key, of_key, &value) {
                        Some(reason) => {
                            used.insert(reason);
                        }
                        None => wrong.push(format!("only the loader refuses {file}: {error}")),
                    },
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {tried}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(tried > 10_000, "{tried}");
    assert_eq!(used.len(), 7, "a reason that no key needs: {used:?}");
}

fn of_yaml(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).expect("valid YAML")
}

#[test]
fn shapes_of_the_whole_file_are_accepted() {
    let validator = validator();
    for yaml in [
        template(),
        "{}",
        "postgresql: { connection_settings: { host: db, port: '5432' } }",
        "postgresql: { connection_type: pool, profiles: { test: { pool_settings: { max_size: 3 } } } }",
        "profiles: { test: { connection_settings: { dbname: shop_test } }, none: null }",
        "readers: { connection_settings: { host: [a, b] }, max_lag: 500ms, fallback: 'no' }",
        "readers: {}\nprofiles: { test: { readers: { pool_settings: { max_size: 3 } } } }",
        "postgresql: { readers: { sync_settings: { jit: off } } }",
        "readers: ''",
        "pool_settings: ''\nasync_pool_settings: ~",
        "pool_settings: { timeout: 1.5s, max_size: '20', check_on_checkout: 'on' }",
        "sync_settings: { search_path: [app, public], jit: off, work_mem: null, my.custom: 1 }",
        "connection_settings: { password: { from_command: [vault, read], ttl: 10m } }",
        "connection_settings: { host: [a, b], port: [5432, 5433], gssencmode: disable, requiressl: 0 }",
    ] {
        let file = of_yaml(yaml);
        let errors: Vec<String> = validator
            .iter_errors(&file)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{yaml}\n{errors:?}");
        let refused = refused(&loader().yaml(yaml).load());
        assert!(refused.is_none(), "{yaml}\n{refused:?}");
    }
    for yaml in [
        "[]",
        "connection_type: pol",
        "connection_setings: {}",
        "connection_settings: { hots: db }",
        "profiles: { test: { connection_settings: { hots: db } } }",
        "profiles: { test: { profiles: {} } }",
        "postgresql: { postgresql: {} }",
        "readers: yes",
        "readers: { readers: {} }",
        "readers: { profiles: {} }",
        "readers: { connection_type: pool }",
        "readers: { connection_settings: { hots: db } }",
        "max_lag: 5",
        "postgresql: { pool_settings: { max_size: many } }",
        "sync_settings: { search_path: { a: b } }",
        "async_pool_settings: { multiplex: perhaps }",
        "pool_settings: { multiplex: true }",
    ] {
        assert!(!validator.is_valid(&of_yaml(yaml)), "{yaml}");
        assert!(refused(&loader().yaml(yaml).load()).is_some(), "{yaml}");
    }
}

/// The files of the book.
#[test]
fn the_examples_of_the_documentation_are_accepted() {
    let (validator, mut seen) = (validator(), 0);
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for entry in std::fs::read_dir(docs).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "md") {
            continue;
        }
        let page = std::fs::read_to_string(&path).unwrap();
        let blocks = page.split("```yaml\n").skip(1);
        let blocks = blocks.filter_map(|rest| rest.split("```").next());
        for block in blocks.filter(|block| block.contains("connection_settings")) {
            let file = of_yaml(block);
            let errors: Vec<String> = validator
                .iter_errors(&file)
                .map(|e| e.to_string())
                .collect();
            assert!(errors.is_empty(), "{}\n{block}\n{errors:?}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen}");
}

/// What an editor shows: each key has a description, and deprecated ones say so.
#[test]
fn an_editor_has_something_to_show_for_every_key() {
    let schema = json_schema();
    assert_eq!(schema["properties"]["postgresql"]["deprecated"], true);
    for section in SECTIONS {
        let properties = &schema["properties"][section]["anyOf"][0]["properties"];
        for (name, key) in properties.as_object().unwrap() {
            let described = key["description"]
                .as_str()
                .is_some_and(|text| text.len() > 8);
            assert!(described, "{section}.{name}");
        }
    }
    let mode = &schema["properties"]["connection_settings"]["anyOf"][0]["properties"]["sslmode"];
    assert_eq!(mode["default"], "prefer");
    assert_eq!(mode["anyOf"][0]["enum"][5], "verify-full");
}
