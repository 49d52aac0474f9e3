use std::time::Duration;

use crate::model::config::Config;
use crate::model::settings::Settings;
use crate::schema::choice::{LoadBalanceHosts, TargetSessionAttrs};

/// `readers`: the reading side of a cluster, which is a writer and its standbys.
///
/// ```
/// use pgmonkey_config::{Readers, Settings};
///
/// let mut readers = Settings::default();
/// readers.connection_settings.dbname = Some("shop".to_owned());
/// let readers = Readers::new(readers)?;
/// assert!(readers.fallback && readers.max_lag.is_none());
/// # Ok::<(), pgmonkey_config::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readers {
    /// The configuration of sessions at the standbys: the file with this section laid over it.
    /// `target_session_attrs` is `prefer-standby` and `load_balance_hosts` is `random` unless the
    /// section sets them. It has no readers of its own.
    pub config: Config,
    /// A standby whose data is older is not used; `None`, the default, means no limit.
    pub max_lag: Option<Duration>,
    /// Whether the writer is read from while no standby can be used. Default: true.
    pub fallback: bool,
}

impl Readers {
    /// Validates the settings of sessions at the standbys, whose `target_session_attrs` and
    /// `load_balance_hosts` become `prefer-standby` and `random` where they have their defaults.
    ///
    /// # Errors
    ///
    /// As [`Config::new`].
    pub fn new(mut settings: Settings) -> Result<Self, crate::Error> {
        settings.readers = None;
        let connection = &mut settings.connection_settings;
        if connection.target_session_attrs == TargetSessionAttrs::default() {
            connection.target_session_attrs = TargetSessionAttrs::PreferStandby;
        }
        if connection.load_balance_hosts == LoadBalanceHosts::default() {
            connection.load_balance_hosts = LoadBalanceHosts::Random;
        }
        Ok(Self {
            config: Config::new(settings)?,
            max_lag: None,
            fallback: true,
        })
    }
}
