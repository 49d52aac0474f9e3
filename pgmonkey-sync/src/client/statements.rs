//! The statement methods, the same on every handle, guard and transaction.

use std::panic::Location;

use pgmonkey_connect::parameter_types::{check_count, check_number};
use pgmonkey_connect::{AsStatement, Error, StatementRef};

use crate::client::copy::{CopyInWriter, CopyOutReader};
use crate::client::stream::{Holder, RowIter};
use crate::session::Session;
use crate::session::answer::{Answer, Params};

impl Session {
    /// Runs one statement: a text through the cache, a prepared statement as it is.
    pub(crate) fn run_statement<A: Answer, S: ?Sized + AsStatement>(
        &mut self,
        place: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let _place = self.calling_from(place);
        self.bounded(|session| session.run_plain::<A, S>(statement, params))
    }

    fn run_plain<A: Answer, S: ?Sized + AsStatement>(
        &mut self,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        check_number(params.len())?;
        self.make_ready()?;
        self.check_settings()?;
        let run = |session: &mut Self| match statement.as_statement() {
            StatementRef::Text(text) => session.run_text::<A>(text, params),
            StatementRef::Prepared(prepared) => {
                check_count(params.len(), prepared.params())?;
                let sending = session.sending();
                let done = A::run(session.client_mut(), prepared, params);
                done.map_err(|error| {
                    session.forget_if_to_blame(&error, prepared);
                    let text = session.text_of(prepared);
                    session.explain_statement(error, A::TAKES, (sending, text.as_deref()))
                })
            }
        };
        match self.is_standalone() {
            true => self.in_savepoint(run),
            false => run(self),
        }
    }

    /// Runs statements separated by semicolons.
    pub(crate) fn run_batch(
        &mut self,
        place: &'static Location<'static>,
        statements: &str,
    ) -> Result<(), Error> {
        let _place = self.calling_from(place);
        let sent = self.label().text_to_send(statements);
        self.bounded(|session| match session.is_standalone() {
            true => session.in_savepoint(|session| session.run(&sent)),
            false => {
                session.check_settings()?;
                let sending = session.sending();
                let done = session.run(&sent);
                let observer = session.observer().map(|observer| &**observer);
                done.map_err(|error| sending.explain(error, observer, Some(statements)))
            }
        })
    }
}

/// Generates the stream methods, which are the same for a pool and a session.
macro_rules! streams {
    ($kind:ty, ($($receiver:tt)+), $life:lifetime, |$this:ident, $location:ident| $holder:expr) => {
        impl $kind {
            pub(crate) fn stream_rows<S: ?Sized + AsStatement>(
                $($receiver)+ self,
                $location: &'static Location<'static>,
                statement: &S,
                params: Params<'_>,
            ) -> Result<RowIter<$life>, Error> {
                let $this = self;
                RowIter::open($holder, $location, statement, params)
            }

            pub(crate) fn copy_from<S: ?Sized + AsStatement>(
                $($receiver)+ self,
                $location: &'static Location<'static>,
                statement: &S,
            ) -> Result<CopyOutReader<$life>, Error> {
                let $this = self;
                CopyOutReader::open($holder, $location, statement)
            }

            pub(crate) fn copy_to<S: ?Sized + AsStatement>(
                $($receiver)+ self,
                $location: &'static Location<'static>,
                statement: &S,
            ) -> Result<CopyInWriter<$life>, Error> {
                let $this = self;
                CopyInWriter::open($holder, $location, statement)
            }
        }
    };
}

