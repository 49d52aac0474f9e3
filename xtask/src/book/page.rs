//! The contents of a page: headings, links, code.

use std::collections::{BTreeSet, HashMap};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

#[derive(Debug, Default)]
pub(super) struct Page {
    /// The first heading.
    pub(super) title: String,
    /// The anchors of its headings.
    pub(super) anchors: BTreeSet<String>,
    pub(super) links: Vec<String>,
    pub(super) blocks: Vec<Block>,
}

/// A block of code.
#[derive(Debug, Default)]
pub(super) struct Block {
    language: String,
    text: String,
}

impl Page {
    pub(super) fn parse(text: &str) -> Self {
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
        let mut page = Self::default();
        let mut seen: HashMap<String, u32> = HashMap::new();
        let (mut heading, mut code) = (None::<String>, None::<Block>);
        for event in Parser::new_ext(text, options) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let heading = heading.take().unwrap_or_default();
                    let name = anchor(&heading);
                    if page.title.is_empty() {
                        page.title = heading;
                    }
                    let count = seen.entry(name.clone()).or_default();
                    page.anchors.insert(match *count {
                        0 => name,
                        again => format!("{name}-{again}"),
                    });
                    *count += 1;
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::CodeBlock(kind)) => code = Some(Block::of(&kind)),
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(code.take()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(block) = &mut code {
                        block.text.push_str(&text);
                    } else if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                _ => {}
            }
        }
        page
    }

    /// What its code blocks include from other files.
    pub(super) fn includes(&self) -> impl Iterator<Item = &str> {
        self.blocks.iter().flat_map(Block::includes)
    }
}

impl Block {
    fn of(kind: &CodeBlockKind<'_>) -> Self {
        let language = match kind {
            CodeBlockKind::Fenced(info) => info.split([',', ' ']).next().unwrap_or_default(),
            CodeBlockKind::Indented => "",
        };
        Self {
            language: language.to_owned(),
            text: String::new(),
        }
    }

    fn includes(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter_map(include)
    }

    /// Whether it is Rust code in the page itself. Included code is compiled in its file.
    pub(super) fn is_loose(&self) -> bool {
        let whole = self.text.lines().all(|line| include(line).is_some());
        self.language == "rust" && !whole
    }

    /// The first line.
    pub(super) fn start(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }
}

fn include(line: &str) -> Option<&str> {
    line.trim().strip_prefix("{{#include ")?.strip_suffix("}}")
}

/// The anchor of a heading in mdBook and GitHub.
fn anchor(heading: &str) -> String {
    let kept = |c: char| match c {
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        c if c.is_whitespace() => Some('-'),
        _ => None,
    };
    heading.trim().chars().filter_map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_named_as_their_readers_name_them() {
        let page = Page::parse("# `config create FILE`\n## No, never\n## No, never\n");
        let names: Vec<_> = page.anchors.iter().map(String::as_str).collect();
        assert_eq!(names, ["config-create-file", "no-never", "no-never-1"]);
    }

    #[test]
    fn only_rust_that_stands_alone_is_loose() {
        let loose = |text: &str| Page::parse(text).blocks[0].is_loose();
        assert!(loose("```rust\nlet a = 1;\n```"));
        assert!(loose("```rust,no_run\nlet a = 1;\n```"));
        assert!(!loose("```yaml\na: 1\n```"));
        assert!(!loose("```rust\n{{#include a.rs:b}}\n```"));
    }
}
