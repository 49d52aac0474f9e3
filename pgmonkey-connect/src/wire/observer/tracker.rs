//! The writing side of an observer: what the messages that pass do to the state.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;

use pgmonkey_config::RequireAuth;

use super::{
    ANNOUNCED, AUTHENTICATED, CLOSED, COPYING, DISTURBED, LOST_COUNT, OUTSTANDING_ONE, Observer,
    Parameters, READ_ONLY, ROLE_KNOWN, STALE, STANDARD_STRINGS, STANDBY, WireState, lock,
};
use crate::sql::Effects;
use crate::wire::complaint::{Complaint, ServerFailure, is_farewell};
use crate::wire::framing::{Backend, BackendFraming, Frontend, FrontendFraming, TransactionEnd};
use crate::wire::limit::LimitExceeded;
use crate::wire::login::{Login, LoginRefused};
use crate::wire::texts::Texts;

/// What a request was, as far as its answer needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Query,
    Sync,
    /// A Sync behind nothing but `Close`, which nobody waits for.
    Close,
}

/// A request that waits for its `ReadyForQuery`.
#[derive(Debug, Clone, Copy)]
struct Request {
    kind: Kind,
    effects: Effects,
    /// How many statements it prepares by name, less those it closes.
    prepares: i32,
}

/// The writing side of an [`Observer`]: lives in the stream, one a session.
#[derive(Debug, Default)]
pub(in crate::wire) struct Tracker {
    backend: BackendFraming,
    frontend: FrontendFraming,
    texts: Texts,
    /// The requests that a `ReadyForQuery` will answer, oldest first, and what they can do.
    unanswered: VecDeque<Request>,
    /// What came since the last Sync: `None` for nothing yet, `Close` for nothing else.
    since_sync: Option<Kind>,
    /// What the messages since the last Sync can do.
    gathered: Effects,
    /// How many statements they prepare by name, less those they close.
    prepares: i32,
    /// Whether the request that is being answered has failed.
    failed: bool,
    /// Whether the request that is being answered has had its Sync ignored, by a copy.
    ignored: bool,
    copy_ended: bool,
    login: Login,
}

impl Tracker {
    /// A tracker that refuses a server which asks for another kind of login than `allowed`.
    pub(in crate::wire) fn requiring(allowed: RequireAuth) -> Self {
        Self {
            login: Login::requiring(allowed),
            ..Self::default()
        }
    }

    /// Why the session must not go on, if it must not. Asked before the reader gets what was
    /// received, so that no answer leaves and the driver keeps nothing of it.
    #[inline]
    pub(in crate::wire) fn refusal(&mut self, observer: &Observer) -> Option<io::Error> {
        let settled = self.login.is_settled()
            && !self.backend.has_long_parameter()
            && observer.exceeded().is_none();
        match settled {
            true => None,
            false => self.refuse(observer),
        }
    }

