//! Caches config files by path, for callers that keep no configuration themselves. An unchanged
//! file costs one `stat`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use pgmonkey_config::Config;

use crate::Error;

/// Distinguishes versions of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// The stamp of the file at `path`; `None` if its metadata cannot be read.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            length: found.len(),
            modified: found.modified().ok(),
        })
    }
}

/// A cache of loaded config files.
#[derive(Debug, Default)]
pub struct ConfigFiles(Mutex<HashMap<PathBuf, (Stamp, Config)>>);

impl ConfigFiles {
    /// Returns the configuration in the file at `path`, reloaded only if its length or modification
    /// time changed.
    ///
    /// # Errors
    ///
    /// [`Error::Config`], as from [`Config::from_file`].
    pub fn load(&self, path: &Path) -> Result<Config, Error> {
        let stamp = Stamp::of(path);
        if let (Some(stamp), Some((known, config))) = (stamp, self.files().get(path))
            && stamp == *known
        {
            return Ok(config.clone());
        }
        let config = Config::from_file(path)?;
        if let Some(stamp) = stamp {
            self.files()
                .insert(path.to_owned(), (stamp, config.clone()));
        }
        Ok(config)
    }

    fn files(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, (Stamp, Config)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
