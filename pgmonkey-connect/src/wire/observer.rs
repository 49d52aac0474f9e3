//! The state of one session as its bytes tell it, readable from any thread without a round trip.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pgmonkey_config::AuthMethod;

use super::complaint::ServerFailure;
use super::framing::TransactionEnd;
use super::limit::LimitExceeded;
use crate::process::{OPENED_BEFORE_FORK, Origin};
use crate::sql::Effects;

#[cfg(feature = "__fuzz")]
pub(super) mod exercise;
mod tracker;

pub(super) use tracker::Tracker;

/// What a session is doing, as far as the bytes that passed tell.
///
/// The names are libpq's `PQTRANS_*` states, with the number of unanswered requests for the
/// active one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireState {
    /// Connecting: the server has not said that it is ready yet.
    Starting,
    /// Nothing outstanding, no transaction.
    Idle,
    /// Nothing outstanding, inside a transaction.
    InTransaction,
    /// Nothing outstanding, inside a transaction that an error ended.
    Failed,
    /// This many requests are not answered yet, or a copy takes data.
    Busy(u32),
    /// The stream ended or failed, `Terminate` was sent, or the driver has lost count of the
    /// answers: the session must not be used any more.
    Closed,
}

/// Low byte: the server's status letter (0 before the first). Then one bit each for a copy that
/// takes data, for the end, for a login that succeeded, for a server that said whether it is a
/// standby, for one that is, for a write that was refused as read-only, for a prepared statement
/// that was refused as stale, and those explained below. High half: unanswered requests.
const COPYING: u64 = 1 << 8;
const CLOSED: u64 = 1 << 9;
const AUTHENTICATED: u64 = 1 << 10;
const ROLE_KNOWN: u64 = 1 << 11;
const STANDBY: u64 = 1 << 12;
const READ_ONLY: u64 = 1 << 13;
const STALE: u64 = 1 << 14;
const DISTURBED: u64 = 1 << 15;
const LOST_COUNT: u64 = 1 << 16;
/// What the session's statements may have left behind, and whether a setting that the server
/// announces is another than at the start.
const CHANGED: u64 = 1 << 17;
const LASTING: u64 = 1 << 18;
const ANNOUNCED: u64 = 1 << 19;
const CONDEMNED: u64 = 1 << 20;
const STANDARD_STRINGS: u64 = 1 << 21;
const FORGOTTEN: u64 = 1 << 22;
/// What the next borrower must not find.
const LEFT_BEHIND: u64 = CHANGED | LASTING | ANNOUNCED | FORGOTTEN;
const OUTSTANDING_ONE: u64 = 1 << 32;

/// What limits are counted from.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
/// A limit that is over and stays so.
const SILENT: u64 = 1;

/// Follows one session's messages and says what state it is in.
///
/// Written by the stream alone, read by anyone.
#[derive(Debug, Default)]
pub struct Observer {
    word: AtomicU64,
    requests: AtomicU32,
    probe: AtomicBool,
    deadline_held: AtomicBool,
    /// Microseconds since [`EPOCH`]; 0 without a limit, [`SILENT`] for good.
    limit: AtomicU64,
    auth_method: OnceLock<AuthMethod>,
    backend_pid: AtomicU32,
    statements: AtomicU32,
    /// Low half: how many transactions have ended. High half: how the last one did.
    ends: AtomicU64,
    parameters: Mutex<Parameters>,
    exceeded: OnceLock<LimitExceeded>,
    failure: Mutex<Option<ServerFailure>>,
    end: Mutex<Option<ServerFailure>>,
    condemned: OnceLock<&'static str>,
    /// Where the session was opened.
    origin: Origin,
}

#[derive(Debug, Default)]
struct Parameters {
    known: HashMap<String, String>,
    /// What those that have changed were when the session was as it was opened.
    before: HashMap<String, String>,
}

