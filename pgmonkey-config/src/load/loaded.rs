//! The result of a loader: the configuration, the warnings, and the source of each value.

use std::collections::BTreeMap;

use crate::error::{Place, Warning};
use crate::model::config::Config;

/// A configuration with the sources of its values; see [`Loader::load_with_sources`](crate::Loader::load_with_sources).
///
/// ```
/// use pgmonkey_config::{Loader, Place};
///
/// let loaded = Loader::new()
///     .yaml("connection_settings: { host: db }")
///     .variables([("PGUSER", "app")])
///     .load_with_sources()?;
/// let user = loaded.source("connection_settings.user");
/// assert_eq!(user, Some(&Place::Variable("PGUSER".to_owned())));
/// assert_eq!(loaded.source("connection_settings.sslmode"), None); // the default
/// # Ok::<(), pgmonkey_config::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Problems that do not prevent loading.
    pub warnings: Vec<Warning>,
    sources: BTreeMap<String, Place>,
}

impl Loaded {
    pub(crate) fn new(
        config: Config,
        warnings: Vec<Warning>,
        sources: BTreeMap<String, Place>,
    ) -> Self {
        Self {
            config,
            warnings,
            sources,
        }
    }

    /// Returns the source of a key's value, by section and key; `None` if no source has set it.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let loaded = Loader::new().yaml("connection_settings: { host: db }").load_with_sources()?;
    /// assert!(loaded.source("connection_settings.host").is_some());
    /// assert!(loaded.source("connection_settings.port").is_none());
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn source(&self, key: &str) -> Option<&Place> {
        self.sources.get(key)
    }
}
