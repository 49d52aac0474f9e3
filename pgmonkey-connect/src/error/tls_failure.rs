//! Why a session could not be encrypted as configured.

use super::ErrorKind;
use crate::printable::line;

/// Why a session could not be encrypted as configured.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFailure {
    /// A local file is missing, unreadable, of the wrong kind, or accessible to other users.
    #[error("{key}: {reason}")]
    File {
        /// The setting that names the file, or could.
        key: &'static str,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The server does not support TLS.
    #[error(
        "the server does not support TLS (ssl = off), and sslmode does not allow a plain session"
    )]
    NotOffered,
    /// The server answered the request for TLS with an error. Its text is not shown, because a
    /// man-in-the-middle could have written it.
    #[error(
        "the server answered the request for TLS with an error message, as an overloaded server does"
    )]
    ErrorReply,
    /// The answer to the request for TLS was invalid.
    #[error(
        "the server answered the request for TLS with the byte {0:#04x}: it does not speak the PostgreSQL protocol"
    )]
    Garbage(u8),
    /// Unencrypted data arrived between the server's agreement to TLS and the handshake.
    #[error(
        "received unencrypted data before the TLS handshake (possible man-in-the-middle); connection refused"
    )]
    Injected,
    /// The server's certificate was rejected.
    #[error("TLS certificate {}", line(.0))]
    Certificate(String),
    /// The two sides could not agree on TLS parameters.
    #[error("TLS handshake failed: {}", line(.0))]
    Handshake(String),
    /// The connection ended during the handshake.
    #[error("the connection ended during the TLS handshake: {}", line(.0))]
    Interrupted(String),
    /// The server did not confirm the protocol, which direct negotiation requires.
    #[error(
        "the server did not confirm the PostgreSQL protocol (ALPN): sslnegotiation: direct requires PostgreSQL 17 or later"
    )]
    NoAlpn,
}

impl TlsFailure {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { .. } => ErrorKind::Configuration,
            Self::ErrorReply | Self::Interrupted(_) => ErrorKind::Transient,
            _ => ErrorKind::Tls,
        }
    }

    /// Adds what direct negotiation requires to a failure that a server before PostgreSQL 17 causes:
    /// it reads the handshake as a startup message of an invalid length, and closes.
    #[cfg(feature = "tls")]
    pub(crate) fn of_direct(self) -> Self {
        let advise = |text| {
            format!(
                "{text}; sslnegotiation: direct requires PostgreSQL 17 or later: leave it out for an older server"
            )
        };
        match self {
            Self::Interrupted(text) => Self::Interrupted(advise(text)),
            Self::Handshake(text) if text.ends_with("not TLS") => Self::Handshake(advise(text)),
            failure => failure,
        }
    }

    /// Whether the client's certificate or its key cannot be used.
    #[cfg(feature = "tls")]
    pub(crate) fn is_of_identity(&self) -> bool {
        matches!(self, Self::File { key, .. } if ["sslcert", "sslkey", "sslpassword"].contains(key))
    }

    /// Whether continuing without TLS could be what an attacker wants.
    pub(crate) fn is_attack(&self) -> bool {
        matches!(self, Self::Injected | Self::ErrorReply | Self::Garbage(_))
    }
}
