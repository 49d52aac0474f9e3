//! Limits on unsolicited data from a server. The driver keeps notices until the login is complete,
//! and settings for the life of the session.

use std::fmt;

use super::framing::LONGEST_PARAMETER;

/// Bytes of a whole login, up to the first `ReadyForQuery`. PostgreSQL sends about 1 KB; the
/// limit leaves room for notices from a login trigger.
pub(super) const LOGIN_BYTES: usize = 1 << 20;

/// Messages of a whole login. PostgreSQL sends about 20.
pub(super) const LOGIN_MESSAGES: u32 = 1000;

/// The number of settings that a server may announce to one session. PostgreSQL 18 has 16, and
/// extensions may add some.
const PARAMETERS: usize = 128;

/// A server sent more than the client is willing to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitExceeded {
    /// Too many bytes before the login was complete.
    LoginBytes,
    /// Too many messages before the login was complete.
    LoginMessages,
    /// Too many settings.
    Parameters,
    /// A setting that is too long.
    ParameterBytes,
}

impl LimitExceeded {
    /// The limit exceeded by a new setting in a session that already has `known` settings, if any.
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
