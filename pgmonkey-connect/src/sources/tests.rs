use std::collections::{BTreeMap, BTreeSet};

use pgmonkey_config::ConnectionType::{Normal, Pool};
use proptest::prelude::*;

use super::*;

/// The text of a key: which text of a file gives it, for which type and identity, and whether it is
/// that of readers.
type Key = (u8, ConnectionType, u8, bool);

fn request<'a>(path: &'a Path, asked: Asked, generation: u64) -> Request<'a, u8> {
    Request {
        path,
        identity: &0,
        asked,
        connection_type: Pool,
        generation,
    }
}

fn superseded(old: &str, new: &str) -> Superseded<String> {
    let (old, new) = (old.to_owned(), new.to_owned());
    Superseded { old, new }
}

#[test]
fn a_changed_file_supersedes_what_it_gave() {
    let mut sources = Sources::default();
    let (a, b) = (Path::new("a"), Path::new("b"));
    let ask = |path, generation| request(path, Asked::ByType(Pool), generation);
    let (one, two) = ("one".to_owned(), "two".to_owned());
    assert!(sources.give(&ask(a, 1), &one).is_empty());
    assert!(sources.give(&ask(b, 1), &one).is_empty());
    assert!(sources.give(&ask(a, 2), &two).is_empty(), "b gives it");
    assert_eq!(sources.give(&ask(b, 2), &two), [superseded("one", "two")]);
}

#[test]
fn a_load_that_was_overtaken_gives_a_handle_to_retire() {
    let mut sources = Sources::default();
    let ask = |generation| request(Path::new("a"), Asked::ByType(Pool), generation);
    let [one, two, three] = ["one", "two", "three"].map(str::to_owned);
    assert!(sources.give(&ask(1), &one).is_empty());
    assert_eq!(sources.give(&ask(3), &three), [superseded("one", "three")]);
    assert_eq!(sources.give(&ask(2), &two), [superseded("two", "three")]);
}

#[test]
fn a_file_that_names_another_type_supersedes_only_what_no_caller_named() {
    let path = Path::new("a");
    for named in [false, true] {
        let mut sources = Sources::default();
        let mut normal = request(path, Asked::Database, 1);
        normal.connection_type = Normal;
        let (one, two) = ("one".to_owned(), "two".to_owned());
        sources.give(&normal, &one);
        if named {
            normal.asked = Asked::ByType(Normal);
            sources.give(&normal, &one);
        }
        let left = sources.give(&request(path, Asked::Database, 2), &two);
        let expected = match named {
            true => vec![],
            false => vec![superseded("one", "two")],
        };
        assert_eq!(left, expected);
    }
}

#[test]
fn readers_are_apart_from_the_writer() {
    let path = Path::new("a");
    let mut sources = Sources::default();
    let writer = |generation| request(path, Asked::ByType(Pool), generation);
    let readers = |generation| request(path, Asked::Readers(Pool), generation);
    let [one, two, apart] = ["one", "two", "apart"].map(str::to_owned);
    assert!(sources.give(&writer(1), &one).is_empty());
    assert!(sources.give(&readers(1), &apart).is_empty());
    // The section is removed: readers are the writer.
    let left = sources.give(&readers(2), &one);
    assert_eq!(left, [superseded("apart", "one")]);
    assert!(sources.give(&writer(3), &two).is_empty(), "readers use it");
    assert_eq!(sources.give(&readers(3), &two), [superseded("one", "two")]);
    // The section is back.
    assert!(sources.give(&readers(4), &apart).is_empty(), "a writer");
    let asked = [Asked::ByType(Pool), Asked::Readers(Pool)];
    let given: Vec<_> = asked.into_iter().zip([two, apart]).collect();
    assert_eq!(sources.given(path, &0), given);
}

