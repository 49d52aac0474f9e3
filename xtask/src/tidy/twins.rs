//! Where the twins drift apart: public items of one of the driver crates that the other lacks or
//! has with another signature, and sentences of their documentation that are on one side only.

use std::fs;
use std::path::{Path, PathBuf};

mod docs;
mod items;

use super::without_tests;
use docs::{Difference, Sentence};
use items::Item;

const SYNC: &str = "pgmonkey-sync/src";
const ASYNC: &str = "pgmonkey-async/src";

/// Names that mean the same. In each pair the first is taken for both.
const NAMES: [(&str, &str); 20] = [
    ("RowIter", "RowStream"),
    ("CopyInWriter", "CopyInSink"),
    ("CopyOutReader", "CopyOutStream"),
    ("PasswordProvider", "AsyncPasswordProvider"),
    ("FnOnce", "AsyncFnOnce"),
    ("Fn", "AsyncFn"),
    ("clear_cache", "clear_cache_async"),
    ("postgres", "tokio_postgres"),
    ("pgmonkey_sync", "pgmonkey_async"),
    ("sync", "aio"),
    ("sync_settings", "async_settings"),
    ("pool_settings", "async_pool_settings"),
    ("thread", "task"),
    ("threads", "tasks"),
    ("Thread", "Task"),
    ("Threads", "Tasks"),
    ("writer", "sink"),
    ("reader", "stream"),
    ("reader", "iterator"),
    ("written", "sent"),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Sync,
    Async,
}
use Side::{Async, Sync};

/// Why hooks differ.
const HOOKS: &str = "a future can be dropped when its time is over, a function cannot be stopped";
/// Why an async closure that may run again is cloned.
const CLONES: &str = "a future that holds the future of an `AsyncFn` cannot be spawned";
/// What only one of the twins has, and the reason: an item, or how a sentence of its documentation
/// or the paragraph of it begins.
const ALONE: [(Side, &str, &str); 21] = [
    (
        Async,
        "use Scoped",
        "closures of the sync twin take a reference",
    ),
    (Async, "RowStream::next", "the sync twin is an `Iterator`"),
    (
        Async,
        "RowStream::rows_affected",
        "the rows of the sync twin are read in a coroutine",
    ),
    (Async, "CopyOutStream::next", "the sync twin is a `Read`"),
    (Async, "CopyInSink::send", "the sync twin is a `Write`"),
    (Async, "ChunkedRows::next", "the sync twin is an `Iterator`"),
    (
        Sync,
        "The data of a `COPY … TO STDOUT`",
        "a reader gives bytes, a stream messages",
    ),
    (
        Async,
        "A pool with `multiplex: true`",
        "only tasks can share a session",
    ),
    (
        Async,
        "# Panics: As [`new`](Self::new)",
        "only async functions need a runtime",
    ),
    (
        Sync,
        "Notifications that arrive between calls",
        "only the async driver reads between calls",
    ),
    (
        Async,
        "This method also waits until the server",
        "the sync driver closes the socket itself",
    ),
    (
        Sync,
        "On a Unix socket, where the wire",
        "the sync driver has no hook for its stream there",
    ),
    (
        Sync,
        "Implemented by every function",
        "the async twin of it is the method of a trait",
    ),
    (
        Async,
        "The next caller waits for the hook",
        "the hook runs before the session is idle",
    ),
    (Async, "`f` must be `Clone`:", CLONES),
    (Async, "each run gets a clone", CLONES),
    (Async, "A hook that takes longer than 5 s", HOOKS),
    (Sync, "The statements must complete within", HOOKS),
    (Sync, "other work is not limited", HOOKS),
    (Sync, "The time that the hook takes", HOOKS),
    (Sync, "the time that it takes is not", HOOKS),
];

/// An item or a sentence that one of the twins lacks, or has in another form.
struct Drift {
    side: Side,
    /// Its name; the sentence; how its paragraph begins.
    what: Vec<String>,
    problem: String,
}

pub(super) fn differences(root: &Path, files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for file in files {
        let Ok(inner) = file.strip_prefix(root.join(SYNC)) else {
            continue;
        };
        let other = root.join(ASYNC).join(inner);
        let is_test = |part| part == "tests" || part == "tests.rs";
        if other.exists() && !inner.iter().any(is_test) {
            let sync = Twin::read(Sync, inner, &fs::read_to_string(file)?);
            let other = Twin::read(Async, inner, &fs::read_to_string(other)?);
            found.extend(compare(&sync, other));
        }
    }
    Ok(judge(found, &ALONE))
}

fn judge(found: Vec<Drift>, alone: &[(Side, &str, &str)]) -> Vec<String> {
    let is_of = |drift: &Drift, (side, start, _): &(Side, &str, &str)| {
        drift.side == *side && drift.what.iter().any(|what| what.starts_with(start))
    };
    let stale = alone
        .iter()
        .filter(|row| !found.iter().any(|drift| is_of(drift, row)));
    let mut problems: Vec<String> = stale
        .map(|(side, what, _)| {
            format!("ALONE: nothing of the {side:?} twin begins with \"{what}\"")
        })
        .collect();
    let drifts = found.into_iter();
    let drifts = drifts.filter(|drift| !alone.iter().any(|row| is_of(drift, row)));
    problems.extend(drifts.map(|drift| drift.problem));
    problems
}

/// A file of one side.
struct Twin {
    side: Side,
    path: String,
    items: Vec<Item>,
}

