//! The numbered defects: each has a test that carries its number, and the page lists all of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Where they are listed, a row each: number, what went wrong, tests.
const PAGE: &str = "docs/defects.md";

/// How many there are of each kind.
const KINDS: [(char, u8); 2] = [('D', 43), ('B', 35)];

/// What the page and the names of the tests do not say alike.
pub(super) fn missing(root: &Path, files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let page = fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    let mut tests = BTreeSet::new();
    for file in files {
        tests.extend(numbered(&fs::read_to_string(file)?));
    }
    Ok(compare(&listed(&page), &tests))
}

/// A number and a test that carries it.
type Pair = (String, String);

fn compare(listed: &BTreeSet<Pair>, tests: &BTreeSet<Pair>) -> Vec<String> {
    let mut problems = Vec::new();
    for (kind, last) in KINDS {
        for number in (1..=last).map(|number| format!("{kind}{number:02}")) {
            if !tests.iter().any(|(of, _)| *of == number) {
                problems.push(format!("{number} has no test whose name begins with it"));
            }
        }
    }
    for (number, test) in tests.difference(listed) {
        problems.push(format!("{PAGE}: {test} is not in the row of {number}"));
    }
    for (number, test) in listed.difference(tests) {
        problems.push(format!("{PAGE}: {number} names {test}, which there is not"));
    }
    problems
}

/// The tests of a row are in its last cell, in backquotes.
fn listed(page: &str) -> BTreeSet<Pair> {
    let mut found = BTreeSet::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        if let [number, _, tests] = cells[..] {
            let names = tests.split('`').skip(1).step_by(2);
            found.extend(names.map(|name| (number.trim().to_owned(), name.to_owned())));
        }
    }
    found
}

/// The functions whose names begin with numbers: `d05_d15_every_program` has two.
fn numbered(source: &str) -> Vec<Pair> {
    let mut found = Vec::new();
    for line in source.lines() {
        let line = line.trim_start();
        let line = line.strip_prefix("async ").unwrap_or(line);
        let line = line.strip_prefix("everywhere ").unwrap_or(line);
        let Some((name, _)) = line
            .strip_prefix("fn ")
            .and_then(|rest| rest.split_once('('))
        else {
            continue;
        };
        for part in name.split('_') {
            let number = part.to_uppercase();
            let is_one = number.len() == 3
                && KINDS.iter().any(|(kind, _)| number.starts_with(*kind))
                && number[1..].bytes().all(|byte| byte.is_ascii_digit());
            if !is_one {
                break;
            }
            found.push((number, name.to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str =
        "fn d01_fails() {}\n    async fn d02_b03_runs(on, go) {\nfn bad_d04() {}\n";
    const PAGE: &str = "| | what | tests |\n| D01 | It fails | `d01_fails`, `d01_is_gone` |\n\
                        | D02 | It runs | `d02_b03_runs` |\n";

    fn pairs(pairs: &[(&str, &str)]) -> Vec<Pair> {
        let pair = |(number, test): &(&str, &str)| ((*number).to_owned(), (*test).to_owned());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_test_may_carry_several_numbers() {
        let expected = [
            ("D01", "d01_fails"),
            ("D02", "d02_b03_runs"),
            ("B03", "d02_b03_runs"),
        ];
        assert_eq!(numbered(SOURCE), pairs(&expected));
    }

    #[test]
    fn the_page_and_the_tests_are_compared_both_ways() {
        let tests: BTreeSet<Pair> = numbered(SOURCE).into_iter().collect();
        let problems = compare(&listed(PAGE), &tests);
        let about = |text: &str| problems.iter().any(|problem| problem.contains(text));
        assert!(about("D01 names d01_is_gone"), "{problems:?}");
        assert!(
            about("d02_b03_runs is not in the row of B03"),
            "{problems:?}"
        );
        assert!(
            about("B35 has no test") && !about("B03 has no test"),
            "{problems:?}"
        );
        // Two of the numbers above are there, B03 has its test.
        assert_eq!(problems.len(), 78 - 3 + 2, "{problems:?}");
    }
}
