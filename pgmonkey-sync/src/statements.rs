//! The standalone statements, the same on every handle.

/// Gives a type with `acquire()` the methods that run one statement on a session of its own.
macro_rules! statements {
    ($handle:ty) => {
        impl $handle {
            /// Runs one statement on a session of its own; see [`postgres::Client::query`].
            ///
            /// # Errors
            ///
            /// Those of [`acquire`](Self::acquire), and [`Error::Database`].
            #[track_caller]
            pub fn query<S: ?Sized + ::postgres::ToStatement>(
                &self,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<Vec<::postgres::Row>, Error> {
                Ok(self.acquire()?.query(statement, params)?)
            }

            /// As [`query`](Self::query), for exactly one row.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query), and if there is not exactly one row.
            #[track_caller]
            pub fn query_one<S: ?Sized + ::postgres::ToStatement>(
                &self,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<::postgres::Row, Error> {
                Ok(self.acquire()?.query_one(statement, params)?)
            }

            /// As [`query`](Self::query), for one row or none.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query), and if there is more than one row.
            #[track_caller]
            pub fn query_opt<S: ?Sized + ::postgres::ToStatement>(
                &self,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<Option<::postgres::Row>, Error> {
                Ok(self.acquire()?.query_opt(statement, params)?)
            }

            /// As [`query`](Self::query), for the number of rows a statement changed.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn execute<S: ?Sized + ::postgres::ToStatement>(
                &self,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<u64, Error> {
                Ok(self.acquire()?.execute(statement, params)?)
            }

            /// Runs statements separated by semicolons, without parameters.
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
