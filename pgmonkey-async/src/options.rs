//! Options of a handle beyond its configuration, and the part of them that identifies it.

use std::sync::Arc;

use pgmonkey_connect::notices::NoticeHook;
use pgmonkey_connect::pool::Budgets;
use pgmonkey_connect::standbys::ReaderLimits;

use crate::session::connect::Provider;
use crate::session::hooks::Hooks;

/// Options of a handle beyond its configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct HandleOptions {
    pub(crate) provider: Option<Provider>,
    pub(crate) hooks: Option<Hooks>,
    pub(crate) name: Option<Arc<str>>,
    /// Whether the handle has a single session that never leaves its transaction.
    pub(crate) for_tests: bool,
    /// The manager's limits on sessions at each server.
    pub(crate) budgets: Option<Arc<Budgets>>,
    /// Whether files may name commands.
    pub(crate) allow_commands: bool,
    /// Whether the manager serves many tenants: the handle is to be small, and is used by few threads
    /// at the same time.
    pub(crate) is_one_of_many: bool,
    /// For the reading side of a cluster: what limits the use of its standbys.
    pub(crate) readers: Option<ReaderLimits>,
}

/// Distinguishes handles of the same configuration: the identities of provider and hooks, and what
/// makes one the reading side of a cluster.
pub(crate) type Identity = (Option<Arc<str>>, Option<Arc<str>>, Option<ReaderLimits>);

impl HandleOptions {
    /// The hook for notices, if there is one.
    pub(crate) fn notice_hook(&self) -> Option<NoticeHook> {
        self.hooks.as_ref()?.notice_hook().cloned()
    }

    pub(crate) fn identity(&self) -> Identity {
        let provider = self.provider.as_ref().map(Provider::identity);
        let hooks = self.hooks.as_ref().map(Hooks::identity);
        (provider.cloned(), hooks.cloned(), self.readers)
    }
}
