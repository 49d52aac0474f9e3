//! The statements of a handle: each runs on a session of its own.

use std::panic::Location;

use pgmonkey_connect::{AsStatement, Error};

use crate::client::copy::{CopyInWriter, CopyOutReader};
use crate::client::statements::streams;
use crate::client::stream::{Holder, RowIter};
use crate::handle::pool::Pool;
use crate::session::answer::{Answer, Params};

impl Pool {
    /// Runs one statement on a session of its own: a text through the session's cache, a prepared
    /// statement as it is.
    pub(crate) fn run_statement<A: Answer, S: ?Sized + AsStatement>(
        &self,
        location: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let mut guard = self.acquire_at(location)?;
        let session = guard.session_mut();
        session.run_statement::<A, S>(location, statement, params)
    }

    /// Runs statements separated by semicolons on a session of its own.
    pub(crate) fn run_batch(
        &self,
        location: &'static Location<'static>,
        statements: &str,
    ) -> Result<(), Error> {
        let mut guard = self.acquire_at(location)?;
        guard.session_mut().run_batch(location, statements)
    }
}

streams!(Pool, (&), 'static, |pool, location| Holder::owned(pool.hold(location)?));

/// [`statements`](crate::client::statements::statements) for a handle with `pool()`: each runs on a
/// session of its own.
macro_rules! statements_of_handle {
    ($kind:ty) => {
        $crate::client::statements::statements! {
            $kind, 'static, (&) self => self.pool(),
            /// Runs one statement on a session of its own; see [`postgres::Client::query`].
            ///
            /// A text is prepared once per session and kept in the session's cache of
            /// `statement_cache` statements. A statement made stale by a schema change is prepared
            /// again automatically. With `statement_cache: 0` nothing is prepared, as a pooler in
            /// transaction mode requires: the types of a text's parameters are asked for when it
            /// first runs; after that it takes one round trip.
        }
    };
}

pub(crate) use statements_of_handle;
