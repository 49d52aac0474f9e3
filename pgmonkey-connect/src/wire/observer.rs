//! The state of one session as its bytes tell it, readable from any thread without a round trip.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use pgmonkey_config::{AuthMethod, RequireAuth};

use super::complaint::{Complaint, ServerFailure};
use super::framing::{Backend, BackendFraming, Frontend, FrontendFraming, TransactionEnd};
use super::limit::LimitExceeded;
use super::login::{Login, LoginRefused};
use super::texts::Texts;
use crate::sql::Effects;

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
const OUTSTANDING_ONE: u64 = 1 << 32;

/// Follows one session's messages and says what state it is in.
///
/// Written by the stream alone, read by anyone.
#[derive(Debug, Default)]
pub struct Observer {
    word: AtomicU64,
    requests: AtomicU32,
    probe: AtomicBool,
    deadline_held: AtomicBool,
    auth_method: OnceLock<AuthMethod>,
    backend_pid: AtomicU32,
    /// Low half: how many transactions have ended. High half: how the last one did.
    ends: AtomicU64,
    parameters: Mutex<Parameters>,
    exceeded: OnceLock<LimitExceeded>,
    failure: Mutex<Option<ServerFailure>>,
    end: Mutex<Option<ServerFailure>>,
    condemned: OnceLock<&'static str>,
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
    /// [`put_back`](Self::put_back): [`Effects::CHANGES`], [`Effects::LASTS`], or nothing.
    /// Costs one load.
    #[inline]
    pub fn left_behind(&self) -> Effects {
        let word = self.word.load(Ordering::Acquire);
        if word & (CHANGED | LASTING | ANNOUNCED) == 0 {
            return Effects::NONE;
        }
        match word & LASTING {
            0 => Effects::CHANGES,
            _ => Effects::CHANGES | Effects::LASTS,
        }
    }

