//! Whether a server is the one `target_session_attrs` asks for.
//!
//! Reference: libpq, `target_session_attrs`. A server from PostgreSQL 14 on announces its role
//! during the login, and again when it is promoted; an older one is asked.

use std::fmt;

use pgmonkey_config::TargetSessionAttrs;
use tokio_postgres::SimpleQueryMessage;

use crate::wire::Observer;

/// A server's part in replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Not in recovery: takes writes.
    Primary,
    /// In recovery: read-only.
    Standby,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
        })
    }
}

/// What one round over the hosts asks of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Requirement {
    /// Every server is good enough.
    Any,
    /// Its sessions must take writes.
    ReadWrite,
    /// Its sessions must not take writes.
    ReadOnly,
    /// It must not be in recovery.
    Primary,
    /// It must be in recovery.
    Standby,
}

/// The rounds over all hosts, in order: the second is made when the first found nothing.
pub fn rounds(attrs: TargetSessionAttrs) -> &'static [Requirement] {
    match attrs {
        TargetSessionAttrs::Any => &[Requirement::Any],
        TargetSessionAttrs::ReadWrite => &[Requirement::ReadWrite],
        TargetSessionAttrs::ReadOnly => &[Requirement::ReadOnly],
        TargetSessionAttrs::Primary => &[Requirement::Primary],
        TargetSessionAttrs::Standby => &[Requirement::Standby],
        TargetSessionAttrs::PreferStandby => &[Requirement::Standby, Requirement::Any],
    }
}

/// A server that is not what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleMismatch(Requirement);

impl fmt::Display for RoleMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Requirement::ReadWrite => "the server takes no writes (target_session_attrs)",
            Requirement::ReadOnly => "the server takes writes (target_session_attrs)",
            Requirement::Primary => "the server is a standby (target_session_attrs)",
            Requirement::Standby => "the server is not a standby (target_session_attrs)",
            Requirement::Any => "the server's role is unknown (target_session_attrs)",
        })
    }
}

impl std::error::Error for RoleMismatch {}

impl Requirement {
    /// Whether the server fits, by what it announced; `None` if it must be asked.
    pub fn met(self, observer: Option<&Observer>) -> Option<bool> {
        if self == Self::Any {
            return Some(true);
        }
        let standby = observer?.in_recovery()?;
        let read_only =
            || Some(standby || observer?.parameter("default_transaction_read_only")? == "on");
        match self {
            Self::Primary => Some(!standby),
            Self::Standby => Some(standby),
            Self::ReadWrite => read_only().map(|read_only| !read_only),
            _ => read_only(),
        }
    }

    /// The question for a server that announces nothing.
    pub fn question(self) -> &'static str {
        match self {
            Self::ReadWrite | Self::ReadOnly => "SHOW transaction_read_only",
            _ => "SELECT pg_catalog.pg_is_in_recovery()",
        }
    }

    /// Whether the server fits, by its answer to [`question`](Self::question).
    ///
    /// # Errors
    ///
    /// [`RoleMismatch`] if it does not, or if the answer is none.
    pub fn judge(self, answer: &[SimpleQueryMessage]) -> Result<(), RoleMismatch> {
        let value = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        let yes = matches!(value, Some("t" | "on"));
        let no = matches!(value, Some("f" | "off"));
        let fits = match self {
            Self::Any => true,
            Self::ReadWrite | Self::Primary => no,
            Self::ReadOnly | Self::Standby => yes,
        };
        self.or_mismatch(fits)
    }

    pub(crate) fn or_mismatch(self, fits: bool) -> Result<(), RoleMismatch> {
        match fits {
            true => Ok(()),
            false => Err(RoleMismatch(self)),
        }
    }

    /// Whether a server that did fit has announced since that it no longer does: a standby that
    /// was promoted. A primary does not turn into a standby without ending its sessions.
    ///
    /// Costs one load.
    pub fn is_broken(self, observer: &Observer) -> bool {
        self == Self::Standby && observer.in_recovery() == Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_says_nothing_must_be_asked() {
        let silent = Observer::default();
        assert_eq!(Requirement::Any.met(None), Some(true));
        for requirement in [
            Requirement::ReadWrite,
            Requirement::ReadOnly,
            Requirement::Primary,
            Requirement::Standby,
        ] {
            assert_eq!(requirement.met(None), None);
            assert_eq!(requirement.met(Some(&silent)), None);
            assert!(!requirement.is_broken(&silent));
            assert!(requirement.judge(&[]).is_err(), "no answer is no yes");
        }
    }

    #[test]
    fn a_preferred_standby_takes_a_second_round() {
        let rounds = rounds(TargetSessionAttrs::PreferStandby);
        assert_eq!(rounds, [Requirement::Standby, Requirement::Any]);
    }
}