    fn refuse(&mut self, observer: &Observer) -> Option<io::Error> {
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

    pub(in crate::wire) fn sent(&mut self, observer: &Observer, bytes: &[u8]) {
        let Self {
            frontend,
            texts,
            unanswered,
            since_sync,
            gathered,
            prepares,
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
                unanswered.push_back(Request {
                    kind: Kind::Query,
                    effects,
                    prepares: 0,
                });
                observer.word.fetch_add(OUTSTANDING_ONE, Ordering::AcqRel);
            }
            Frontend::Parse(body) => {
                if let Some(body) = body {
                    *prepares += i32::from(texts.parse(observer, body, true));
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
                let mut request = |kind| Request {
                    kind,
                    effects: std::mem::take(gathered),
                    prepares: std::mem::take(prepares),
                };
                // The drivers close a statement that they prepared for one query when it is
                // dropped, and wait for no answer. Nobody has to: whatever follows stands
                // behind it, and it changes nothing that a borrower could see.
                if since_sync.take() == Some(Kind::Close) {
                    unanswered.push_back(request(Kind::Close));
                    return;
                }
                unanswered.push_back(request(Kind::Sync));
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
                    *prepares -= i32::from(texts.close(body));
                }
                *since_sync = since_sync.or(Some(Kind::Close));
            }
            Frontend::Terminate => observer.close(),
            Frontend::Startup => {}
            Frontend::Other => *since_sync = Some(Kind::Sync),
            Frontend::Late { kind, body, whole } => {
                let (effects, prepared) = texts.late(observer, kind, body, whole);
                observer.note_effects(effects);
                *prepares += prepared;
                match (kind, unanswered.back_mut()) {
                    (b'Q', Some(request)) => request.effects = effects,
                    _ => *gathered |= effects,
                }
            }
        });
    }

    /// How many requests begin in `bytes`, for a session that was given up: nobody follows them.
    pub(in crate::wire) fn requests_in(&mut self, bytes: &[u8]) -> u32 {
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

    /// How many requests the driver waits for the end of, once: of a session that was given up.
    pub(in crate::wire) fn take_unanswered(&mut self) -> u32 {
        let ignored = u32::from(std::mem::take(&mut self.ignored));
        u32::try_from(std::mem::take(&mut self.unanswered).len()).unwrap_or(u32::MAX) + ignored
    }

    pub(in crate::wire) fn received(&mut self, observer: &Observer, bytes: &[u8]) {
        let Self {
            backend,
            unanswered,
            failed,
            ignored,
            copy_ended,
            login,
            ..
        } = self;
        backend.feed(bytes, |message| match message {
            Backend::Ready(status) => {
                *copy_ended = false;
                *ignored = false;
                if !login.is_over() {
                    login.ends();
                    observer.put_back();
                }
                let request = unanswered.pop_front();
                let counted = request.is_some_and(|request| request.kind != Kind::Close);
                let prepares = request.map_or(0, |request| request.prepares);
                if !std::mem::take(failed) && prepares != 0 {
                    observer.note_statements(prepares);
                }
                answered(observer, counted, status);
            }
            Backend::CopyIn => {
                // The server ignores the Sync that came with the statement: the answer belongs
                // to the one behind CopyDone. A simple query has none to ignore.
                if unanswered
                    .front()
                    .is_some_and(|first| first.kind == Kind::Sync)
                {
                    unanswered.pop_front();
                    *ignored = true;
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
                *failed = true;
                note_failure(observer, fields, bound);
            }
            Backend::Notice(fields) => {
                if observer.state() != WireState::Starting && is_farewell(fields) {
                    *lock(&observer.end) = Some(ServerFailure::of(fields, false));
                }
            }
            Backend::Ended(end) => {
                // Going back to a savepoint has the tag of a rollback; its text tells.
                let may_end = |request: &Request| request.effects.has(Effects::ENDS);
                if end != TransactionEnd::Rollback || unanswered.front().is_none_or(may_end) {
                    observer.note_end(end);
                }
            }
            Backend::Key(pid) => observer.backend_pid.store(pid, Ordering::Relaxed),
        });
        if !login.is_over() {
            login.count(bytes.len(), backend.messages());
        }
    }

    /// Whether the next byte from the server starts a message.
    pub(in crate::wire) fn at_boundary(&self) -> bool {
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

    #[test]
    fn statements_that_are_prepared_and_closed_are_counted() {
        let (observer, mut tracker) = started();
        let request = |tracker: &mut Tracker, messages: &[(u8, &[u8])], answer: &[(u8, &[u8])]| {
            for (kind, body) in messages {
                tracker.sent(&observer, &message(*kind, body));
            }
            tracker.sent(&observer, &message(b'S', b""));
            for (kind, body) in answer {
                tracker.received(&observer, &message(*kind, body));
            }
            tracker.received(&observer, &message(b'Z', b"I"));
            observer.statements()
        };
        let parse: (u8, &[u8]) = (b'P', b"s1\0SELECT 1\0\0\0");
        assert_eq!(request(&mut tracker, &[parse], &[(b'1', b"")]), 1);
        let unnamed: (u8, &[u8]) = (b'P', b"\0SELECT 1\0\0\0");
        assert_eq!(request(&mut tracker, &[unnamed], &[(b'1', b"")]), 1);
        let error: (u8, &[u8]) = (b'E', b"SERROR\0C42601\0\0");
        assert_eq!(request(&mut tracker, &[parse], &[error]), 1, "it failed");
        assert_eq!(request(&mut tracker, &[parse], &[(b'1', b"")]), 2);
        assert_eq!(
            request(&mut tracker, &[(b'C', b"Ss1\0")], &[(b'3', b"")]),
            1
        );
        assert_eq!(
            request(&mut tracker, &[(b'C', b"P\0")], &[(b'3', b"")]),
            1,
            "a portal"
        );
    }

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
    fn the_farewell_of_a_server_that_crashed_is_kept() {
        let (observer, mut tracker) = started();
        let notice = |routine: &str| {
            let fields = format!("SWARNING\0VWARNING\0C57P02\0Mcrash\0R{routine}\0\0");
            message(b'N', fields.as_bytes())
        };
        tracker.received(&observer, &notice("exec_stmt_raise"));
        assert_eq!(observer.end_reason(), None, "a function's");
        tracker.received(&observer, &notice("quickdie"));
        assert_eq!(observer.end_reason().expect("kept").code, "57P02");
        assert_eq!(
            observer.state(),
            WireState::Idle,
            "the stream has not ended"
        );
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
