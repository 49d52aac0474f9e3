//! The names in the JSON output are those in `docs/program.md`.

use std::collections::BTreeSet;

use pgmonkey_tests::Fixture;
use serde_json::Value;

use super::{FILE, Program};

/// The names in a JSON value, at every depth.
fn names(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                found.insert(name.clone());
                names(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, found)),
        _ => {}
    }
}

/// The names that the page lists for a command: quoted before a colon or in a list.
fn documented(command: &str) -> BTreeSet<String> {
    let page = include_str!("../../../docs/program.md");
    let heading = format!("## `{command}");
    let section = page
        .split("\n## ")
        .find(|part| format!("## {part}").starts_with(&heading));
    let section = section.unwrap_or_else(|| panic!("no section {heading}"));
    let words = section.split('"').skip(1).step_by(2);
    let plain = |word: &&str| {
        word.bytes()
            .all(|b| b.is_ascii_lowercase() || b"_059".contains(&b))
    };
    words.filter(plain).map(str::to_owned).collect()
}

#[test]
fn every_name_that_is_written_is_documented() {
    let on = Fixture::new();
    let program =
        Program::on(&on, "pool_settings: { max_size: 3 }\n").env("PGOPTIONS", "-c geqo=off");
    program.write("wrong.yaml", "connection_settings: { hots: x }\n");
    program.write(
        "away.yaml",
        &on.yaml("").replace(on.server().dbname(), "nowhere"),
    );
    let calls: [(&str, &[&str]); 7] = [
        ("config check", &["config", "check", "wrong.yaml"]),
        ("config show", &["config", "show", FILE]),
        (
            "config test",
            &["config", "test", FILE, "--connection-type", "all"],
        ),
        ("config test", &["config", "test", "away.yaml"]),
        ("server recommend", &["server", "recommend", FILE]),
        ("server audit", &["server", "audit", FILE]),
        (
            "pool bench",
            &[
                "pool",
                "bench",
                FILE,
                "--sizes",
                "1",
                "--seconds",
                "1",
                "--quiet",
            ],
        ),
    ];
    // The names of a source and of a recommended line are documented once for all.
    let shared: BTreeSet<String> = ["config check", "server recommend"]
        .into_iter()
        .flat_map(documented)
        .collect();
    for (command, args) in calls {
        let ended = program.run(&[args, &["--format", "json"]].concat());
        let mut written = BTreeSet::new();
        names(&ended.json(), &mut written);
        let documented: BTreeSet<String> = documented(command).union(&shared).cloned().collect();
        let missing: Vec<_> = written.difference(&documented).collect();
        assert!(missing.is_empty(), "{command}: {missing:?} not documented");
        assert!(!written.is_empty(), "{command}");
    }
}

#[test]
fn every_name_that_is_documented_is_written() {
    let on = Fixture::new();
    let program = Program::on(&on, "");
    // The audit covers most names; the tests of each command check the others.
    let audited = program.run(&["server", "audit", FILE, "--format", "json"]);
    let mut written = BTreeSet::new();
    names(&audited.json(), &mut written);
    let only_newer = ["rule_number", "file_name"];
    // Words that are values, or that appear only for some servers.
    let values = ["all", "hostssl", "what", "reason", "outcome"];
    for name in documented("server audit") {
        let excepted = only_newer.contains(&name.as_str()) || values.contains(&name.as_str());
        assert!(
            excepted || written.contains(&name),
            "{name} is documented and not written"
        );
    }
}
