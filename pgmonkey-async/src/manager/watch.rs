//! Watching a configuration file: its handles are reloaded when it changes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Instant;

use pgmonkey_connect::process::PerProcess;
use pgmonkey_connect::tenants::HandleLimits;
use pgmonkey_connect::watched::{LOOK, WatchedFile};
use pgmonkey_connect::{Error, Origin, Stamp, events};
use tokio::task::AbortHandle;

use crate::options::HandleOptions;
use crate::runtimes;

use super::ConnectionManager;
use super::handles::Handles;

/// The watch of a configuration file, from [`ConnectionManager::watch`]. Dropping it ends the watch.
///
/// ```no_run
/// # async fn example() -> Result<(), pgmonkey_async::Error> {
/// let manager = pgmonkey_async::ConnectionManager::global();
/// let _watch = manager.watch("pgmonkey.yaml"); // until the end of this scope
/// let pool = manager.pool_from_file("pgmonkey.yaml").await?;
/// # Ok(()) }
/// ```
#[must_use = "dropping it ends the watch"]
pub struct Watch {
    path: PathBuf,
    origin: Origin,
    task: AbortHandle,
}

/// What the task needs. Holds the manager weakly.
struct Watcher {
    path: PathBuf,
    manager: Weak<PerProcess<Handles>>,
    options: HandleOptions,
    limits: HandleLimits,
}

impl ConnectionManager {
    /// Watches a configuration file until the returned value or the last clone of the manager is
    /// dropped. When it has changed, the handles that it gave through this manager are opened anew,
    /// and the old ones are retired, as by [`pool_from_file`](Self::pool_from_file). Opens no handle
    /// that no caller has asked for.
    ///
    /// A look every two seconds costs one `stat`, through symbolic links, on a thread that all
    /// pools share; so the file belongs on a local file system. A file that cannot be loaded, or
    /// whose new handle cannot be opened, keeps the old handles and is reported by one `WARN` event
    /// (`pgmonkey.reload`). It is tried again, less and less often, every five minutes at last.
    pub fn watch(&self, path: impl AsRef<Path>) -> Watch {
        let path = path.as_ref().to_owned();
        let watcher = Watcher {
            path: path.clone(),
            manager: Arc::downgrade(&self.handles),
            options: self.options.clone(),
            limits: self.limits,
        };
        Watch {
            path,
            origin: Origin::here(),
            task: runtimes::openings().spawn(watcher.run()).abort_handle(),
        }
    }

    /// Loads the file and opens what it gives now, in favour of what it gave before.
    async fn follow(&self, path: &Path) -> Result<(), Error> {
        let handles = self.handles.get();
        handles.files.load(path, self.options.allow_commands)?;
        let given = handles.sources().given(path, &self.options.identity());
        for (asked, key) in given {
            let cached = handles.cache.get(&key);
            if cached.is_none_or(|pool| pool.is_over()) {
                // The program has closed it.
                continue;
            }
            self.handle_from_file(path, asked).await?;
        }
        Ok(())
    }
}

impl Watcher {
    async fn run(self) {
        let mut file = WatchedFile::default();
        loop {
            tokio::time::sleep(LOOK).await;
            if self.manager.strong_count() == 0 {
                return;
            }
            if file.look(Stamp::of(&self.path), Instant::now()) {
                self.apply(&mut file).await;
            }
        }
    }

    /// Applies the changed file.
    async fn apply(&self, file: &mut WatchedFile) {
        let Some(handles) = self.manager.upgrade() else {
            return;
        };
        let manager = ConnectionManager {
            handles,
            options: self.options.clone(),
            limits: self.limits,
        };
        match manager.follow(&self.path).await {
            Ok(()) => file.succeeded(),
            Err(error) => {
                if file.failed(Instant::now()) {
                    events::not_reloaded(&self.path, &error);
                }
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // In a child of `fork` the parent's runtime may be locked for ever.
        if self.origin.is_here() {
            self.task.abort();
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.path).finish()
    }
}
