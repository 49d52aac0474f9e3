//! Caches config files by path, for callers that keep no configuration themselves. An unchanged
//! file costs one `stat`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use pgmonkey_config::Config;

use crate::Error;

/// Distinguishes versions of a file. It is the file that a symbolic link leads to: Kubernetes
/// changes a mounted file by giving a link another target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// The device and the file's number on it.
    file: Option<(u64, u64)>,
}

impl Stamp {
    /// The stamp of the file at `path`; `None` if its metadata cannot be read.
    pub fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            length: found.len(),
            modified: found.modified().ok(),
            file: number(&found),
        })
    }

    /// The stamp of a file of this length.
    #[cfg(test)]
    pub(crate) fn of_length(length: u64) -> Self {
        Self {
            length,
            modified: None,
            file: None,
        }
    }
}

#[cfg(unix)]
fn number(found: &fs::Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn number(_: &fs::Metadata) -> Option<(u64, u64)> {
    None
}

/// A configuration from a file.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Which load it came from: higher for later ones, equal for an unchanged file.
    pub generation: u64,
}

/// A cache of loaded config files.
#[derive(Debug, Default)]
pub struct ConfigFiles(Mutex<Files>);

#[derive(Debug, Default)]
struct Files {
    last_generation: u64,
    known: HashMap<PathBuf, (Stamp, Loaded)>,
}

impl ConfigFiles {
    /// Returns the configuration in the file at `path`, reloaded only if its [`Stamp`] changed.
    /// `allow_commands` says whether its password may come from a command.
    ///
    /// # Errors
    ///
    /// [`Error::Config`], as from [`Config::from_file`].
    pub fn load(&self, path: &Path, allow_commands: bool) -> Result<Loaded, Error> {
        let stamp = Stamp::of(path);
        let mut files = self.files();
        if let (Some(stamp), Some((known, loaded))) = (stamp, files.known.get(path))
            && stamp == *known
        {
            return Ok(loaded.clone());
        }
        files.last_generation += 1;
        let generation = files.last_generation;
        drop(files);
        let loader = Config::loader().file(path);
        let config = loader.allow_commands(allow_commands).load()?;
        let loaded = Loaded { config, generation };
        if let Some(stamp) = stamp {
            self.keep(path, stamp, &loaded);
        }
        Ok(loaded)
    }

    fn keep(&self, path: &Path, stamp: Stamp, loaded: &Loaded) {
        let mut files = self.files();
        let known = files.known.get(path);
        // A load that began later may have ended earlier, and has seen the newer file.
        if known.is_none_or(|(_, known)| known.generation < loaded.generation) {
            let loaded = (stamp, loaded.clone());
            files.known.insert(path.to_owned(), loaded);
        }
    }

    fn files(&self) -> std::sync::MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
