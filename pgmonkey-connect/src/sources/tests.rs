use std::collections::{BTreeMap, BTreeSet};

use pgmonkey_config::ConnectionType::{Normal, Pool};
use proptest::prelude::*;

use super::*;

/// The text of a key: which text of a file gives it, for which type and identity.
type Key = (u8, ConnectionType, u8);

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
    let ask = |path, generation| request(path, Asked::ByType, generation);
    let (one, two) = ("one".to_owned(), "two".to_owned());
    assert!(sources.give(&ask(a, 1), &one).is_empty());
    assert!(sources.give(&ask(b, 1), &one).is_empty());
    assert!(sources.give(&ask(a, 2), &two).is_empty(), "b gives it");
    assert_eq!(sources.give(&ask(b, 2), &two), [superseded("one", "two")]);
}

#[test]
fn a_load_that_was_overtaken_gives_a_handle_to_retire() {
    let mut sources = Sources::default();
    let ask = |generation| request(Path::new("a"), Asked::ByType, generation);
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
            normal.asked = Asked::ByType;
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

#[derive(Debug, Clone)]
enum Step {
    /// The file at this path gets this text, which names this type.
    Write(usize, u8, bool),
    /// A caller asks; its load is this many generations old.
    Ask(usize, u8, Asked, bool, u64),
    /// The program removes the handles of this text.
    Remove(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let asked = prop_oneof![Just(Asked::ByType), Just(Asked::Database)];
    prop_oneof![
        2 => (0..2_usize, 0..4_u8, any::<bool>())
            .prop_map(|(path, text, pool)| Step::Write(path, text, pool)),
        4 => (0..2_usize, 0..2_u8, asked, any::<bool>(), 0..2_u64)
            .prop_map(|(path, identity, asked, pool, late)| Step::Ask(path, identity, asked, pool, late)),
        1 => (0..4_u8).prop_map(Step::Remove),
    ]
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
        // The latest load that gave a handle of each file, identity and type, and its key.
        let mut latest: BTreeMap<(usize, u8, bool), (u64, Key)> = BTreeMap::new();
        let kind = |pool| if pool { Pool } else { Normal };
        for step in steps {
            match step {
                Step::Write(path, text, pool) => texts[path].push((text, pool)),
                Step::Ask(path, identity, asked, by_type, late) => {
                    let generation = (texts[path].len() as u64 - 1).saturating_sub(late);
                    let (text, of_file) = texts[path][generation as usize];
                    let connection_type = match asked {
                        Asked::ByType => kind(by_type),
                        Asked::Database => kind(of_file),
                    };
                    let key = (text, connection_type, identity);
                    cached.insert(key);
                    let slot = latest.entry((path, identity, connection_type == Pool));
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
            let is_given = |(path, identity, pool): &(usize, u8, bool), key: &Key| {
                let given = sources.given(&paths[*path], identity);
                let found = given.into_iter().find(|(_, of, _)| *of == kind(*pool));
                found.map(|(.., found)| found == *key)
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
