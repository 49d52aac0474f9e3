//! Who holds what since when and from where: the book a pool keeps, that its status and its
//! time-out texts are read from.

use std::panic::Location;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{AcquireTimeout, Error};
use crate::events;
use crate::meters::Meters;
use crate::statement_cache::StatementCounts;
use crate::status::{CloseReason, Status};

/// One pool's book. Every entry is short and holds the lock for a few instructions.
#[derive(Debug)]
pub struct Ledger {
    target: Arc<str>,
    name: Arc<str>,
    meters: Meters,
    book: Mutex<Book>,
    /// Beside the book, for under load every caller waits.
    waiting: AtomicU32,
    /// In nanoseconds.
    longest_wait: AtomicU64,
    statements: Arc<StatementCounts>,
}

#[derive(Debug, Default)]
struct Book {
    status: Status,
    /// Loans by number; `None` where one ended.
    loans: Vec<Option<Loan>>,
    /// The numbers that are free.
    free: Vec<usize>,
    last_error: Option<Error>,
    /// Since when no session could be opened because the server is away.
    away_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Loan {
    place: &'static Location<'static>,
    since: Instant,
    /// Whether it was told that it takes long.
    told: bool,
}

/// A loan that takes longer than it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue {
    /// Where the session was acquired.
    pub place: &'static Location<'static>,
    /// How long ago.
    pub held: Duration,
}

/// The number of a loan, to be handed in when it ends.
#[derive(Debug)]
#[must_use = "a loan must be ended with `returned`"]
pub struct LoanId(usize);

impl Ledger {
    /// An empty book for `target`, written `user@host:port/database`, which is its name too.
    pub fn new(target: impl Into<Arc<str>>, min_size: u32, max_size: u32) -> Self {
        let target = target.into();
        Self::named(Arc::clone(&target), target, min_size, max_size)
    }

    /// An empty book whose events and metrics go by `name`.
    pub fn named(
        name: impl Into<Arc<str>>,
        target: impl Into<Arc<str>>,
        min_size: u32,
        max_size: u32,
    ) -> Self {
        let name = name.into();
        let book = Book {
            status: Status {
                min_size,
                max_size,
                ..Status::default()
            },
            loans: Vec::with_capacity(max_size.min(1024) as usize),
            free: Vec::with_capacity(max_size.min(1024) as usize),
            ..Book::default()
        };
        Self {
            target: target.into(),
            meters: Meters::new(&name, max_size),
            name,
            book: Mutex::new(book),
            waiting: AtomicU32::new(0),
            longest_wait: AtomicU64::new(0),
            statements: Arc::default(),
        }
    }

    /// `user@host:port/database`.
    pub fn target(&self) -> &Arc<str> {
        &self.target
    }

    /// What events and metrics call the handle.
    #[inline]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the statement caches of the pool's sessions count into.
    pub fn statements(&self) -> &Arc<StatementCounts> {
        &self.statements
    }

    /// A session was lent to the code at `place`, which asked for it at `began`.
    #[inline]
    pub fn lent(&self, place: &'static Location<'static>, began: Instant) -> LoanId {
        events::acquired(&self.name, began);
        let since = self.meters.lent(began);
        let loan = Some(Loan {
            place,
            since,
            told: false,
        });
        let mut book = self.book();
        book.status.in_use += 1;
        book.status.acquires += 1;
        if let Some(free) = book.free.pop() {
            book.loans[free] = loan;
            return LoanId(free);
        }
        book.loans.push(loan);
        LoanId(book.loans.len() - 1)
    }

    /// It came back.
    #[inline]
    pub fn returned(&self, loan: LoanId) {
        let mut book = self.book();
        book.status.in_use -= 1;
        let ended = book.loans[loan.0].take();
        book.free.push(loan.0);
        drop(book);
        if let Some(loan) = ended {
            self.meters.returned(loan.since);
        }
    }