impl Twin {
    fn read(side: Side, inner: &Path, source: &str) -> Self {
        let root = match side {
            Sync => SYNC,
            Async => ASYNC,
        };
        Self {
            side,
            path: format!("{root}/{}", inner.display()),
            items: items::items(without_tests(source)),
        }
    }

    fn of_item(&self, item: &Item, text: &str) -> Drift {
        Drift {
            side: self.side,
            what: vec![item.name.clone()],
            problem: format!("{}:{}: {} {text}", self.path, item.line, item.name),
        }
    }

    fn of_sentence(&self, item: &Item, sentence: &Sentence, text: &str) -> Drift {
        Drift {
            side: self.side,
            what: vec![sentence.text.clone(), sentence.paragraph.clone()],
            problem: format!("{}:{}: {}: {text}", self.path, sentence.line, item.name),
        }
    }
}

/// With the first name of each pair.
fn renamed(text: &str) -> String {
    let is_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut renamed = String::new();
    for part in text.split_inclusive(|c| !is_of_word(c)) {
        let word = part.trim_end_matches(|c| !is_of_word(c));
        let pair = NAMES.iter().find(|(_, other)| *other == word);
        renamed.push_str(pair.map_or(word, |(first, _)| first));
        renamed.push_str(&part[word.len()..]);
    }
    renamed
}

fn compare(sync: &Twin, mut other: Twin) -> Vec<Drift> {
    let mut found = Vec::new();
    for item in &sync.items {
        let name = renamed(&item.name);
        let twin = other
            .items
            .iter()
            .position(|twin| renamed(&twin.name) == name);
        let Some(twin) = twin.map(|at| other.items.remove(at)) else {
            found.push(sync.of_item(item, "has no async twin"));
            continue;
        };
        let (own, others) = (shown(item), shown(&twin));
        if renamed(&own) != renamed(&others) {
            let text = format!("is {own}, its async twin {others}");
            found.push(sync.of_item(item, &text));
        }
        found.extend(compare_docs((sync, item), (&other, &twin)));
    }
    let alone = other.items.iter();
    found.extend(alone.map(|item| other.of_item(item, "has no sync twin")));
    found
}

fn shown(item: &Item) -> String {
    let shown = item.signature.as_ref().map(ToString::to_string);
    shown.unwrap_or_else(|| "no function".to_owned())
}

fn compare_docs((sync, item): (&Twin, &Item), (other, twin): (&Twin, &Item)) -> Vec<Drift> {
    let left = docs::sentences(&item.docs, renamed);
    let right = docs::sentences(&twin.docs, renamed);
    let told = |difference| match difference {
        Difference::OnlyLeft(one) => {
            let text = format!("only the sync twin says \"{}\"", one.text);
            sync.of_sentence(item, one, &text)
        }
        Difference::OnlyRight(one) => {
            let text = format!("only the async twin says \"{}\"", one.text);
            other.of_sentence(twin, one, &text)
        }
        Difference::Changed(one, twin) => {
            let text = format!("\"{}\" is \"{}\" in the async twin", one.text, twin.text);
            sync.of_sentence(item, one, &text)
        }
    };
    docs::differences(&left, &right)
        .into_iter()
        .map(told)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sync: &str, other: &str, alone: &[(Side, &str, &str)]) -> Vec<String> {
        let read = |side, source| Twin::read(side, Path::new("a.rs"), source);
        judge(compare(&read(Sync, sync), read(Async, other)), alone)
    }

    #[test]
    fn twins_differ_in_names_and_in_what_waits() {
        let sync = "/// The rows.\n///\n/// A thread waits. See [`RowIter`].\n\
                    pub fn rows(&mut self, of: &str) -> Result<RowIter<'_>, Error> {}\n";
        let other = "/// The rows.\n///\n/// A task waits. See [`RowStream`]. Loses nothing if dropped.\n\
                     pub async fn rows(&self, of: &str) -> Result<RowStream, Error> {}\n";
        assert_eq!(found(sync, other, &[]), [""; 0]);
    }

    #[test]
    fn drift_is_found() {
        let sync = "pub fn a() {}\n/// B.\npub fn b(c: u8) {}\n/// D is one.\npub fn d() {}\n";
        let other = "/// B. C.\npub fn b(d: u8) {}\n/// D is two.\npub fn d() {}\npub struct E;\n";
        let expected = [
            "pgmonkey-sync/src/a.rs:1: a has no async twin",
            "pgmonkey-sync/src/a.rs:3: b is (c: u8) -> (), its async twin (d: u8) -> ()",
            "pgmonkey-async/src/a.rs:1: b: only the async twin says \"C.\"",
            "pgmonkey-sync/src/a.rs:4: d: \"D is one.\" is \"D is two.\" in the async twin",
            "pgmonkey-async/src/a.rs:5: E has no sync twin",
        ];
        assert_eq!(found(sync, other, &[]), expected);
    }

    #[test]
    fn the_list_of_what_stands_alone_is_kept_short() {
        let sync = "/// A. B and C.\npub fn a() {}\n";
        let other = "/// A.\npub fn a() {}\npub fn d() {}\n";
        let alone = [(Async, "d", ""), (Sync, "B and", "")];
        assert_eq!(found(sync, other, &alone), [""; 0]);
        assert_eq!(found(sync, sync, &alone).len(), 2);
        assert_eq!(found(sync, other, &[(Sync, "d", "")]).len(), 3);
    }
}
