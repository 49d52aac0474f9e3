//! From a raw socket to a session's stream: TLS negotiation, and the connector passed to both
//! drivers.

pub(crate) mod connector;
pub(crate) mod encryption;
#[cfg(feature = "tls")]
mod negotiation;
