//! The statements, the same on every handle, guard and transaction.

use std::panic::Location;
use std::sync::Arc;

use bytes::Buf;
use pgmonkey_connect::parameter_types::{check_count, check_number};
use pgmonkey_connect::{AsStatement, Error, StatementRef};

use crate::answer::{Answer, CopyIn, CopyOut, Params, Stream};
use crate::pool::Pool;
use crate::session::Session;
use crate::stream::{CopyInSink, CopyOutStream, Origin, RowStream};

impl Pool {
    /// Runs one statement on a session of its own, or on one that is shared if it may: a text
    /// through the session's cache, what is prepared already as it is.
    pub(crate) async fn run_statement<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        place: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        check_number(params.len())?;
        if let (Some(multiplex), Some(text)) = (&self.shared().multiplex, statement.text())
            && multiplex.takes(text, params)
        {
            self.shared().check_origin()?;
            return self.run_shared::<A>(multiplex, place, text, params).await;
        }
        let guard = self.acquire_at(place).await?;
        let session = guard.session();
        session
            .run_statement::<A, S>(place, statement, params)
            .await
    }

    /// Runs one statement on a session of its own, and keeps that for its stream.
    async fn run_apart<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        place: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<(A::Output, Origin), Error> {
        let guard = self.hold(place).await?;
        let session = guard.session();
        let output = session.run_plain::<A, S>(statement, params).await?;
        let observer = Arc::clone(session.observer());
        Ok((output, Origin::new(observer, Some(guard))))
    }

    /// Runs statements that are separated by semicolons on a session of its own.
    pub(crate) async fn run_batch(
        &self,
        place: &'static Location<'static>,
        statements: &str,
    ) -> Result<(), Error> {
        let guard = self.acquire_at(place).await?;
        guard.session().run_batch(place, statements).await
    }
}

impl Session {
    /// Runs one statement: a text through the cache, what is prepared already as it is.
    pub(crate) async fn run_statement<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        _place: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        // Built where it is awaited: a future that moves is copied.
        match self.is_standalone() {
            true => {
                let run = self.run_plain::<A, S>(statement, params);
                Box::pin(self.in_savepoint(run)).await
            }
            false => self.run_plain::<A, S>(statement, params).await,
        }
    }

    async fn run_plain<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        self.check_usable()?;
        check_number(params.len())?;
        match statement.as_statement() {
            StatementRef::Text(text) => self.run_text::<A>(text, params).await,
            StatementRef::Prepared(prepared) => {
                check_count(params.len(), prepared.params())?;
                let done = A::run(self.client(), prepared, params).await;
                done.map_err(|error| {
                    self.forget_if_to_blame(&error, prepared);
                    self.explain_answer(error, A::TAKES)
                })
            }
        }
    }

    /// Runs one statement; its stream is the session's only.
    async fn run_apart<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        _place: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<(A::Output, Origin), Error> {
        // A stream outlives the call: in a test it has no savepoint.
        let output = self.run_plain::<A, S>(statement, params).await?;
        Ok((output, Origin::new(Arc::clone(self.observer()), None)))
    }

    /// Runs statements that are separated by semicolons.
    pub(crate) async fn run_batch(
        &self,
        _place: &'static Location<'static>,
        statements: &str,
    ) -> Result<(), Error> {
        match self.is_standalone() {
            true => Box::pin(self.in_savepoint(self.run(statements))).await,
            false => self.run(statements).await,
        }
    }
}

/// Gives a pool and a session the streams, which are made the same way.
macro_rules! streams {
    ($kind:ty) => {
        impl $kind {
            pub(crate) async fn stream_rows<S: ?Sized + Sync + AsStatement>(
                &self,
                place: &'static Location<'static>,
                statement: &S,
                params: Params<'_>,
            ) -> Result<RowStream, Error> {
                let (rows, origin) = self
                    .run_apart::<Stream, S>(place, statement, params)
                    .await?;
                Ok(RowStream::new(rows, origin))
            }

            pub(crate) async fn copy_from<S: ?Sized + Sync + AsStatement>(
                &self,
                place: &'static Location<'static>,
                statement: &S,
            ) -> Result<CopyOutStream, Error> {
                let (data, origin) = self.run_apart::<CopyOut, S>(place, statement, &[]).await?;
                Ok(CopyOutStream::new(data, origin))
            }

            pub(crate) async fn copy_to<S, U>(
                &self,
                place: &'static Location<'static>,
                statement: &S,
            ) -> Result<CopyInSink<U>, Error>
            where
                S: ?Sized + Sync + AsStatement,
                U: Buf + Send + 'static,
            {
                let (sink, origin) = self
                    .run_apart::<CopyIn<U>, S>(place, statement, &[])
                    .await?;
                Ok(CopyInSink::new(sink, origin))
            }
        }
    };
}

