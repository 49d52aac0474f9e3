//! The progress of an import or export: lines if stderr is not a terminal, a bar on a terminal,
//! nothing with `--quiet`.

use std::io::{BufRead, BufReader, Write};
use std::process::Child;
use std::time::Instant;

use pgmonkey_tests::LONG;

use super::desk::{Desk, signal};

/// Endless rows of 1,000 bytes, slow enough to be watched.
const SLOW: &str = "SELECT repeat('x', 999), pg_sleep(0.001) FROM generate_series(1, 10000000) n";

/// The first line on stderr that contains all of these; the CLI is stopped then.
fn awaited(child: &mut Child, words: &[&str]) -> String {
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let end = Instant::now() + LONG;
    let mut seen = Vec::new();
    for line in lines {
        let line = line.expect("text");
        if words.iter().all(|word| line.contains(word)) {
            signal(child, "INT");
            return line;
        }
        seen.push(line);
        assert!(Instant::now() < end, "{seen:#?}");
    }
    panic!("it ended without a line with {words:?}: {seen:#?}");
}

/// The number in front of a unit, converted to bytes if the unit is one of bytes.
fn number(line: &str, unit: &str) -> f64 {
    let words: Vec<&str> = line.split_whitespace().collect();
    let place = words
        .iter()
        .position(|word| word.trim_end_matches(',').starts_with(unit))
        .unwrap_or_else(|| panic!("no {unit}: {line}"));
    let number = words[place - 1].replace(',', "");
    let number: f64 = number.parse().unwrap_or_else(|_| panic!("{line}"));
    match words[place].trim_end_matches(',') {
        "KiB" => number * 1024.0,
        "MiB" => number * 1024.0 * 1024.0,
        _ => number,
    }
}

/// Blocks were counted as rows.
#[test]
fn b19_an_export_tells_bytes_and_rows_in_lines() {
    let desk = Desk::new();
    let mut child = desk.start(&["export", "--query", SLOW, "x.csv"]);
    let line = awaited(&mut child, &[" rows, ", "iB/s"]);
    child.wait().expect("it ends");
    // Each row is 1,001 bytes with its delimiters.
    let (bytes, rows) = (number(&line, "MiB"), number(&line, "rows"));
    assert!(
        rows > 1000.0 && (bytes / rows - 1001.0).abs() < 60.0,
        "{line}"
    );
    assert!(!line.contains('\r') && !line.contains('\u{1b}'), "{line:?}");
}

/// A file whose rows the server takes slowly.
fn slow_file(desk: &Desk) {
    desk.sql(
        "CREATE TABLE t (a text); \
         CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_sleep(0.005); RETURN NEW; END'; \
         CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let row = format!("{}\n", "x".repeat(20_000));
    desk.write("big.csv", format!("a\n{}", row.repeat(5_000)));
}

#[test]
fn an_import_tells_bytes_rows_rate_and_what_is_left_in_lines() {
    let desk = Desk::new();
    slow_file(&desk);
    let mut child = desk.start(&["import", "t", "big.csv"]);
    let words = [" of 95.37 MiB, ", " rows, ", "iB/s, about ", " s left"];
    let line = awaited(&mut child, &words);
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(number(&line, "rows") > 100.0, "{line}");
    let left = number(&line, "s");
    assert!(left > 1.0 && left < 600.0, "{line}");
    assert!(!line.contains('\r') && !line.contains('\u{1b}'), "{line:?}");
}

/// The same for a moment on a terminal of 80 columns, by the program `script`.
#[cfg(target_os = "linux")]
fn on_a_terminal(desk: &Desk, args: &str) -> String {
    use std::process::{Command, Stdio};

    let call = format!(
        "stty cols 80 rows 24; exec timeout --foreground -s INT 2 '{}' {args} --config {}",
        env!("CARGO_BIN_EXE_pgmonkey_program"),
        super::FILE,
    );
    let output = Command::new("script")
        .args(["-qec", &call, "/dev/null"])
        .current_dir(desk.program.path(""))
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .output()
        .expect("script is there");
    String::from_utf8(output.stdout).expect("text")
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_terminal_there_is_a_bar() {
    let desk = Desk::new();
    slow_file(&desk);
    let seen = on_a_terminal(&desk, "import t big.csv");
    let bars: Vec<&str> = seen
        .split(['\r', '\n'])
        .filter(|part| part.contains(" rows ") && part.contains('%'))
        .collect();
    let last = bars.last().unwrap_or_else(|| panic!("no bar: {seen:?}"));
    for word in ["MiB/95.37 MiB", " rows ", "iB/s", "ETA "] {
        assert!(last.contains(word), "no {word}: {last:?}");
    }
    assert!(number(last, "rows") > 0.0, "{last:?}");
    // A bar wider than the terminal would leave a line behind for each step.
    let wide = bars.iter().find(|bar| plain(bar).chars().count() > 80);
    assert_eq!(wide, None);
    let quiet = on_a_terminal(&desk, "import t big.csv --quiet");
    assert!(!quiet.contains("rows"), "{quiet:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_said_on_a_terminal_breaks_between_words() {
    let desk = Desk::new();
    let names: Vec<String> = (1..=20).map(|n| format!("a_column_{n}")).collect();
    desk.write(
        "wide.csv",
        format!("{}\n{}1\n", names.join(","), "1,".repeat(19)),
    );
    let seen = on_a_terminal(&desk, "import w wide.csv --create");
    let said = plain(&seen).replace('\r', "\n");
    let lines: Vec<&str> = said.lines().filter(|line| line.contains(" text")).collect();
    assert!(lines.len() > 2, "{said}");
    for line in &lines {
        assert!(line.chars().count() <= 80, "{line}");
        let whole = line.split(' ').all(|word| {
            let word = word.trim_end_matches(',');
            names.iter().any(|name| name == word)
                || ["creating", "text"].contains(&word)
                || word.ends_with(".w:")
        });
        assert!(whole, "{line}");
    }
}

/// The text without escape sequences.
#[cfg(target_os = "linux")]
fn plain(text: &str) -> String {
    let mut shown = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => {
                while letters
                    .next()
                    .is_some_and(|next| !next.is_ascii_alphabetic())
                {}
            }
            _ => shown.push(letter),
        }
    }
    shown
}

#[test]
fn quiet_tells_nothing_however_long_it_takes() {
    let desk = Desk::new();
    desk.sql("CREATE TABLE t (a text)");
    let mut child = desk.start(&["import", "t", "-", "--quiet", "--header"]);
    let mut input = child.stdin.take().expect("piped");
    let begun = Instant::now();
    input.write_all(b"a\n").expect("it reads");
    // Longer than the interval between two lines.
    while begun.elapsed().as_secs_f64() < 5.6 {
        input
            .write_all("x\n".repeat(50_000).as_bytes())
            .expect("it reads");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        (output.stdout.len(), output.stderr.len()),
        (0, 0),
        "{output:?}"
    );
}
