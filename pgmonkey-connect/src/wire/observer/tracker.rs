//! The writing side of an observer: updates the state from each message.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use pgmonkey_config::{AuthMethod, RequireAuth};

use super::requests::Requests;
use super::{AUTHENTICATED, DISTURBED, Observer, READ_ONLY, STALE, WireState, lock, parameters};
use crate::wire::framing::{Backend, BackendFraming, Frontend, FrontendFraming};
use crate::wire::limit::LimitExceeded;
use crate::wire::login::{Login, LoginRefused};
use crate::wire::server_error::{ServerError, ServerFailure, is_farewell};
use crate::wire::statements::{StatementListener, Statements};

/// The writing side of an [`Observer`]: owned by the stream, one for each session.
#[derive(Debug, Default)]
pub(in crate::wire) struct Tracker {
    backend: BackendFraming,
    frontend: FrontendFraming,
    requests: Requests,
    login: Login,
    /// `None` if no listener wants to know of single statements.
    statements: Option<Box<Statements>>,
}

impl Tracker {
    /// Creates a tracker that refuses a server whose login method is not in `allowed`.
    pub(in crate::wire) fn requiring(allowed: RequireAuth) -> Self {
        Self {
            login: Login::requiring(allowed),
            ..Self::default()
        }
    }

    /// Reports each statement to `listener`.
    pub(in crate::wire) fn report_to(&mut self, listener: Arc<dyn StatementListener>) {
        self.backend.report_statements();
        self.statements = Some(Box::new(Statements::new(listener)));
    }

    /// Why the session must not continue, if so. Checked before the reader gets the received bytes,
    /// so that the driver neither answers nor keeps them.
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
            let unframed = self.backend.error_without_length();
            return Some(refused(refusal.or_unframed(unframed)));
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
        self.sent_at(observer, bytes, Instant::now);
    }

    /// The time before a write, if statements are timed: the server may begin with what was written
    /// before this thread goes on.
    #[inline]
    pub(in crate::wire) fn read_clock(&self) -> Option<Instant> {
        self.statements.is_some().then(Instant::now)
    }

    /// Receives what was written since [`read_clock`](Self::read_clock).
    #[inline]
    pub(in crate::wire) fn wrote(
        &mut self,
        observer: &Observer,
        bytes: &[u8],
        began: Option<Instant>,
    ) {
        self.sent_at(observer, bytes, || began.unwrap_or_else(Instant::now));
    }

    /// As [`sent`](Self::sent), with a clock.
    #[inline]
    pub(in crate::wire) fn sent_at(
        &mut self,
        observer: &Observer,
        bytes: &[u8],
        clock: impl FnOnce() -> Instant,
    ) {
        let Self {
            frontend,
            requests,
            statements,
            ..
        } = self;
        let mut statements = statements.as_deref_mut();
        frontend.feed(bytes, |message, at| {
            requests.sent(observer, message);
            if let Some(statements) = &mut statements {
                statements.sent(observer, message, at);
            }
        });
        if let Some(statements) = statements
            && statements.is_to_stamp()
        {
            statements.stamp(observer, clock());
        }
    }

    /// How many requests start in `bytes`, for a discarded session whose requests are not tracked.
    pub(in crate::wire) fn requests_in(&mut self, bytes: &[u8]) -> u32 {
        let mut count = 0;
        self.frontend.feed(bytes, |message, _| {
            let asks = matches!(
                message,
                Frontend::Query(_) | Frontend::Call | Frontend::Sync
            );
            count += u32::from(asks);
        });
        count
    }

    /// Takes the number of requests of a discarded session whose end the driver still waits for.
    pub(in crate::wire) fn take_unanswered(&mut self) -> u32 {
        self.requests.take_unanswered()
    }

    pub(in crate::wire) fn received(&mut self, observer: &Observer, bytes: &[u8]) {
        self.received_at(observer, bytes, Instant::now);
    }

    /// As [`received`](Self::received), with a clock, which is asked at most once.
    #[inline]
    pub(in crate::wire) fn received_at(
        &mut self,
        observer: &Observer,
        bytes: &[u8],
        clock: impl Fn() -> Instant,
    ) {
        observer.note_received(bytes.len());
        let mut now = None;
        let mut now = || *now.get_or_insert_with(&clock);
        let Self {
            backend,
            frontend,
            requests,
            login,
            statements,
        } = self;
        let mut statements = statements.as_deref_mut();
        backend.feed(bytes, |message, at| {
            match message {
                Backend::Ready(status) => {
                    if !login.is_over() {
                        login.ends();
                        requests.login_ends();
                        observer.reset();
                        if let Some(statements) = &mut statements {
                            statements.login_ends(frontend.position());
                        }
                    }
                    // Before a reader can see the session idle.
                    if let Some(statements) = &mut statements {
                        statements.ready(at, &mut now);
                    }
                    requests.answered(observer, status);
                    return;
                }
                Backend::Completed(tag) => {
                    if let Some(statements) = &mut statements {
                        statements.completed(tag, now(), at);
                    }
                    return;
                }
                Backend::CopyIn => requests.copy_began(observer),
                Backend::Parameter(body) => parameters::remember(observer, body),
                Backend::Authentication(body) => note_method(observer, login.asked(body)),
                Backend::Error { fields, bound, .. } => {
                    observer.word.fetch_or(DISTURBED, Ordering::AcqRel);
                    requests.failed();
                    note_failure(observer, fields, bound);
                }
                Backend::Notice(fields) => note_notice(observer, fields),
                Backend::Ended(end) => requests.transaction_ended(observer, end),
                Backend::Key(pid) => observer.backend_pid.store(pid, Ordering::Relaxed),
                Backend::Empty | Backend::Suspended(_) => {}
            }
            if let Some(statements) = &mut statements {
                statements.received(&message, at, &mut now);
            }
        });
        if !login.is_over() {
            login.count(bytes.len(), backend.messages());
        }
        if let Some(statements) = statements {
            statements.received_to(backend.position(), &mut now);
        }
    }

    /// Records that the server's end of the stream was reached, or that the stream has failed.
    #[cold]
    pub(in crate::wire) fn lost(&mut self) {
        if let Some(statements) = &mut self.statements {
            statements.lost(Instant::now());
        }
    }

    /// Whether the next byte from the server starts a message.
    pub(in crate::wire) fn at_boundary(&self) -> bool {
        self.backend.at_boundary()
    }

    /// How many of these bytes from the server belong to the current message.
    pub(in crate::wire) fn received_piece(&self, bytes: &[u8]) -> usize {
        self.backend.piece(bytes)
    }

    /// Whether the next byte from the client starts a message.
    pub(in crate::wire) fn is_at_message(&self) -> bool {
        self.frontend.at_boundary()
    }

    /// Whether the next byte from the client starts a request, or a message of a copy.
    pub(in crate::wire) fn is_between_requests(&self) -> bool {
        self.is_at_message() && self.requests.is_between()
    }

    /// How many of these bytes from the client belong to the current message.
    pub(in crate::wire) fn sent_piece(&self, bytes: &[u8]) -> usize {
        self.frontend.piece(bytes)
    }

    /// Records that the next request begins with a deferred `BEGIN`.
    pub(in crate::wire) fn begins(&mut self) {
        self.requests.begins();
    }

    /// Whether the request being answered begins with a deferred `BEGIN`.
    pub(in crate::wire) fn is_beginning(&self) -> bool {
        self.requests.is_beginning()
    }

    /// Records that the rest of the answer belongs to the statement after a deferred `BEGIN`.
    pub(in crate::wire) fn begun(&mut self) {
        self.backend.unbind();
    }

    /// Whether every request is answered.
    pub(in crate::wire) fn is_answered(&self) -> bool {
        self.requests.is_answered()
    }
}

