//! The pgmonkey configuration file: YAML, TOML, JSON and environment, typed, validated and
//! fingerprinted.
//!
//! One file serves all four connection types. It is loaded once, into a [`Config`] that is cheap to
//! clone and never shows a secret:
//!
//! ```
//! use pgmonkey_config::{Config, ConnectionType};
//!
//! let config = Config::from_yaml(
//!     "
//! connection_type: pool
//! connection_settings: { host: db.internal, user: app, dbname: shop, password: S3cret }
//! pool_settings: { max_size: 20, timeout: 30 }
//! sync_settings: { statement_timeout: '30000' }
//! ",
//! )?;
//!
//! assert_eq!(config.connection_type, ConnectionType::Pool);
//! assert_eq!(config.pool_settings.max_size, 20);
//! assert_eq!(config.to_string(), "pool app@db.internal:5432/shop");
//! # Ok::<(), pgmonkey_config::Error>(())
//! ```
//!
//! * [`Config::from_file`] loads a file and resolves its references, such as `${VAR}`; a [`Loader`]
//!   adds layers, profiles and environment variables.
//! * A password may be a reference that is kept, to a file or a command: [`SecretSource`].
//! * [`Error`] lists all problems at once, each with file, line and key.
//! * [`Fingerprint`] identifies the sessions that a configuration describes, for use as a cache
//!   key.
//! * [`template`] returns a commented file to start from.
//!
//! You probably want the crate `pgmonkey`, which also opens the connections.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod load;
mod model;
mod redact;
mod schema;
mod secret;
mod show;
mod source;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub use error::{Error, Place, Problem, ProblemKind, Warning, WarningKind};
pub use load::loaded::Loaded;
pub use load::loader::Loader;
pub use load::loader::rules::UnknownKeys;
pub use model::config::Config;
pub use model::connection::{ConnectionSettings, Host, RootCert, Target};
pub use model::fingerprint::Fingerprint;
pub use model::pool::PoolSettings;
pub use model::readers::Readers;
pub use model::secret_source::{SecretCommand, SecretFileError, SecretSource};
pub use model::session::SessionSettings;
pub use model::settings::Settings;
pub use model::statements::StatementSettings;
pub use redact::{is_connection_string, redact};
pub use schema::choice::{
    AuthMethod, ChannelBinding, ConnectionType, LoadBalanceHosts, Pooler, RequireAuth,
    RequireAuthError, Reset, SettingsDelivery, SslMode, SslNegotiation, StatementTextMode,
    TargetSessionAttrs, TlsVersion, UnknownWord,
};
pub use schema::json_schema::json_schema;
pub use schema::keys::MOST_SESSIONS;
pub use schema::reference::reference;
pub use schema::template::template;
pub use secret::{REDACTED, Secret};
pub use show::effective::Effective;
pub use show::excerpt::Excerpt;
pub use show::export::Exposed;
pub use source::{files, passfile, user_files};
