//! What the drivers' errors hold: they say "db error" or "error performing TLS handshake" and
//! keep the rest in their sources.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use tokio_postgres::error::SqlState;

use crate::error::ErrorKind;
use crate::failure::TlsFailure;
use crate::printable::{Line, line};
use crate::wire::LoginRefused;

/// What a driver's error was caused by, if this crate knows.
pub(crate) enum Cause {
    Tls(TlsFailure),
    Login(LoginRefused),
    NoPassword,
    Deadline,
    Other,
}

pub(crate) fn cause(error: &tokio_postgres::Error) -> Cause {
    if let Some(failure) = find::<TlsFailure>(error) {
        return Cause::Tls(failure.clone());
    }
    let io = find::<io::Error>(error);
    if let Some(failure) = io.and_then(tls_alert) {
        return Cause::Tls(failure);
    }
    if let Some(refused) = io
        .and_then(io::Error::get_ref)
        .and_then(|inner| inner.downcast_ref::<LoginRefused>())
    {
        return Cause::Login(refused.clone());
    }
    if io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
        return Cause::Deadline;
    }
    // The driver has no other word for it.
    if error
        .source()
        .is_some_and(|source| source.to_string() == "password missing")
    {
        return Cause::NoPassword;
    }
    Cause::Other
}

/// What the server says of a handshake that looked finished to this side, as TLS 1.3 does for a
/// client certificate.
#[cfg(feature = "tls")]
fn tls_alert(error: &io::Error) -> Option<TlsFailure> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(crate::tls::failure_of(error))
}

#[cfg(not(feature = "tls"))]
fn tls_alert(_: &io::Error) -> Option<TlsFailure> {
    None
}

fn find<T: StdError + 'static>(error: &tokio_postgres::Error) -> Option<&T> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        next = cause.source();
    }
    None
}

/// Transient: the socket failed, the server is starting, stopping or full, or another transaction
/// was in the way. Else what the server's reason is about.
pub(crate) fn kind(error: &tokio_postgres::Error) -> ErrorKind {
    match error.code() {
        Some(code) => kind_of(code),
        None if is_loss(error) => ErrorKind::Transient,
        None => ErrorKind::Other,
    }
}

/// Whether the session was lost, for a reason that the server has not given here.
pub(crate) fn is_loss(error: &tokio_postgres::Error) -> bool {
    error.code().is_none() && (error.is_closed() || find::<io::Error>(error).is_some())
}

/// Whether the server answered with a message that the call had no use for.
pub(crate) fn is_unexpected(error: &tokio_postgres::Error) -> bool {
    // The driver tells its own errors apart by their text alone.
    error.source().is_none() && error.to_string() == "unexpected message from server"
}

/// Whether a statement that was prepared has more parameters than the protocol can count.
pub(crate) fn has_too_many_parameters(error: &tokio_postgres::Error) -> bool {
    let io = find::<io::Error>(error);
    io.is_some_and(|error| error.to_string().ends_with("parameters is not drained"))
}

/// What the server's reason is about.
pub(crate) fn kind_of(code: &SqlState) -> ErrorKind {
    if is_conflict(code) {
        return ErrorKind::Transient;
    }
    match code.code().get(..2).unwrap_or_default() {
        "53" | "57" if *code != SqlState::QUERY_CANCELED => ErrorKind::Transient,
        "08" if *code != SqlState::PROTOCOL_VIOLATION => ErrorKind::Transient,
        "28" => ErrorKind::Authentication,
        "3D" => ErrorKind::Configuration,
        _ => ErrorKind::Other,
    }
}

/// Whether the server asks for the whole transaction again: a serialisation failure or a deadlock.
pub(crate) fn is_conflict(code: &SqlState) -> bool {
    *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED
}

/// The text of a driver's error, the server's words first, printable. The server's DETAIL, which
/// repeats values of rows, is part of the alternate form (`{:#}`) only.
pub(crate) struct DriverText<'a>(pub(crate) &'a tokio_postgres::Error);

impl fmt::Display for DriverText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(error) = self.0.as_db_error() else {
            return match find::<io::Error>(self.0) {
                Some(error) => Line(error).fmt(f),
                None => Line(SourceChain(self.0)).fmt(f),
            };
        };
        write!(
            f,
            "{}: {} (SQLSTATE {})",
            line(error.severity()),
            line(error.message()),
            line(error.code().code())
        )?;
        if let Some(detail) = error.detail().filter(|_| f.alternate()) {
            write!(f, "; {}", line(detail))?;
        }
        if let Some(hint) = error.hint() {
            write!(f, "; {}", line(hint))?;
        }
        Ok(())
    }
}

struct SourceChain<'a>(&'a tokio_postgres::Error);

impl fmt::Display for SourceChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}
