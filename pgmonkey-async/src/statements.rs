//! The standalone statements, the same on every handle.

/// Gives a type with `acquire()` the methods that run one statement on a session of its own.
macro_rules! statements {
    ($handle:ty) => {
        impl $handle {
            /// Runs one statement on a session of its own; see [`tokio_postgres::Client::query`].
            ///
            /// # Errors
            ///
            /// Those of [`acquire`](Self::acquire), and [`Error::Database`].
            #[track_caller]
            pub fn query<'a, S: ?Sized + Sync + ::tokio_postgres::ToStatement>(
                &'a self,
                statement: &'a S,
                params: &'a [&'a (dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<Vec<::tokio_postgres::Row>, Error>> + Send + 'a {
                let acquire = self.acquire();
                async move { Ok(acquire.await?.query(statement, params).await?) }
            }

            /// As [`query`](Self::query), for exactly one row.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query), and if there is not exactly one row.
            #[track_caller]
            pub fn query_one<'a, S: ?Sized + Sync + ::tokio_postgres::ToStatement>(
                &'a self,
                statement: &'a S,
                params: &'a [&'a (dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<::tokio_postgres::Row, Error>> + Send + 'a {
                let acquire = self.acquire();
                async move { Ok(acquire.await?.query_one(statement, params).await?) }
            }

            /// As [`query`](Self::query), for one row or none.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query), and if there is more than one row.
            #[track_caller]
            pub fn query_opt<'a, S: ?Sized + Sync + ::tokio_postgres::ToStatement>(
                &'a self,
                statement: &'a S,
                params: &'a [&'a (dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<Option<::tokio_postgres::Row>, Error>> + Send + 'a
            {
                let acquire = self.acquire();
                async move { Ok(acquire.await?.query_opt(statement, params).await?) }
            }

            /// As [`query`](Self::query), for the number of rows a statement changed.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn execute<'a, S: ?Sized + Sync + ::tokio_postgres::ToStatement>(
                &'a self,
                statement: &'a S,
                params: &'a [&'a (dyn ::tokio_postgres::types::ToSql + Sync)],
            ) -> impl Future<Output = Result<u64, Error>> + Send + 'a {
                let acquire = self.acquire();
                async move { Ok(acquire.await?.execute(statement, params).await?) }
            }

            /// Runs statements separated by semicolons, without parameters.
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
