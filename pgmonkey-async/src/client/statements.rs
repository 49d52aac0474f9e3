//! The statement methods, the same on every handle, guard and transaction.

use std::panic::Location;

use bytes::Buf;
use pgmonkey_connect::deadline::TimedCall;
use pgmonkey_connect::parameter_types::{check_count, check_number};
use pgmonkey_connect::{AsStatement, Error, StatementRef};

use crate::client::copy::{CopyInSink, CopyOutStream};
use crate::client::stream::{Origin, RowStream};
use crate::session::Session;
use crate::session::answer::{Answer, CopyIn, CopyOut, Params, Stream};

impl Session {
    /// Runs one statement: a text through the cache, a prepared statement as it is.
    pub(crate) async fn run_statement<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        place: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let _place = self.calling_from(place);
        // Built where it is awaited, because moving a future copies it.
        match self.limit() {
            Some(call) => {
                let run = self.run_by::<A, S>(call, statement, params);
                Box::pin(run).await
            }
            None => self.run_unbounded::<A, S>(statement, params).await,
        }
    }

    /// As [`run_statement`](Self::run_statement), by a deadline.
    pub(crate) async fn run_by<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        call: TimedCall,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let run = self.run_unbounded::<A, S>(statement, params);
        self.bounded_by(call, run).await
    }

    async fn run_unbounded<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        match self.is_standalone() {
            true => {
                let run = self.run_plain::<A, S>(statement, params);
                Box::pin(self.in_savepoint(run)).await
            }
            false => self.run_plain::<A, S>(statement, params).await,
        }
    }

    pub(crate) async fn run_plain<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        self.make_ready().await?;
        self.check_settings()?;
        check_number(params.len())?;
        match statement.as_statement() {
            StatementRef::Text(text) => self.run_text::<A>(text, params).await,
            StatementRef::Prepared(prepared) => {
                check_count(params.len(), prepared.params())?;
                let sending = self.sending();
                let done = A::run(self.client(), prepared, params).await;
                done.map_err(|error| {
                    self.forget_if_to_blame(&error, prepared);
                    let text = self.text_of(prepared);
                    self.explain_statement(error, A::TAKES, (sending, text.as_deref()))
                })
            }
        }
    }

    /// Runs one statement whose stream has the session to itself.
    async fn run_apart<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        place: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<(A::Output, Origin), Error> {
        let _place = self.calling_from(place);
        // A stream outlives the call, so in a test transaction it has no savepoint of its own.
        let sending = self.sending();
        let output = self.bounded(self.run_plain::<A, S>(statement, params));
        let output = output.await?;
        let sent = (sending, statement.text());
        Ok((output, Origin::of(self, self.limit(), sent)))
    }

    /// Runs statements separated by semicolons.
    pub(crate) async fn run_batch(
        &self,
        place: &'static Location<'static>,
        statements: &str,
    ) -> Result<(), Error> {
        let _place = self.calling_from(place);
        self.bounded(self.run_batch_unbounded(statements)).await
    }

    pub(crate) async fn run_batch_unbounded(&self, statements: &str) -> Result<(), Error> {
        let sent = self.label().text_to_send(statements);
        match self.is_standalone() {
            true => Box::pin(self.in_savepoint(self.run(&sent))).await,
            false => {
                self.check_settings()?;
                let sending = self.sending();
                let done = self.run(&sent).await;
                done.map_err(|error| {
                    sending.explain(error, Some(self.observer()), Some(statements))
                })
            }
        }
    }
}

/// Generates the stream methods, which are the same for a pool and a session.
macro_rules! streams {
    ($kind:ty) => {
        impl $kind {
            pub(crate) async fn stream_rows<S: ?Sized + Sync + AsStatement>(
                &self,
                location: &'static Location<'static>,
                statement: &S,
                params: Params<'_>,
            ) -> Result<RowStream, Error> {
                let (rows, origin) = self
                    .run_apart::<Stream, S>(location, statement, params)
                    .await?;
                Ok(RowStream::new(rows, origin))
            }

            pub(crate) async fn copy_from<S: ?Sized + Sync + AsStatement>(
                &self,
                location: &'static Location<'static>,
                statement: &S,
            ) -> Result<CopyOutStream, Error> {
                let (data, origin) = self
                    .run_apart::<CopyOut, S>(location, statement, &[])
                    .await?;
                Ok(CopyOutStream::new(data, origin))
            }

            pub(crate) async fn copy_to<S, U>(
                &self,
                location: &'static Location<'static>,
                statement: &S,
            ) -> Result<CopyInSink<U>, Error>
            where
                S: ?Sized + Sync + AsStatement,
                U: Buf + Send + 'static,
            {
                let (sink, origin) = self
                    .run_apart::<CopyIn<U>, S>(location, statement, &[])
                    .await?;
                Ok(CopyInSink::new(sink, origin))
            }
        }
    };
}

