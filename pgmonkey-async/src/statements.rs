//! The standalone statements, the same on every handle.

use std::panic::Location;

use pgmonkey_connect::{AsStatement, Error};

use crate::answer::{Answer, Params};
use crate::pool::Pool;

impl Pool {
    /// Runs one statement on a session of its own, or on one that is shared if it may: a text
    /// through the session's cache, what is prepared already as it is.
    pub(crate) async fn run<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        place: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        if let (Some(multiplex), Some(text)) = (&self.shared().multiplex, statement.text())
            && multiplex.takes(text, params)
        {
            return self.run_shared::<A>(multiplex, place, text, params).await;
        }
        let guard = self.acquire_at(place).await?;
        match statement.text() {
            Some(text) => guard.session().run_text::<A>(text, params).await,
            None => Ok(A::run(&guard, statement, params).await?),
        }
    }
}

/// Gives a type with `pool()` the methods that run one statement on a session of its own.
macro_rules! statements {
    ($handle:ty) => {
        impl $handle {
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
            ///
            /// ```no_run
            #[doc = concat!("# async fn example(db: pgmonkey_async::", stringify!($handle), ") -> Result<(), pgmonkey_async::Error> {")]
            /// for row in db.query("SELECT name FROM users WHERE id = $1", &[&42]).await? {
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
            pub fn query<'a, S: ?Sized + Sync + ::pgmonkey_connect::AsStatement>(
                &'a self,
                statement: &'a S,
                params: &'a [&'a (dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<Vec<::tokio_postgres::Row>, Error>> + Send + 'a {
                let place = ::std::panic::Location::caller();
                self.pool().run::<$crate::answer::Rows, S>(place, statement, params)
            }

            /// As [`query`](Self::query), for exactly one row.
            ///
            /// ```no_run
            #[doc = concat!("# async fn example(db: pgmonkey_async::", stringify!($handle), ") -> Result<(), pgmonkey_async::Error> {")]
            /// let count: i64 = db.query_one("SELECT count(*) FROM users", &[]).await?.get(0);
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query), [`Error::NoRow`] if there is none, and if there is more than one.
            #[track_caller]
            pub fn query_one<'a, S: ?Sized + Sync + ::pgmonkey_connect::AsStatement>(
                &'a self,
                statement: &'a S,
                params: &'a [&'a (dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<::tokio_postgres::Row, Error>> + Send + 'a {
                let place = ::std::panic::Location::caller();
                let found = self.pool().run::<$crate::answer::Optional, S>(place, statement, params);
                async move { found.await?.ok_or(Error::NoRow) }
            }

            /// As [`query`](Self::query), for one row or none.
            ///
            /// ```no_run
            #[doc = concat!("# async fn example(db: pgmonkey_async::", stringify!($handle), ") -> Result<(), pgmonkey_async::Error> {")]
            /// let row = db.query_opt("SELECT name FROM users WHERE id = $1", &[&42]).await?;
            /// println!("{}", row.map_or("nobody", |_| "somebody"));
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query), and if there is more than one row.
            #[track_caller]
            pub fn query_opt<'a, S: ?Sized + Sync + ::pgmonkey_connect::AsStatement>(
                &'a self,
                statement: &'a S,
                params: &'a [&'a (dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<Option<::tokio_postgres::Row>, Error>> + Send + 'a
            {
                let place = ::std::panic::Location::caller();
                self.pool().run::<$crate::answer::Optional, S>(place, statement, params)
            }

            /// As [`query`](Self::query), for the number of rows a statement changed.
            ///
            /// ```no_run
            #[doc = concat!("# async fn example(db: pgmonkey_async::", stringify!($handle), ") -> Result<(), pgmonkey_async::Error> {")]
            /// let changed = db.execute("DELETE FROM visits WHERE page = $1", &[&"home"]).await?;
            /// println!("{changed} removed");
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn execute<'a, S: ?Sized + Sync + ::pgmonkey_connect::AsStatement>(
                &'a self,
                statement: &'a S,
                params: &'a [&'a (dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<u64, Error>> + Send + 'a {
                let place = ::std::panic::Location::caller();
                self.pool().run::<$crate::answer::Count, S>(place, statement, params)
            }

            /// Runs statements separated by semicolons, without parameters.
            ///
            /// ```no_run
            #[doc = concat!("# async fn example(db: pgmonkey_async::", stringify!($handle), ") -> Result<(), pgmonkey_async::Error> {")]
            /// db.batch_execute("CREATE TABLE a (n int); CREATE TABLE b (n int)").await?;
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn batch_execute<'a>(
                &'a self,
                statements: &'a str,
            ) -> impl Future<Output = Result<(), Error>> + Send + 'a {
                let acquire = self.acquire();
                async move { Ok(acquire.await?.batch_execute(statements).await?) }
            }
        }
    };
}

pub(crate) use statements;
