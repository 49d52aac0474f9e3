//! Finding a server and logging in: the order of attempts, passwords and session settings.

pub(crate) mod bare;
pub(crate) mod connect_attempt;
pub(crate) mod connected_to;
pub mod credentials;
pub mod failover;
mod hosts;
pub(crate) mod local_settings;
pub mod plan;
pub(crate) mod rotation;
pub(crate) mod server_search;
pub(crate) mod settings_check;
pub mod standbys;
pub mod startup;
pub(crate) mod target;
