//! Builds a manager of both driver crates; it passes each option on to theirs.

use std::sync::Arc;
use std::time::Duration;

use pgmonkey_connect::Error;
#[cfg(feature = "async")]
use pgmonkey_connect::credentials::AsyncPasswordProvider;
#[cfg(feature = "sync")]
use pgmonkey_connect::credentials::PasswordProvider;

use pgmonkey_connect::pool::Budgets;

use super::ConnectionManager;

/// Builds a [`ConnectionManager`] with a cache of its own and options, from
/// [`ConnectionManager::builder`]. By default no handle sleeps, and any number is cached.
///
/// Sync and async handles count separately: each limit holds for those of one kind.
///
/// ```no_run
/// use std::time::Duration;
///
/// # fn example() -> Result<(), pgmonkey::Error> {
/// let manager = pgmonkey::ConnectionManager::builder()
///     .idle_handle_timeout(Duration::from_secs(300)) // then a handle costs the server nothing
///     .max_handles(1000)
///     .build()?;
/// let pool = manager.pool_from_file("tenants/acme.yaml")?;
/// println!("{}", pool.status());
/// # Ok(()) }
/// ```
#[cfg_attr(docsrs, doc(cfg(any(feature = "sync", feature = "async"))))]
#[derive(Debug, Clone, Default)]
#[must_use = "a builder makes no manager until `build` is called"]
pub struct ManagerBuilder {
    #[cfg(feature = "sync")]
    sync: pgmonkey_sync::ManagerBuilder,
    #[cfg(feature = "async")]
    aio: pgmonkey_async::ManagerBuilder,
}

impl ManagerBuilder {
    /// Sets how many sync and how many async handles the manager caches. By default there is no
    /// limit. At least 1.
    ///
    /// When one more is opened, the least recently used handle that no caller uses leaves the cache,
    /// and sleeps; see the driver crates' `ManagerBuilder::max_handles`.
    pub fn max_handles(mut self, max_handles: usize) -> Self {
        #[cfg(feature = "sync")]
        (self.sync = self.sync.max_handles(max_handles));
        #[cfg(feature = "async")]
        (self.aio = self.aio.max_handles(max_handles));
        self
    }

    /// Sets how long a handle may be unused before it sleeps: then it has no sessions, not even
    /// `min_size`, and no timer, until it is used again. By default none sleeps. Longer than 0. See
    /// the driver crates' `ManagerBuilder::idle_handle_timeout`.
    pub fn idle_handle_timeout(mut self, timeout: Duration) -> Self {
        #[cfg(feature = "sync")]
        (self.sync = self.sync.idle_handle_timeout(timeout));
        #[cfg(feature = "async")]
        (self.aio = self.aio.idle_handle_timeout(timeout));
        self
    }

    /// Sets how many sessions all handles of this manager, sync and async, may have together at one
    /// server. By default there is no limit. At least 1. See the driver crates'
    /// `ManagerBuilder::max_sessions_per_server`.
    pub fn max_sessions_per_server(mut self, sessions: u32) -> Self {
        let budgets = Arc::new(Budgets::new(sessions));
        #[cfg(feature = "sync")]
        (self.sync = self
            .sync
            .max_sessions_per_server(sessions)
            .session_budgets(Arc::clone(&budgets)));
        #[cfg(feature = "async")]
        (self.aio = self
            .aio
            .max_sessions_per_server(sessions)
            .session_budgets(budgets));
        self
    }

    /// Sets whether the password in a file may come from a command (`from_command`), for the
    /// `…_from_file` methods. By default it may not.
    pub fn allow_commands(mut self, allow: bool) -> Self {
        #[cfg(feature = "sync")]
        (self.sync = self.sync.allow_commands(allow));
        #[cfg(feature = "async")]
        (self.aio = self.aio.allow_commands(allow));
        self
    }

    /// Sets the provider that is asked for the password of each new session of a sync handle.
    #[cfg(feature = "sync")]
    #[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
    pub fn password_provider(mut self, provider: impl PasswordProvider) -> Self {
        self.sync = self.sync.password_provider(provider);
        self
    }

    /// Sets the provider that is asked for the password of each new session of an async handle.
    #[cfg(feature = "async")]
    #[cfg_attr(docsrs, doc(cfg(feature = "async")))]
    pub fn async_password_provider(mut self, provider: impl AsyncPasswordProvider) -> Self {
        self.aio = self.aio.password_provider(provider);
        self
    }

    /// Sets the hooks that run at points in the lifecycle of each session of a sync handle.
    #[cfg(feature = "sync")]
    #[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
    pub fn hooks(mut self, hooks: pgmonkey_sync::Hooks) -> Self {
        self.sync = self.sync.hooks(hooks);
        self
    }

    /// Sets the hooks that run at points in the lifecycle of each session of an async handle.
    #[cfg(feature = "async")]
    #[cfg_attr(docsrs, doc(cfg(feature = "async")))]
    pub fn async_hooks(mut self, hooks: pgmonkey_async::Hooks) -> Self {
        self.aio = self.aio.hooks(hooks);
        self
    }

    /// Creates the manager.
    ///
    /// # Errors
    ///
    /// [`Error::ManagerLimit`] if a limit is zero.
    pub fn build(self) -> Result<ConnectionManager, Error> {
        Ok(ConnectionManager {
            #[cfg(feature = "sync")]
            sync: self.sync.build()?,
            #[cfg(feature = "async")]
            aio: self.aio.build()?,
        })
    }
}

impl ConnectionManager {
    /// Returns a builder for a manager with a cache of its own, and limits of its handles.
    ///
    /// ```
    /// let builder = pgmonkey::ConnectionManager::builder().max_handles(100);
    /// assert!(builder.build().is_ok());
    /// ```
    #[cfg_attr(docsrs, doc(cfg(any(feature = "sync", feature = "async"))))]
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder::default()
    }
}