streams!(Session, (&mut), '_, |session, location| Holder::borrowed(session, None));

/// Generates the methods that run a statement; `$target` is the pool or the session that runs it.
macro_rules! statements {
    ($kind:ty, $life:lifetime, ($($receiver:tt)+) $this:ident => $target:expr, $(#[$doc:meta])+) => {
        impl $kind {
            $(#[$doc])+
            ///
            /// ```no_run
            #[doc = concat!("# #[allow(unused_mut)] fn example(mut db: pgmonkey_sync::", stringify!($kind), ") -> Result<(), pgmonkey_sync::Error> {")]
            /// for row in db.query("SELECT name FROM users WHERE id = $1", &[&42])? {
            ///     println!("{}", row.get::<_, &str>("name"));
            /// }
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// [`Error::Database`]; on a handle also the errors of `acquire`.
            #[track_caller]
            pub fn query<S: ?Sized + ::pgmonkey_connect::AsStatement>(
                $($receiver)+ $this,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<Vec<::postgres::Row>, Error> {
                let location = ::std::panic::Location::caller();
                $target.run_statement::<$crate::session::answer::Rows, S>(location, statement, params)
            }

            /// As [`query`](Self::query), for exactly one row.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query); [`Error::NoRow`] if there is no row, and an error if
            /// there is more than one.
            #[track_caller]
            pub fn query_one<S: ?Sized + ::pgmonkey_connect::AsStatement>(
                $($receiver)+ $this,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<::postgres::Row, Error> {
                let location = ::std::panic::Location::caller();
                let found = $target.run_statement::<$crate::session::answer::Optional, S>(location, statement, params)?;
                found.ok_or(Error::NoRow)
            }

            /// As [`query`](Self::query), for at most one row.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query), and an error if there is more than one row.
            #[track_caller]
            pub fn query_opt<S: ?Sized + ::pgmonkey_connect::AsStatement>(
                $($receiver)+ $this,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<Option<::postgres::Row>, Error> {
                let location = ::std::panic::Location::caller();
                $target.run_statement::<$crate::session::answer::Optional, S>(location, statement, params)
            }

            /// As [`query`](Self::query), but returns the number of rows that the statement
            /// changed.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn execute<S: ?Sized + ::pgmonkey_connect::AsStatement>(
                $($receiver)+ $this,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<u64, Error> {
                let location = ::std::panic::Location::caller();
                $target.run_statement::<$crate::session::answer::Count, S>(location, statement, params)
            }

            /// As [`query`](Self::query), but returns rows as they arrive instead of collecting
            /// them.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn query_raw<S: ?Sized + ::pgmonkey_connect::AsStatement>(
                $($receiver)+ $this,
                statement: &S,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
            ) -> Result<$crate::client::stream::RowIter<$life>, Error> {
                let location = ::std::panic::Location::caller();
                $target.stream_rows(location, statement, params)
            }

            /// Begins a `COPY … FROM STDIN`. The returned value takes the data.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn copy_in<S: ?Sized + ::pgmonkey_connect::AsStatement>(
                $($receiver)+ $this,
                statement: &S,
            ) -> Result<$crate::client::copy::CopyInWriter<$life>, Error> {
                let location = ::std::panic::Location::caller();
                $target.copy_to(location, statement)
            }

            /// Begins a `COPY … TO STDOUT`. The returned value yields the data.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn copy_out<S: ?Sized + ::pgmonkey_connect::AsStatement>(
                $($receiver)+ $this,
                statement: &S,
            ) -> Result<$crate::client::copy::CopyOutReader<$life>, Error> {
                let location = ::std::panic::Location::caller();
                $target.copy_from(location, statement)
            }

            /// Runs statements separated by semicolons, without parameters.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            #[track_caller]
            pub fn batch_execute($($receiver)+ $this, statements: &str) -> Result<(), Error> {
                let location = ::std::panic::Location::caller();
                $target.run_batch(location, statements)
            }
        }
    };
}

/// [`statements`] for a guard or a transaction: each runs on its session.
macro_rules! statements_of_session {
    ($kind:ty) => {
        $crate::client::statements::statements! {
            $kind, '_, (&mut) self => self.session_mut(),
            /// Runs one statement on this session, with the cache and the errors of
            /// [`Pool::query`](crate::Pool::query): a text is prepared once per session.
            ///
            /// The methods of [`postgres::Client`] with the same names are available through the
            /// dereferenced value (`(*client).query(…)`); they prepare a text each time and return
            /// the driver's error.
        }
    };
}

pub(crate) use {statements, statements_of_session, streams};
