//! Whether a statement or a `COMMIT` was executed whose session was lost before the answer.
//!
//! A session that is lost takes its open transaction with it. What is in doubt is what may have
//! been committed: a `COMMIT`, and a statement outside a transaction. Both only if something of
//! them was sent.

use crate::Error;
use crate::savepoint::Mark;
use crate::sql::{Effects, effects, only_reads};
use crate::wire::{Observer, TransactionEnd};

/// What is known of a session just before a statement is sent on it.
#[derive(Debug, Clone, Copy)]
pub struct Sending {
    /// The number of requests sent before; unknown where the wire is not observed.
    requests: Option<u32>,
    /// Whether a transaction is known to be open, where the wire is not observed.
    inside: bool,
}

impl Sending {
    /// Reads what is known before a statement is sent. Costs one load.
    ///
    /// On a Unix socket the blocking driver's wire is not observed: there `inside` says whether the
    /// session has begun a transaction, and each statement counts as sent.
    #[inline]
    pub fn on(observer: Option<&Observer>, inside: bool) -> Self {
        Self {
            requests: observer.map(Observer::requests),
            inside,
        }
    }

    /// Returns the error of a statement that failed with `error`: [`Error::OutcomeUnknown`] if the
    /// session was lost and the statement may have been executed. `text` is its SQL text, if known.
    #[cold]
    pub fn explain(self, error: Error, observer: Option<&Observer>, text: Option<&str>) -> Error {
        match self.lost_answer(&error, observer) && self.may_be_kept(observer, text) {
            true => Error::outcome_unknown(error),
            false => error,
        }
    }