/// Records the method of a login that has succeeded.
fn note_method(observer: &Observer, method: Option<AuthMethod>) {
    if let Some(method) = method {
        let _ = observer.auth_method.set(method);
        observer.word.fetch_or(AUTHENTICATED, Ordering::AcqRel);
    }
}

fn note_notice(observer: &Observer, fields: &[u8]) {
    if observer.state() != WireState::Starting && is_farewell(fields) {
        *lock(&observer.end) = Some(ServerFailure::of(fields, false));
    }
}

fn note_failure(observer: &Observer, fields: &[u8], bound: bool) {
    // Before the login is complete, the driver's own error is sufficient.
    if observer.state() == WireState::Starting {
        return;
    }
    let failure = ServerFailure::of(fields, bound);
    match ServerError::of(fields) {
        Some(ServerError::Ending) => {
            *lock(&observer.end) = Some(failure.clone());
            observer.close();
        }
        Some(ServerError::ReadOnly) => {
            observer.word.fetch_or(READ_ONLY, Ordering::AcqRel);
        }
        Some(ServerError::Stale) => {
            observer.word.fetch_or(STALE, Ordering::AcqRel);
        }
        None => {}
    }
    observer.note_failure(failure);
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

    /// An idle session, after its startup.
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
        // Later requests count, even while the close is unanswered.
        tracker.sent(&observer, &message(b'Q', b"SELECT 1\0"));
        assert_eq!(observer.state(), WireState::Busy(1));
        tracker.received(&observer, &message(b'3', b""));
        tracker.received(&observer, &message(b'Z', b"I"));
        assert_eq!(observer.state(), WireState::Busy(1));
        tracker.received(&observer, &message(b'Z', b"I"));
        assert_eq!(observer.state(), WireState::Idle);
        // A statement executed and closed before one Sync is a request like any other.
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
        // The driver sends the statement with its Sync, then data, CopyDone and Sync.
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
        // The driver still ends the copy, which never began.
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
