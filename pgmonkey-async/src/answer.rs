//! What a statement is run for: its rows, one of them, or their number.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, ToStatement};

use pgmonkey_connect::parameter_types::TypedParameter;

/// A statement's parameters.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// What is taken of a statement's answer.
pub(crate) trait Answer {
    type Output: Send;

    fn run<S: ?Sized + Sync + ToStatement>(
        client: &Client,
        statement: &S,
        params: Params<'_>,
    ) -> impl Future<Output = Result<Self::Output, Error>> + Send;

    /// Without preparing it.
    fn run_typed(
        client: &Client,
        text: &str,
        params: &[TypedParameter<'_>],
    ) -> impl Future<Output = Result<Self::Output, Error>> + Send;
}

macro_rules! answer {
    ($(#[$meta:meta])* $name:ident, $output:ty, $run:ident, $run_typed:ident) => {
        $(#[$meta])*
        pub(crate) enum $name {}

        impl Answer for $name {
            type Output = $output;

            async fn run<S: ?Sized + Sync + ToStatement>(
                client: &Client,
                statement: &S,
                params: Params<'_>,
            ) -> Result<$output, Error> {
                client.$run(statement, params).await
            }

            async fn run_typed(
                client: &Client,
                text: &str,
                params: &[TypedParameter<'_>],
            ) -> Result<$output, Error> {
                client.$run_typed(text, params).await
            }
        }
    };
}

answer!(
    /// All rows.
    Rows, Vec<Row>, query, query_typed
);
answer!(
    /// The only row, if there is any.
    Optional, Option<Row>, query_opt, query_typed_opt
);
answer!(
    /// The number of rows that changed.
    Count, u64, execute, execute_typed
);
