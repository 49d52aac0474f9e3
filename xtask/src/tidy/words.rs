//! Words and phrases that the prose of the project does without, because readers stumble over
//! them: they are archaic, speak of people where a caller or a server is meant, or have a plainer
//! word in the field.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::prose::{self, Block};

/// Lists them, so it is not searched itself.
const THIS_FILE: &str = "xtask/src/tidy/words.rs";

/// Words that mean the same, separated by commas, and what to say instead. A word counts
/// only as a whole.
const FORBIDDEN: [(&str, &str); 31] = [
    ("whoever, whomever", "the caller that"),
    ("whom", "which caller, which server"),
    ("he, him, his, himself", "it, the caller"),
    ("everybody", "all callers"),
    ("somebody, anybody", "a caller, another thread, any"),
    ("nobody", "no caller, no session, none"),
    (
        "one who, he who, those who",
        "the caller that, callers that",
    ),
    ("lend, lends, lent, lending", "acquire, hand out"),
    ("loan, loans, lease, leases, leased", "checkout"),
    ("ledger, ledgers", "statistics"),
    ("shelf", "idle list"),
    ("lodging, lodgings", "checkout"),
    ("upkeep", "maintenance"),
    ("patience", "retry policy"),
    ("complaint, complaints", "error, warning"),
    ("dial, dials, dialled, dialling, dialing", "connect"),
    (
        "put down, puts down, putting down",
        "released, stored, written",
    ),
    ("comes to rest, come to rest, came to rest", "becomes idle"),
    ("the turns of", "points in the lifecycle of"),
    ("told of", "reported"),
    ("made clean, makes clean", "reset, cleaned"),
    (
        "give back, gives back, gave back, given back",
        "release, return",
    ),
    ("foretell, foretells, foretelling, foretold", "predict"),
    ("befall, befalls, befell", "happens to"),
    ("came of it, comes of it, come of it", "the result"),
    ("in vain", "without success"),
    ("lest", "so that … not"),
    ("by all means", "in any case"),
    ("worth a word", "reported"),
    (
        "whence, whither, thither, hither, hitherto",
        "from where, to where, so far",
    ),
    ("naught, nought, whilst, albeit", "nothing, while, although"),
];

/// Path, word, and why it has to be there.
const EXCEPTIONS: [(&str, &str, &str); 1] = [(
    "tests/it/program/server.rs",
    "nobody",
    "a user of pg_hba.conf",
)];

/// A problem for each forbidden word.
pub(super) fn found(
    root: &Path,
    sources: &[PathBuf],
    pages: &[PathBuf],
) -> anyhow::Result<Vec<String>> {
    let dictionary = dictionary();
    let mut problems = Vec::new();
    for file in sources.iter().chain(pages) {
        let path = file.strip_prefix(root).unwrap_or(file).to_string_lossy();
        if path == THIS_FILE {
            continue;
        }
        let text = fs::read_to_string(file)?;
        let blocks = match pages.contains(file) {
            true => vec![Block {
                line: 1,
                text: prose::of_markdown(&text),
            }],
            false => prose::of_rust(&text),
        };
        problems.extend(
            blocks
                .iter()
                .flat_map(|block| search(&path, block, &dictionary)),
        );
    }
    Ok(problems)
}

/// Phrases and what to say instead, by their first words.
type Dictionary = HashMap<&'static str, Vec<(&'static str, &'static str)>>;

fn dictionary() -> Dictionary {
    let mut dictionary = Dictionary::new();
    for (phrases, instead) in FORBIDDEN {
        for phrase in phrases.split(", ") {
            let first = phrase.split(' ').next().unwrap_or(phrase);
            dictionary.entry(first).or_default().push((phrase, instead));
        }
    }
    dictionary
}

fn search(path: &str, block: &Block, dictionary: &Dictionary) -> Vec<String> {
    let words = words(&block.text);
    let mut problems = Vec::new();
    for at in 0..words.len() {
        let phrases = dictionary.get(words[at].text.as_str());
        let mut phrases = phrases.into_iter().flatten();
        let Some((phrase, instead)) = phrases.find(|(phrase, _)| begins(&words[at..], phrase))
        else {
            continue;
        };
        let excepted = |(file, word, _): &(&str, &str, &str)| *file == path && word == phrase;
        if !EXCEPTIONS.iter().any(excepted) {
            let before = &block.text[..words[at].start];
            let line = block.line + before.matches('\n').count();
            problems.push(format!("{path}:{line}: \"{phrase}\", better: {instead}"));
        }
    }
    problems
}

fn begins(words: &[Word], phrase: &str) -> bool {
    let mut parts = phrase.split(' ').enumerate();
    parts.all(|(at, part)| {
        let word = words.get(at).filter(|word| at == 0 || word.follows);
        word.is_some_and(|word| word.text == part)
    })
}

struct Word {
    start: usize,
    /// In lower case.
    text: String,
    /// Only space is between it and the word before it.
    follows: bool,
}

/// A snake_case name is one word.
fn words(text: &str) -> Vec<Word> {
    let is_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = Vec::new();
    let mut end = 0;
    while let Some(gap) = text[end..].find(is_of_word) {
        let start = end + gap;
        let length = text[start..].find(|c| !is_of_word(c));
        let follows = text[end..start].trim().is_empty();
        end = length.map_or(text.len(), |length| start + length);
        words.push(Word {
            start,
            text: text[start..end].to_lowercase(),
            follows,
        });
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search_rust(source: &str) -> Vec<String> {
        let blocks = prose::of_rust(source);
        blocks
            .iter()
            .flat_map(|block| search("a.rs", block, &dictionary()))
            .collect()
    }

    #[test]
    fn a_word_counts_as_a_whole_in_comments_and_texts() {
        let source = "// The lender, who lends.\nfn lend(he: u8) { f(\"\\nHe is lent_out\", whom) }\n/// His, `him`.\n";
        let found = search_rust(source);
        let expected = [
            "a.rs:1: \"lends\", better: acquire, hand out",
            "a.rs:3: \"his\", better: it, the caller",
            "a.rs:2: \"he\", better: it, the caller",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_phrase_may_go_over_the_end_of_a_line() {
        let found = search_rust("/// Those\n/// who\n/// wait. One, who\nstruct A;\n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("a.rs:1: \"those who\""), "{found:?}");
    }

    #[test]
    fn a_page_is_read_without_its_code() {
        let page = "# Whoever\n\n`whom`\n\n    whom\n\n* a [b](whom)\n  *put\n  down*\n";
        let text = prose::of_markdown(page);
        let found = search("a.md", &Block { line: 1, text }, &dictionary());
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("a.md:1: \"whoever\""), "{found:?}");
        assert!(found[1].starts_with("a.md:8: \"put down\""), "{found:?}");
    }
}
