//! The book in `docs/`: checks its pages and renders them as HTML.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::process::{self, cargo, root};
use page::Page;

mod page;

/// The renderer; a newer version may need another `book.toml`.
const MDBOOK: &str = "0.5.4";
const FOLDER: &str = "docs";
const SUMMARY: &str = "docs/SUMMARY.md";
/// Decisions are read one at a time, from the page that lists them.
const DECISIONS: &str = "docs/decisions/";
/// The pages to continue with: every chapter links to these.
const SIGNPOSTS: [&str; 3] = [
    "docs/index.md",
    "docs/reference.md",
    "docs/best-practices.md",
];
/// Pages outside the book whose links are checked as well.
const BESIDE: [&str; 4] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
];

/// Checks all pages for dead links and anchors, unlinked pages, and code that is not compiled.
/// Reports all problems, not only the first.
pub(crate) fn check() -> anyhow::Result<()> {
    let pages = read(root())?;
    let problems = problems(root(), &pages);
    for problem in &problems {
        eprintln!("book: {problem}");
    }
    ensure!(
        problems.is_empty(),
        "{} problems in the book",
        problems.len()
    );
    eprintln!("book: {} pages without problems", pages.len());
    Ok(())
}

/// Appends all decisions to the table of contents.
pub(crate) fn list_decisions() -> anyhow::Result<()> {
    let pages = read(root())?;
    let summary = root().join(SUMMARY);
    let text = fs::read_to_string(&summary).context(SUMMARY)?;
    let chapters = text.lines().filter(|line| !line.contains("](decisions/"));
    let mut listed: String = chapters.map(|line| format!("{line}\n")).collect();
    for (name, page) in pages.iter().filter(|(name, _)| name.starts_with(DECISIONS)) {
        let link = &name[FOLDER.len() + 1..];
        listed.push_str(&format!("    - [{}]({link})\n", page.title));
    }
    if listed != text {
        fs::write(&summary, listed).context(SUMMARY)?;
    }
    Ok(())
}

/// Renders the book to `target/book` if mdBook is available; `install` installs it.
pub(crate) fn render(install: bool) -> anyhow::Result<()> {
    let ours = root().join("target/mdbook/bin/mdbook");
    let program = match [PathBuf::from("mdbook"), ours.clone()]
        .into_iter()
        .find(answers)
    {
        Some(program) => program,
        None if install => {
            get(&ours)?;
            ours
        }
        None => {
            eprintln!(
                "book: not rendered, because mdbook is not installed: cargo xtask docs --install"
            );
            return Ok(());
        }
    };
    process::run(Command::new(program).arg("build").arg(root().join(FOLDER)))?;
    eprintln!("book: target/book/index.html");
    Ok(())
}

fn answers(program: &PathBuf) -> bool {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Unoptimized: the book is small, and this halves the build time.
fn get(program: &Path) -> anyhow::Result<()> {
    let folder = program.parent().and_then(Path::parent);
    let mut command = cargo(&["install", "--locked", "--debug", "--no-default-features"]);
    command
        .args(["--features", "search", "--root"])
        .arg(folder.context("no folder")?);
    process::run(command.arg(format!("mdbook@{MDBOOK}")))
}

/// Every page, by its path from the root.
fn read(root: &Path) -> anyhow::Result<BTreeMap<String, Page>> {
    let mut open = vec![root.join(FOLDER)];
    let mut files: Vec<PathBuf> = BESIDE.iter().map(|name| root.join(name)).collect();
    for entry in fs::read_dir(root)? {
        files.extend(Some(entry?.path().join("README.md")).filter(|file| file.exists()));
    }
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                files.push(path);
            }
        }
    }
    let mut pages = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
        let name = file.strip_prefix(root)?.to_string_lossy().into_owned();
        pages.insert(name, Page::parse(&text));
    }
    Ok(pages)
}

fn problems(root: &Path, pages: &BTreeMap<String, Page>) -> Vec<String> {
    let mut problems: Vec<String> = unlisted(pages)
        .map(|name| format!("{name}: not in {SUMMARY}; `cargo xtask docs` adds decisions"))
        .collect();
    for (name, page) in pages {
        let mut targets = BTreeSet::new();
        for link in page.links.iter().filter(|link| !is_outward(link)) {
            match target(root, pages, name, link) {
                Ok(found) => drop(targets.insert(found)),
                Err(problem) => problems.push(format!("{name}: {link}: {problem:#}")),
            }
        }
        if is_chapter(name) {
            let missing = SIGNPOSTS
                .iter()
                .filter(|post| *name != **post && !targets.contains(**post));
            problems.extend(missing.map(|post| format!("{name}: no link to {post}")));
            let loose = page.blocks.iter().filter(|block| block.is_loose());
            problems.extend(loose.map(|block| {
                format!(
                    "{name}: Rust code that is not compiled; include it from a compiled file: {}",
                    block.start()
                )
            }));
        }
        for include in page.includes() {
            if let Err(problem) = included(&root.join(name), include) {
                problems.push(format!("{name}: {include}: {problem:#}"));
            }
        }
    }
    problems
}

