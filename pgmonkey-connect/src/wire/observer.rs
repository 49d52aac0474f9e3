//! The state of one session, derived from its traffic and readable from any thread without a round
//! trip.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use pgmonkey_config::AuthMethod;

use super::limit::LimitExceeded;
use super::server_error::ServerFailure;
use crate::process::{OPENED_BEFORE_FORK, Origin};
use crate::sql::Effects;

mod abandon;
mod begin;
mod endings;
#[cfg(feature = "__fuzz")]
pub(super) mod exercise;
mod failures;
mod look;
mod parameters;
mod progress;
mod requests;
mod sender;
mod time_limit;
mod tracker;

use abandon::Abandonment;
pub(super) use begin::BeginPhase;
use begin::{BEGINS, NOT_BEGUN};
pub use begin::{BeginMessages, Unbegun};
pub use endings::TransactionEnds;
pub use failures::AttemptMark;
use failures::Failures;
use parameters::Parameters;
use progress::Progress;
pub use sender::CallPlace;
use sender::Sender;
pub use time_limit::Limited;
pub(super) use tracker::Tracker;

/// What a session is doing, derived from its traffic.
///
/// The names follow libpq's `PQTRANS_*` states; the active one includes the number of unanswered
/// requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireState {
    /// Connecting: the server has not reported that it is ready yet.
    Starting,
    /// Nothing outstanding, no transaction.
    Idle,
    /// Nothing outstanding, inside a transaction, which the server may not have yet: see
    /// [`Observer::defer_begin`].
    InTransaction,
    /// Nothing outstanding, inside a failed transaction, or in one that failed to begin.
    Failed,
    /// This many requests are unanswered, or a copy expects data.
    Busy(u32),
    /// The stream ended or failed, `Terminate` was sent, or the driver can no longer match answers
    /// to requests: the session must not be used any more.
    Closed,
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Before AuthenticationOk.
    Login,
    /// After AuthenticationOk, before the first ReadyForQuery.
    Accepted,
    /// After the first ReadyForQuery.
    Session,
}

/// Low byte: the server's status letter (0 before the first). Then one bit each for: a copy expects
/// data, closed, login succeeded, role announced, server is a standby, a write was refused as
/// read-only, a prepared statement was refused as stale, and those explained below. High half:
/// unanswered requests.
const COPYING: u64 = 1 << 8;
const CLOSED: u64 = 1 << 9;
const AUTHENTICATED: u64 = 1 << 10;
const ROLE_KNOWN: u64 = 1 << 11;
const STANDBY: u64 = 1 << 12;
const READ_ONLY: u64 = 1 << 13;
const STALE: u64 = 1 << 14;
const DISTURBED: u64 = 1 << 15;
const LOST_COUNT: u64 = 1 << 16;
/// What the session's statements may have left behind, and whether a setting announced by the
/// server differs from its value at the start.
const CHANGED: u64 = 1 << 17;
const LASTING: u64 = 1 << 18;
const ANNOUNCED: u64 = 1 << 19;
const CONDEMNED: u64 = 1 << 20;
const STANDARD_STRINGS: u64 = 1 << 21;
const FORGOTTEN: u64 = 1 << 22;
/// What the next caller must not find.
const LEFT_BEHIND: u64 = CHANGED | LASTING | ANNOUNCED | FORGOTTEN;
const OUTSTANDING_ONE: u64 = 1 << 32;

/// Follows one session's messages and knows its state.
///
/// Only the stream writes it; any thread may read it.
#[derive(Debug, Default)]
pub struct Observer {
    word: AtomicU64,
    requests: AtomicU32,
    progress: Progress,
    sender: Sender,
    probe: AtomicBool,
    look: AtomicBool,
    deadline_held: AtomicBool,
    /// Microseconds since `time_limit::EPOCH`; 0 without a limit, `SILENT` once it has passed.
    limit: AtomicU64,
    auth_method: OnceLock<AuthMethod>,
    backend_pid: AtomicU32,
    statements: AtomicU32,
    /// Low half: how many transactions have ended. High half: how the last one ended.
    ends: AtomicU64,
    parameters: Mutex<Parameters>,
    /// A `BEGIN` that waits for the first statement of its transaction.
    begin: Mutex<Option<BeginMessages>>,
    exceeded: OnceLock<LimitExceeded>,
    failures: Mutex<Failures>,
    /// How many texts were sent that may end a transaction, modulo 2³².
    endings: AtomicU32,
    end: Mutex<Option<ServerFailure>>,
    condemned: OnceLock<&'static str>,
    abandonment: Abandonment,
    /// The process that opened the session.
    origin: Origin,
}

