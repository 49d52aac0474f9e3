//! Hints for a session that could not be opened.

use std::error::Error as StdError;
use std::io;

use pgmonkey::Error;
use pgmonkey::failure::{ConnectCause, FailedAttempt, LoginRefused, TlsFailure};

/// What to do about the error, if known.
pub(crate) fn on(error: &Error) -> Option<String> {
    let code = error.code().map(|code| code.code());
    match error {
        Error::Connect(failure) => on_attempt(failure.attempts.last()?),
        Error::SessionSetting { key, .. } => Some(format!("correct {key} or remove it")),
        Error::Timeout(timeout) => timeout.last_error.as_ref().and_then(on),
        Error::SessionEnded(_) => Some(LOST.to_owned()),
        _ if error.to_string() == "connection closed" => Some(LOST.to_owned()),
        _ => on_code(code?, &error.to_string()),
    }
}

const LOST: &str = "an administrator, a timeout or a restart of the server ended the session: the server's log says which; then repeat the command";

fn on_attempt(attempt: &FailedAttempt) -> Option<String> {
    let host = &attempt.host;
    match &attempt.cause {
        ConnectCause::Resolve(_) => Some(format!(
            "neither a name server nor the hosts file knows {}: check `host`, or set its address as `hostaddr`",
            host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name)
        )),
        ConnectCause::Io(error) => on_socket(error, host),
        ConnectCause::Timeout(_) => Some(
            "a firewall may drop the packets, or the server may be overloaded: check `host` and `port`, or raise `connect_timeout`"
                .to_owned(),
        ),
        ConnectCause::Tls(failure) => on_tls(failure),
        ConnectCause::Login(LoginRefused::Method { .. }) => Some(
            "allow the server's method in `require_auth`, or change the method in the server's pg_hba.conf".to_owned(),
        ),
        ConnectCause::Role(_) => Some(
            "add a server with that role to `host`, or relax `target_session_attrs`".to_owned(),
        ),
        ConnectCause::Driver(error)
        | ConnectCause::Pooler { error, .. }
        | ConnectCause::Refused { error, .. } => {
            if let Some(error) = error.as_db_error() {
                return on_code(error.code().code(), error.message());
            }
            on_socket(io_error(&**error)?, host)
        }
        _ => None,
    }
}

/// The operating system's error, anywhere in the chain of sources.
fn io_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    error.downcast_ref().or_else(|| io_error(error.source()?))
}

fn on_socket(error: &io::Error, host: &str) -> Option<String> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => format!(
            "nothing listens at {host}: check that the server is running on that port and that its listen_addresses includes the address"
        ),
        io::ErrorKind::NotFound => {
            "the socket does not exist: check that the server is running on this machine, and the socket directory and `port`".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "no permission to use the server's socket: check the permissions of its directory".to_owned()
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            format!("no route to {host}: check the network and `host`")
        }
        _ => return None,
    })
}

fn on_tls(failure: &TlsFailure) -> Option<String> {
    Some(match failure {
        TlsFailure::NotOffered => {
            "enable ssl on the server, or, on a trusted network, set `sslmode: prefer`"
        }
        TlsFailure::Certificate(text) if text.starts_with("is for ") => {
            "use the certificate's name as `host` (and set `hostaddr` if that name resolves to another address), or `sslmode: verify-ca`, which does not check the name"
        }
        TlsFailure::Certificate(text) if text.starts_with("is not signed by") => {
            "set `sslrootcert` to the certificate of the authority that signed the server's certificate"
        }
        TlsFailure::NoAlpn => "set `sslnegotiation: postgres`",
        _ => return None,
    }
    .to_owned())
}

/// Whether a variable was probably read from a file with its last line end.
fn ends_with_a_line_end(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|text| text.ends_with(['\n', '\r']))
}

/// By the server's SQLSTATE, and by its message where a code has several meanings.
fn on_code(code: &str, message: &str) -> Option<String> {
    Some(match code {
        "28P01" if ends_with_a_line_end("PGPASSWORD") => {
            "the variable PGPASSWORD ends with a line end, which is a part of the password then: set it without, as $(cat FILE) does"
        }
        "28P01" => {
            "the user or the password is wrong: `pgmonkey config show` shows where each comes from"
        }
        "28000" if message.contains("no encryption") => {
            "no line of the server's pg_hba.conf admits this user from this address without TLS: set `sslmode: require` or stronger if the server has TLS, else add the line that `pgmonkey server recommend` prints"
        }
        "28000" if message.contains("pg_hba.conf") => {
            "no line of the server's pg_hba.conf admits this user from this address: `pgmonkey server recommend` prints one"
        }
        "28000" if message.contains("certificate") => {
            "set `sslcert` to a certificate that the server trusts and `sslkey` to its key"
        }
        "28000" if message.contains("does not exist") => {
            "check `user`, or create the role on the server"
        }
        "3D000" => "check `dbname`, or create the database on the server",
        "57014" if message.contains("statement timeout") => {
            "statement_timeout ended it: `pgmonkey config show` shows whether the file's `sync_settings` set it; otherwise the role or the database does. For a long import or export set it to 0 there"
        }
        "0A000" if message.contains("row-level security") => {
            "the table's row-level security applies to this role, and COPY cannot apply it: import as the table's owner or as a role with BYPASSRLS, or into a table without it and go on with INSERT … SELECT"
        }
        "22021" | "22P05" if message.contains("UTF8") => {
            "the database contains bytes that are no UTF-8, as one with the encoding SQL_ASCII may: export them with --encoding raw"
        }
        "08P01" if message.contains("unsupported startup parameter") => {
            "PgBouncer refuses `options`, which carries `options` and session settings: remove both from the file, or add ignore_startup_parameters = options to pgbouncer.ini, where PgBouncer then ignores them"
        }
        "57P01" | "57P02" | "57P05" | "25P03" | "25P04" => LOST,
        "42501" => "the role lacks a privilege: ask the server's administrator for CONNECT on the database",
        "53300" => {
            "the server has no free connections: lower `max_size`, close idle sessions, or raise max_connections"
        }
        "57P03" => "the server is starting or stopping: try again in a moment",
        _ => return None,
    }
    .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_code_stands_for_several_things() {
        let hint = |message: &str| on_code("28000", message).unwrap_or_default();
        let no_line = "no pg_hba.conf entry for host \"1.2.3.4\", user \"a\", database \"b\"";
        assert!(hint(no_line).contains("server recommend"));
        // With `sslmode: prefer` the server may have no TLS at all.
        let without_tls = hint(&format!("{no_line}, no encryption"));
        assert!(without_tls.contains("sslmode: require"));
        assert!(without_tls.contains("server recommend"));
        assert!(hint("connection requires a valid client certificate").contains("sslcert"));
        assert!(hint("role \"x\" does not exist").contains("`user`"));
        assert_eq!(on_code("28000", "something else"), None);
    }
}
