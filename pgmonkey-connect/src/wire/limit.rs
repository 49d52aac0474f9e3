//! How much a server may send that nobody asked for. The driver keeps notices until the login is
//! over, and settings for as long as the session lives.

use std::fmt;

use super::framing::LONGEST_PARAMETER;

/// Bytes of a whole login, up to the first `ReadyForQuery`. PostgreSQL sends about 1 KB; the
/// limit leaves room for notices of a login trigger.
pub(super) const LOGIN_BYTES: usize = 1 << 20;

/// Messages of a whole login. PostgreSQL sends about 20.
pub(super) const LOGIN_MESSAGES: u32 = 1000;

/// Settings that a server announces to one session, by name. PostgreSQL 18 has 16, and
/// extensions may add some.
const PARAMETERS: usize = 128;

/// A server sent more than this side keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitExceeded {
    /// Too many bytes before the login was over.
    LoginBytes,
    /// Too many messages before the login was over.
    LoginMessages,
    /// Too many settings.
    Parameters,
    /// A setting that is too long.
    ParameterBytes,
}

impl LimitExceeded {
    /// Whether a session that knows this many settings takes no new one.
    pub(super) fn of_parameters(known: usize) -> Option<Self> {
        (known >= PARAMETERS).then_some(Self::Parameters)
    }
}

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoginBytes => write!(
                f,
                "the server sent more than {LOGIN_BYTES} bytes before the login was over; connection closed"
            ),
            Self::LoginMessages => write!(
                f,
                "the server sent more than {LOGIN_MESSAGES} messages before the login was over; connection closed"
            ),
            Self::Parameters => write!(
                f,
                "the server announced more than {PARAMETERS} settings (ParameterStatus); connection closed"
            ),
            Self::ParameterBytes => write!(
                f,
                "the server announced a setting (ParameterStatus) of more than {LONGEST_PARAMETER} bytes; connection closed"
            ),
        }
    }
}

impl std::error::Error for LimitExceeded {}
