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
//! * [`Config::from_file`] is the usual way; a [`Loader`] adds layers, profiles, environment
//!   variables and references such as `${VAR}`.
//! * [`Error`] tells everything that is wrong at once, each with file, line and key.
//! * [`Fingerprint`] identifies what a configuration means: it is the key of a cache.
//! * [`template`] is a file to start from.
//!
//! You probably want the crate `pgmonkey`, which opens the connections too.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod assembly;
mod canonical;
mod choice;
mod config;
mod connection;
mod duration;
mod error;
mod excerpt;
mod export;
mod extract;
pub mod files;
mod fingerprint;
#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod interpolate;
mod keys;
mod layer;
mod loaded;
mod loader;
pub mod passfile;
mod pool;
mod redact;
mod reference;
mod secret;
mod session;
mod source;
mod suggest;
mod template;
pub mod user_files;
mod validate;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub use choice::{
    AuthMethod, ChannelBinding, ConnectionType, LoadBalanceHosts, Pooler, RequireAuth,
    RequireAuthError, Reset, SslMode, SslNegotiation, TargetSessionAttrs, TlsVersion, UnknownWord,
};
pub use config::{Config, Settings};
pub use connection::{ConnectionSettings, Host, RootCert, Target};
pub use error::{Error, Place, Problem, ProblemKind, Warning, WarningKind};
pub use excerpt::Excerpt;
pub use export::Exposed;
pub use fingerprint::Fingerprint;
pub use loaded::{Effective, Loaded};
pub use loader::{Loader, UnknownKeys};
pub use pool::{MOST_SESSIONS, PoolSettings};
pub use redact::{is_connection_string, redact};
pub use reference::reference;
pub use secret::{REDACTED, Secret};
pub use session::SessionSettings;
pub use template::template;
