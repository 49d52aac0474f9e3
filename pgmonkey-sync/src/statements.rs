//! The standalone statements, the same on every handle.

use pgmonkey_connect::{AsStatement, Error};

use crate::answer::{Answer, Params};
use crate::pool::Pool;

impl Pool {
    /// Runs one statement on a session of its own: a text through the session's cache, what is
    /// prepared already as it is.
    #[track_caller]
    pub(crate) fn run<A: Answer, S: ?Sized + AsStatement>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let mut guard = self.acquire()?;
        match statement.text() {
            Some(text) => guard.session_mut().run_text::<A>(text, params),
            None => Ok(A::run(&mut guard, statement, params)?),
        }
    }
}

/// Gives a type with `pool()` the methods that run one statement on a session of its own.
macro_rules! statements {
    ($handle:ty) => {
        impl $handle {
            /// Runs one statement on a session of its own; see [`postgres::Client::query`].
            ///
            /// A text is prepared once for each session and kept in its cache of
            /// `statement_cache` statements; one that a change of the schema made stale is
            /// prepared anew by itself. With `statement_cache: 0` nothing is prepared, which is
            /// what a pooler in transaction mode needs: the types of a text's parameters are
            /// asked for when it is first run, and it then takes one round trip.
            ///
            /// ```no_run
            #[doc = concat!("# fn example(db: pgmonkey_sync::", stringify!($handle), ") -> Result<(), pgmonkey_sync::Error> {")]
            /// for row in db.query("SELECT name FROM users WHERE id = $1", &[&42])? {
            ///     println!("{}", row.get::<_, &str>("name"));
            /// }
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// Those of [`acquire`](Self::acquire), and [`Error::Database`].
            #[track_caller]
            pub fn query<S: ?Sized + ::pgmonkey_connect::AsStatement>(
                &self,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<Vec<::postgres::Row>, Error> {
                self.pool().run::<$crate::answer::Rows, S>(statement, params)
            }

            /// As [`query`](Self::query), for exactly one row.
            ///
            /// ```no_run
            #[doc = concat!("# fn example(db: pgmonkey_sync::", stringify!($handle), ") -> Result<(), pgmonkey_sync::Error> {")]
            /// let count: i64 = db.query_one("SELECT count(*) FROM users", &[])?.get(0);
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query), [`Error::NoRow`] if there is none, and if there is more than one.
            #[track_caller]
            pub fn query_one<S: ?Sized + ::pgmonkey_connect::AsStatement>(
                &self,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<::postgres::Row, Error> {
                let found = self.pool().run::<$crate::answer::Optional, S>(statement, params)?;
                found.ok_or(Error::NoRow)
            }

            /// As [`query`](Self::query), for one row or none.
            ///
            /// ```no_run
            #[doc = concat!("# fn example(db: pgmonkey_sync::", stringify!($handle), ") -> Result<(), pgmonkey_sync::Error> {")]
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
                &self,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<Option<::postgres::Row>, Error> {
                self.pool().run::<$crate::answer::Optional, S>(statement, params)
            }

            /// As [`query`](Self::query), for the number of rows a statement changed.
            ///
            /// ```no_run
            #[doc = concat!("# fn example(db: pgmonkey_sync::", stringify!($handle), ") -> Result<(), pgmonkey_sync::Error> {")]
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
                &self,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<u64, Error> {
                self.pool().run::<$crate::answer::Count, S>(statement, params)
            }

            /// Runs statements separated by semicolons, without parameters.
            ///
            /// ```no_run
            #[doc = concat!("# fn example(db: pgmonkey_sync::", stringify!($handle), ") -> Result<(), pgmonkey_sync::Error> {")]
            /// db.batch_execute("CREATE TABLE a (n int); CREATE TABLE b (n int)")?;
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn batch_execute(&self, statements: &str) -> Result<(), Error> {
                Ok(self.acquire()?.batch_execute(statements)?)
            }
        }
    };
}

pub(crate) use statements;