    /// The loans that began `limit` or longer before `now` and were not told of yet.
    pub fn overdue(&self, now: Instant, limit: Duration) -> Vec<Overdue> {
        let mut book = self.book();
        let loans = book.loans.iter_mut().flatten();
        loans
            .filter(|loan| !loan.told)
            .filter_map(|loan| {
                let held = now.saturating_duration_since(loan.since);
                loan.told = held >= limit;
                loan.told.then_some(Overdue {
                    place: loan.place,
                    held,
                })
            })
            .collect()
    }

    /// The pool has new sizes; the `max_size` it had before.
    pub fn resized(&self, min_size: u32, max_size: u32) -> u32 {
        let mut book = self.book();
        book.status.min_size = min_size;
        let before = std::mem::replace(&mut book.status.max_size, max_size);
        drop(book);
        self.meters.resized(max_size);
        before
    }

    /// A caller began to wait; the entry ends with the guard.
    pub fn waits(&self, now: Instant) -> Wait<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.meters.waits();
        Wait {
            ledger: self,
            since: now,
        }
    }

    /// A session was opened.
    pub fn opened(&self) {
        let mut book = self.book();
        book.status.opened += 1;
        book.last_error = None;
        book.away_since = None;
        drop(book);
        self.meters.opened();
    }

    /// A search for a server that began at `began` has given a session.
    pub fn connected(&self, began: Instant) {
        self.meters.connected(began);
    }

    /// A session could not be opened, `now`.
    pub fn open_failed(&self, error: &Error, now: Instant) {
        let mut book = self.book();
        book.last_error = Some(error.clone());
        if error.is_transient() {
            book.away_since.get_or_insert(now);
        }
        drop(book);
        self.meters.open_failed();
        events::connect_failed(&self.name, error);
    }

    /// How long no session could be opened because the server is away; `None` while it is there.
    pub fn away_for(&self, now: Instant) -> Option<Duration> {
        let since = self.book().away_since;
        since.map(|since| now.saturating_duration_since(since))
    }

    /// A session ended.
    pub fn closed(&self, reason: CloseReason) {
        self.book().status.closed.count(reason);
        self.meters.closed(reason);
        events::discarded(&self.name, reason);
    }

    /// Whether a session was ever opened: from then on a server that does not answer counts as
    /// away, before as wrongly configured.
    pub fn ever_opened(&self) -> bool {
        self.book().status.opened > 0
    }

    /// The numbers now.
    pub fn status(&self) -> Status {
        let mut status = self.numbers(&self.book());
        status.statement_cache = self.statements.status();
        status
    }

    fn numbers(&self, book: &Book) -> Status {
        let mut status = book.numbers();
        status.waiting = self.waiting.load(Ordering::Relaxed);
        status.longest_wait = Duration::from_nanos(self.longest_wait.load(Ordering::Relaxed));
        status
    }

    fn waited(&self, waited: Duration) {
        let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        if nanos > self.longest_wait.load(Ordering::Relaxed) {
            self.longest_wait.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    /// The error for a caller that gave up after `waited`.
    pub fn timed_out(&self, waited: Duration, now: Instant) -> Error {
        self.waited(waited);
        let mut book = self.book();
        book.status.timeouts += 1;
        let status = self.numbers(&book);
        let mut timeout = AcquireTimeout::new(Arc::clone(&self.target), waited, status);
        timeout.longest_held = book
            .loans
            .iter()
            .flatten()
            .min_by_key(|loan| loan.since)
            .map(|loan| (loan.place, now.saturating_duration_since(loan.since)));
        timeout.last_error = book.last_error.clone();
        drop(book);
        self.meters.timed_out();
        let error = Error::Timeout(Arc::new(timeout));
        events::acquire_failed(&self.name, waited, &error);
        error
    }

    /// The error for a caller that may not even wait.
    pub fn queue_full(&self) -> Error {
        let error = Error::QueueFull {
            target: Arc::clone(&self.target),
            status: Box::new(self.status()),
        };
        events::acquire_failed(&self.name, Duration::ZERO, &error);
        error
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Every entry leaves the book whole, so that a panic elsewhere in the holding thread
        // has not damaged it.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn numbers(&self) -> Status {
        let mut status = self.status.clone();
        let open = status.opened.saturating_sub(status.closed.total());
        status.size = u32::try_from(open).unwrap_or(u32::MAX);
        status.idle = status.size.saturating_sub(status.in_use);
        status
    }
}

/// A caller that waits. Dropping it ends the wait, however that came about.
#[derive(Debug)]
pub struct Wait<'a> {
    ledger: &'a Ledger,
    since: Instant,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.ledger.waiting.fetch_sub(1, Ordering::Relaxed);
        self.ledger.waited(self.since.elapsed());
        self.ledger.meters.waited();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_add_up() {
        let ledger = Ledger::new("u@h:1/d", 1, 4);
        ledger.opened();
        ledger.opened();
        let now = Instant::now();
        let first = ledger.lent(Location::caller(), now);
        let status = ledger.status();
        assert_eq!((status.size, status.idle, status.in_use), (2, 1, 1));
        ledger.closed(CloseReason::Dead);
        ledger.returned(first);
        let status = ledger.status();
        assert_eq!((status.size, status.idle, status.in_use), (1, 1, 0));
        assert_eq!(status.closed.dead, 1);
    }

    #[test]
    fn a_wait_that_is_dropped_leaves_no_trace() {
        let ledger = Ledger::new("u@h:1/d", 0, 1);
        let wait = ledger.waits(Instant::now());
        assert_eq!(ledger.status().waiting, 1);
        drop(wait);
        assert_eq!(ledger.status().waiting, 0);
    }

    #[test]
    fn a_loan_that_takes_long_is_told_once() {
        let ledger = Ledger::new("u@h:1/d", 0, 2);
        let (began, limit) = (Instant::now(), Duration::from_secs(2));
        let long = ledger.lent(Location::caller(), began);
        assert_eq!(ledger.overdue(began + limit / 2, limit), []);
        let told = ledger.overdue(began + 2 * limit, limit);
        assert!(told.len() == 1 && told[0].held >= limit, "{told:?}");
        assert_eq!(ledger.overdue(began + 3 * limit, limit), []);
        ledger.returned(long);
        let _next = ledger.lent(Location::caller(), began + limit);
        assert_eq!(ledger.overdue(began + 9 * limit, limit).len(), 1);
    }

    #[test]
    fn a_server_is_away_from_the_first_failure_to_the_next_session() {
        let ledger = Ledger::new("u@h:1/d", 0, 2);
        let now = Instant::now();
        let second = Duration::from_secs(1);
        ledger.open_failed(&Error::Closed { what: "test" }, now);
        assert_eq!(ledger.away_for(now), None, "it is there and said no");
        ledger.open_failed(&crate::error::tests::refused(), now);
        ledger.open_failed(&crate::error::tests::refused(), now + second);
        assert_eq!(ledger.away_for(now + 3 * second), Some(3 * second));
        ledger.opened();
        assert_eq!(ledger.away_for(now + 3 * second), None);
    }

    #[test]
    fn a_time_out_names_the_longest_holder() {
        let ledger = Ledger::new("u@h:1/d", 0, 2);
        let now = Instant::now();
        let _older = ledger.lent(Location::caller(), now);
        let line = line!() - 1;
        let _newer = ledger.lent(Location::caller(), now + Duration::from_secs(1));
        let error = ledger.timed_out(Duration::from_secs(3), now + Duration::from_secs(5));
        let text = error.to_string();
        assert!(text.contains("2 of 2 in use"), "{text}");
        assert!(
            text.contains(&format!("5.0s, acquired at {}:{line}", file!())),
            "{text}"
        );
        assert!(error.is_timeout());
    }
}
