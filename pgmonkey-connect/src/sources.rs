//! Which configuration file gave which handle, and which handles no file gives any more.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use pgmonkey_config::ConnectionType;

/// What a caller asked a file for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A handle of the type that the caller named.
    ByType(ConnectionType),
    /// A handle of the type that the file names.
    Database,
    /// The pool of this type at the readers of a cluster.
    Readers(ConnectionType),
}

impl Asked {
    fn is_of_readers(self) -> bool {
        matches!(self, Self::Readers(_))
    }
}

/// A handle that no file gives any more, and the one given in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superseded<K> {
    /// The key of the handle to retire.
    pub old: K,
    /// The key of its successor.
    pub new: K,
}

/// The keys `K` of the handles that each file gave, for each identity `I` of provider and hooks.
#[derive(Debug)]
pub struct Sources<I, K> {
    files: HashMap<PathBuf, Vec<Given<I, K>>>,
}

/// The handle of one type that a file gave last, for its readers or not.
#[derive(Debug)]
struct Given<I, K> {
    identity: I,
    connection_type: ConnectionType,
    is_of_readers: bool,
    /// Which load of the file it was; see [`Loaded`](crate::Loaded).
    generation: u64,
    key: K,
    by_type: bool,
    as_database: bool,
}

impl<I, K> Given<I, K> {
    fn note(&mut self, asked: Asked) {
        match asked {
            Asked::ByType(_) | Asked::Readers(_) => self.by_type = true,
            Asked::Database => self.as_database = true,
        }
    }

    fn is_noted(&self, asked: Asked) -> bool {
        match asked {
            Asked::ByType(_) | Asked::Readers(_) => self.by_type,
            Asked::Database => self.as_database,
        }
    }
}

impl<I, K> Default for Sources<I, K> {
    fn default() -> Self {
        Self {
            files: HashMap::new(),
        }
    }
}

/// One request of a file.
#[derive(Debug)]
pub struct Request<'a, I> {
    /// The file.
    pub path: &'a Path,
    /// The identity of provider and hooks.
    pub identity: &'a I,
    /// What was asked for.
    pub asked: Asked,
    /// The type of the handle.
    pub connection_type: ConnectionType,
    /// Which load of the file described the handle.
    pub generation: u64,
}

impl<I: Clone + Eq, K: Clone + Eq> Sources<I, K> {
    /// Records that a file gave the handle of `key`. Returns the handles that no file gives any
    /// more: those that this file gave before, or this one if a later load of the file has already
    /// given another. Allocates nothing if nothing has changed.
    pub fn give(&mut self, request: &Request<'_, I>, key: &K) -> Vec<Superseded<K>> {
        let Some(given) = self.files.get_mut(request.path) else {
            let given = vec![given(request, key)];
            self.files.insert(request.path.to_owned(), given);
            return Vec::new();
        };
        let is_same = |one: &&mut Given<I, K>| {
            one.connection_type == request.connection_type
                && one.is_of_readers == request.asked.is_of_readers()
                && one.identity == *request.identity
        };
        let mut left = Vec::new();
        match given.iter_mut().find(is_same) {
            Some(one) if one.key == *key && one.is_noted(request.asked) => {
                one.generation = one.generation.max(request.generation);
                return Vec::new();
            }
            Some(one) => {
                let mut old = key.clone();
                if request.generation >= one.generation {
                    one.generation = request.generation;
                    old = std::mem::replace(&mut one.key, old);
                }
                one.note(request.asked);
                let new = one.key.clone();
                left.push(Superseded { old, new });
            }
            None => given.push(self::given(request, key)),
        }
        if request.asked == Asked::Database {
            left.extend(one_database(given, request.identity));
        }
        left.retain(|one| one.old != one.new && !self.gives(&one.old));
        left
    }

    /// What a file gave last for this identity: what was asked for, and the key.
    pub fn given(&self, path: &Path, identity: &I) -> Vec<(Asked, K)> {
        let given = self.files.get(path).into_iter().flatten();
        given
            .filter(|one| one.identity == *identity)
            .map(|one| {
                let asked = match one.as_database {
                    true => Asked::Database,
                    false if one.is_of_readers => Asked::Readers(one.connection_type),
                    false => Asked::ByType(one.connection_type),
                };
                (asked, one.key.clone())
            })
            .collect()
    }

    /// Whether a file gives the handle.
    fn gives(&self, key: &K) -> bool {
        self.all().any(|(_, given)| given == key)
    }

    /// Each file with the key of a handle that it gives.
    pub fn all(&self) -> impl Iterator<Item = (&Path, &K)> {
        let files = self.files.iter();
        files.flat_map(|(path, given)| given.iter().map(|one| (path.as_path(), &one.key)))
    }

    /// Forgets the handles whose keys are `removed`.
    pub fn forget(&mut self, removed: impl Fn(&K) -> bool) {
        self.files.retain(|_, given| {
            given.retain(|one| !removed(&one.key));
            !given.is_empty()
        });
    }
}

fn given<I: Clone, K: Clone>(request: &Request<'_, I>, key: &K) -> Given<I, K> {
    let mut given = Given {
        identity: request.identity.clone(),
        connection_type: request.connection_type,
        is_of_readers: request.asked.is_of_readers(),
        generation: request.generation,
        key: key.clone(),
        by_type: false,
        as_database: false,
    };
    given.note(request.asked);
    given
}

/// A file names one type at a time: of the handles given as a database, only the one of the latest
/// load is still that. Those that were asked for in no other way are removed.
fn one_database<I: Eq, K: Clone>(given: &mut Vec<Given<I, K>>, identity: &I) -> Vec<Superseded<K>> {
    let ours = |one: &Given<I, K>| one.as_database && one.identity == *identity;
    let latest = given.iter().filter(|one| ours(one));
    let Some(latest) = latest.max_by_key(|one| one.generation) else {
        return Vec::new();
    };
    let (new, connection_type) = (latest.key.clone(), latest.connection_type);
    let mut left = Vec::new();
    given.retain_mut(|one| {
        if !ours(one) || one.connection_type == connection_type {
            return true;
        }
        one.as_database = false;
        if !one.by_type {
            let (old, new) = (one.key.clone(), new.clone());
            left.push(Superseded { old, new });
        }
        one.by_type
    });
    left
}

/// Where a cached handle's configuration came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ConfigSource {
    /// A `Config` of the program.
    Code,
    /// A file, by its path as the program wrote it.
    File(PathBuf),
}

impl fmt::Display for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code => f.write_str("code"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests;
