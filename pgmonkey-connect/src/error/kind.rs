//! Kinds of failure, and which kind an error is.

use super::{DeadlineStage, Error, driver};

/// The kind of failure of an [`Error`], for programs that decide how to react.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The same call may succeed later. Pools retry by themselves.
    Transient,
    /// Authentication failed, or the server asked for a method that is not allowed.
    Authentication,
    /// The session could not be encrypted as configured.
    Tls,
    /// The configuration, or a file that it names, must be changed.
    Configuration,
    /// None of these: a statement failed, or a handle was misused.
    Other,
}

impl Error {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect(failure) => failure.kind(),
            Self::Timeout(_) | Self::QueueFull { .. } | Self::Unanswered { .. } => {
                ErrorKind::Transient
            }
            Self::NotCommitted(_) | Self::UnexpectedStandby(_) | Self::NotReused { .. } => {
                ErrorKind::Transient
            }
            Self::DeadlineExceeded(exceeded) => match exceeded.stage {
                DeadlineStage::Waiting | DeadlineStage::Connecting => ErrorKind::Transient,
                // With the same deadline, or a statement as long, it ends in the same way.
                DeadlineStage::Passed | DeadlineStage::Running(_) => ErrorKind::Other,
            },
            Self::Database(error) => driver::kind(error),
            Self::SessionEnded(end) => end.kind(),
            Self::Hook(failure) => failure.kind(),
            Self::RetriesExhausted(failure) => failure.kind(),
            Self::Config(_)
            | Self::SessionSetting { .. }
            | Self::ConnectionType { .. }
            | Self::Sizes { .. }
            | Self::ManagerLimit { .. }
            | Self::Unsupported { .. } => ErrorKind::Configuration,
            _ => ErrorKind::Other,
        }
    }

    /// Whether the same call, unchanged, may succeed later: the server is unavailable, starting or
    /// full, every session was in use, or transactions conflicted
    /// ([`is_conflict`](Self::is_conflict)). Inside a transaction, retry the whole transaction.
    ///
    /// For a session that the server ended, the SQLSTATE decides: 57P01, 57P02, 57P03 and 57P05 are
    /// transient; 25P03 and 25P04 are not, because what took too long inside the transaction will
    /// take as long again. Neither is 53400, which exceeds a limit of the configuration, such as
    /// `temp_file_limit`. [`Error::CommitUnknown`] and [`Error::OutcomeUnknown`] never are.
    pub fn is_transient(&self) -> bool {
        self.kind() == ErrorKind::Transient
    }

    /// Whether `query_one` found no row. Does not cover the driver's own `query_one`, which returns
    /// the same error for no row and for several.
    pub fn is_no_row(&self) -> bool {
        matches!(self, Self::NoRow)
    }

    /// Whether acquiring a session timed out.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// Whether the handle was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// Whether a search ended without a session, and found a server of another role.
    pub(crate) fn found_other_role(&self) -> bool {
        matches!(self, Self::Connect(failure) if failure.found_other_role())
    }

    /// Whether every login with the same settings will be refused.
    pub(crate) fn refuses_login(&self) -> bool {
        let kind = self.kind();
        kind == ErrorKind::Authentication || kind == ErrorKind::Configuration
    }

    /// Whether authentication failed, in either direction.
    pub fn is_authentication(&self) -> bool {
        self.kind() == ErrorKind::Authentication
    }

    /// Whether the session could not be encrypted as configured.
    pub fn is_tls(&self) -> bool {
        self.kind() == ErrorKind::Tls
    }

    /// Whether the config file, or a file that it names, must be changed.
    pub fn is_configuration(&self) -> bool {
        self.kind() == ErrorKind::Configuration
    }

    /// Whether the call did not end by its deadline.
    pub fn is_deadline(&self) -> bool {
        matches!(self, Self::DeadlineExceeded(_))
    }
}
