//! The model: typed settings, the checked [`Config`](config::Config), and its fingerprint.

mod canonical;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod fingerprint;
pub(crate) mod pool;
pub(crate) mod readers;
pub(crate) mod secret_source;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod statements;