impl Observer {
    /// The current state.
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
            b'I' if word & NOT_BEGUN != 0 => WireState::Failed,
            b'I' if word & BEGINS != 0 => WireState::InTransaction,
            b'I' => WireState::Idle,
            b'T' => WireState::InTransaction,
            b'E' => WireState::Failed,
            _ => WireState::Starting,
        }
    }

    /// Whether a transaction was open, failed or not, when the server was last ready for a request;
    /// also answers for a session that has ended.
    pub fn was_in_transaction(&self) -> bool {
        let word = self.word.load(Ordering::Acquire);
        matches!(word as u8, b'T' | b'E') || word & BEGINS != 0
    }

    /// How many requests were sent, modulo 2³²: if two readings differ, a request was sent in
    /// between.
    #[inline]
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// What statements may have left behind since the session was opened, or since
    /// [`reset`](Self::reset): [`Effects::CHANGES`], [`Effects::LASTS`] and [`Effects::FORGETS`],
    /// or nothing. Costs one load.
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

    /// Records that the session is in its original state.
    pub fn reset(&self) {
        let mut parameters = self.parameters();
        parameters.before.clear();
        self.word.fetch_and(!LEFT_BEHIND, Ordering::AcqRel);
    }

    /// Records that the session may have changed, for a reason that its messages do not show.
    pub fn mark_changed(&self) {
        self.word.fetch_or(CHANGED, Ordering::AcqRel);
    }

    /// Whether the server treats a backslash in strings as an ordinary character.
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
        if effects.has(Effects::ENDS) {
            self.note_ending();
        }
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

    /// How many named statements the session has on the server. Costs one load.
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

    /// The process id of the session, as announced at the login; a pooler announces its own number.
    pub fn backend_pid(&self) -> u32 {
        self.backend_pid.load(Ordering::Relaxed)
    }

    /// The server's reason for ending the session, if it gave one.
    pub fn end_reason(&self) -> Option<ServerFailure> {
        lock(&self.end).clone()
    }

    /// Discards the session on the client side: nothing more reaches the server, and every further
    /// call of the driver fails with `reason`.
    pub fn condemn(&self, reason: &'static str) {
        let _ = self.condemned.set(reason);
        self.word.fetch_or(CLOSED | CONDEMNED, Ordering::AcqRel);
    }

    /// The process in which the session was opened.
    #[inline]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Whether nothing more may reach the server: the session was [`condemn`](Self::condemn)ed, or
    /// inherited by a child of `fork`. Costs two loads.
    #[inline]
    pub(super) fn is_condemned(&self) -> bool {
        !self.origin.is_here() || self.word.load(Ordering::Acquire) & CONDEMNED != 0
    }

    /// Why nothing more may reach the server, if so.
    pub fn condemned(&self) -> Option<&'static str> {
        match self.origin.is_here() {
            true => self.condemned.get().copied(),
            false => Some(OPENED_BEFORE_FORK),
        }
    }

    /// Whether the server has refused a write because the session, its transaction or the
    /// server is read-only (SQLSTATE 25006). Costs one load.
    #[inline]
    pub fn was_read_only(&self) -> bool {
        self.word.load(Ordering::Acquire) & READ_ONLY != 0
    }

    /// Whether the server has refused a prepared statement since the last call, because the schema
    /// changed or the statement does not exist (any more). Costs one load if it has not.
    #[inline]
    pub fn take_stale(&self) -> bool {
        self.word.load(Ordering::Acquire) & STALE != 0
            && self.word.fetch_and(!STALE, Ordering::AcqRel) & STALE != 0
    }

    /// Whether the server has accepted the login.
    pub fn is_authenticated(&self) -> bool {
        self.word.load(Ordering::Acquire) & AUTHENTICATED != 0
    }

    /// How far the session has come, also if it has ended. The login of a session that is not
    /// observed never ends.
    pub(crate) fn stage(&self) -> Stage {
        let word = self.word.load(Ordering::Acquire);
        if word as u8 != 0 {
            Stage::Session
        } else if word & AUTHENTICATED != 0 {
            Stage::Accepted
        } else {
            Stage::Login
        }
    }

    /// The authentication method; `None` before the server has accepted the login.
    pub fn auth_method(&self) -> Option<AuthMethod> {
        self.auth_method.get().copied()
    }

    /// Keeps the stream's deadline in force after the login, for queries needed before the session
    /// counts as open, until [`release_deadline`](Self::release_deadline).
    pub fn hold_deadline(&self) {
        self.deadline_held.store(true, Ordering::Release);
    }

    /// Reverts [`hold_deadline`](Self::hold_deadline).
    pub fn release_deadline(&self) {
        self.deadline_held.store(false, Ordering::Release);
    }

    #[inline]
    pub(super) fn is_under_deadline(&self) -> bool {
        self.state() == WireState::Starting || self.deadline_held.load(Ordering::Acquire)
    }

    /// Whether a copy or an error occurred since the last probe, after which a driver that is
    /// rarely polled may have unread messages. Costs one load.
    pub fn was_disturbed(&self) -> bool {
        self.word.load(Ordering::Acquire) & DISTURBED != 0
    }

    /// Whether the session is [`Closed`](WireState::Closed) because the driver can no longer match
    /// answers to requests: the server may still be executing a statement.
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Values are only replaced as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
