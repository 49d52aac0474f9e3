//! The statements, the same on every handle, guard and transaction.

use std::panic::Location;

use pgmonkey_connect::parameter_types::{check_count, check_number};
use pgmonkey_connect::{AsStatement, Error, StatementRef};

use crate::answer::{Answer, Params};
use crate::pool::Pool;
use crate::session::Session;
use crate::stream::{CopyInWriter, CopyOutReader, Holder, RowIter};

impl Pool {
    /// Runs one statement on a session of its own: a text through the session's cache, what is
    /// prepared already as it is.
    pub(crate) fn run_statement<A: Answer, S: ?Sized + AsStatement>(
        &self,
        place: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let mut guard = self.acquire_at(place)?;
        let session = guard.session_mut();
        session.run_statement::<A, S>(place, statement, params)
    }

    /// Runs statements that are separated by semicolons on a session of its own.
    pub(crate) fn run_batch(
        &self,
        place: &'static Location<'static>,
        statements: &str,
    ) -> Result<(), Error> {
        let mut guard = self.acquire_at(place)?;
        guard.session_mut().run_batch(place, statements)
    }
}

impl Session {
    /// Runs one statement: a text through the cache, what is prepared already as it is.
    pub(crate) fn run_statement<A: Answer, S: ?Sized + AsStatement>(
        &mut self,
        _place: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        check_number(params.len())?;
        self.check_usable()?;
        let run = |session: &mut Self| match statement.as_statement() {
            StatementRef::Text(text) => session.run_text::<A>(text, params),
            StatementRef::Prepared(prepared) => {
                check_count(params.len(), prepared.params())?;
                let done = A::run(session.client_mut(), prepared, params);
                done.map_err(|error| {
                    session.forget_if_to_blame(&error, prepared);
                    session.explain_answer(error, A::TAKES)
                })
            }
        };
        match self.is_standalone() {
            true => self.in_savepoint(run),
            false => run(self),
        }
    }

    /// Runs statements that are separated by semicolons.
    pub(crate) fn run_batch(
        &mut self,
        _place: &'static Location<'static>,
        statements: &str,
    ) -> Result<(), Error> {
        match self.is_standalone() {
            true => self.in_savepoint(|session| session.run(statements)),
            false => self.run(statements),
        }
    }
}

/// Gives a pool and a session the streams, which are made the same way.
macro_rules! streams {
    ($kind:ty, ($($receiver:tt)+), $life:lifetime, |$this:ident, $place:ident| $holder:expr) => {
        impl $kind {
            pub(crate) fn stream_rows<S: ?Sized + AsStatement>(
                $($receiver)+ self,
                $place: &'static Location<'static>,
                statement: &S,
                params: Params<'_>,
            ) -> Result<RowIter<$life>, Error> {
                let $this = self;
                RowIter::open($holder, statement, params)
            }

            pub(crate) fn copy_from<S: ?Sized + AsStatement>(
                $($receiver)+ self,
                $place: &'static Location<'static>,
                statement: &S,
            ) -> Result<CopyOutReader<$life>, Error> {
                let $this = self;
                CopyOutReader::open($holder, statement)
            }

            pub(crate) fn copy_to<S: ?Sized + AsStatement>(
                $($receiver)+ self,
                $place: &'static Location<'static>,
                statement: &S,
            ) -> Result<CopyInWriter<$life>, Error> {
                let $this = self;
                CopyInWriter::open($holder, statement)
            }
        }
    };
}