streams!(Session);

/// Generates the methods that run a statement; `$target` is the pool or the session that runs it.
macro_rules! statements {
    ($kind:ty, $this:ident => $target:expr, $(#[$doc:meta])+) => {
        impl $kind {
            $(#[$doc])+
            ///
            /// ```no_run
            #[doc = concat!("# async fn example(db: pgmonkey_async::", stringify!($kind), ") -> Result<(), pgmonkey_async::Error> {")]
            /// for row in db.query("SELECT name FROM users WHERE id = $1", &[&42]).await? {
            ///     println!("{}", row.get::<_, &str>("name"));
            /// }
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// [`Error::Database`]; on a handle also the errors of `acquire`.
            #[track_caller]
            pub fn query<S: ?Sized + Sync + ::pgmonkey_connect::AsStatement>(
                &$this,
                statement: &S,
                params: &[&(dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<Vec<::tokio_postgres::Row>, Error>> + Send {
                let location = ::std::panic::Location::caller();
                $target.run_statement::<$crate::session::answer::Rows, S>(location, statement, params)
            }

            /// As [`query`](Self::query), for exactly one row.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query); [`Error::NoRow`] if there is no row, and an error if
            /// there is more than one.
            #[track_caller]
            pub fn query_one<S: ?Sized + Sync + ::pgmonkey_connect::AsStatement>(
                &$this,
                statement: &S,
                params: &[&(dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<::tokio_postgres::Row, Error>> + Send {
                let location = ::std::panic::Location::caller();
                let found = $target.run_statement::<$crate::session::answer::Optional, S>(location, statement, params);
                async move { found.await?.ok_or(Error::NoRow) }
            }

            /// As [`query`](Self::query), for at most one row.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query), and an error if there is more than one row.
            #[track_caller]
            pub fn query_opt<S: ?Sized + Sync + ::pgmonkey_connect::AsStatement>(
                &$this,
                statement: &S,
                params: &[&(dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<Option<::tokio_postgres::Row>, Error>> + Send {
                let location = ::std::panic::Location::caller();
                $target.run_statement::<$crate::session::answer::Optional, S>(location, statement, params)
            }

            /// As [`query`](Self::query), but returns the number of rows that the statement
            /// changed.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn execute<S: ?Sized + Sync + ::pgmonkey_connect::AsStatement>(
                &$this,
                statement: &S,
                params: &[&(dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<u64, Error>> + Send {
                let location = ::std::panic::Location::caller();
                $target.run_statement::<$crate::session::answer::Count, S>(location, statement, params)
            }

            /// As [`query`](Self::query), but returns rows as they arrive instead of collecting
            /// them.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn query_raw<S: ?Sized + Sync + ::pgmonkey_connect::AsStatement>(
                &$this,
                statement: &S,
                params: &[&(dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<$crate::client::stream::RowStream, Error>> + Send {
                let location = ::std::panic::Location::caller();
                $target.stream_rows(location, statement, params)
            }

            /// Begins a `COPY … FROM STDIN`. The returned value takes the data.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn copy_in<S, U>(
                &$this,
                statement: &S,
            ) -> impl Future<Output = Result<$crate::client::copy::CopyInSink<U>, Error>> + Send
            where
                S: ?Sized + Sync + ::pgmonkey_connect::AsStatement,
                U: ::bytes::Buf + Send + 'static,
            {
                let location = ::std::panic::Location::caller();
                $target.copy_to(location, statement)
            }

            /// Begins a `COPY … TO STDOUT`. The returned value yields the data.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn copy_out<S: ?Sized + Sync + ::pgmonkey_connect::AsStatement>(
                &$this,
                statement: &S,
            ) -> impl Future<Output = Result<$crate::client::copy::CopyOutStream, Error>> + Send
            {
                let location = ::std::panic::Location::caller();
                $target.copy_from(location, statement)
            }

            /// Runs statements separated by semicolons, without parameters.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn batch_execute(
                &$this,
                statements: &str,
            ) -> impl Future<Output = Result<(), Error>> + Send {
                let location = ::std::panic::Location::caller();
                $target.run_batch(location, statements)
            }
        }
    };
}

/// [`statements`] for a guard or a transaction: each runs on its session.
macro_rules! statements_of_session {
    ($kind:ty) => {
        $crate::client::statements::statements! {
            $kind, self => self.session(),
            /// Runs one statement on this session, with the cache and the errors of
            /// [`Pool::query`](crate::Pool::query): a text is prepared once per session.
            ///
            /// The methods of [`tokio_postgres::Client`] with the same names are available through
            /// the dereferenced value (`(*client).query(…)`); they prepare a text each time and
            /// return the driver's error.
        }
    };
}

pub(crate) use {statements, statements_of_session, streams};
