//! What to do about a session that could not be opened.

use std::error::Error as StdError;
use std::io;

use pgmonkey::Error;
use pgmonkey::failure::{ConnectCause, FailedAttempt, TlsFailure};

/// What to do about it, if that is known.
pub(crate) fn on(error: &Error) -> Option<String> {
    let code = error.code().map(|code| code.code());
    match error {
        Error::Connect(failure) => on_attempt(failure.attempts.last()?),
        Error::SessionSetting { key, .. } => Some(format!("correct {key} or take it out")),
        Error::Timeout(timeout) => timeout.last_error.as_ref().and_then(on),
        _ => on_code(code?, &error.to_string()),
    }
}

fn on_attempt(attempt: &FailedAttempt) -> Option<String> {
    let host = &attempt.host;
    match &attempt.cause {
        ConnectCause::Resolve(_) => Some(format!(
            "no name server and no hosts file knows the name of {host}: check `host`, or give its address as `hostaddr`"
        )),
        ConnectCause::Io(error) => on_socket(error, host),
        ConnectCause::Timeout(_) => Some(
            "a firewall that drops packets, or a server that is too busy, looks like this: check `host` and `port`, or raise `connect_timeout`"
                .to_owned(),
        ),
        ConnectCause::Tls(failure) => on_tls(failure),
        ConnectCause::Login(_) => Some(
            "let `require_auth` allow what the server asks for, or have the server's pg_hba.conf ask for more".to_owned(),
        ),
        ConnectCause::Role(_) => Some(
            "name a server with that role in `host`, or ask for less in `target_session_attrs`".to_owned(),
        ),
        ConnectCause::Driver(error) => {
            if let Some(error) = error.as_db_error() {
                return on_code(error.code().code(), error.message());
            }
            on_socket(io_error(&**error)?, host)
        }
        _ => None,
    }
}

/// What the operating system said, wherever in the chain it stands.
fn io_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    error.downcast_ref().or_else(|| io_error(error.source()?))
}

fn on_socket(error: &io::Error, host: &str) -> Option<String> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => format!(
            "nothing listens at {host}: is the server running, on that port, and does its listen_addresses include that address?"
        ),
        io::ErrorKind::NotFound => {
            "there is no socket: is the server running on this machine, and are its directory and `port` right?".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "this user may not use the server's socket: check the directory's permissions".to_owned()
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            format!("there is no way to {host} from here: check the network and `host`")
        }
        _ => return None,
    })
}

fn on_tls(failure: &TlsFailure) -> Option<String> {
    Some(match failure {
        TlsFailure::NotOffered => {
            "turn ssl on at the server, or, where nobody can listen on the way, set `sslmode: prefer`"
        }
        TlsFailure::Certificate(text) if text.starts_with("is for ") => {
            "use the certificate's name as `host` (with `hostaddr` beside it if the name leads elsewhere), or `sslmode: verify-ca`, which does not look at the name"
        }
        TlsFailure::Certificate(text) if text.starts_with("is signed by nobody") => {
            "name the file with the certificate of the authority that signed the server's in `sslrootcert`"
        }
        TlsFailure::NoAlpn => "set `sslnegotiation: postgres`",
        _ => return None,
    }
    .to_owned())
}

/// By the server's SQLSTATE, and its words where a code stands for several things.
fn on_code(code: &str, message: &str) -> Option<String> {
    Some(match code {
        "28P01" => {
            "the user or the password is wrong: `pgmonkey config show` tells where they come from"
        }
        "28000" if message.contains("no encryption") => {
            "the server takes no session without TLS from here: set `sslmode: require` or stronger, or see `pgmonkey server recommend`"
        }
        "28000" if message.contains("pg_hba.conf") => {
            "no line of the server's pg_hba.conf lets this user in from here: `pgmonkey server recommend` prints one"
        }
        "28000" if message.contains("certificate") => {
            "name a certificate that the server trusts in `sslcert` and its key in `sslkey`"
        }
        "28000" if message.contains("does not exist") => {
            "check `user`, or create the role at the server"
        }
        "3D000" => "check `dbname`, or create the database at the server",
        "42501" => "the role lacks a privilege: ask the server's administrator for CONNECT on the database",
        "53300" => {
            "the server has no session left: lower `max_size`, close idle sessions, or raise max_connections"
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
        assert!(hint(&format!("{no_line}, no encryption")).contains("sslmode: require"));
        assert!(hint("connection requires a valid client certificate").contains("sslcert"));
        assert!(hint("role \"x\" does not exist").contains("`user`"));
        assert_eq!(on_code("28000", "something else"), None);
    }
}
