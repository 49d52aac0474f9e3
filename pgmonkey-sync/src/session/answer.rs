//! What a statement is run for: its rows, one row, or their number.

use postgres::types::ToSql;
use postgres::{Client, Error, Row, ToStatement};

use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::parameter_types::TypedParameter;

/// A statement's parameters.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// What is taken from the answer to a statement.
pub(crate) trait Answer {
    type Output;
    const TAKES: Takes = Takes::Rows;

    fn run<S: ?Sized + ToStatement>(
        client: &mut Client,
        statement: &S,
        params: Params<'_>,
    ) -> Result<Self::Output, Error>;

    /// Runs the statement without preparing it.
    fn run_typed(
        client: &mut Client,
        text: &str,
        params: &[TypedParameter<'_>],
    ) -> Result<Self::Output, Error>;
}

macro_rules! answer {
    ($(#[$meta:meta])* $name:ident, $output:ty, $run:ident, $run_typed:ident) => {
        $(#[$meta])*
        pub(crate) enum $name {}

        impl Answer for $name {
            type Output = $output;

            fn run<S: ?Sized + ToStatement>(
                client: &mut Client,
                statement: &S,
                params: Params<'_>,
            ) -> Result<$output, Error> {
                client.$run(statement, params)
            }

            fn run_typed(
                client: &mut Client,
                text: &str,
                params: &[TypedParameter<'_>],
            ) -> Result<$output, Error> {
                client.$run_typed(text, params)
            }
        }
    };
}

answer!(
    /// All rows.
    Rows, Vec<Row>, query, query_typed
);
answer!(
    /// The only row, if there is one.
    Optional, Option<Row>, query_opt, query_typed_opt
);
answer!(
    /// The number of changed rows.
    Count, u64, execute, execute_typed
);
