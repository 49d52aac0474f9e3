//! Rows that are streamed instead of held in memory, and what all streams have in common.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_core::Stream;
use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::deadline::TimedCall;
use pgmonkey_connect::outcome::Sending;
use pgmonkey_connect::wire::Observer;
use pgmonkey_connect::{DeadlineExceeded, Error, StatementEnd};
use tokio::time::{Sleep, sleep_until};
use tokio_postgres::Row;

use crate::client::guard::ClientGuard;
use crate::session::Session;
use crate::session::unread::{Source, UnreadStream, UnreadStreams};

/// The session of a stream.
pub(crate) struct Origin {
    observer: Arc<Observer>,
    /// The statement, which may have been executed although the session was lost.
    statement: (Sending, Option<Box<str>>),
    limit: Option<Limit>,
    /// Where the stream goes if it is dropped before its end, for the stream of a guard.
    unread: Option<Arc<UnreadStreams>>,
    /// The session's guard, for the stream of a handle; released at the end of the stream.
    pub(super) guard: Option<ClientGuard>,
}

/// What was known before a stream's statement was sent, and its text.
type Sent<'a> = (Sending, Option<&'a str>);

/// The deadline of a stream.
struct Limit {
    call: TimedCall,
    /// Wakes the reader at the deadline.
    alarm: Pin<Box<Sleep>>,
}

impl Origin {
    /// A stream on a session that its caller holds.
    pub(crate) fn of(session: &Session, call: Option<TimedCall>, sent: Sent<'_>) -> Self {
        let mut origin = Self::new(session, call, sent);
        origin.unread = Some(Arc::clone(session.unread()));
        origin
    }

    /// A stream on a session of its own.
    pub(crate) fn owning(guard: ClientGuard, sent: Sent<'_>) -> Self {
        let session = guard.session();
        let mut origin = Self::new(session, session.limit(), sent);
        origin.guard = Some(guard);
        origin
    }

    fn new(session: &Session, call: Option<TimedCall>, (sending, text): Sent<'_>) -> Self {
        let limit = call.map(|call| Limit {
            call,
            alarm: Box::pin(sleep_until(call.deadline.instant().into())),
        });
        Self {
            observer: Arc::clone(session.observer()),
            statement: (sending, text.map(Box::from)),
            limit,
            unread: None,
            guard: None,
        }
    }

    /// Converts a driver error; adds the reason if the session has ended.
    pub(super) fn explain(&self, error: tokio_postgres::Error) -> Error {
        let (sending, text) = &self.statement;
        let error = Takes::Rows.explain(error, Some(&self.observer));
        sending.explain(error, Some(&self.observer), text.as_deref())
    }

    /// Fails once the deadline has passed; wakes the task then.
    pub(super) fn check_limit(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(limit) = &mut self.limit else {
            return Ok(());
        };
        match limit.alarm.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(DeadlineExceeded::running(
                StatementEnd::Abandoned,
                limit.call,
            )),
        }
    }

    /// Takes care of what a stream has left unread: the session's next call does so, or the release
    /// of the session.
    pub(super) fn leave(&self, source: Source) {
        if let Some(unread) = &self.unread {
            let now = Instant::now();
            let is_over = |limit: &Limit| limit.call.deadline.is_over(now);
            let stops = self.limit.as_ref().is_some_and(is_over);
            unread.keep(UnreadStream { source, stops });
        }
    }
}

/// Rows as they arrive from the server: a [`Stream`], or [`next`](Self::next) in a loop.
///
/// On a handle, the rows use a session of their own. It is released at the end of the rows or when
/// the stream is dropped. Rows that were not read are then cancelled.
///
/// ```no_run
/// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
/// let mut rows = pool.query_raw("SELECT name FROM users WHERE id > $1", &[&42]).await?;
/// while let Some(row) = rows.next().await {
///     println!("{}", row?.get::<_, &str>("name"));
/// }
/// # Ok(()) }
/// ```
#[must_use = "rows are fetched as they are read"]
pub struct RowStream {
    /// `None` after the end: the driver's stream must not be polled then.
    rows: Option<Pin<Box<tokio_postgres::RowStream>>>,
    rows_affected: Option<u64>,
    /// After the rows, so that it is dropped after them.
    origin: Origin,
}

impl RowStream {
    pub(crate) fn new(rows: tokio_postgres::RowStream, origin: Origin) -> Self {
        Self {
            rows: Some(Box::pin(rows)),
            rows_affected: None,
            origin,
        }
    }

    /// Returns the next row; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn next(&mut self) -> Option<Result<Row, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Returns how many rows the statement affected; known at the end of the stream.
    pub fn rows_affected(&self) -> Option<u64> {
        self.rows_affected
    }
}

impl Stream for RowStream {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(rows) = &mut this.rows else {
            return Poll::Ready(None);
        };
        if let Err(exceeded) = this.origin.check_limit(cx) {
            this.end();
            return Poll::Ready(Some(Err(exceeded)));
        }
        let row = ready!(rows.as_mut().poll_next(cx));
        if row.is_none() {
            this.rows_affected = rows.rows_affected();
            (this.rows, this.origin.guard) = (None, None);
        }
        Poll::Ready(row.map(|row| row.map_err(|error| this.origin.explain(error))))
    }
}

impl RowStream {
    /// Ends the stream before its last row.
    fn end(&mut self) {
        if let Some(rows) = self.rows.take() {
            self.origin.leave(Source::Rows(rows));
        }
        self.origin.guard = None;
    }
}

impl Drop for RowStream {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for RowStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream").finish_non_exhaustive()
    }
}
