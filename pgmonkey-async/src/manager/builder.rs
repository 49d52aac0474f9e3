//! Builds a manager with options: limits of its handles, a password provider, hooks.

use std::sync::Arc;
use std::time::Duration;

use pgmonkey_connect::Error;
use pgmonkey_connect::credentials::AsyncPasswordProvider;
use pgmonkey_connect::pool::Budgets;
use pgmonkey_connect::process::PerProcess;
use pgmonkey_connect::tenants::HandleLimits;

use crate::options::HandleOptions;
use crate::session::connect::Provider;
use crate::session::hooks::Hooks;

use super::ConnectionManager;

/// Builds a [`ConnectionManager`] with a cache of its own and options, from
/// [`ConnectionManager::builder`]. By default no handle sleeps, and any number is cached.
///
/// For a program with one configuration for each of many tenants:
///
/// ```no_run
/// use std::time::Duration;
///
/// # async fn example() -> Result<(), pgmonkey_async::Error> {
/// let manager = pgmonkey_async::ConnectionManager::builder()
///     .idle_handle_timeout(Duration::from_secs(300)) // then a handle costs the server nothing
///     .max_handles(1000)
///     .build()?;
/// let pool = manager.pool_from_file("tenants/acme.yaml").await?;
/// println!("{}", pool.status());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a builder makes no manager until `build` is called"]
pub struct ManagerBuilder {
    options: HandleOptions,
    limits: HandleLimits,
}

impl ManagerBuilder {
    /// Sets how many handles the manager caches. By default there is no limit. At least 1.
    ///
    /// When one more is opened, the least recently used handle that no caller uses leaves the cache:
    /// none of its sessions is in use, and none is waited for. It falls asleep at once, see
    /// [`idle_handle_timeout`](Self::idle_handle_timeout). The program may go on to use a clone that
    /// it holds, but the next request to the manager opens another handle. If all are in use, the
    /// new one is cached all the same, and one leaves within a second after its use ends.
    pub fn max_handles(mut self, max_handles: usize) -> Self {
        self.limits.max_handles = Some(max_handles);
        self
    }

    /// Sets how long a handle may be unused before it sleeps. By default none sleeps. Longer than 0.
    ///
    /// A handle that sleeps has no sessions, not even `min_size`, and no timer. It stays cached, and
    /// its next use wakes it: it opens a session for the caller and, in the background, the rest of
    /// `min_size`. It is unused while no session is in use and no caller waits or asks for one;
    /// looking at its status, or getting it from the manager, does not count as use.
    ///
    /// One sweep looks at all handles that the manager opened, also at those that it no longer
    /// caches, every quarter of the timeout, at least every second and at most every 20 ms. So a
    /// handle falls asleep up to that much later than set.
    pub fn idle_handle_timeout(mut self, timeout: Duration) -> Self {
        self.limits.idle_handle_timeout = Some(timeout);
        self
    }

    /// Sets how many sessions the handles of this manager may have at one server. By default there
    /// is no limit. At least 1.
    ///
    /// A pool that needs one more session first takes the place of the session that has been idle
    /// longest in any pool. If none is idle, it waits for its turn, within the caller's `timeout`:
    /// pools are served in the order in which they began to wait, so no tenant starves another. The
    /// time-out says which pools hold the sessions. `min_size` takes no other pool's place.
    ///
    /// A server is a host and port as configured; a list of hosts counts as a server of its own.
    /// Listeners do not count.
    pub fn max_sessions_per_server(mut self, sessions: u32) -> Self {
        self.limits.max_sessions_per_server = Some(sessions);
        self
    }

    /// Sets whether the password in a file may come from a command (`from_command`), for the
    /// `…_from_file` methods. By default it may not: whatever can change such a file can run
    /// programs.
    pub fn allow_commands(mut self, allow: bool) -> Self {
        self.options.allow_commands = allow;
        self
    }

    /// Sets the provider that is asked for the password of each new session; see
    /// [`ConnectionManager::with_password_provider`].
    pub fn password_provider(mut self, provider: impl AsyncPasswordProvider) -> Self {
        self.options.provider = Some(Provider::new(provider.identity(), Arc::new(provider)));
        self
    }

    /// Sets the hooks that run at points in each session's lifecycle; see
    /// [`ConnectionManager::with_hooks`].
    pub fn hooks(mut self, hooks: Hooks) -> Self {
        self.options.hooks = Some(hooks);
        self
    }

    /// Shares the limits of sessions with another manager.
    #[doc(hidden)]
    pub fn session_budgets(mut self, budgets: Arc<Budgets>) -> Self {
        self.options.budgets = Some(budgets);
        self
    }

    /// Creates the manager.
    ///
    /// # Errors
    ///
    /// [`Error::ManagerLimit`] if a limit is zero.
    pub fn build(self) -> Result<ConnectionManager, Error> {
        self.limits.check()?;
        let mut options = self.options;
        options.is_one_of_many = !self.limits.is_none();
        let budgets = self.limits.max_sessions_per_server.map(Budgets::new);
        options.budgets = options.budgets.or_else(|| budgets.map(Arc::new));
        Ok(ConnectionManager {
            handles: Arc::new(PerProcess::default()),
            options,
            limits: self.limits,
        })
    }
}

impl ConnectionManager {
    /// Returns a builder for a manager with a cache of its own, and limits of its handles.
    ///
    /// ```
    /// let builder = pgmonkey_async::ConnectionManager::builder().max_handles(100);
    /// assert!(builder.build().is_ok());
    /// ```
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder::default()
    }
}
