//! Watching a configuration file: its handles are reloaded when it changes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use pgmonkey_connect::process::PerProcess;
use pgmonkey_connect::tenants::HandleLimits;
use pgmonkey_connect::watched::{LOOK, WatchedFile};
use pgmonkey_connect::{Error, Stamp, events};

use crate::options::HandleOptions;
use crate::threads::keeper::{Keeper, Kept};
use crate::threads::openers::Opener;

use super::ConnectionManager;
use super::handles::Handles;

/// Where the jobs of all watches wait for their turn with the threads that open sessions, so that
/// they never occupy all of them.
const LANE: &str = "watched files";

/// The watch of a configuration file, from [`ConnectionManager::watch`]. Dropping it ends the watch.
///
/// ```no_run
/// # fn example() -> Result<(), pgmonkey_sync::Error> {
/// let manager = pgmonkey_sync::ConnectionManager::global();
/// let _watch = manager.watch("pgmonkey.yaml"); // until the end of this scope
/// let pool = manager.pool_from_file("pgmonkey.yaml")?;
/// # Ok(()) }
/// ```
#[must_use = "dropping it ends the watch"]
pub struct Watch {
    /// Dropped first: no look begins after it.
    _keeper: Keeper,
    watcher: Arc<Watcher>,
}

/// What the keeper calls. Holds the manager weakly.
struct Watcher {
    this: Weak<Self>,
    path: PathBuf,
    manager: Weak<PerProcess<Handles>>,
    options: HandleOptions,
    limits: HandleLimits,
    opener: Opener,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: WatchedFile,
    /// Whether a job loads the file.
    is_loading: bool,
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
        let watcher = Arc::new_cyclic(|this| Watcher {
            this: Weak::clone(this),
            path: path.as_ref().to_owned(),
            manager: Arc::downgrade(&self.handles),
            options: self.options.clone(),
            limits: self.limits,
            opener: Opener::register(LANE.into(), 1),
            state: Mutex::default(),
        });
        let kept = Arc::downgrade(&watcher) as Weak<dyn Kept>;
        Watch {
            _keeper: Keeper::register(kept, LOOK),
            watcher,
        }
    }

    /// Loads the file and opens what it gives now, in favour of what it gave before.
    fn follow(&self, path: &Path) -> Result<(), Error> {
        let handles = self.handles.get();
        handles.files.load(path, self.options.allow_commands)?;
        let given = handles.sources().given(path, &self.options.identity());
        for (asked, key) in given {
            let cached = handles.cache.get(&key);
            if cached.is_none_or(|pool| pool.is_over()) {
                // The program has closed it.
                continue;
            }
            self.handle_from_file(path, asked)?;
        }
        Ok(())
    }
}

impl Kept for Watcher {
    fn keep(&self, now: Instant) -> Duration {
        if self.manager.strong_count() == 0 {
            return Duration::MAX;
        }
        let stamp = Stamp::of(&self.path);
        let mut state = self.state();
        if !state.is_loading
            && state.file.look(stamp, now)
            && let Some(watcher) = self.this.upgrade()
        {
            state.is_loading = true;
            drop(state);
            let job = LoadJob(watcher);
            self.opener.submit(move || job.run());
        }
        LOOK
    }
}

impl Watcher {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Applies the changed file. If it is dropped before it ran, the next look begins another.
struct LoadJob(Arc<Watcher>);

impl LoadJob {
    fn run(self) {
        let watcher = &self.0;
        let Some(handles) = watcher.manager.upgrade() else {
            return;
        };
        let manager = ConnectionManager {
            handles,
            options: watcher.options.clone(),
            limits: watcher.limits,
        };
        let followed = manager.follow(&watcher.path);
        let mut state = watcher.state();
        let is_news = match &followed {
            Ok(()) => {
                state.file.succeeded();
                false
            }
            Err(_) => state.file.failed(Instant::now()),
        };
        drop(state);
        if let (true, Err(error)) = (is_news, followed) {
            events::not_reloaded(&watcher.path, &error);
        }
    }
}

impl Drop for LoadJob {
    fn drop(&mut self) {
        self.0.state().is_loading = false;
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.watcher.path).finish()
    }
}
