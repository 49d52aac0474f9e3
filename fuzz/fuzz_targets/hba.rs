//! Lines of `pg_hba.conf` as the server tells them.
#![no_main]

use std::collections::BTreeSet;

use self::hba::{Client, Rule, Verdict, first_match, quoted};

/// The program's own, which no crate exports.
#[allow(dead_code)]
#[path = "../../pgmonkey-cli/src/server/hba.rs"]
mod hba;

libfuzzer_sys::fuzz_target!(|data: &[u8]| lines(data));

/// Lines of `pg_hba.conf`, and the client `app` at 10.0.0.1 that asks.
fn lines(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let rules: Vec<Rule> = (1..).zip(text.lines()).map(rule).collect();
    for (address, tls) in [
        (None, false),
        (Some("10.0.0.1"), true),
        (Some("::1"), false),
    ] {
        let address = address.map(|text| text.parse().expect("an address"));
        let client = Client {
            database: "shop".to_owned(),
            user: "app".to_owned(),
            roles: BTreeSet::from(["app".to_owned(), "staff".to_owned()]),
            address,
            server: address,
            tls,
        };
        if let Verdict::Line(rule) | Verdict::Unclear(rule) = first_match(&rules, &client) {
            assert!(rule.error.is_none());
            let _ = (rule.place(true), rule.text(), rule.rejects());
        }
    }
    for line in text.lines() {
        assert_eq!(unquoted(&quoted(line)), line);
    }
}

/// A line as the server's view splits it.
fn rule((line_number, line): (u32, &str)) -> Rule {
    let words: Vec<&str> = line.split(' ').collect();
    let word = |at: usize| words.get(at).map(|word| (*word).to_owned());
    let list = |at: usize| Some(words.get(at)?.split(',').map(str::to_owned).collect());
    Rule {
        line_number,
        kind: word(0),
        database: list(1),
        user_name: list(2),
        address: word(3),
        netmask: word(4),
        auth_method: word(5),
        options: list(6),
        error: word(7),
        ..Rule::default()
    }
}

fn unquoted(name: &str) -> String {
    let inner = name
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.map_or_else(|| name.to_owned(), |inner| inner.replace("\"\"", "\""))
}