streams!(Pool, (&), 'static, |pool, place| Holder::Owned(pool.hold(place)?));
streams!(Session, (&mut), '_, |session, _place| Holder::Borrowed(session));

/// Gives a type the methods that run a statement; `$target` is the pool or the session that does.
macro_rules! statements {
    ($kind:ty, $life:lifetime, ($($receiver:tt)+) $this:ident => $target:expr, $(#[$doc:meta])+) => {
        impl $kind {
            $(#[$doc])+
            ///
            /// ```no_run
            #[doc = concat!("# #[allow(unused_mut)] fn example(mut db: pgmonkey_sync::", stringify!($kind), ") -> Result<(), pgmonkey_sync::Error> {")]
            /// for row in db.query("SELECT name FROM users WHERE id = $1", &[&42])? {
            ///     println!("{}", row.get::<_, &str>("name"));
            /// }
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// [`Error::Database`]; on a handle also those of `acquire`.
            #[track_caller]
            pub fn query<S: ?Sized + ::pgmonkey_connect::AsStatement>(
                $($receiver)+ $this,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<Vec<::postgres::Row>, Error> {
                let place = ::std::panic::Location::caller();
                $target.run_statement::<$crate::answer::Rows, S>(place, statement, params)
            }

            /// As [`query`](Self::query), for exactly one row.
            ///
            /// ```no_run
            #[doc = concat!("# #[allow(unused_mut)] fn example(mut db: pgmonkey_sync::", stringify!($kind), ") -> Result<(), pgmonkey_sync::Error> {")]
            /// let count: i64 = db.query_one("SELECT count(*) FROM users", &[])?.get(0);
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query), [`Error::NoRow`] if there is none, and if there is more than one.
            #[track_caller]
            pub fn query_one<S: ?Sized + ::pgmonkey_connect::AsStatement>(
                $($receiver)+ $this,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<::postgres::Row, Error> {
                let place = ::std::panic::Location::caller();
                let found = $target.run_statement::<$crate::answer::Optional, S>(place, statement, params)?;
                found.ok_or(Error::NoRow)
            }

            /// As [`query`](Self::query), for one row or none.
            ///
            /// ```no_run
            #[doc = concat!("# #[allow(unused_mut)] fn example(mut db: pgmonkey_sync::", stringify!($kind), ") -> Result<(), pgmonkey_sync::Error> {")]
            /// let row = db.query_opt("SELECT name FROM users WHERE id = $1", &[&42])?;
            /// println!("{}", row.map_or("nobody", |_| "somebody"));
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query), and if there is more than one row.
            #[track_caller]
            pub fn query_opt<S: ?Sized + ::pgmonkey_connect::AsStatement>(
                $($receiver)+ $this,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<Option<::postgres::Row>, Error> {
                let place = ::std::panic::Location::caller();
                $target.run_statement::<$crate::answer::Optional, S>(place, statement, params)
            }

            /// As [`query`](Self::query), for the number of rows a statement changed.
            ///
            /// ```no_run
            #[doc = concat!("# #[allow(unused_mut)] fn example(mut db: pgmonkey_sync::", stringify!($kind), ") -> Result<(), pgmonkey_sync::Error> {")]
            /// let changed = db.execute("DELETE FROM visits WHERE page = $1", &[&"home"])?;
            /// println!("{changed} removed");
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn execute<S: ?Sized + ::pgmonkey_connect::AsStatement>(
                $($receiver)+ $this,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<u64, Error> {
                let place = ::std::panic::Location::caller();
                $target.run_statement::<$crate::answer::Count, S>(place, statement, params)
            }

            /// As [`query`](Self::query), with the rows as they come instead of all at once.
            ///
            /// ```no_run
            #[doc = concat!("# #[allow(unused_mut)] fn example(mut db: pgmonkey_sync::", stringify!($kind), ") -> Result<(), pgmonkey_sync::Error> {")]
            /// for row in db.query_raw("SELECT name FROM users WHERE id > $1", &[&42])? {
            ///     println!("{}", row?.get::<_, &str>("name"));
            /// }
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn query_raw<S: ?Sized + ::pgmonkey_connect::AsStatement>(
                $($receiver)+ $this,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<$crate::stream::RowIter<$life>, Error> {
                let place = ::std::panic::Location::caller();
                $target.stream_rows(place, statement, params)
            }

            /// Begins a `COPY … FROM STDIN`; the writer takes its data.
            ///
            /// ```no_run
            #[doc = concat!("# #[allow(unused_mut)] fn example(mut db: pgmonkey_sync::", stringify!($kind), ") -> Result<(), Box<dyn std::error::Error>> {")]
            /// use std::io::Write;
            ///
            /// let mut users = db.copy_in("COPY users FROM STDIN (FORMAT csv)")?;
            /// users.write_all(b"1,ann\n2,bob\n")?;
            /// println!("{} rows", users.finish()?);
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn copy_in<S: ?Sized + ::pgmonkey_connect::AsStatement>(
                $($receiver)+ $this,
                statement: &S,
            ) -> Result<$crate::stream::CopyInWriter<$life>, Error> {
                let place = ::std::panic::Location::caller();
                $target.copy_to(place, statement)
            }

            /// Begins a `COPY … TO STDOUT`; the reader gives its data.
            ///
            /// ```no_run
            #[doc = concat!("# #[allow(unused_mut)] fn example(mut db: pgmonkey_sync::", stringify!($kind), ") -> Result<(), Box<dyn std::error::Error>> {")]
            /// let mut users = db.copy_out("COPY users TO STDOUT (FORMAT csv)")?;
            /// std::io::copy(&mut users, &mut std::io::stdout())?;
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn copy_out<S: ?Sized + ::pgmonkey_connect::AsStatement>(
                $($receiver)+ $this,
                statement: &S,
            ) -> Result<$crate::stream::CopyOutReader<$life>, Error> {
                let place = ::std::panic::Location::caller();
                $target.copy_from(place, statement)
            }

            /// Runs statements separated by semicolons, without parameters.
            ///
            /// ```no_run
            #[doc = concat!("# #[allow(unused_mut)] fn example(mut db: pgmonkey_sync::", stringify!($kind), ") -> Result<(), pgmonkey_sync::Error> {")]
            /// db.batch_execute("CREATE TABLE a (n int); CREATE TABLE b (n int)")?;
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn batch_execute($($receiver)+ $this, statements: &str) -> Result<(), Error> {
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
            $kind, 'static, (&) self => self.pool(),
            /// Runs one statement on a session of its own; see [`postgres::Client::query`].
            ///
            /// A text is prepared once for each session and kept in its cache of
            /// `statement_cache` statements; one that a change of the schema made stale is
            /// prepared anew by itself. With `statement_cache: 0` nothing is prepared, which is
            /// what a pooler in transaction mode needs: the types of a text's parameters are
            /// asked for when it is first run, and it then takes one round trip.
        }
    };
}

/// [`statements`] for a guard or a transaction: each on the session that it has.
macro_rules! statements_of_session {
    ($kind:ty) => {
        $crate::statements::statements! {
            $kind, '_, (&mut) self => self.session_mut(),
            /// Runs one statement on this session, with the cache and the errors of
            /// [`Pool::query`](crate::Pool::query): a text is prepared once for the session.
            ///
            /// The methods of the same names that [`postgres::Client`] has are reachable through the
            /// dereferenced value (`(*client).query(…)`); they prepare a text each time, and
            /// return the driver's error.
        }
    };
}

pub(crate) use {statements, statements_of_handle, statements_of_session};
