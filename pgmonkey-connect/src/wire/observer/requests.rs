//! The requests of one session: what was sent since the last Sync, and what is unanswered.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::{COPYING, DISTURBED, LOST_COUNT, OUTSTANDING_ONE, Observer};
use crate::sql::Effects;
use crate::wire::framing::{Frontend, TransactionEnd};
use crate::wire::texts::Texts;

/// Why a session is discarded whose answers the driver can no longer match to its requests.
const UNCOUNTED: &str = "copy_in was called for a statement that did not begin a copy, after which the driver takes answers for those of other statements: the session was discarded, acquire another one (use copy_in for COPY … FROM STDIN only)";

/// The kind of a request, as far as its answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Query,
    Sync,
    /// A Sync after nothing but `Close`, for which no caller waits.
    Close,
}

/// A request without its `ReadyForQuery` yet.
#[derive(Debug, Clone, Copy)]
struct Request {
    kind: Kind,
    effects: Effects,
    /// How many named statements it prepares, minus those that it closes.
    prepares: i32,
    /// Whether it begins with a deferred `BEGIN`.
    begins: bool,
}

/// The requests that the client has sent, with what their texts can do to the session.
#[derive(Debug, Default)]
pub(super) struct Requests {
    texts: Texts,
    /// The requests that a `ReadyForQuery` will answer, oldest first, and their effects.
    unanswered: VecDeque<Request>,
    /// What was sent since the last Sync: `None` for nothing, `Close` for nothing else.
    since_sync: Option<Kind>,
    /// The effects of the messages since the last Sync.
    gathered: Effects,
    /// How many named statements they prepare, minus those that they close.
    prepares: i32,
    /// Whether the request that is being sent begins with a deferred `BEGIN`.
    begins: bool,
    /// Whether the request being answered has failed.
    failed: bool,
    /// Whether a copy made the server ignore the Sync of the request being answered.
    ignored: bool,
    copy_ended: bool,
}

impl Requests {
    /// Receives one message from the client.
    #[inline]
    pub(super) fn sent(&mut self, observer: &Observer, message: Frontend<'_>) {
        match message {
            Frontend::Query(Some(text)) => {
                let effects = self.texts.query(observer, text);
                self.query(observer, effects);
            }
            // The text follows in `Late`.
            Frontend::Query(None) => self.query(observer, Effects::NONE),
            Frontend::Call => self.query(observer, Effects::UNKNOWN),
            Frontend::Parse(body) => {
                if let Some(body) = body {
                    self.prepares += i32::from(self.texts.parse(observer, body, true));
                }
                self.since_sync = Some(Kind::Sync);
            }
            Frontend::Bind(body) => {
                if let Some(body) = body {
                    let effects = self.texts.bind(body);
                    observer.note_effects(effects);
                    self.gathered |= effects;
                }
                self.since_sync = Some(Kind::Sync);
            }
            Frontend::Sync => self.sync(observer),
            Frontend::CopyEnd => self.end_copy(observer),
            Frontend::Close(body) => {
                if let Some(body) = body {
                    self.prepares -= i32::from(self.texts.close(body));
                }
                self.since_sync = self.since_sync.or(Some(Kind::Close));
            }
            Frontend::Terminate => observer.close(),
            Frontend::Startup => {}
            Frontend::Execute(_) | Frontend::Other => self.since_sync = Some(Kind::Sync),
            Frontend::Late { kind, body, whole } => self.late(observer, kind, body, whole),
        }
    }

    fn query(&mut self, observer: &Observer, effects: Effects) {
        observer.requests.fetch_add(1, Ordering::Relaxed);
        observer.note_effects(effects);
        self.unanswered.push_back(Request {
            kind: Kind::Query,
            effects,
            prepares: 0,
            begins: false,
        });
        observer.word.fetch_add(OUTSTANDING_ONE, Ordering::AcqRel);
    }

    #[inline]
    fn sync(&mut self, observer: &Observer) {
        observer.requests.fetch_add(1, Ordering::Relaxed);
        let kind = match self.since_sync.take() {
            Some(Kind::Close) => Kind::Close,
            _ => Kind::Sync,
        };
        self.unanswered.push_back(Request {
            kind,
            effects: std::mem::take(&mut self.gathered),
            prepares: std::mem::take(&mut self.prepares),
            begins: std::mem::take(&mut self.begins),
        });
        // The drivers close a dropped statement without waiting for the answer. The session need
        // not wait either: later requests queue behind it, and it changes nothing that a caller
        // could see.
        if kind == Kind::Close {
            return;
        }
        observer.word.fetch_add(OUTSTANDING_ONE, Ordering::AcqRel);
        if std::mem::take(&mut self.copy_ended) {
            observer.word.fetch_and(!COPYING, Ordering::AcqRel);
        }
    }

