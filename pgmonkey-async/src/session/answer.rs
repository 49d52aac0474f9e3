//! What a statement is run for: its rows, one row, their number, or a stream.

use std::marker::PhantomData;

use bytes::Buf;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, CopyInSink, CopyOutStream, Error, Row, RowStream, ToStatement};

use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::parameter_types::TypedParameter;

/// A statement's parameters.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// What is taken from the answer to a statement.
pub(crate) trait Answer {
    type Output: Send;
    const TAKES: Takes = Takes::Rows;
    /// Whether the whole answer has been received when it is returned.
    const COLLECTS: bool = false;

    fn run<S: ?Sized + Sync + ToStatement>(
        client: &Client,
        statement: &S,
        params: Params<'_>,
    ) -> impl Future<Output = Result<Self::Output, Error>> + Send;

    /// Runs the statement without preparing it.
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
            const COLLECTS: bool = true;

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
    /// The only row, if there is one.
    Optional, Option<Row>, query_opt, query_typed_opt
);
answer!(
    /// The number of changed rows.
    Count, u64, execute, execute_typed
);

/// Rows as they arrive.
pub(crate) enum Stream {}

impl Answer for Stream {
    type Output = RowStream;

    async fn run<S: ?Sized + Sync + ToStatement>(
        client: &Client,
        statement: &S,
        params: Params<'_>,
    ) -> Result<RowStream, Error> {
        client.query_raw(statement, params.iter().copied()).await
    }

    async fn run_typed(
        client: &Client,
        text: &str,
        params: &[TypedParameter<'_>],
    ) -> Result<RowStream, Error> {
        let params = params.iter().map(|(value, kind)| (*value, kind.clone()));
        client.query_typed_raw(text, params).await
    }
}

/// The data of a copy out of the server. There are no parameters.
pub(crate) enum CopyOut {}

impl Answer for CopyOut {
    type Output = CopyOutStream;
    const TAKES: Takes = Takes::CopyOut;

    async fn run<S: ?Sized + Sync + ToStatement>(
        client: &Client,
        statement: &S,
        _: Params<'_>,
    ) -> Result<CopyOutStream, Error> {
        client.copy_out(statement).await
    }

    async fn run_typed(
        client: &Client,
        text: &str,
        _: &[TypedParameter<'_>],
    ) -> Result<CopyOutStream, Error> {
        client.copy_out(text).await
    }
}

/// The sink of a copy into the server. There are no parameters.
pub(crate) struct CopyIn<U>(PhantomData<U>);

impl<U: Buf + Send + 'static> Answer for CopyIn<U> {
    type Output = CopyInSink<U>;
    const TAKES: Takes = Takes::CopyIn;

    async fn run<S: ?Sized + Sync + ToStatement>(
        client: &Client,
        statement: &S,
        _: Params<'_>,
    ) -> Result<CopyInSink<U>, Error> {
        client.copy_in(statement).await
    }

    async fn run_typed(
        client: &Client,
        text: &str,
        _: &[TypedParameter<'_>],
    ) -> Result<CopyInSink<U>, Error> {
        client.copy_in(text).await
    }
}
