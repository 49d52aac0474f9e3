//! Requests to a pool, and the actions that each event returns.

use std::panic::Location;
use std::time::Duration;

use super::checkouts::{CheckoutId, Overdue};
use super::home::Home;
use super::idle::ThreadMark;
use super::sync::Instant;
use crate::Error;
use crate::status::{CloseReason, Status};

/// A caller's number: lower for earlier callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

/// A caller's request for a session.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The call site.
    pub location: &'static Location<'static>,
    /// When the call began.
    pub began: Instant,
    /// The runtime of the call.
    pub home: Home,
    /// How long the caller waits. If zero, it waits for a new session only, not for a release.
    pub timeout: Duration,
    /// Whether the caller was in the queue of a pool that has been retired since: `max_waiting`
    /// does not refuse it again.
    pub moved: bool,
    /// Whether the caller has another server to turn to: it does not wait for one that is away.
    pub turns_away: bool,
    /// The caller's position in the queue, if it already has one.
    pub ticket: Option<Ticket>,
}

/// A session for a caller.
#[derive(Debug)]
pub struct Granted<S> {
    /// The checkout, to end with [`release`](super::PoolState::release) or
    /// [`end`](super::PoolState::end).
    pub id: CheckoutId,
    /// The session.
    pub session: S,
    /// When the session was released by its previous caller, or was opened.
    pub since: Instant,
    /// The caller's ticket.
    pub ticket: Ticket,
}

/// The immediate result of [`acquire`](super::PoolState::acquire).
#[derive(Debug)]
pub enum Acquired<S> {
    /// A session.
    Granted(Granted<S>),
    /// A position in the queue.
    Queued(Ticket),
    /// Refused: `max_waiting` is reached.
    QueueFull,
    /// Refused: the caller does not wait, and no session is available.
    TimedOut,
    /// Refused: the server is away, and the caller has another one to turn to.
    Away(Error),
    /// Refused: the pool is closed.
    Closed,
}

/// What happened to a session that was added or released.
#[derive(Debug)]
pub enum Released<S, W> {
    /// It is idle.
    Idle,
    /// It goes to this waiter.
    Handed(W, Granted<S>),
    /// It is to be closed.
    Ended(S, CloseReason),
}

/// Actions to carry out after an event.
#[derive(Debug)]
#[must_use = "waiters depend on these actions"]
pub struct Todo<S, W> {
    /// The number of connect tasks to start.
    pub open: u32,
    /// Where to start them.
    pub site: Site,
    /// Sessions to close.
    pub end: Vec<(S, CloseReason)>,
    /// Waiters to refuse, with the error.
    pub refuse: Vec<(W, Error)>,
    /// Watchers to notify that the closed pool has no session left.
    pub drained: Vec<W>,
    /// Whether to start maintenance again: the pool was asleep.
    pub maintain: bool,
}

/// Where and in which round a connect task started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Site {
    /// The runtime to open the session in.
    pub home: Home,
    /// Tasks of an earlier round are stale.
    pub(super) round: u32,
}

/// A connect task's next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Open a session.
    Open,
    /// Ask again after this pause.
    Pause(Duration),
    /// Nothing: the task has ended.
    End,
}

/// Details for a timeout error.
#[derive(Debug)]
pub struct TimedOut {
    /// The longest checkout.
    pub longest_held: Option<Overdue>,
    /// Why the last attempt to open a session failed, if none has succeeded since.
    pub last_error: Option<Error>,
}

/// An idle session that was taken out for a check.
#[derive(Debug)]
pub struct Unchecked<S> {
    /// The checkout.
    pub id: CheckoutId,
    /// The session.
    pub session: S,
    pub(super) home: Home,
    pub(super) since: Instant,
    pub(super) by: ThreadMark,
}

impl<S, W> Default for Todo<S, W> {
    fn default() -> Self {
        Self {
            open: 0,
            site: Site::default(),
            end: Vec::new(),
            refuse: Vec::new(),
            drained: Vec::new(),
            maintain: false,
        }
    }
}

/// How a pool has been used.
#[derive(Debug, Clone)]
pub struct Usage {
    /// Its statistics.
    pub status: Status,
    /// How long ago a session was last acquired, if one was; zero while one is in use.
    pub unused_for: Option<Duration>,
    /// The last failure to open a session, and how long ago it was.
    pub last_failure: Option<(Duration, Error)>,
}