    /// Says that the session is as it was opened.
    pub fn put_back(&self) {
        let mut parameters = self.parameters();
        parameters.before.clear();
        self.word
            .fetch_and(!(CHANGED | LASTING | ANNOUNCED), Ordering::AcqRel);
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
        let mut bits = 0;
        if effects.has(Effects::CHANGES) {
            bits |= CHANGED;
        }
        if effects.has(Effects::LASTS) {
            bits |= LASTING;
        }
        if bits != 0 {
            self.word.fetch_or(bits, Ordering::AcqRel);
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

    /// Why the session was [`condemn`](Self::condemn)ed, if it was. Costs one load.
    #[inline]
    pub fn condemned(&self) -> Option<&'static str> {
        match self.word.load(Ordering::Acquire) & CONDEMNED {
            0 => None,
            _ => self.condemned.get().copied(),
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

    /// The limit that the server exceeded, if the session was closed for that.
    pub fn exceeded(&self) -> Option<LimitExceeded> {
        self.exceeded.get().copied()
    }

    pub(super) fn close(&self) {
        self.word.fetch_or(CLOSED, Ordering::AcqRel);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only whole values are put in.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a request was, as far as its answer needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Query,
    Sync,
    /// A Sync behind nothing but `Close`, which nobody waits for.
    Close,
}

/// The writing side of an [`Observer`]: lives in the stream, one a session.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    backend: BackendFraming,
    frontend: FrontendFraming,
    texts: Texts,
    /// The requests that a `ReadyForQuery` will answer, oldest first, and what they can do.
    unanswered: VecDeque<(Kind, Effects)>,
    /// What came since the last Sync: `None` for nothing yet, `Close` for nothing else.
    since_sync: Option<Kind>,
    /// What the statements bound since the last Sync can do.
    gathered: Effects,
    copy_ended: bool,
    login: Login,
}

impl Tracker {
    /// A tracker that refuses a server which asks for another kind of login than `allowed`.
    pub(super) fn requiring(allowed: RequireAuth) -> Self {
        Self {
            login: Login::requiring(allowed),
            ..Self::default()
        }
    }

    /// Why the session must not go on, if it must not. Asked before the reader gets what was
    /// received, so that no answer leaves and the driver keeps nothing of it.
    pub(super) fn refusal(&mut self, observer: &Observer) -> Option<io::Error> {
        let refused = |error: LoginRefused| io::Error::new(io::ErrorKind::PermissionDenied, error);
        if let Some(refusal) = self.login.refusal(self.backend.missing()) {
            return Some(refused(refusal));
        }
        if self.backend.has_long_parameter() {
            let _ = observer.exceeded.set(LimitExceeded::ParameterBytes);
        }
        let exceeded = observer.exceeded()?;
        Some(match self.login.is_over() {
            true => io::Error::new(io::ErrorKind::InvalidData, exceeded),
            false => refused(LoginRefused::Limit(exceeded)),
        })
    }

    pub(super) fn sent(&mut self, observer: &Observer, bytes: &[u8]) {
        let Self {
            frontend,
            texts,
            unanswered,
            since_sync,
            gathered,
            copy_ended,
            ..
        } = self;
        frontend.feed(bytes, |message| match message {
            Frontend::Query(_) | Frontend::Call => {
                observer.requests.fetch_add(1, Ordering::Relaxed);
                let effects = match message {
                    Frontend::Query(Some(text)) => texts.query(observer, text),
                    // The text comes late.
                    Frontend::Query(None) => Effects::NONE,
                    _ => Effects::UNKNOWN,
                };
                observer.note_effects(effects);
                unanswered.push_back((Kind::Query, effects));
                observer.word.fetch_add(OUTSTANDING_ONE, Ordering::AcqRel);
            }
            Frontend::Parse(body) => {
                if let Some(body) = body {
                    texts.parse(observer, body, true);
                }
                *since_sync = Some(Kind::Sync);
            }
            Frontend::Bind(body) => {
                if let Some(body) = body {
                    let effects = texts.bind(body);
                    observer.note_effects(effects);
                    *gathered |= effects;
                }
                *since_sync = Some(Kind::Sync);
            }
            Frontend::Sync => {
                observer.requests.fetch_add(1, Ordering::Relaxed);
                let effects = std::mem::take(gathered);
                // The drivers close a statement that they prepared for one query when it is
                // dropped, and wait for no answer. Nobody has to: whatever follows stands
                // behind it, and it changes nothing that a borrower could see.
                if since_sync.take() == Some(Kind::Close) {
                    unanswered.push_back((Kind::Close, effects));
                    return;
                }
                unanswered.push_back((Kind::Sync, effects));
                observer.word.fetch_add(OUTSTANDING_ONE, Ordering::AcqRel);
                if std::mem::take(copy_ended) {
                    observer.word.fetch_and(!COPYING, Ordering::AcqRel);
                }
            }
            // The copy counts as running until the Sync behind its end, so that there is no
            // moment between the two at which the session looks idle.
            Frontend::CopyEnd => {
                // The drivers end a copy that the server refused as well; the answer to that
                // meets the next request, and from then on every answer goes to the wrong one.
                if observer.word.load(Ordering::Acquire) & COPYING == 0 {
                    observer
                        .word
                        .fetch_or(CLOSED | LOST_COUNT, Ordering::AcqRel);
                }
                *copy_ended = true;
                *since_sync = Some(Kind::Sync);
            }
            Frontend::Close(body) => {
                if let Some(body) = body {
                    texts.close(body);
                }
                *since_sync = since_sync.or(Some(Kind::Close));
            }
            Frontend::Terminate => observer.close(),
            Frontend::Startup => {}
            Frontend::Other => *since_sync = Some(Kind::Sync),
            Frontend::Late { kind, body, whole } => {
                let effects = texts.late(observer, kind, body, whole);
                observer.note_effects(effects);
                match (kind, unanswered.back_mut()) {
                    (b'Q', Some((_, of_request))) => *of_request = effects,
                    _ => *gathered |= effects,
                }
            }
        });
    }

    /// How many requests begin in `bytes`, for a session that was given up: nobody follows them.
    pub(super) fn requests_in(&mut self, bytes: &[u8]) -> u32 {
        let mut count = 0;
        self.frontend.feed(bytes, |message| {
            let asks = matches!(
                message,
                Frontend::Query(_) | Frontend::Call | Frontend::Sync
            );
            count += u32::from(asks);
        });
        count
    }

    pub(super) fn received(&mut self, observer: &Observer, bytes: &[u8]) {
        let Self {
            backend,
            unanswered,
            copy_ended,
            login,
            ..
        } = self;
        backend.feed(bytes, |message| match message {
            Backend::Ready(status) => {
                *copy_ended = false;
                login.ends();
                let counted = matches!(unanswered.pop_front(), Some((Kind::Query | Kind::Sync, _)));
                if observer.state() == WireState::Starting {
                    observer.put_back();
                }
                answered(observer, counted, status);
            }
            Backend::CopyIn => {
                // The server ignores the Sync that came with the statement: the answer belongs
                // to the one behind CopyDone. A simple query has none to ignore.
                if unanswered
                    .front()
                    .is_some_and(|(kind, _)| *kind == Kind::Sync)
                {
                    unanswered.pop_front();
                    observer.word.fetch_sub(OUTSTANDING_ONE, Ordering::AcqRel);
                }
                observer
                    .word
                    .fetch_or(COPYING | DISTURBED, Ordering::AcqRel);
            }
            Backend::Parameter(body) => remember(observer, body),
            Backend::Authentication(body) => {
                if let Some(method) = login.asked(body) {
                    let _ = observer.auth_method.set(method);
                    observer.word.fetch_or(AUTHENTICATED, Ordering::AcqRel);
                }
            }
            Backend::Error { fields, bound } => {
                observer.word.fetch_or(DISTURBED, Ordering::AcqRel);
                note_failure(observer, fields, bound);
            }
            Backend::Ended(end) => {
                // Going back to a savepoint has the tag of a rollback; its text tells.
                let may_end = |(_, effects): &(Kind, Effects)| effects.has(Effects::ENDS);
                if end != TransactionEnd::Rollback || unanswered.front().is_none_or(may_end) {
                    observer.note_end(end);
                }
            }
            Backend::Key(pid) => observer.backend_pid.store(pid, Ordering::Relaxed),
        });
        login.count(bytes.len(), backend.messages());
    }

    /// Whether the next byte from the server starts a message.
    pub(super) fn at_boundary(&self) -> bool {
        self.backend.at_boundary()
    }
}

/// Puts the status down and takes one request off, in one step: a reader never sees the new
/// status with the old count or the other way round.
fn answered(observer: &Observer, was_counted: bool, status: u8) {
    let step = |word: u64| {
        let less = if was_counted { OUTSTANDING_ONE } else { 0 };
        (word - less) & !0xFF & !COPYING | u64::from(status)
    };
    let mut seen = observer.word.load(Ordering::Relaxed);
    while let Err(now) =
        observer
            .word
            .compare_exchange_weak(seen, step(seen), Ordering::AcqRel, Ordering::Relaxed)
    {
        seen = now;
    }
}

fn remember(observer: &Observer, body: &[u8]) {
    let mut texts = body
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8_lossy(text));
    let (Some(name), Some(value)) = (texts.next(), texts.next()) else {
        return;
    };
    match &*name {
        "in_hot_standby" => note_role(observer, value == "on"),
        "standard_conforming_strings" => observer.set(STANDARD_STRINGS, value == "on"),
        _ => {}
    }
    let mut parameters = observer.parameters();
    let Parameters { known, before } = &mut *parameters;
    if !known.contains_key(&*name)
        && let Some(exceeded) = LimitExceeded::of_parameters(known.len())
    {
        let _ = observer.exceeded.set(exceeded);
        return;
    }
    let replaced = known.insert(name.clone().into_owned(), value.clone().into_owned());
    // What the server does by itself is no change of the session's.
    if name == "in_hot_standby" {
        return;
    }
    match before.get(&*name) {
        Some(was) if *was == value => {
            before.remove(&*name);
        }
        Some(_) => {}
        None => {
            if replaced.as_deref() != Some(&*value) {
                before.insert(name.into_owned(), replaced.unwrap_or_default());
            }
        }
    }
    observer.set(ANNOUNCED, !before.is_empty());
}

fn note_failure(observer: &Observer, fields: &[u8], bound: bool) {
    // Before the login is through, the driver's own error says all there is to say.
    if observer.state() == WireState::Starting {
        return;
    }
    let failure = ServerFailure::of(fields, bound);
    match Complaint::of(fields) {
        Some(Complaint::Ending) => {
            *lock(&observer.end) = Some(failure.clone());
            observer.close();
        }
        Some(Complaint::ReadOnly) => {
            observer.word.fetch_or(READ_ONLY, Ordering::AcqRel);
        }
        Some(Complaint::Stale) => {
            observer.word.fetch_or(STALE, Ordering::AcqRel);
        }
        None => {}
    }
    *lock(&observer.failure) = Some(failure);
}

fn note_role(observer: &Observer, standby: bool) {
    if standby {
        observer
            .word
            .fetch_or(ROLE_KNOWN | STANDBY, Ordering::AcqRel);
    } else {
        observer.word.fetch_and(!STANDBY, Ordering::AcqRel);
        observer.word.fetch_or(ROLE_KNOWN, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![kind];
        out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    /// A session past its startup, idle.
    fn started() -> (Observer, Tracker) {
        let (observer, mut tracker) = (Observer::default(), Tracker::default());
        tracker.sent(&observer, &message(0, b"\0\x03\0\0user\0u\0\0")[1..]);
        assert_eq!(observer.state(), WireState::Starting);
        tracker.received(&observer, &message(b'R', &0u32.to_be_bytes()));
        tracker.received(&observer, &message(b'S', b"server_version\x0015.18\0"));
        tracker.received(&observer, &message(b'Z', b"I"));
        assert_eq!(observer.state(), WireState::Idle);
        (observer, tracker)
    }

    #[test]
    fn parameters_are_remembered() {
        let (observer, _) = started();
        assert_eq!(
            observer.parameter("server_version").as_deref(),
            Some("15.18")
        );
        assert_eq!(observer.parameter("nothing"), None);
    }

    #[test]
    fn a_session_keeps_a_bounded_number_of_settings() {
        let (observer, mut tracker) = started();
        let announce = |tracker: &mut Tracker, name: usize| {
            let body = format!("name{name}\0value\0");
            tracker.received(&observer, &message(b'S', body.as_bytes()));
            tracker.refusal(&observer).map(|error| error.to_string())
        };
        let refused = (0..1000).find_map(|name| announce(&mut tracker, name % 100));
        assert_eq!(refused, None, "names that are known already");
        let refused = (0..1000).find_map(|name| announce(&mut tracker, name));
        assert!(refused.expect("refused").contains("more than 128 settings"));
        assert_eq!(observer.exceeded(), Some(LimitExceeded::Parameters));
        assert_eq!(observer.parameters().known.len(), 128);
    }

    #[test]
    fn a_long_setting_is_refused_at_its_announcement() {
        let (observer, mut tracker) = started();
        let long = message(b'S', &[b'x'; (64 << 10) + 1]);
        tracker.received(&observer, &long[..4]);
        assert!(tracker.refusal(&observer).is_none());
        tracker.received(&observer, &long[4..5]);
        let refused = tracker.refusal(&observer).expect("refused");
        assert!(refused.to_string().contains("more than 65536 bytes"));
    }

    #[test]
    fn a_role_that_changes_is_noticed() {
        let (observer, mut tracker) = started();
        assert_eq!(observer.in_recovery(), None);
        tracker.received(&observer, &message(b'S', b"in_hot_standby\0on\0"));
        assert_eq!(observer.in_recovery(), Some(true));
        tracker.received(&observer, &message(b'S', b"in_hot_standby\0off\0"));
        assert_eq!(observer.in_recovery(), Some(false));
    }

    #[test]
    fn an_error_that_ends_the_session_closes_it_before_the_stream_ends() {
        let (observer, mut tracker) = started();
        tracker.sent(&observer, &message(b'Q', b"SELECT 1\0"));
        tracker.received(&observer, &message(b'E', b"SFATAL\0VFATAL\0C57P01\0\0"));
        assert_eq!(observer.state(), WireState::Closed);
    }

    #[test]
    fn a_refused_write_and_a_stale_statement_are_remembered() {
        let (observer, mut tracker) = started();
        assert!(!observer.was_read_only() && !observer.take_stale());
        tracker.received(&observer, &message(b'E', b"SERROR\0VERROR\0C25006\0\0"));
        assert!(observer.was_read_only() && !observer.take_stale());
        tracker.received(&observer, &message(b'E', b"SERROR\0VERROR\0C26000\0\0"));
        assert!(observer.take_stale() && !observer.take_stale());
        assert_eq!(observer.state(), WireState::Idle);
    }

    #[test]
    fn a_query_is_busy_until_it_is_answered() {
        let (observer, mut tracker) = started();
        tracker.sent(&observer, &message(b'Q', b"BEGIN\0"));
        assert_eq!(observer.state(), WireState::Busy(1));
        tracker.received(&observer, &message(b'C', b"BEGIN\0"));
        assert_eq!(observer.state(), WireState::Busy(1));
        tracker.received(&observer, &message(b'Z', b"T"));
        assert_eq!(observer.state(), WireState::InTransaction);
        tracker.sent(&observer, &message(b'Q', b"nonsense\0"));
        tracker.received(&observer, &message(b'E', b"SERROR\0C42601\0\0"));
        tracker.received(&observer, &message(b'Z', b"E"));
        assert_eq!(observer.state(), WireState::Failed);
    }

    #[test]
    fn pipelined_requests_are_counted() {
        let (observer, mut tracker) = started();
        for _ in 0..3 {
            tracker.sent(&observer, &message(b'S', b""));
        }
        assert_eq!(observer.state(), WireState::Busy(3));
        assert_eq!(observer.requests(), 3);
        tracker.received(&observer, &message(b'Z', b"I"));
        assert_eq!(observer.state(), WireState::Busy(2));
    }

    #[test]
    fn closing_a_statement_keeps_nobody_waiting() {
        let (observer, mut tracker) = started();
        tracker.sent(&observer, &message(b'C', b"Ss1\0"));
        tracker.sent(&observer, &message(b'S', b""));
        assert_eq!(observer.state(), WireState::Idle);
        // What follows counts, also while the close is not answered.
        tracker.sent(&observer, &message(b'Q', b"SELECT 1\0"));
        assert_eq!(observer.state(), WireState::Busy(1));
        tracker.received(&observer, &message(b'3', b""));
        tracker.received(&observer, &message(b'Z', b"I"));
        assert_eq!(observer.state(), WireState::Busy(1));
        tracker.received(&observer, &message(b'Z', b"I"));
        assert_eq!(observer.state(), WireState::Idle);
        // A statement that is run and closed before one Sync is a request like any other.
        for kind in *b"PBEC" {
            tracker.sent(&observer, &message(kind, b"\0"));
        }
        tracker.sent(&observer, &message(b'S', b""));
        assert_eq!(observer.state(), WireState::Busy(1));
    }

    #[test]
    fn half_a_query_is_busy_already() {
        let (observer, mut tracker) = started();
        tracker.sent(&observer, &message(b'Q', b"SELECT 1\0")[..7]);
        assert_eq!(observer.state(), WireState::Busy(1));
    }

    #[test]
    fn a_copy_in_by_the_extended_protocol_ends_idle() {
        let (observer, mut tracker) = started();
        // What the driver sends: the statement with its Sync, then data, CopyDone and Sync.
        tracker.sent(&observer, &message(b'E', b"\0\0\0\0\0"));
        tracker.sent(&observer, &message(b'S', b""));
        tracker.received(&observer, &message(b'G', b"\0\0\0"));
        assert_eq!(observer.state(), WireState::Busy(1));
        tracker.sent(&observer, &message(b'd', b"1\n"));
        tracker.sent(&observer, &message(b'c', b""));
        assert_eq!(
            observer.state(),
            WireState::Busy(1),
            "between CopyDone and Sync"
        );
        tracker.sent(&observer, &message(b'S', b""));
        assert_eq!(observer.state(), WireState::Busy(1));
        tracker.received(&observer, &message(b'C', b"COPY 1\0"));
        tracker.received(&observer, &message(b'Z', b"I"));
        assert_eq!(observer.state(), WireState::Idle);
    }

    #[test]
    fn a_copy_in_by_a_simple_query_stays_busy() {
        let (observer, mut tracker) = started();
        tracker.sent(&observer, &message(b'Q', b"COPY t FROM STDIN\0"));
        tracker.received(&observer, &message(b'G', b"\0\0\0"));
        assert_eq!(observer.state(), WireState::Busy(1));
    }

    #[test]
    fn a_session_whose_copy_in_was_refused_is_over() {
        let (observer, mut tracker) = started();
        tracker.sent(&observer, &message(b'S', b""));
        tracker.received(&observer, &message(b'E', b"SERROR\0C42P01\0\0"));
        tracker.received(&observer, &message(b'Z', b"I"));
        assert_eq!(observer.state(), WireState::Idle);
        // The driver still ends the copy that never began.
        tracker.sent(&observer, &message(b'f', b"\0"));
        assert_eq!(observer.state(), WireState::Closed);
        tracker.sent(&observer, &message(b'S', b""));
        tracker.received(&observer, &message(b'Z', b"I"));
        assert_eq!(observer.state(), WireState::Closed);
    }

    #[test]
    fn terminate_closes() {
        let (observer, mut tracker) = started();
        tracker.sent(&observer, &message(b'X', b""));
        assert_eq!(observer.state(), WireState::Closed);
    }
}
