//! The statements, the same on every handle, guard and transaction.

use std::panic::Location;

use pgmonkey_connect::{AsStatement, Error};

use crate::answer::{Answer, Params};
use crate::pool::Pool;
use crate::session::Session;

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
        self.acquire_at(place)?.session_mut().run(statements)
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
        match statement.text() {
            Some(text) => self.run_text::<A>(text, params),
            None => Ok(A::run(self.client_mut(), statement, params)?),
        }
    }

    /// Runs statements that are separated by semicolons.
    pub(crate) fn run_batch(
        &mut self,
        _place: &'static Location<'static>,
        statements: &str,
    ) -> Result<(), Error> {
        self.run(statements)
    }
}

/// Gives a type the methods that run a statement; `$target` is the pool or the session that does.
macro_rules! statements {
    ($kind:ty, ($($receiver:tt)+) $this:ident => $target:expr, $(#[$doc:meta])+) => {
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
            $kind, (&) self => self.pool(),
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
            $kind, (&mut) self => self.session_mut(),
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
