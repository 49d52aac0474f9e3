//! Reads causes from the drivers' errors, whose text is only "db error" or "error performing TLS
//! handshake", with the rest in their sources.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use tokio_postgres::error::{DbError, Severity, SqlState};

use super::pooler::{self, Report};
use super::{ErrorKind, TlsFailure};
use crate::printable::{Line, line};
use crate::wire::{LoginRefused, ServerFailure, Stage};

/// The cause of a driver's error, as far as this crate recognizes it.
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
    // The driver gives no other sign of it than this text.
    if error
        .source()
        .is_some_and(|source| source.to_string() == "password missing")
    {
        return Cause::NoPassword;
    }
    Cause::Other
}

/// A TLS alert received after the client considered the handshake finished, as TLS 1.3 allows for a
/// rejected client certificate.
#[cfg(feature = "tls")]
fn tls_alert(error: &io::Error) -> Option<TlsFailure> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(super::handshake::failure_of(error))
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

/// Transient if the socket failed, the server is starting, stopping or full, or transactions
/// conflicted; otherwise by SQLSTATE.
pub(crate) fn kind(error: &tokio_postgres::Error) -> ErrorKind {
    let of_pooler = |error| pooler::kind(Report::of(error), Stage::Session);
    if let Some(kind) = error.as_db_error().and_then(of_pooler) {
        return kind;
    }
    match error.code() {
        Some(code) => kind_of(code),
        None if is_loss(error) => ErrorKind::Transient,
        None => ErrorKind::Other,
    }
}

/// The kind of the error that ended a session, as seen on the wire.
pub(crate) fn kind_of_end(end: &ServerFailure) -> ErrorKind {
    pooler::kind(Report::of_end(end), Stage::Session)
        .unwrap_or_else(|| kind_of(&SqlState::from_code(&end.code)))
}

/// Whether the session was lost and the error holds no reason from the server.
pub(crate) fn is_loss(error: &tokio_postgres::Error) -> bool {
    error.code().is_none() && (error.is_closed() || find::<io::Error>(error).is_some())
}

/// Whether the server, or a pooler before it, ends the session with this error.
pub(crate) fn is_fatal(error: &DbError) -> bool {
    match error.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        // PgBouncer 1.18 sends only this field; poolers do not translate it.
        None => matches!(error.severity(), "FATAL" | "PANIC"),
    }
}

/// Whether the server answered with a message that the call did not expect.
pub(crate) fn is_unexpected(error: &tokio_postgres::Error) -> bool {
    // The driver's own errors differ only in their text.
    error.source().is_none() && error.to_string() == "unexpected message from server"
}

/// Whether a prepared statement has more parameters than the protocol allows.
pub(crate) fn has_too_many_parameters(error: &tokio_postgres::Error) -> bool {
    let io = find::<io::Error>(error);
    io.is_some_and(|error| error.to_string().ends_with("parameters is not drained"))
}

/// The kind of failure for a SQLSTATE.
pub(crate) fn kind_of(code: &SqlState) -> ErrorKind {
    if is_conflict(code) {
        return ErrorKind::Transient;
    }
    match code.code().get(..2).unwrap_or_default() {
        // What exceeds a limit of the configuration, as temp_file_limit, exceeds it again.
        "53" if *code == SqlState::CONFIGURATION_LIMIT_EXCEEDED => ErrorKind::Other,
        "57" if *code == SqlState::QUERY_CANCELED => ErrorKind::Other,
        "53" | "57" => ErrorKind::Transient,
        "08" if *code == SqlState::PROTOCOL_VIOLATION || leaves_in_doubt(code) => ErrorKind::Other,
        "08" => ErrorKind::Transient,
        "28" => ErrorKind::Authentication,
        "3D" => ErrorKind::Configuration,
        _ => ErrorKind::Other,
    }
}

/// Whether the server says that it does not know if a statement or a transaction took effect. No
/// PostgreSQL says so, but servers that speak its protocol do: CockroachDB 40003.
pub(crate) fn leaves_in_doubt(code: &SqlState) -> bool {
    *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
        || *code == SqlState::TRANSACTION_RESOLUTION_UNKNOWN
}

/// Whether the whole transaction must be retried: a serialization failure or a deadlock.
pub(crate) fn is_conflict(code: &SqlState) -> bool {
    *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED
}

/// The printable text of a driver's error: the server's message if there is one. The server's
/// DETAIL, which may repeat values of rows, appears only in the alternate form (`{:#}`).
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sqlstate_says_whether_a_retry_can_help() {
        for (code, kind) in [
            ("40001", ErrorKind::Transient),
            ("53100", ErrorKind::Transient),
            ("53300", ErrorKind::Transient),
            ("53400", ErrorKind::Other),
            ("57P01", ErrorKind::Transient),
            ("57014", ErrorKind::Other),
            ("08006", ErrorKind::Transient),
            ("08007", ErrorKind::Other),
            ("08P01", ErrorKind::Other),
            ("40003", ErrorKind::Other),
            ("28P01", ErrorKind::Authentication),
            ("3D000", ErrorKind::Configuration),
            ("42P01", ErrorKind::Other),
        ] {
            assert_eq!(kind_of(&SqlState::from_code(code)), kind, "{code}");
        }
    }
}
