//! Folders of a crate that import each other in a circle: none of them can be read without the
//! others, so the layout does not say where to begin.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use super::tokens::{leaves, tokens};

/// The libraries and the program.
const CRATES: [&str; 7] = [
    "pgmonkey-config",
    "pgmonkey-connect",
    "pgmonkey-sync",
    "pgmonkey-async",
    "pgmonkey-cache",
    "pgmonkey",
    "pgmonkey-cli",
];

/// Which unit imports which, and a file where it does. A unit is a folder directly under `src`
/// with the file of the same name, or a file that has no folder.
type Imports = BTreeMap<String, BTreeMap<String, PathBuf>>;

/// One problem for each set of units that can all reach each other.
pub(super) fn found(root: &Path, files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for name in CRATES {
        let src = root.join(name).join("src");
        let mut sources = Vec::new();
        for file in files {
            if let Ok(inner) = file.strip_prefix(&src) {
                sources.push((inner, fs::read_to_string(file)?));
            }
        }
        let circles = circles(&imports(&sources));
        let circles = circles.iter();
        problems.extend(circles.map(|circle| format!("{name}: a circle of imports: {circle}")));
    }
    Ok(problems)
}

fn imports(sources: &[(&Path, String)]) -> Imports {
    let mut imports: Imports = sources
        .iter()
        .filter_map(|(path, _)| Some((module(path).first()?.clone(), BTreeMap::new())))
        .collect();
    let units: BTreeSet<String> = imports.keys().cloned().collect();
    let top = sources
        .iter()
        .find(|(path, _)| *path == Path::new("lib.rs"));
    let names = top.map(|(_, text)| names_of_the_root(text, &units));
    let names = names.unwrap_or_default();
    for (path, text) in sources {
        // Tests may look at their unit from any other.
        if path
            .iter()
            .any(|part| part == "tests" || part == "tests.rs")
        {
            continue;
        }
        let module = module(path);
        let Some(own) = module.first() else {
            continue;
        };
        for target in paths(super::without_tests(text), &module) {
            let unit = units.get(&target).or_else(|| names.get(&target));
            if let Some(unit) = unit.filter(|unit| *unit != own) {
                let of = imports.entry(own.clone()).or_default();
                of.entry(unit.clone()).or_insert_with(|| path.to_path_buf());
            }
        }
    }
    imports
}

/// `a`, `b` for `a/b.rs` and `a/b/mod.rs`; nothing for the root.
fn module(path: &Path) -> Vec<String> {
    let path = path.with_extension("");
    let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
    let mut parts: Vec<String> = parts.collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts.retain(|part| !["lib", "main"].contains(&part.as_str()));
    parts
}

/// What `crate::Name` leads to where `lib.rs` has the name from a unit.
fn names_of_the_root(text: &str, units: &BTreeSet<String>) -> BTreeMap<String, String> {
    let tokens = tokens(text);
    let mut names = BTreeMap::new();
    for (at, _) in tokens
        .iter()
        .enumerate()
        .filter(|(_, word)| **word == "use")
    {
        for leaf in leaves(&tokens[at + 1..]) {
            let from_root = leaf.path.iter().copied();
            let mut path = from_root.skip_while(|part| ["crate", "self"].contains(part));
            if let Some(unit) = path.next().and_then(|first| units.get(first)) {
                names.insert(leaf.name.to_owned(), unit.clone());
            }
        }
    }
    names
}

/// The first name below the root of each path that begins with `crate`, `self` or `super`.
fn paths(text: &str, file: &[String]) -> Vec<String> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    // The module of this token, and how many braces are open around each inline module of it.
    let (mut module, mut inline, mut depth) = (file.to_vec(), Vec::new(), 0_usize);
    for (at, token) in tokens.iter().enumerate() {
        match (*token, &tokens[at + 1..]) {
            ("{", _) => depth += 1,
            ("}", _) => {
                depth = depth.saturating_sub(1);
                if inline.last() == Some(&depth) {
                    inline.pop();
                    module.pop();
                }
            }
            ("mod", [name, "{", ..]) => {
                inline.push(depth);
                module.push((*name).to_owned());
            }
            ("crate" | "self" | "super", ["::", ..]) if at == 0 || tokens[at - 1] != "::" => {
                let leaves = leaves(&tokens[at..]).into_iter();
                found.extend(leaves.filter_map(|leaf| below_root(&leaf.path, &module)));
            }
            _ => {}
        }
    }
    found
}