fn is_chapter(name: &str) -> bool {
    name.starts_with("docs/") && name != SUMMARY && !name.starts_with(DECISIONS)
}

fn is_outward(link: &str) -> bool {
    ["https://", "http://", "mailto:"]
        .iter()
        .any(|scheme| link.starts_with(scheme))
}

/// Pages of the book that are missing in its table of contents.
fn unlisted(pages: &BTreeMap<String, Page>) -> impl Iterator<Item = &String> {
    let listed: BTreeSet<String> = pages
        .get(SUMMARY)
        .into_iter()
        .flat_map(|summary| summary.links.iter().map(|link| format!("{FOLDER}/{link}")))
        .collect();
    let inside = pages
        .keys()
        .filter(|name| name.starts_with("docs/") && *name != SUMMARY);
    inside.filter(move |name| !listed.contains(*name))
}

/// The file a link leads to, from the root. A page of the book may only link to other pages of it:
/// the HTML contains nothing else.
fn target(
    root: &Path,
    pages: &BTreeMap<String, Page>,
    from: &str,
    link: &str,
) -> anyhow::Result<String> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let file = match path {
        "" => from.to_owned(),
        path => normal(&Path::new(from).with_file_name("").join(path)),
    };
    ensure!(root.join(&file).exists(), "there is no {file}");
    ensure!(
        !from.starts_with("docs/") || file.starts_with("docs/"),
        "links outside the book"
    );
    if anchor.is_empty() {
        return Ok(file);
    }
    match pages.get(&file) {
        Some(page) if page.anchors.contains(anchor) => Ok(file),
        Some(_) => bail!("{file} has no heading #{anchor}"),
        None => bail!("{file} is not a page, so it has no headings"),
    }
}

/// The path with `..` resolved.
fn normal(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part.as_os_str().to_string_lossy().as_ref() {
            "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name.to_owned()),
        }
    }
    parts.join("/")
}

/// Whether the target of an include exists: `file`, or `file:anchor`.
fn included(page: &Path, include: &str) -> anyhow::Result<()> {
    let (file, anchor) = include.split_once(':').unwrap_or((include, ""));
    let text = fs::read_to_string(page.with_file_name(file)).context("cannot be read")?;
    for mark in ["ANCHOR: ", "ANCHOR_END: "] {
        let line = format!("{mark}{anchor}");
        let found = text
            .lines()
            .any(|l| l.trim().trim_start_matches(['/', '#', ' ']) == line);
        ensure!(anchor.is_empty() || found, "the file has no `{line}`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(pages: &[(&str, &str)]) -> Vec<String> {
        let pages = pages
            .iter()
            .map(|(name, text)| ((*name).to_owned(), Page::parse(text)));
        let folder = pgmonkey_testserver::ScratchDir::new().unwrap();
        let pages: BTreeMap<_, _> = pages.collect();
        for name in pages.keys() {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        problems(folder.path(), &pages)
    }

    const POSTS: &str = "[i](index.md) [r](reference.md) [b](best-practices.md)\n";

    fn around(text: &str) -> Vec<String> {
        let whole = format!("{POSTS}# A title, or two\n\n{text}");
        book(&[
            ("docs/SUMMARY.md", POSTS),
            ("docs/index.md", &whole),
            ("docs/reference.md", POSTS),
            ("docs/best-practices.md", POSTS),
        ])
    }

    #[test]
    fn a_book_that_holds_together_is_left_alone() {
        assert_eq!(
            around("[up](#a-title-or-two), [out](https://example.org)"),
            [""; 0]
        );
    }

    #[test]
    fn dead_links_and_anchors_are_found() {
        for (text, problem) in [
            ("[x](gone.md)", "there is no docs/gone.md"),
            ("[x](#gone)", "no heading #gone"),
            (
                "[x](reference.md#gone)",
                "docs/reference.md has no heading #gone",
            ),
            ("[x](../README.md)", "there is no README.md"),
            ("![x](gone.svg)", "there is no docs/gone.svg"),
        ] {
            let found = around(text);
            assert!(
                found.len() == 1 && found[0].contains(problem),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn pages_that_nothing_leads_to_and_pages_that_lead_nowhere_are_found() {
        let found = book(&[("docs/SUMMARY.md", ""), ("docs/lost.md", "alone")]);
        assert!(found[0].contains("not in docs/SUMMARY.md"), "{found:?}");
        assert_eq!(found.iter().filter(|p| p.contains("no link to")).count(), 3);
    }

    #[test]
    fn code_that_nothing_compiles_is_found() {
        let loose = around("```rust\nfn main() {}\n```\n");
        assert!(loose[0].contains("not compiled"), "{loose:?}");
        let gone = around("```rust\n{{#include ../gone.rs:part}}\n```\n");
        assert!(
            gone.len() == 1 && gone[0].contains("cannot be read"),
            "{gone:?}"
        );
    }

    #[test]
    fn the_pages_of_this_book_are_read() {
        assert!(read(root()).unwrap().contains_key("docs/reference.md"));
    }
}
