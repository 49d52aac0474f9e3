//! `pgmonkey pool bench`.

use super::desk::Desk;
use super::{Ended, FILE, Program};

fn bench(desk: &Desk, options: &[&str]) -> Ended {
    desk.program
        .run(&[&["pool", "bench", FILE], options].concat())
}

#[test]
fn the_json_has_its_documented_form() {
    let desk = Desk::new();
    let options = [
        "--sizes",
        "2,1",
        "--seconds",
        "0.2",
        "--format",
        "json",
        "--quiet",
    ];
    let ended = bench(&desk, &options).worked();
    assert_eq!(ended.stderr, "");
    let report = ended.json();
    assert_eq!(report["query"], "SELECT 1");
    assert_eq!(report["callers"], 4);
    let sizes = report["sizes"].as_array().expect("a list");
    assert_eq!(
        sizes
            .iter()
            .map(|row| row["size"].as_u64())
            .collect::<Vec<_>>(),
        [Some(1), Some(2)]
    );
    for row in sizes {
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        assert!(number(&row["operations"]) > 0.0);
        assert!(
            (number(&row["per_second"]) * 0.2 - number(&row["operations"])).abs() < 1.0,
            "{row}"
        );
        let latency = &row["latency_ms"];
        assert!(
            number(&latency["p50"]) > 0.0 && number(&latency["p50"]) <= number(&latency["p99"]),
            "{row}"
        );
        assert!(number(&latency["p99"]) <= number(&latency["max"]), "{row}");
    }
    let room = &report["room"];
    assert!(
        room["free"].as_u64() < room["max_connections"].as_u64(),
        "{room}"
    );
    let best = report["recommended"]["max_size"].as_u64().expect("a size");
    assert!([1, 2].contains(&best));
    assert!(report["recommended"]["reason"].is_string());
    assert_eq!(report["skipped"], serde_json::json!([]));
    desk.on
        .until("its sessions are gone", || desk.on.sessions() == 0);
}

#[test]
fn the_table_and_the_chart() {
    let mut desk = Desk::new();
    let program = std::mem::replace(&mut desk.program, Program::new());
    desk.program = program.env("COLUMNS", "80");
    let options = [
        "--sizes",
        "1,3",
        "--seconds",
        "0.2",
        "--svg",
        "s.svg",
        "--query",
        "SELECT pg_sleep(0.005)",
    ];
    let ended = bench(&desk, &options).worked();
    // Three callers that sleep get three times as many sleeps done.
    let ended = ended
        .prints(", 6 callers: SELECT")
        .prints("max_size")
        .prints("\u{2588}")
        .prints("Recommended max_size: 3")
        .says("measuring a pool of 1");
    assert!(
        ended.stdout.lines().all(|line| line.chars().count() <= 80),
        "{}",
        ended.stdout
    );
    let svg = desk.program.read("s.svg");
    assert!(
        svg.starts_with("<svg")
            && svg.contains("recommended: 3")
            && svg.trim_end().ends_with("</svg>")
    );
}

#[test]
fn one_caller_is_one() {
    let desk = Desk::new();
    let options = ["--sizes", "1", "--callers", "1", "--seconds", "0.1"];
    bench(&desk, &options)
        .worked()
        .prints(", 1 caller: SELECT 1");
}

#[test]
fn what_the_server_has_no_room_for_is_skipped() {
    let desk = Desk::new();
    let role = &desk.schema;
    desk.sql(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'S3cret' CONNECTION LIMIT 3"
    ));
    let file = desk.program.read(FILE);
    let user = format!("user: '{}'", desk.on.server().user());
    let password = format!("password: '{}'", desk.on.server().password());
    let file = file
        .replace(&user, &format!("user: {role}"))
        .replace(&password, "password: S3cret");
    desk.program.write(FILE, &file);
    let options = ["--sizes", "2,50", "--seconds", "0.2"];
    let ended = bench(&desk, &options);
    desk.on
        .until("its sessions are gone", || desk.on.sessions() == 0);
    desk.sql(&format!("DROP ROLE {role}"));
    ended
        .worked()
        .prints("max_size 50 was not measured")
        .prints("Recommended max_size: 2");
}

#[test]
fn a_wrong_query_is_told_at_once() {
    let desk = Desk::new();
    let options = ["--query", "SELEC 1", "--seconds", "30"];
    let began = std::time::Instant::now();
    bench(&desk, &options).failed().says("syntax error");
    assert!(began.elapsed() < std::time::Duration::from_secs(20));
    assert_eq!(
        desk.program
            .run(&["pool", "bench", FILE, "--sizes", "0"])
            .code,
        2
    );
    assert_eq!(
        desk.program
            .run(&["pool", "bench", FILE, "--seconds", "-1"])
            .code,
        2
    );
}