#[derive(Debug, Clone)]
enum Step {
    /// The file at this path gets this text, which names this type.
    Write(usize, u8, bool),
    /// A caller asks; its load is this many generations old.
    Ask(usize, u8, Asked, u64),
    /// The program removes the handles of this text.
    Remove(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let asked = prop_oneof![
        any::<bool>().prop_map(|pool| Asked::ByType(kind(pool))),
        Just(Asked::Database),
        Just(Asked::Readers(Pool)),
    ];
    prop_oneof![
        2 => (0..2_usize, 0..4_u8, any::<bool>())
            .prop_map(|(path, text, pool)| Step::Write(path, text, pool)),
        4 => (0..2_usize, 0..2_u8, asked, 0..2_u64)
            .prop_map(|(path, identity, asked, late)| Step::Ask(path, identity, asked, late)),
        1 => (0..4_u8).prop_map(Step::Remove),
    ]
}

fn kind(pool: bool) -> ConnectionType {
    if pool { Pool } else { Normal }
}

/// Whether the text has a section for readers.
fn has_readers(text: u8) -> bool {
    text.is_multiple_of(2)
}

proptest! {
    /// Whatever is written and asked, in any order: a handle is cached if and only if a file gives
    /// it, and the successor of a retired one is among them.
    #[test]
    fn what_is_cached_is_what_the_files_give(steps in prop::collection::vec(step(), 0..60)) {
        let paths = ["a", "b"].map(PathBuf::from);
        // The texts of each file, the latest last.
        let mut texts: [Vec<(u8, bool)>; 2] = [vec![(0, true)], vec![(0, false)]];
        let mut sources: Sources<u8, Key> = Sources::default();
        let mut cached: BTreeSet<Key> = BTreeSet::new();
        // The latest load that gave a handle of each file, identity, type and side, and its key.
        type Slot = (usize, u8, ConnectionType, bool);
        let mut latest: BTreeMap<Slot, (u64, Key)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Write(path, text, pool) => texts[path].push((text, pool)),
                Step::Ask(path, identity, asked, late) => {
                    let generation = (texts[path].len() as u64 - 1).saturating_sub(late);
                    let (text, of_file) = texts[path][generation as usize];
                    let connection_type = match asked {
                        Asked::ByType(named) | Asked::Readers(named) => named,
                        Asked::Database => kind(of_file),
                    };
                    let of_readers = asked.is_of_readers();
                    let apart = of_readers && has_readers(text);
                    let key = (text, connection_type, identity, apart);
                    cached.insert(key);
                    let slot = latest.entry((path, identity, connection_type, of_readers));
                    let slot = slot.or_insert((generation, key));
                    if generation >= slot.0 {
                        *slot = (generation, key);
                    }
                    let request = Request {
                        path: &paths[path], identity: &identity, asked, connection_type, generation,
                    };
                    let left = sources.give(&request, &key);
                    for one in &left {
                        prop_assert!(cached.remove(&one.old), "retired twice");
                    }
                    for one in &left {
                        prop_assert!(cached.contains(&one.new), "a retired successor");
                        prop_assert_eq!(one.old.2, one.new.2, "the same identity");
                    }
                    prop_assert!(sources.give(&request, &key).iter().all(|one| one.old == key), "again");
                    if !sources.gives(&key) {
                        prop_assert!(late > 0, "the latest load is given");
                    }
                }
                Step::Remove(text) => {
                    cached.retain(|key| key.0 != text);
                    sources.forget(|key| key.0 == text);
                }
            }
            let is_given = |(path, identity, of, readers): &Slot, key: &Key| {
                let given = sources.given(&paths[*path], identity);
                let found = given.into_iter().find(|(asked, found)| {
                    asked.is_of_readers() == *readers && found.1 == *of
                });
                found.map(|(_, found)| found == *key)
            };
            latest.retain(|slot, (_, key)| is_given(slot, key).is_some());
            for (slot, (_, key)) in &latest {
                prop_assert_eq!(is_given(slot, key), Some(true), "the latest load counts");
            }
            let given: BTreeSet<Key> = sources.all().map(|(_, key)| *key).collect();
            prop_assert_eq!(&given, &cached);
        }
    }
}
