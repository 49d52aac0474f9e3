//! One server, and what is known of it.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use pgmonkey_config::Target;

use super::answer::Answer;
use super::lag::Lag;
use crate::attempt::Address;
use crate::status::{CloseReason, StandbyStatus};
use crate::telemetry::metrics::StandbyMetrics;
use crate::wire::{Observer, WireState};

/// Whether a server is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has not answered yet.
    Unknown,
    /// A standby that is used.
    Good,
    /// A primary.
    Primary,
    /// Its data is older than `max_lag`: by how much is known, or not.
    Lagging(Option<Duration>),
    /// It does not answer.
    Away(Arc<str>),
}

impl Standing {
    /// Whether it must not be used.
    pub(super) fn is_out(&self) -> bool {
        matches!(self, Self::Lagging(_) | Self::Away(_))
    }

    pub(super) fn is_primary(&self) -> bool {
        *self == Self::Primary
    }
}

#[derive(Debug)]
pub(super) struct Standby {
    pub(super) target: Target,
    pub(super) address: Address,
    pub(super) standing: Standing,
    pub(super) lag: Option<Duration>,
    /// The number of the session that was opened at it last.
    pub(super) turn: u64,
    /// Whether it is being asked, and the round in which it was last.
    pub(super) is_asked: bool,
    pub(super) round: u64,
    /// When its name last gave its address.
    pub(super) given_at: Option<Instant>,
    answered_at: Option<Instant>,
    used_at: Option<Instant>,
    /// The requests that its sessions had sent when they were last looked at.
    requests: u32,
    history: Lag,
    metrics: StandbyMetrics,
    sessions: Vec<Weak<Observer>>,
}

impl Standby {
    pub(super) fn new(pool: &str, target: &Target, address: &Address) -> Self {
        Self {
            target: target.clone(),
            address: address.clone(),
            standing: Standing::Unknown,
            lag: None,
            turn: 0,
            is_asked: false,
            round: 0,
            given_at: None,
            answered_at: None,
            used_at: None,
            requests: 0,
            history: Lag::default(),
            metrics: StandbyMetrics::new(pool, target),
            sessions: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, observer: &Arc<Observer>) {
        self.sessions.push(Arc::downgrade(observer));
    }

    pub(super) fn is_primary(&self) -> bool {
        self.standing.is_primary()
    }

    /// How many of its sessions are open and stay.
    pub(super) fn sessions(&mut self) -> usize {
        self.sessions.retain(|one| is_open(one).is_some());
        self.sessions.len()
    }

    /// As [`sessions`](Self::sessions), when it was last called.
    pub(super) fn counted(&self) -> usize {
        self.sessions.len()
    }

    /// Notices whether a session has been used.
    pub(super) fn look(&mut self, now: Instant) {
        let open = self.sessions.iter().filter_map(is_open);
        let requests = open.fold(0_u32, |sum, one| sum.wrapping_add(one.requests()));
        if requests != self.requests {
            (self.requests, self.used_at) = (requests, Some(now));
        }
    }

    /// Records an answer; returns whether it is used from now on, and whether that is new.
    pub(super) fn answered(
        &mut self,
        answer: &Answer,
        max_lag: Option<Duration>,
        now: Instant,
    ) -> (Standing, bool) {
        self.lag = self.history.of(answer, now);
        self.answered_at = Some(now);
        self.metrics.asked(self.lag);
        let is_late = |most: Duration| self.lag.is_none_or(|lag| lag > most);
        let standing = match max_lag.is_some_and(is_late) {
            true => Standing::Lagging(self.lag),
            false if answer.in_recovery => Standing::Good,
            false => Standing::Primary,
        };
        let changed = self.becomes(standing.clone());
        (standing, changed)
    }

    /// Records that it does not answer; returns whether that is new.
    pub(super) fn is_away(&mut self, cause: &str) -> bool {
        self.becomes(Standing::Away(cause.into()))
    }

    /// Returns whether something changes for callers.
    fn becomes(&mut self, standing: Standing) -> bool {
        let kind = std::mem::discriminant(&standing);
        let changed = std::mem::discriminant(&self.standing) != kind;
        let was_unknown = self.standing == Standing::Unknown;
        if standing.is_out() {
            for session in self.sessions.iter().filter_map(is_open) {
                session.outdate(CloseReason::Standby);
            }
        }
        let is_out = standing.is_out();
        self.metrics.is_used(!is_out);
        self.standing = standing;
        changed && (is_out || !was_unknown)
    }

    /// Has one session end, an idle one if there is one; returns whether one does.
    pub(super) fn gives_one_up(&mut self) -> bool {
        let open: Vec<_> = self.sessions.iter().filter_map(is_open).collect();
        let idle = |one: &&Arc<Observer>| one.state() == WireState::Idle;
        let chosen = open.iter().find(idle).or(open.first());
        if let Some(session) = chosen {
            session.outdate(CloseReason::Standby);
        }
        chosen.is_some()
    }

    pub(super) fn status(&mut self, now: Instant) -> StandbyStatus {
        let since = |at: Instant| now.saturating_duration_since(at);
        StandbyStatus {
            host: self.target.to_string().into(),
            address: self.address.to_string().into(),
            sessions: u32::try_from(self.sessions()).unwrap_or(u32::MAX),
            lag: self.lag,
            asked: self.answered_at.map(since),
            last_used: self.used_at.map(since),
            unused: match &self.standing {
                Standing::Away(why) => Some(Arc::clone(why)),
                Standing::Lagging(Some(lag)) => {
                    Some(format!("{:.1} s behind, more than max_lag", lag.as_secs_f64()).into())
                }
                Standing::Lagging(None) => Some("how far it is behind is unknown".into()),
                _ => None,
            },
        }
    }
}

/// A session that is open and stays.
fn is_open(session: &Weak<Observer>) -> Option<Arc<Observer>> {
    let observer = session.upgrade()?;
    let stays = observer.state() != WireState::Closed && observer.outdated().is_none();
    stays.then_some(observer)
}
