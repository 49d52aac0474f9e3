//! libpq's TLS behavior on top of rustls: which certificates are trusted and presented, and
//! what is checked.
//!
//! Reference: libpq, "SSL Support".

mod certificate;
mod context;
mod files;
mod key;
mod verifier;

pub(crate) use certificate::{channel_binding, peer_name};
pub(crate) use context::{TlsContext, TlsSetup};
