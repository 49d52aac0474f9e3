//! What a loader found: the configuration, what deserves a look, and where each value came from.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::Config;
use crate::error::{Place, Warning};
use crate::export;

/// A configuration with where it came from; see [`Loader::load_with_sources`](crate::Loader::load_with_sources).
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
    /// What is allowed but deserves a look.
    pub warnings: Vec<Warning>,
    sources: BTreeMap<String, Place>,
}

/// One value in effect, without its secret.
///
/// ```
/// use pgmonkey_config::Loader;
///
/// let loaded = Loader::new().yaml("connection_settings: { host: db }").load_with_sources()?;
/// for value in loaded.values() {
///     println!("{} = {} ({:?})", value.key, value.value, value.source);
/// }
/// # Ok::<(), pgmonkey_config::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Effective {
    /// Section and key, as `connection_settings.port`.
    pub key: String,
    /// The value; a secret is replaced by [`REDACTED`](crate::REDACTED).
    pub value: Value,
    /// Where it came from; `None` for a built-in default.
    pub source: Option<Place>,
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

    /// Where the value of a key came from, by section and key; `None` if nothing set it.
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

    /// Every value in effect, in the order of the documentation. What has neither a value nor a
    /// default that is the same on every machine is left out.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let loaded = Loader::new().yaml("pool_settings: { max_size: 20 }").load_with_sources()?;
    /// let values = loaded.values();
    /// let size = values.iter().find(|value| value.key == "pool_settings.max_size");
    /// assert_eq!(size.map(|size| &size.value), Some(&20.into()));
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn values(&self) -> Vec<Effective> {
        let rows = export::rows(&self.config).into_iter();
        rows.map(|(key, value)| Effective {
            source: self.source(&key).cloned(),
            key,
            value,
        })
        .collect()
    }
}
