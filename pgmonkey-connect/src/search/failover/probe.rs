//! Asking a host, and the others, by logins.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgmonkey_config::Target;

use super::{AVOIDED, EVERY, Failover, LONGEST_PAUSE, OTHERS_OUT, PRIMARY_OUT, Place};
use crate::Error;
use crate::attempt::Address;
use crate::error::failure::ConnectCause;
use crate::limits;
use crate::role::Requirement;

/// A host with a statement that has been silent for a while. If it is dropped without a report, the
/// host is asked again later.
#[derive(Debug)]
pub struct Suspect {
    pub(super) failover: Arc<Failover>,
    pub(super) place: Place,
    pub(super) began: Instant,
}

/// Where a search looks.
#[derive(Debug, Clone, Default)]
pub(crate) enum Scope {
    /// At all hosts.
    #[default]
    All,
    /// At one address, for a probe.
    Only(Box<Suspected>),
    /// At all other addresses, for a probe.
    Beside(Box<Suspected>),
    /// At one address, for the question how far its standby is.
    Standby(Box<(Target, Address)>),
}

/// The place of a suspect, for a search.
#[derive(Debug, Clone)]
pub(crate) struct Suspected(Place);

impl Scope {
    /// The one round of a probe.
    pub(crate) fn round(&self) -> Option<&'static [Requirement]> {
        if matches!(self, Self::Standby(_)) {
            return Some(&[Requirement::Any]);
        }
        Some(match self.place()?.requirement {
            Requirement::Any => &[Requirement::Any],
            Requirement::ReadWrite => &[Requirement::ReadWrite],
            Requirement::ReadOnly => &[Requirement::ReadOnly],
            Requirement::Primary => &[Requirement::Primary],
            Requirement::Standby => &[Requirement::Standby],
        })
    }

    /// Whether this is the search of a probe.
    pub(crate) fn is_probe(&self) -> bool {
        !matches!(self, Self::All)
    }

    fn place(&self) -> Option<&Place> {
        match self {
            Self::All | Self::Standby(_) => None,
            Self::Only(suspected) | Self::Beside(suspected) => Some(&suspected.0),
        }
    }

    /// The address to use without resolving its name, which may give another one by now.
    pub(crate) fn known_address(&self) -> Option<IpAddr> {
        match self {
            Self::Standby(asked) => match &asked.1 {
                Address::Tcp(address) => Some(address.ip()),
                Address::Unix(..) => None,
            },
            _ => None,
        }
    }

    pub(crate) fn admits_target(&self, target: &Target) -> bool {
        match self {
            Self::Only(suspected) => suspected.0.target == *target,
            Self::Standby(asked) => asked.0 == *target,
            _ => true,
        }
    }

    pub(crate) fn admits(&self, address: &Address) -> bool {
        match self {
            Self::All => true,
            Self::Only(suspected) => suspected.0.address == *address,
            Self::Beside(suspected) => suspected.0.address != *address,
            Self::Standby(asked) => asked.1 == *address,
        }
    }
}

/// What a login at a suspect has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It answers, and has the role.
    Well,
    /// It has another role.
    WrongRole,
    NoAnswer,
}

impl Verdict {
    fn of(error: &Error) -> Self {
        let Error::Connect(failure) = error else {
            return Self::Well;
        };
        let Some(last) = failure.attempts.last() else {
            return Self::Well;
        };
        match &last.cause {
            ConnectCause::Role(_) => Self::WrongRole,
            cause if cause.is_silence() => Self::NoAnswer,
            // A host that refuses a login is there.
            _ => Self::Well,
        }
    }
}

impl Suspect {
    pub(crate) fn suspected(&self) -> Box<Suspected> {
        Box::new(Suspected(self.place.clone()))
    }

    /// Receives the outcome of a login at the suspect. Returns the suspect if the other hosts are to
    /// be asked.
    pub fn answered<T>(self, answer: Result<T, &Error>, now: Instant) -> Option<DeadSuspect> {
        let verdict = answer.map_or_else(Verdict::of, |_| Verdict::Well);
        let mut state = self.failover.state();
        let host = state.host(&self.place, now);
        if verdict == Verdict::Well {
            host.is_asked = false;
            host.out_since = None;
            host.ask_at = now + host.pause;
            host.pause = (host.pause * 2).min(LONGEST_PAUSE);
            return None;
        }
        let since = *host.out_since.get_or_insert(self.began);
        let enough = match (verdict, self.place.requirement) {
            (Verdict::WrongRole, _) => Duration::ZERO,
            (_, Requirement::Primary | Requirement::ReadWrite) => PRIMARY_OUT,
            _ => OTHERS_OUT,
        };
        if now.saturating_duration_since(since) < enough {
            host.is_asked = false;
            host.ask_at = now;
            return None;
        }
        drop(state);
        Some(DeadSuspect {
            suspect: self,
            verdict,
        })
    }
}

impl Drop for Suspect {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.failover.state();
        let host = state.host(&self.place, now);
        if std::mem::take(&mut host.is_asked) && host.ask_at <= now {
            host.ask_at = now + EVERY;
        }
    }
}

/// A suspect that does not answer, or has another role.
#[derive(Debug)]
pub struct DeadSuspect {
    suspect: Suspect,
    verdict: Verdict,
}

impl DeadSuspect {
    pub(crate) fn suspected(&self) -> Box<Suspected> {
        self.suspect.suspected()
    }

    /// Receives the host that has the role, if one does: the sessions at the suspect are given up.
    /// Returns their number.
    pub fn asked_others(self, other: Option<&str>, now: Instant) -> usize {
        let Some(other) = other else {
            return 0;
        };
        let Suspect {
            failover, place, ..
        } = &self.suspect;
        let reason = format!(
            "the session was given up: {} {}, and {other} has taken over",
            place.target,
            match self.verdict {
                Verdict::WrongRole => "no longer has the role that target_session_attrs asks for",
                _ => "no longer answers",
            },
        );
        let mut state = failover.state();
        state.host(place, now).avoided_until = Some(now + AVOIDED);
        let there = state.sessions.iter().filter(|one| one.place == *place);
        let sessions: Vec<_> = there.filter_map(|one| one.observer.upgrade()).collect();
        drop(state);
        for session in &sessions {
            session.abandon(reason.clone());
        }
        sessions.len()
    }
}

/// The time limit of one login of a probe.
pub(crate) fn limit(connect_timeout: Option<Duration>) -> Duration {
    connect_timeout.map_or(limits::LOOK, |limit| limit.min(limits::LOOK))
}
