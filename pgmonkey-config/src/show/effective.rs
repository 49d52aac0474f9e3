use serde_json::Value;

use crate::error::Place;
use crate::load::loaded::Loaded;
use crate::show::export;

/// One effective value, with secrets hidden.
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
    /// Returns every effective value, in the order of the documentation, except keys that have
    /// neither a value nor a default that is the same on every machine.
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
