//! Whether a server has the role that `target_session_attrs` asks for.
//!
//! Reference: libpq, `target_session_attrs`. PostgreSQL 14 and later announce the role during the
//! login and again on promotion; older servers are queried.

use std::fmt;
use std::time::Duration;

use pgmonkey_config::TargetSessionAttrs;
use tokio_postgres::SimpleQueryMessage;

use crate::wire::Observer;

/// A server's role in replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Not in recovery: accepts writes.
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

/// What one round over the hosts requires of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Requirement {
    /// Any server.
    Any,
    /// A server whose sessions accept writes.
    ReadWrite,
    /// A server whose sessions do not accept writes.
    ReadOnly,
    /// A server that is not in recovery.
    Primary,
    /// A server in recovery.
    Standby,
}

/// The rounds over all hosts, in order: the second starts if the first found no server.
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

/// The server does not have the required role, or its data is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleMismatch(Mismatch);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mismatch {
    Role(Requirement),
    /// By how much it is late, if that is known, and how much it may be.
    Lag(Option<Duration>, Option<Duration>),
}

impl fmt::Display for RoleMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requirement = match self.0 {
            Mismatch::Role(requirement) => requirement,
            Mismatch::Lag(Some(lag), Some(most)) => {
                let (lag, most) = (lag.as_secs_f64(), most.as_secs_f64());
                return write!(
                    f,
                    "the standby is {lag:.1} s behind, more than readers.max_lag ({most} s)"
                );
            }
            Mismatch::Lag(..) => {
                return f.write_str(
                    "how far the standby is behind is unknown, and readers.max_lag is set",
                );
            }
        };
        f.write_str(match requirement {
            Requirement::ReadWrite => "the server does not accept writes (target_session_attrs)",
            Requirement::ReadOnly => "the server accepts writes (target_session_attrs)",
            Requirement::Primary => "the server is a standby (target_session_attrs)",
            Requirement::Standby => "the server is not a standby (target_session_attrs)",
            Requirement::Any => "the server's role is unknown (target_session_attrs)",
        })
    }
}

impl std::error::Error for RoleMismatch {}

impl RoleMismatch {
    /// Whether the server has another role, and is not only too late.
    pub(crate) fn is_of_role(&self) -> bool {
        matches!(self.0, Mismatch::Role(_))
    }

    pub(crate) fn of(requirement: Requirement) -> Self {
        Self(Mismatch::Role(requirement))
    }

    /// A standby whose data is older than `max_lag`.
    pub(crate) fn lagging(lag: Option<Duration>, max_lag: Option<Duration>) -> Self {
        Self(Mismatch::Lag(lag, max_lag))
    }
}

impl Requirement {
    /// Whether the server fits, according to its announcements; `None` if it must be queried.
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

    /// Whether the session is to be at a server that accepts writes, as far as that is known.
    pub(crate) fn expects_writes(self) -> bool {
        !matches!(self, Self::ReadOnly | Self::Standby)
    }

    /// The query for a server that announces nothing.
    pub fn question(self) -> &'static str {
        match self {
            Self::ReadWrite | Self::ReadOnly => "SHOW transaction_read_only",
            _ => "SELECT pg_catalog.pg_is_in_recovery()",
        }
    }

    /// Checks the server's answer to [`question`](Self::question).
    ///
    /// # Errors
    ///
    /// [`RoleMismatch`] if the role does not fit or the answer is not understood.
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
            false => Err(RoleMismatch::of(self)),
        }
    }

    /// Whether a session no longer fits and must not be handed out again: its standby was promoted,
    /// or a write was refused although writes are expected.
    ///
    /// A refused write proves little by itself, because a transaction may be read-only by choice.
    /// It counts only if the server has not announced that it accepts writes, and never if a
    /// standby or a read-only session was requested.
    ///
    /// Costs two loads.
    #[inline]
    pub fn is_broken(self, observer: &Observer) -> bool {
        match self {
            Self::Standby => observer.in_recovery() == Some(false),
            Self::ReadOnly => false,
            _ => observer.was_read_only() && Self::ReadWrite.met(Some(observer)) != Some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use tokio::io::{AsyncRead, ReadBuf};

    use super::*;
    use crate::wire::ObservedStream;

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

    /// A session whose server announced these settings and then refused a write as read-only.
    fn read_only(announced: &[&str]) -> Arc<Observer> {
        let message = |kind: u8, body: &str| {
            let length = (body.len() as u32 + 4).to_be_bytes();
            [&[kind], &length[..], body.as_bytes()].concat()
        };
        let mut bytes = Vec::new();
        for parameter in announced {
            bytes.extend(message(b'S', parameter));
        }
        bytes.extend(message(b'Z', "I"));
        bytes.extend(message(b'E', "SERROR\0VERROR\0C25006\0\0"));
        let observer = Arc::new(Observer::default());
        let mut stream = ObservedStream::new(&bytes[..], Arc::clone(&observer), None);
        let mut room = [0; 512];
        let mut buf = ReadBuf::new(&mut room);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(
            std::pin::Pin::new(&mut stream)
                .poll_read(&mut cx, &mut buf)
                .is_ready()
        );
        assert!(observer.was_read_only());
        observer
    }

    #[test]
    fn a_refused_write_breaks_what_was_to_be_writable() {
        let writable = [
            "in_hot_standby\0off\0",
            "default_transaction_read_only\0off\0",
        ];
        let standby = [
            "in_hot_standby\0on\0",
            "default_transaction_read_only\0off\0",
        ];
        let by_default = [
            "in_hot_standby\0off\0",
            "default_transaction_read_only\0on\0",
        ];
        for requirement in [
            Requirement::Any,
            Requirement::ReadWrite,
            Requirement::Primary,
        ] {
            assert!(
                !requirement.is_broken(&read_only(&writable)),
                "{requirement:?}"
            );
            assert!(
                requirement.is_broken(&read_only(&standby)),
                "{requirement:?}"
            );
            assert!(
                requirement.is_broken(&read_only(&by_default)),
                "{requirement:?}"
            );
            assert!(requirement.is_broken(&read_only(&[])), "{requirement:?}");
        }
        for requirement in [Requirement::ReadOnly, Requirement::Standby] {
            assert!(
                !requirement.is_broken(&read_only(&standby)),
                "{requirement:?}"
            );
        }
    }

    #[test]
    fn a_preferred_standby_takes_a_second_round() {
        let rounds = rounds(TargetSessionAttrs::PreferStandby);
        assert_eq!(rounds, [Requirement::Standby, Requirement::Any]);
    }
}
