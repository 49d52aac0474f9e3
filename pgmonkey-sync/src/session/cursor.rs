//! Cursors of a transaction.

use std::sync::Arc;

use pgmonkey_connect::Error;
use pgmonkey_connect::cursor::Cursor;
use pgmonkey_connect::parameter_types::{check_count, check_number, typed};
use pgmonkey_connect::stale_statements::{Blame, blame};
use pgmonkey_connect::wire::WireState;
use postgres::Row;

use super::Session;
use crate::session::answer::Params;

impl Session {
    /// Opens a cursor over the rows of a statement.
    pub(crate) fn open_cursor(
        &mut self,
        text: &str,
        params: Params<'_>,
        chunk: u32,
    ) -> Result<Cursor, Error> {
        self.make_ready()?;
        check_number(params.len())?;
        let types = match params {
            [] => Arc::default(),
            _ => self.types_of(text)?,
        };
        check_count(params.len(), &types)?;
        self.cursors = self.cursors.wrapping_add(1);
        let cursor = Cursor::new(self.cursors, chunk);
        let declare = cursor.declare(text);
        let opened = self
            .client_mut()
            .execute_typed(&declare, &typed(params, &types));
        match opened {
            Ok(_) => Ok(cursor),
            Err(error) => {
                if blame(&error) != Blame::Nothing {
                    self.prepared_mut().types.forget(text);
                }
                Err(self.explain(error))
            }
        }
    }

    /// Fetches the next chunk.
    pub(crate) fn fetch(&mut self, cursor: &Cursor) -> Result<Vec<Row>, Error> {
        self.make_ready()?;
        let rows = self.client_mut().query_typed(&cursor.fetch(), &[]);
        rows.map_err(|error| self.explain(error))
    }

    /// Closes a cursor, unless the transaction has failed and thereby closed it.
    pub(crate) fn close_cursor(&mut self, cursor: &Cursor) {
        if self.check_usable().is_ok() && self.state() == WireState::InTransaction {
            // The end of the transaction closes it at the latest.
            let _ = self.run(&cursor.close());
        }
    }
}