/// How many transactions of a session have ended, modulo 2³², and how the last one did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionEnds {
    /// Two numbers that differ say that a transaction ended in between.
    pub count: u32,
    /// The server's word for the last end.
    pub last: Option<TransactionEnd>,
}

impl Observer {
    /// The state now.
    #[inline]
    pub fn state(&self) -> WireState {
        let word = self.word.load(Ordering::Acquire);
        let outstanding = (word >> 32) as u32;
        if word & CLOSED != 0 {
            return WireState::Closed;
        }
        if outstanding > 0 || word & COPYING != 0 {
            return WireState::Busy(outstanding.max(1));
        }
        match word as u8 {
            b'I' => WireState::Idle,
            b'T' => WireState::InTransaction,
            b'E' => WireState::Failed,
            _ => WireState::Starting,
        }
    }

    /// How many requests were sent, modulo 2³²: whether two numbers differ tells whether anything
    /// was sent in between.
    #[inline]
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// A setting the server announced (`server_version`, `in_hot_standby`, `search_path` from
    /// PostgreSQL 18 on, …), as last sent.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.parameters().known.get(name).cloned()
    }

    fn parameters(&self) -> MutexGuard<'_, Parameters> {
        // Every entry leaves it whole.
        self.parameters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What statements may have left behind in the session since it was opened, or since
    /// [`put_back`](Self::put_back): [`Effects::CHANGES`], [`Effects::LASTS`] and
    /// [`Effects::FORGETS`], or nothing.
    /// Costs one load.
    #[inline]
    pub fn left_behind(&self) -> Effects {
        let word = self.word.load(Ordering::Acquire);
        if word & LEFT_BEHIND == 0 {
            return Effects::NONE;
        }
        let mut left = Effects::CHANGES;
        for (bit, effects) in [(LASTING, Effects::LASTS), (FORGOTTEN, Effects::FORGETS)] {
            if word & bit != 0 {
                left |= effects;
            }
        }
        left
    }

    /// Says that the session is as it was opened.
    pub fn put_back(&self) {
        let mut parameters = self.parameters();
        parameters.before.clear();
        self.word.fetch_and(!LEFT_BEHIND, Ordering::AcqRel);
    }

    /// Says that the session may be another than it was opened, for a reason that its messages
    /// do not show.
    pub fn mark_changed(&self) {
        self.word.fetch_or(CHANGED, Ordering::AcqRel);
    }

    /// Whether the server has said that a backslash is an ordinary character in its strings.
    pub(super) fn has_standard_strings(&self) -> bool {
        self.word.load(Ordering::Acquire) & STANDARD_STRINGS != 0
    }

    fn set(&self, bit: u64, on: bool) {
        match on {
            true => self.word.fetch_or(bit, Ordering::AcqRel),
            false => self.word.fetch_and(!bit, Ordering::AcqRel),
        };
    }

    fn note_effects(&self, effects: Effects) {
        if !effects.has_any(Effects::CHANGES | Effects::LASTS | Effects::FORGETS) {
            return;
        }
        let bits = [
            (Effects::CHANGES, CHANGED),
            (Effects::LASTS, LASTING),
            (Effects::FORGETS, FORGOTTEN),
        ];
        for (effect, bit) in bits {
            if effects.has(effect) {
                self.set(bit, true);
            }
        }
    }

    /// How many transactions have ended, and how the last one did. Costs one load.
    #[inline]
    pub fn transaction_ends(&self) -> TransactionEnds {
        let ends = self.ends.load(Ordering::Acquire);
        TransactionEnds {
            count: ends as u32,
            last: match (ends >> 32) as u8 {
                1 => Some(TransactionEnd::Commit),
                2 => Some(TransactionEnd::Rollback),
                3 => Some(TransactionEnd::Prepare),
                _ => None,
            },
        }
    }

    fn note_end(&self, end: TransactionEnd) {
        let last = match end {
            TransactionEnd::Commit => 1,
            TransactionEnd::Rollback => 2,
            TransactionEnd::Prepare => 3,
        };
        // One writer.
        let count = (self.ends.load(Ordering::Relaxed) as u32).wrapping_add(1);
        let ends = u64::from(count) | last << 32;
        self.ends.store(ends, Ordering::Release);
    }

    /// How many statements with names the session has on the server. Costs one load.
    #[inline]
    pub fn statements(&self) -> u32 {
        self.statements.load(Ordering::Relaxed)
    }

    fn note_statements(&self, more: i32) {
        // One writer.
        let now = self.statements.load(Ordering::Relaxed);
        let now = now.saturating_add_signed(more);
        self.statements.store(now, Ordering::Relaxed);
    }

    /// The server's process for this session, as it said at the login; a pooler says a number of
    /// its own.
    pub fn backend_pid(&self) -> u32 {
        self.backend_pid.load(Ordering::Relaxed)
    }

    /// The last error of a statement, after the login.
    pub fn last_failure(&self) -> Option<ServerFailure> {
        lock(&self.failure).clone()
    }

    /// Why the server ended the session, in its own words, if it said so.
    pub fn end_reason(&self) -> Option<ServerFailure> {
        lock(&self.end).clone()
    }

    /// Gives the session up from this side: nothing more reaches the server, and every further
    /// call of the driver fails and says why.
    pub fn condemn(&self, reason: &'static str) {
        let _ = self.condemned.set(reason);
        self.word.fetch_or(CLOSED | CONDEMNED, Ordering::AcqRel);
    }

    /// The process in which the session was opened.
    #[inline]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Whether nothing more of the session reaches the server from here: it was
    /// [`condemn`](Self::condemn)ed, or a child of `fork` inherited it. Costs two loads.
    #[inline]
    pub(super) fn is_condemned(&self) -> bool {
        !self.origin.is_here() || self.word.load(Ordering::Acquire) & CONDEMNED != 0
    }

    /// Why nothing more of the session reaches the server from here, if that is so.
    pub fn condemned(&self) -> Option<&'static str> {
        match self.origin.is_here() {
            true => self.condemned.get().copied(),
            false => Some(OPENED_BEFORE_FORK),
        }
    }

    /// Whether the server is a standby, as it announces from PostgreSQL 14 on and again when it
    /// is promoted; `None` where it has not said. Costs one load.
    #[inline]
    pub fn in_recovery(&self) -> Option<bool> {
        let word = self.word.load(Ordering::Acquire);
        (word & ROLE_KNOWN != 0).then_some(word & STANDBY != 0)
    }

    /// Whether the server has refused a write because the session, its transaction or the
    /// server is read-only (SQLSTATE 25006). Costs one load.
    #[inline]
    pub fn was_read_only(&self) -> bool {
        self.word.load(Ordering::Acquire) & READ_ONLY != 0
    }

    /// Whether the server has refused a prepared statement since this was last asked, because
    /// the schema changed or because it does not know the statement (any more). Costs one load
    /// as long as it has not.
    #[inline]
    pub fn take_stale(&self) -> bool {
        self.word.load(Ordering::Acquire) & STALE != 0
            && self.word.fetch_and(!STALE, Ordering::AcqRel) & STALE != 0
    }

    /// Whether the server has accepted the login.
    pub fn is_authenticated(&self) -> bool {
        self.word.load(Ordering::Acquire) & AUTHENTICATED != 0
    }

    /// How the server asked who is there; `None` before it did.
    pub fn auth_method(&self) -> Option<AuthMethod> {
        self.auth_method.get().copied()
    }

    /// Keeps the deadline of the stream in force beyond the login, for what must be asked of the
    /// server before the session counts as open, until [`release_deadline`](Self::release_deadline).
    pub fn hold_deadline(&self) {
        self.deadline_held.store(true, Ordering::Release);
    }

    /// Ends what [`hold_deadline`](Self::hold_deadline) began.
    pub fn release_deadline(&self) {
        self.deadline_held.store(false, Ordering::Release);
    }

    #[inline]
    pub(super) fn is_under_deadline(&self) -> bool {
        self.state() == WireState::Starting || self.deadline_held.load(Ordering::Acquire)
    }

    /// Holds the stream to this moment: a later read or write gets an error, and the
    /// session is over. `None` lifts that. Returns the limit before.
    ///
    /// The stream sees it when it is polled next, and wakes its task then.
    pub fn limit_to(&self, until: Option<Instant>) -> Option<Instant> {
        let to = |until: Instant| {
            let since = until.saturating_duration_since(*EPOCH).as_micros();
            u64::try_from(since).unwrap_or(u64::MAX).max(SILENT + 1)
        };
        let to = until.map_or(0, to);
        let unless_silent = |limit| (limit != SILENT).then_some(to);
        let before = self
            .limit
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, unless_silent);
        moment(before.unwrap_or(0))
    }

    /// Does so until what is returned is dropped.
    #[must_use = "dropping it lifts the limit"]
    pub fn limited(&self, until: Instant) -> Limited<'_> {
        Limited {
            observer: self,
            before: self.limit_to(Some(until)),
        }
    }

    #[inline]
    pub(super) fn limit(&self) -> Option<Instant> {
        moment(self.limit.load(Ordering::Acquire))
    }

    /// Says that the server has not answered in time: the session is over, and the stream fails as
    /// soon as it is polled.
    pub fn fall_silent(&self) {
        self.limit.store(SILENT, Ordering::Release);
        self.close();
    }

    /// Whether it has not.
    pub fn is_silent(&self) -> bool {
        self.limit.load(Ordering::Acquire) == SILENT
    }

    /// Asks the stream to look at the socket once and, if nothing came, to answer the reader
    /// with a notification of its own, from process 0.
    ///
    /// The blocking driver looks at its socket only while it waits for something. This gives it
    /// something to wait for that costs no round trip.
    pub fn request_probe(&self) {
        self.probe.store(true, Ordering::Release);
    }

    #[inline]
    pub(super) fn probe_requested(&self) -> bool {
        self.probe.load(Ordering::Acquire)
    }

    pub(super) fn probe_answered(&self) {
        self.probe.store(false, Ordering::Release);
        self.word.fetch_and(!DISTURBED, Ordering::AcqRel);
    }

    /// Whether anything has happened since the last probe after which a driver that is looked at
    /// seldom may still have something to say: a copy, or an error. Costs one load.
    pub fn was_disturbed(&self) -> bool {
        self.word.load(Ordering::Acquire) & DISTURBED != 0
    }

    /// Whether it is [`Closed`](WireState::Closed) because the driver has lost count of the
    /// answers: then the server may still be at work for it.
    pub fn has_lost_count(&self) -> bool {
        self.word.load(Ordering::Acquire) & LOST_COUNT != 0
    }

    /// Whether the server waits for the data of a copy. Costs one load.
    pub fn takes_copy_data(&self) -> bool {
        self.word.load(Ordering::Acquire) & COPYING != 0
    }

    /// The limit that the server exceeded, if the session was closed for that.
    pub fn exceeded(&self) -> Option<LimitExceeded> {
        self.exceeded.get().copied()
    }

    pub(super) fn close(&self) {
        self.word.fetch_or(CLOSED, Ordering::AcqRel);
    }
}

/// A limit for as long as this lives.
#[derive(Debug)]
pub struct Limited<'a> {
    observer: &'a Observer,
    before: Option<Instant>,
}

impl Drop for Limited<'_> {
    fn drop(&mut self) {
        self.observer.limit_to(self.before);
    }
}

#[inline]
fn moment(limit: u64) -> Option<Instant> {
    (limit != 0).then(|| *EPOCH + Duration::from_micros(limit))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only whole values are put in.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
