//! TLS as libpq does it, by rustls: which certificates are trusted and shown, what is checked,
//! and what is said when it fails.
//!
//! Reference: libpq, "SSL Support".

mod certificate;
mod context;
mod files;
mod key;
mod verifier;
mod words;

pub(crate) use certificate::{channel_binding, peer_name};
pub(crate) use context::{TlsContext, TlsSetup};
pub(crate) use words::{failure_of, interrupted_or};