streams!(Pool);
streams!(Session);

/// Gives a type the methods that run a statement; `$target` is the pool or the session that does.
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
            /// [`Error::Database`]; on a handle also those of `acquire`.
            #[track_caller]
            pub fn query<S: ?Sized + Sync + ::pgmonkey_connect::AsStatement>(
                &$this,
                statement: &S,
                params: &[&(dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<Vec<::tokio_postgres::Row>, Error>> + Send {
                let place = ::std::panic::Location::caller();
                $target.run_statement::<$crate::answer::Rows, S>(place, statement, params)
            }

            /// As [`query`](Self::query), for exactly one row.
            ///
            /// ```no_run
            #[doc = concat!("# async fn example(db: pgmonkey_async::", stringify!($kind), ") -> Result<(), pgmonkey_async::Error> {")]
            /// let count: i64 = db.query_one("SELECT count(*) FROM users", &[]).await?.get(0);
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query), [`Error::NoRow`] if there is none, and if there is more than one.
            #[track_caller]
            pub fn query_one<S: ?Sized + Sync + ::pgmonkey_connect::AsStatement>(
                &$this,
                statement: &S,
                params: &[&(dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<::tokio_postgres::Row, Error>> + Send {
                let place = ::std::panic::Location::caller();
                let found = $target.run_statement::<$crate::answer::Optional, S>(place, statement, params);
                async move { found.await?.ok_or(Error::NoRow) }
            }

            /// As [`query`](Self::query), for one row or none.
            ///
            /// ```no_run
            #[doc = concat!("# async fn example(db: pgmonkey_async::", stringify!($kind), ") -> Result<(), pgmonkey_async::Error> {")]
            /// let row = db.query_opt("SELECT name FROM users WHERE id = $1", &[&42]).await?;
            /// println!("{}", row.map_or("nobody", |_| "somebody"));
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query), and if there is more than one row.
            #[track_caller]
            pub fn query_opt<S: ?Sized + Sync + ::pgmonkey_connect::AsStatement>(
                &$this,
                statement: &S,
                params: &[&(dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<Option<::tokio_postgres::Row>, Error>> + Send {
                let place = ::std::panic::Location::caller();
                $target.run_statement::<$crate::answer::Optional, S>(place, statement, params)
            }

            /// As [`query`](Self::query), for the number of rows a statement changed.
            ///
            /// ```no_run
            #[doc = concat!("# async fn example(db: pgmonkey_async::", stringify!($kind), ") -> Result<(), pgmonkey_async::Error> {")]
            /// let changed = db.execute("DELETE FROM visits WHERE page = $1", &[&"home"]).await?;
            /// println!("{changed} removed");
            /// # Ok(()) }
            /// ```
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
                let place = ::std::panic::Location::caller();
                $target.run_statement::<$crate::answer::Count, S>(place, statement, params)
            }

            /// As [`query`](Self::query), with the rows as they come instead of all at once.
            ///
            /// ```no_run
            #[doc = concat!("# async fn example(db: pgmonkey_async::", stringify!($kind), ") -> Result<(), pgmonkey_async::Error> {")]
            /// let mut rows = db.query_raw("SELECT name FROM users WHERE id > $1", &[&42]).await?;
            /// while let Some(row) = rows.next().await {
            ///     println!("{}", row?.get::<_, &str>("name"));
            /// }
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn query_raw<S: ?Sized + Sync + ::pgmonkey_connect::AsStatement>(
                &$this,
                statement: &S,
                params: &[&(dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<$crate::stream::RowStream, Error>> + Send {
                let place = ::std::panic::Location::caller();
                $target.stream_rows(place, statement, params)
            }

            /// Begins a `COPY … FROM STDIN`; the sink takes its data.
            ///
            /// ```no_run
            #[doc = concat!("# async fn example(db: pgmonkey_async::", stringify!($kind), ") -> Result<(), pgmonkey_async::Error> {")]
            /// let mut users = db.copy_in::<_, &[u8]>("COPY users FROM STDIN (FORMAT csv)").await?;
            /// users.send(b"1,ann\n2,bob\n").await?;
            /// println!("{} rows", users.finish().await?);
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn copy_in<S, U>(
                &$this,
                statement: &S,
            ) -> impl Future<Output = Result<$crate::stream::CopyInSink<U>, Error>> + Send
            where
                S: ?Sized + Sync + ::pgmonkey_connect::AsStatement,
                U: ::bytes::Buf + Send + 'static,
            {
                let place = ::std::panic::Location::caller();
                $target.copy_to(place, statement)
            }

            /// Begins a `COPY … TO STDOUT`; the stream gives its data.
            ///
            /// ```no_run
            #[doc = concat!("# async fn example(db: pgmonkey_async::", stringify!($kind), ") -> Result<(), pgmonkey_async::Error> {")]
            /// let mut users = db.copy_out("COPY users TO STDOUT (FORMAT csv)").await?;
            /// while let Some(line) = users.next().await {
            ///     print!("{}", String::from_utf8_lossy(&line?));
            /// }
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn copy_out<S: ?Sized + Sync + ::pgmonkey_connect::AsStatement>(
                &$this,
                statement: &S,
            ) -> impl Future<Output = Result<$crate::stream::CopyOutStream, Error>> + Send
            {
                let place = ::std::panic::Location::caller();
                $target.copy_from(place, statement)
            }

            /// Runs statements separated by semicolons, without parameters.
            ///
            /// ```no_run
            #[doc = concat!("# async fn example(db: pgmonkey_async::", stringify!($kind), ") -> Result<(), pgmonkey_async::Error> {")]
            /// db.batch_execute("CREATE TABLE a (n int); CREATE TABLE b (n int)").await?;
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn batch_execute(
                &$this,
                statements: &str,
            ) -> impl Future<Output = Result<(), Error>> + Send {
                let place = ::std::panic::Location::caller();
                $target.run_batch(place, statements)
            }
        }
    };
}

/// [`statements`] for a handle with `pool()`: each on a session of its own.
macro_rules! statements_of_handle {
    ($kind:ty) => {
        $crate::statements::statements! {
            $kind, self => self.pool(),
            /// Runs one statement on a session of its own; see [`tokio_postgres::Client::query`].
            ///
            /// A text is prepared once for each session and kept in its cache of
            /// `statement_cache` statements; one that a change of the schema made stale is
            /// prepared anew by itself. With `statement_cache: 0` nothing is prepared, which is
            /// what a pooler in transaction mode needs: the types of a text's parameters are
            /// asked for when it is first run, and it then takes one round trip.
            ///
            /// A pool with `multiplex: true` may run a text on a session that others use at the
            /// same time, by pipelining, when no session is idle: if it begins with SELECT,
            /// INSERT, UPDATE, DELETE, MERGE, WITH, VALUES or TABLE and names no function that
            /// changes the session (`set_config`, advisory locks, …). What functions of your own
            /// do is not seen: call those that change the session through
            /// [`acquire`](Self::acquire). A long statement keeps those behind it waiting.
        }
    };
}

/// [`statements`] for a guard or a transaction: each on the session that it has.
macro_rules! statements_of_session {
    ($kind:ty) => {
        $crate::statements::statements! {
            $kind, self => self.session(),
            /// Runs one statement on this session, with the cache and the errors of
            /// [`Pool::query`](crate::Pool::query): a text is prepared once for the session.
            ///
            /// The methods of the same names that [`tokio_postgres::Client`] has are reachable through the
            /// dereferenced value (`(*client).query(…)`); they prepare a text each time, and
            /// return the driver's error.
        }
    };
}

pub(crate) use {statements, statements_of_handle, statements_of_session};