    /// Receives the client's end of a copy. The copy counts as running until the Sync after it, so
    /// that the session never appears idle in between.
    fn end_copy(&mut self, observer: &Observer) {
        // The drivers also end a copy that the server refused. The answer to that is taken for the
        // answer to the next request, and so every later answer is off by one.
        if observer.word.load(Ordering::Acquire) & COPYING == 0 {
            observer.word.fetch_or(LOST_COUNT, Ordering::AcqRel);
            observer.condemn(UNCOUNTED);
        }
        self.copy_ended = true;
        self.since_sync = Some(Kind::Sync);
    }

    /// Receives a body that was announced before it was complete.
    fn late(&mut self, observer: &Observer, kind: u8, body: &[u8], whole: bool) {
        if kind == b'E' {
            return;
        }
        let (effects, prepared) = self.texts.late(observer, kind, body, whole);
        observer.note_effects(effects);
        self.prepares += prepared;
        match (kind, self.unanswered.back_mut()) {
            (b'Q', Some(request)) => request.effects = effects,
            _ => self.gathered |= effects,
        }
    }

    /// Receives the `ReadyForQuery` of the oldest request.
    #[inline]
    pub(super) fn answered(&mut self, observer: &Observer, status: u8) {
        self.copy_ended = false;
        self.ignored = false;
        let request = self.unanswered.pop_front();
        let counted = request.is_some_and(|request| request.kind != Kind::Close);
        let prepares = request.map_or(0, |request| request.prepares);
        if !std::mem::take(&mut self.failed) && prepares != 0 {
            observer.note_statements(prepares);
        }
        answered(observer, counted, status);
        if request.is_some_and(|request| request.begins) {
            observer.begin_answered();
        }
    }

    /// Records that what was sent so far belonged to the login, and is no part of a request.
    pub(super) fn login_ends(&mut self) {
        self.since_sync = None;
    }

    /// Whether nothing was sent since the end of the last request.
    pub(super) fn is_between(&self) -> bool {
        self.since_sync.is_none()
    }

    /// Whether every request is answered.
    pub(super) fn is_answered(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Records that the next request begins with a deferred `BEGIN`.
    pub(super) fn begins(&mut self) {
        self.begins = true;
    }

    /// Whether the request being answered begins with a deferred `BEGIN`. An error may be answered
    /// before the request is complete.
    pub(super) fn is_beginning(&self) -> bool {
        let front = self.unanswered.front();
        front.map_or(self.begins, |request| request.begins)
    }

    /// Records that the server expects the data of a copy.
    pub(super) fn copy_began(&mut self, observer: &Observer) {
        // The server ignores the Sync sent with the statement: the answer belongs to the Sync after
        // CopyDone. A simple query has no Sync to ignore.
        let front = self.unanswered.front();
        if let Some(first) = front.copied().filter(|first| first.kind == Kind::Sync) {
            self.unanswered.pop_front();
            // Until that answer it is not certain that the server has the transaction.
            self.begins |= first.begins;
            self.ignored = true;
            observer.word.fetch_sub(OUTSTANDING_ONE, Ordering::AcqRel);
        }
        observer
            .word
            .fetch_or(COPYING | DISTURBED, Ordering::AcqRel);
    }

    /// Records that the request being answered has failed.
    pub(super) fn failed(&mut self) {
        self.failed = true;
    }

    /// Receives the command tag of a statement that may have ended a transaction.
    pub(super) fn transaction_ended(&mut self, observer: &Observer, end: TransactionEnd) {
        // `ROLLBACK TO SAVEPOINT` has the same tag as `ROLLBACK`; only the text differs.
        let may_end = |request: &Request| request.effects.has(Effects::ENDS);
        if end != TransactionEnd::Rollback || self.unanswered.front().is_none_or(may_end) {
            observer.note_end(end);
        }
    }

    /// Takes the number of requests whose end the driver still waits for.
    pub(super) fn take_unanswered(&mut self) -> u32 {
        let ignored = u32::from(std::mem::take(&mut self.ignored));
        u32::try_from(std::mem::take(&mut self.unanswered).len()).unwrap_or(u32::MAX) + ignored
    }
}

/// Stores the status and removes one request in one atomic step: a reader never sees the new status
/// with the old count, or the reverse.
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
