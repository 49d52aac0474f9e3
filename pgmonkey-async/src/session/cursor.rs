//! Cursors of a transaction.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use pgmonkey_connect::Error;
use pgmonkey_connect::cursor::Cursor;
use pgmonkey_connect::parameter_types::{check_count, check_number, typed};
use pgmonkey_connect::stale_statements::{Blame, blame};
use pgmonkey_connect::wire::WireState;
use tokio_postgres::Row;

use super::Session;
use crate::session::answer::Params;
use crate::session::prepared::Exclusivity;

impl Session {
    /// Opens a cursor over the rows of a statement.
    pub(crate) async fn open_cursor(
        &self,
        text: &str,
        params: Params<'_>,
        chunk: u32,
    ) -> Result<Cursor, Error> {
        self.make_ready().await?;
        check_number(params.len())?;
        let types = match params {
            [] => Arc::default(),
            _ => self.types_of(text, Exclusivity::Alone).await?,
        };
        check_count(params.len(), &types)?;
        let cursor = Cursor::new(self.cursors.fetch_add(1, Ordering::Relaxed), chunk);
        let declare = cursor.declare(text);
        let params = typed(params, &types);
        match self.client().execute_typed(&declare, &params).await {
            Ok(_) => Ok(cursor),
            Err(error) => {
                if blame(&error) != Blame::Nothing {
                    self.prepared().types.forget(text);
                }
                Err(self.explain(error))
            }
        }
    }

    /// Fetches the next chunk.
    pub(crate) async fn fetch(&self, cursor: Cursor) -> Result<Vec<Row>, Error> {
        self.make_ready().await?;
        let rows = self.client().query_typed(&cursor.fetch(), &[]).await;
        rows.map_err(|error| self.explain(error))
    }

    /// Closes a cursor, unless the transaction has failed and thereby closed it.
    pub(crate) fn close_cursor(&self, cursor: &Cursor) {
        if self.state() == WireState::Failed {
            return;
        }
        // The driver queues a statement when its future is first polled. The answer is not needed:
        // the end of the transaction closes the cursor at the latest.
        let statement = cursor.close();
        let mut close = pin!(self.run(&statement));
        let _ = close.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
}