    /// Returns the outcome of the statement that was to commit `mark`, where `done` is its answer.
    ///
    /// # Errors
    ///
    /// [`Error::CommitUnknown`] if a `COMMIT` was sent and not answered; otherwise the errors of
    /// [`Mark::committed`], and that of `done`.
    pub fn committed(
        self,
        mark: Mark,
        done: Result<(), Error>,
        observer: Option<&Observer>,
    ) -> Result<(), Error> {
        let ends = observer.map(Observer::transaction_ends);
        let end = |mark: Mark| ends.and_then(|ends| mark.end_of_transaction(ends));
        let is_committed = |mark: Mark| end(mark) == Some(TransactionEnd::Commit);
        match done {
            Ok(()) => ends.map_or(Ok(()), |ends| mark.committed(ends)),
            // With the session, a savepoint is lost in any case.
            Err(error) if mark.depth == 0 && self.lost_answer(&error, observer) => {
                // The answer may have arrived before the end of the session.
                match end(mark) {
                    Some(TransactionEnd::Commit) => Ok(()),
                    Some(TransactionEnd::Rollback) => Err(Error::RolledBack),
                    _ => Err(Error::commit_unknown(error)),
                }
            }
            // A statement behind COMMIT in the same message failed.
            Err(_) if mark.depth == 0 && is_committed(mark) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether something of the statement was sent, and the session was lost before the answer.
    fn lost_answer(self, error: &Error, observer: Option<&Observer>) -> bool {
        let sent = || observer.map(Observer::requests) != self.requests || observer.is_none();
        error.has_lost_answer() && sent()
    }

    /// Whether the work of a statement may be kept although its session was lost.
    fn may_be_kept(self, observer: Option<&Observer>, text: Option<&str>) -> bool {
        let found = text.map_or(Effects::UNKNOWN, effects);
        let (inside, read_only, copying) = observer.map_or((self.inside, false, false), |seen| {
            (
                seen.was_in_transaction(),
                seen.parameter("default_transaction_read_only").as_deref() == Some("on"),
                seen.takes_copy_data(),
            )
        });
        if copying {
            // A copy is only executed once the client has ended it.
            return false;
        }
        match (inside, text) {
            // A prepared statement cannot end a transaction by accident.
            (true, None) => false,
            (true, Some(_)) => found.has(Effects::ENDS),
            (false, None) => true,
            (false, Some(text)) => !(only_reads(text) || read_only && found == Effects::NONE),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_postgres::NoTls;

    use super::*;
    use crate::wire::ObservedStream;

    const INSERT: &str = "INSERT INTO t VALUES (1)";
    const READY: (u8, &[u8]) = (b'Z', b"I");
    const INSIDE: (u8, &[u8]) = (b'Z', b"T");
    const OUTERMOST: u32 = 0;

    /// A session whose server is the test.
    struct Session {
        stream: ObservedStream<DuplexStream>,
        server: DuplexStream,
        observer: Arc<Observer>,
    }

    fn message((kind, body): (u8, &[u8])) -> Vec<u8> {
        let length = (body.len() as u32 + 4).to_be_bytes();
        [&[kind], &length[..], body].concat()
    }

    impl Session {
        async fn open() -> Self {
            let (client, server) = duplex(4096);
            let observer = Arc::new(Observer::default());
            let stream = ObservedStream::new(client, Arc::clone(&observer), None);
            let mut session = Self {
                stream,
                server,
                observer,
            };
            let startup = [0, 0, 0, 8, 0, 3, 0, 0];
            session
                .stream
                .write_all(&startup)
                .await
                .expect("it is open");
            session.answers(&[(b'R', &[0; 4]), READY]).await;
            session
        }

        async fn sends(&mut self, text: &str) {
            let query = message((b'Q', format!("{text}\0").as_bytes()));
            self.stream.write_all(&query).await.expect("it is open");
        }

        async fn answers(&mut self, messages: &[(u8, &[u8])]) {
            let bytes: Vec<u8> = messages.iter().flat_map(|one| message(*one)).collect();
            self.server.write_all(&bytes).await.expect("it is open");
            let mut read = vec![0; bytes.len()];
            self.stream.read_exact(&mut read).await.expect("sent");
        }

        async fn begins(&mut self) {
            self.sends("BEGIN").await;
            self.answers(&[(b'C', b"BEGIN\0"), INSIDE]).await;
        }

        fn sending(&self) -> Sending {
            Sending::on(Some(&self.observer), false)
        }

        fn mark(&self, depth: u32) -> Mark {
            let ends = self.observer.transaction_ends().count;
            Mark { depth, ends }
        }
    }

    /// The error of a driver whose connection has ended.
    async fn lost() -> Error {
        let (end, _) = duplex(1);
        let mut config = tokio_postgres::Config::new();
        let connected = config.user("app").connect_raw(end, NoTls).await;
        let error = Error::from(connected.err().expect("the other end is closed"));
        assert!(error.is_session_lost(), "{error}");
        error
    }

    /// The error of a driver that is sent one with these fields.
    async fn told(fields: &[&str]) -> Error {
        let (end, mut server) = duplex(4096);
        let body = fields.join("\0") + "\0\0";
        let sent = server.write_all(&message((b'E', body.as_bytes()))).await;
        sent.expect("it is open");
        let mut config = tokio_postgres::Config::new();
        let connected = config.user("app").connect_raw(end, NoTls).await;
        let error = Error::from(connected.err().expect("it is refused"));
        assert!(error.as_db_error().is_some(), "{error}");
        error
    }

    fn is_unknown(error: &Error) -> bool {
        assert!(!(error.is_outcome_unknown() && error.is_transient()));
        error.is_outcome_unknown()
    }

    #[tokio::test]
    async fn a_statement_of_which_nothing_was_sent_has_not_run() {
        let session = Session::open().await;
        let sending = session.sending();
        let error = sending.explain(lost().await, Some(&session.observer), Some(INSERT));
        assert!(!is_unknown(&error), "{error}");
        let mark = session.mark(OUTERMOST);
        let ended = sending.committed(mark, Err(lost().await), Some(&session.observer));
        assert!(ended.is_err_and(|error| !is_unknown(&error)));
    }

    #[tokio::test]
    async fn a_statement_that_was_sent_may_have_run_unless_it_only_reads() {
        for (text, may_have) in [
            (Some(INSERT), true),
            (Some("SELECT lo_creat(1)"), true),
            (Some("SELECT n FROM t"), false),
            // A prepared statement whose text is not known.
            (None, true),
        ] {
            let mut session = Session::open().await;
            let sending = session.sending();
            session.sends(text.unwrap_or(INSERT)).await;
            let error = sending.explain(lost().await, Some(&session.observer), text);
            assert_eq!(is_unknown(&error), may_have, "{text:?}: {error}");
            // An error of the server says that it has not run.
            let error = sending.explain(Error::NoRow, Some(&session.observer), text);
            assert!(matches!(error, Error::NoRow), "{error}");
        }
    }

    #[tokio::test]
    async fn the_server_undoes_a_transaction_unless_the_text_ends_it() {
        for (text, may_have) in [
            (Some(INSERT), false),
            (Some("INSERT INTO t VALUES (1); COMMIT"), true),
            (None, false),
        ] {
            let mut session = Session::open().await;
            session.begins().await;
            let sending = session.sending();
            session.sends(text.unwrap_or(INSERT)).await;
            let error = sending.explain(lost().await, Some(&session.observer), text);
            assert_eq!(is_unknown(&error), may_have, "{text:?}: {error}");
            // On a Unix socket the blocking driver's wire is not observed.
            let error = Sending::on(None, true).explain(lost().await, None, text);
            assert_eq!(is_unknown(&error), may_have, "{text:?}: {error}");
            let error = Sending::on(None, false).explain(lost().await, None, Some(INSERT));
            assert!(is_unknown(&error), "{error}");
        }
    }

    #[tokio::test]
    async fn a_copy_has_run_only_once_its_end_was_sent() {
        let mut session = Session::open().await;
        let sending = session.sending();
        session.sends("COPY t FROM STDIN").await;
        session.answers(&[(b'G', &[0, 0, 1, 0, 0])]).await;
        let text = Some("COPY t FROM STDIN");
        let error = sending.explain(lost().await, Some(&session.observer), text);
        assert!(!is_unknown(&error), "{error}");
        let done = message((b'c', b""));
        session.stream.write_all(&done).await.expect("it is open");
        session.answers(&[(b'C', b"COPY 1\0"), READY]).await;
        let error = sending.explain(lost().await, Some(&session.observer), text);
        assert!(is_unknown(&error), "{error}");
    }

    #[tokio::test]
    async fn a_commit_without_an_answer_is_unknown_and_a_release_is_undone() {
        for (depth, text, unknown) in [
            (OUTERMOST, "COMMIT", true),
            (1, "RELEASE SAVEPOINT pgmonkey_1", false),
        ] {
            let mut session = Session::open().await;
            session.begins().await;
            let (mark, sending) = (session.mark(depth), session.sending());
            session.sends(text).await;
            let ended = sending.committed(mark, Err(lost().await), Some(&session.observer));
            assert!(
                ended.is_err_and(|error| is_unknown(&error) == unknown),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn an_error_may_leave_in_doubt_what_was_sent() {
        let words = "Mserver login has been failing, try again later (server_login_retry)";
        for (fields, may_have) in [
            (
                &["SFATAL", "VFATAL", "C57P01", "Mended", "RProcessInterrupts"][..],
                true,
            ),
            (
                &["SFATAL", "VFATAL", "C57P05", "Mended", "RProcessInterrupts"],
                false,
            ),
            (
                &[
                    "SERROR",
                    "VERROR",
                    "CXX000",
                    "Mcache lookup failed",
                    "Rget_type",
                ],
                false,
            ),
            // PgBouncer 1.18.
            (&["SFATAL", "C08P01", "Mserver conn crashed?"], true),
            (&["SFATAL", "C08P01", words], false),
            // Pgpool-II.
            (
                &[
                    "SERROR",
                    "VERROR",
                    "CXX000",
                    "Munable to read data from DB node 0",
                ],
                true,
            ),
            // CockroachDB.
            (&["SERROR", "C40003", "Mresult is ambiguous"], true),
            (
                &["SERROR", "C08007", "Mtransaction resolution unknown"],
                true,
            ),
        ] {
            let mut session = Session::open().await;
            let sending = session.sending();
            session.sends(INSERT).await;
            let error = told(fields).await;
            assert_eq!(error.is_session_lost(), fields[0] == "SFATAL", "{fields:?}");
            let error = sending.explain(error, Some(&session.observer), Some(INSERT));
            assert_eq!(is_unknown(&error), may_have, "{fields:?}: {error}");
            let mut session = Session::open().await;
            session.begins().await;
            let (mark, sending) = (session.mark(OUTERMOST), session.sending());
            session.sends("COMMIT").await;
            let error = Err(told(fields).await);
            let ended = sending.committed(mark, error, Some(&session.observer));
            let error = ended.expect_err("it is not answered");
            assert_eq!(is_unknown(&error), may_have, "{fields:?}: {error}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_came_before_the_loss_counts() {
        for (tag, committed) in [("COMMIT\0", true), ("ROLLBACK\0", false)] {
            let mut session = Session::open().await;
            session.begins().await;
            let (mark, sending) = (session.mark(OUTERMOST), session.sending());
            session.sends("COMMIT").await;
            session.answers(&[(b'C', tag.as_bytes())]).await;
            let ended = sending.committed(mark, Err(lost().await), Some(&session.observer));
            match committed {
                true => assert!(ended.is_ok(), "{ended:?}"),
                false => assert!(matches!(ended, Err(Error::RolledBack)), "{ended:?}"),
            }
        }
    }
}