fn below_root(path: &[&str], module: &[String]) -> Option<String> {
    let supers = path.iter().filter(|part| **part == "super").count();
    let base = match path.first() {
        Some(&"crate") => &[],
        _ => &module[..module.len().checked_sub(supers)?],
    };
    let named = path
        .iter()
        .find(|part| !["crate", "self", "super"].contains(part));
    let first = base.first().map(String::as_str);
    first.or(named.copied()).map(str::to_owned)
}

fn circles(imports: &Imports) -> Vec<String> {
    let mut told = BTreeSet::new();
    let mut circles = Vec::new();
    for unit in imports.keys() {
        if told.contains(unit) {
            continue;
        }
        if let Some(circle) = shortest(imports, unit) {
            let reached = reachable(imports, unit);
            let both_ways = |other: &&String| reachable(imports, other).contains(unit);
            told.extend(reached.iter().filter(both_ways).cloned());
            circles.push(circle);
        }
    }
    circles
}

/// Without the unit itself, unless a circle leads back to it.
fn reachable(imports: &Imports, start: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start.to_owned()];
    while let Some(unit) = open.pop() {
        for next in imports[&unit].keys() {
            if reached.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    reached
}

/// The shortest circle through a unit: `a -> b (a/x.rs) -> a (b.rs)`.
fn shortest(imports: &Imports, start: &str) -> Option<String> {
    let mut seen = BTreeSet::new();
    let mut open = VecDeque::from([(start.to_owned(), start.to_owned())]);
    while let Some((unit, way)) = open.pop_front() {
        for (next, file) in &imports[&unit] {
            let way = format!("{way} -> {next} ({})", file.display());
            if next == start {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                open.push_back((next.clone(), way));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found_in(sources: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> = sources
            .iter()
            .map(|(path, text)| (Path::new(*path), (*text).to_owned()))
            .collect();
        circles(&imports(&sources))
    }

    #[test]
    fn a_circle_of_folders_and_files_is_found() {
        let sources = [
            ("lib.rs", "mod a;\nmod b;\nmod c;\n"),
            ("a/mod.rs", "mod x;\n"),
            ("a/x.rs", "use crate::{b::{self, B}, c};\n"),
            ("b.rs", "mod y;\n"),
            (
                "b/y.rs",
                "mod z { fn g() {} }\nfn f() { super::super::a::x() }\n",
            ),
            ("c.rs", "use std::fmt;\n"),
        ];
        assert_eq!(found_in(&sources), ["a -> b (a/x.rs) -> a (b/y.rs)"]);
    }

    #[test]
    fn a_long_circle_is_told_once() {
        let sources = [
            ("a.rs", "use super::b;"),
            ("b.rs", "use crate::c::C as D;"),
            ("c.rs", "macro_rules! m { () => { $crate::a::A } }"),
        ];
        let circle = "a -> b (a.rs) -> c (b.rs) -> a (c.rs)";
        assert_eq!(found_in(&sources), [circle]);
    }

    #[test]
    fn a_name_of_the_root_leads_to_its_unit() {
        let root = "pub use error::{Error, Kind as ErrorKind};\nuse crate::pool::Pool;\n";
        let circle = |uses: &'static str| {
            found_in(&[
                ("lib.rs", root),
                ("error.rs", uses),
                ("pool.rs", "use crate::ErrorKind;"),
            ])
        };
        assert_eq!(circle("use crate::Pool;").len(), 1);
        assert_eq!(circle("use crate::Kind;").len(), 0);
    }

    #[test]
    fn what_stays_in_a_folder_is_no_circle() {
        let sources = [
            ("a/mod.rs", "mod x;\nmod y;\nuse self::x::X;\n"),
            (
                "a/x.rs",
                "use super::y::Y;\nuse crate::a::y;\nmod b { use super::super::b; }\n",
            ),
            ("a/y.rs", "use super::x::X;\n"),
            ("b.rs", "use crate::a::x;\nmod inner { use super::a; }\n"),
        ];
        assert!(found_in(&sources).is_empty());
    }

    #[test]
    fn tests_comments_and_texts_import_nothing() {
        let tests = "use crate::b;\n";
        let text = "//! crate::b\n/* crate::b /* */ crate::b */\nconst A: &str = \"\\\"crate::b\";\n\
                    const R: &str = r#\"\"crate::b\"#;\nfn f<'a>(a: &'a u8) { let _ = ('\"', '\\''); }\n\
                    \n#[cfg(test)]\nmod tests {\n    use crate::b;\n}\n";
        let sources = [
            ("a.rs", text),
            ("a/tests.rs", tests),
            ("b.rs", "use crate::a;"),
        ];
        assert!(found_in(&sources).is_empty());
    }
}
