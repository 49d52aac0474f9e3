//! The manager of both driver crates: it only delegates to them.

use std::sync::OnceLock;

#[cfg(any(feature = "sync", feature = "async"))]
use pgmonkey_config::Config;
use pgmonkey_connect::CacheEntry;

/// Defines methods that forward to the manager of one driver crate.
#[cfg(any(feature = "sync", feature = "async"))]
macro_rules! forward {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),+) -> $ok:ty = $to:ident;)*) => {
        #[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
        impl ConnectionManager {
            $($(#[$doc])*
            ///
            /// # Errors
            ///
            /// Returns an error if the handle cannot be opened.
            pub fn $name(&self, $($arg: $type),+) -> Result<$ok, Error> {
                self.sync.$to($($arg),+)
            })*
        }
    };
    (async $($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),+) -> $ok:ty = $to:ident;)*) => {
        #[cfg_attr(docsrs, doc(cfg(feature = "async")))]
        impl ConnectionManager {
            $($(#[$doc])*
            ///
            /// # Errors
            ///
            /// Returns an error if the handle cannot be opened.
            pub async fn $name(&self, $($arg: $type),+) -> Result<$ok, Error> {
                self.aio.$to($($arg),+).await
            })*
        }
    };
}

#[cfg(any(feature = "sync", feature = "async"))]
pub use self::builder::ManagerBuilder;

#[cfg(any(feature = "sync", feature = "async"))]
mod builder;
#[cfg(feature = "async")]
mod tasks;
#[cfg(feature = "sync")]
mod threads;

/// Opens and caches connections and pools of all four types: one handle for each configuration and
/// type, however often and from wherever it is requested.
///
/// A manager is cheap to clone, and clones share one cache. When the last clone is dropped, the
/// cached handles that the program does not hold are closed; those that it holds go on. At exit all
/// are closed, which this delays by a second at most.
///
/// ```no_run
/// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
/// let pool = pgmonkey::ConnectionManager::global().pool(&config)?;
/// assert!(pool.is_same(&pgmonkey::ConnectionManager::global().pool(&config)?));
/// # Ok(()) }
/// ```
#[derive(Clone, Default, Debug)]
pub struct ConnectionManager {
    #[cfg(feature = "sync")]
    sync: pgmonkey_sync::ConnectionManager,
    #[cfg(feature = "async")]
    aio: pgmonkey_async::ConnectionManager,
}

impl ConnectionManager {
    /// Creates a manager with a cache of its own.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let manager = pgmonkey::ConnectionManager::new();
    /// let pool = manager.pool(&config)?;
    /// assert_eq!(manager.cache_info().len(), 1);
    /// # Ok(()) }
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the global manager of the process. It shares its cache with the global managers of
    /// `pgmonkey-sync` and `pgmonkey-async`.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let pool = pgmonkey::ConnectionManager::global().pool(&config)?;
    /// # Ok(()) }
    /// ```
    pub fn global() -> &'static Self {
        static GLOBAL: OnceLock<ConnectionManager> = OnceLock::new();
        GLOBAL.get_or_init(|| Self {
            #[cfg(feature = "sync")]
            sync: pgmonkey_sync::ConnectionManager::global().clone(),
            #[cfg(feature = "async")]
            aio: pgmonkey_async::ConnectionManager::global().clone(),
        })
    }

    /// Lists the cached handles, sync and async.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey::Error> {
    /// for entry in pgmonkey::ConnectionManager::global().cache_info() {
    ///     println!("{entry}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn cache_info(&self) -> Vec<CacheEntry> {
        #[allow(unused_mut, reason = "with neither feature nothing is pushed")]
        let mut entries = Vec::new();
        #[cfg(feature = "sync")]
        entries.extend(self.sync.cache_info());
        #[cfg(feature = "async")]
        entries.extend(self.aio.cache_info());
        entries
    }

    /// Removes all handles of `config`, sync and async, from the cache, and returns how many there
    /// were. A handle that the program holds goes on; any other is closed.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) {
    /// println!("{} removed", pgmonkey::ConnectionManager::global().remove(&config));
    /// # }
    /// ```
    #[cfg(any(feature = "sync", feature = "async"))]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "sync", feature = "async"))))]
    pub fn remove(&self, config: &Config) -> usize {
        let mut removed = 0;
        #[cfg(feature = "sync")]
        (removed += self.sync.remove(config));
        #[cfg(feature = "async")]
        (removed += self.aio.remove(config));
        removed
    }

    /// As [`remove`](Self::remove), for every cached handle that `is_meant` accepts.
    ///
    /// ```no_run
    /// # fn example() {
    /// let hour = std::time::Duration::from_secs(3600);
    /// pgmonkey::ConnectionManager::global().remove_if(|entry| entry.unused_for > hour);
    /// # }
    /// ```
    #[cfg(any(feature = "sync", feature = "async"))]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "sync", feature = "async"))))]
    pub fn remove_if(&self, is_meant: impl Fn(&CacheEntry) -> bool) -> usize {
        let mut removed = 0;
        #[cfg(feature = "sync")]
        (removed += self.sync.remove_if(&is_meant));
        #[cfg(feature = "async")]
        (removed += self.aio.remove_if(&is_meant));
        removed
    }
}
