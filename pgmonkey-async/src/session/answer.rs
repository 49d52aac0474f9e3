//! What a statement is run for: its rows, one row, their number, or a stream.

use std::marker::PhantomData;
use std::pin::Pin;

use bytes::Buf;
use tokio_postgres::types::ToSql;
use tokio_postgres::{
    Client, CopyInSink, CopyOutStream, Error, Row, RowStream, Statement, ToStatement,
};

use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::parameter_types::{NAMES_TRIED, TypedParameter, is_name_taken};

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

/// A copy that runs.
pub(crate) struct Copying<T> {
    pub(crate) stream: T,
    /// What was prepared for it alone. Dropped after the copy: PgBouncer before 1.22 loses count of
    /// the answers if a statement is closed while one runs.
    pub(crate) statement: Option<Statement>,
}

impl<T> Copying<T> {
    fn of(stream: T) -> Self {
        let statement = None;
        Self { stream, statement }
    }

    pub(crate) fn pinned(self) -> Copying<Pin<Box<T>>> {
        Copying {
            stream: Box::pin(self.stream),
            statement: self.statement,
        }
    }

    fn of_text(stream: T, statement: Statement) -> Self {
        let statement = Some(statement);
        Self { stream, statement }
    }
}

/// Prepares a text for one copy. Behind a pooler another client may have left a statement of the
/// same name; the next one has another.
async fn prepared_for(client: &Client, text: &str) -> Result<Statement, Error> {
    for _ in 1..NAMES_TRIED {
        match client.prepare(text).await {
            Err(error) if is_name_taken(&error) => {}
            prepared => return prepared,
        }
    }
    client.prepare(text).await
}

/// The data of a copy out of the server. There are no parameters.
pub(crate) enum CopyOut {}

impl Answer for CopyOut {
    type Output = Copying<CopyOutStream>;
    const TAKES: Takes = Takes::CopyOut;

    async fn run<S: ?Sized + Sync + ToStatement>(
        client: &Client,
        statement: &S,
        _: Params<'_>,
    ) -> Result<Copying<CopyOutStream>, Error> {
        client.copy_out(statement).await.map(Copying::of)
    }

    async fn run_typed(
        client: &Client,
        text: &str,
        _: &[TypedParameter<'_>],
    ) -> Result<Copying<CopyOutStream>, Error> {
        let statement = prepared_for(client, text).await?;
        let data = client.copy_out(&statement).await?;
        Ok(Copying::of_text(data, statement))
    }
}

/// The sink of a copy into the server. There are no parameters.
pub(crate) struct CopyIn<U>(PhantomData<U>);

impl<U: Buf + Send + 'static> Answer for CopyIn<U> {
    type Output = Copying<CopyInSink<U>>;
    const TAKES: Takes = Takes::CopyIn;

    async fn run<S: ?Sized + Sync + ToStatement>(
        client: &Client,
        statement: &S,
        _: Params<'_>,
    ) -> Result<Copying<CopyInSink<U>>, Error> {
        client.copy_in(statement).await.map(Copying::of)
    }

    async fn run_typed(
        client: &Client,
        text: &str,
        _: &[TypedParameter<'_>],
    ) -> Result<Copying<CopyInSink<U>>, Error> {
        let statement = prepared_for(client, text).await?;
        let sink = client.copy_in(&statement).await?;
        Ok(Copying::of_text(sink, statement))
    }
}
