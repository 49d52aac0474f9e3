//! Parses libpq's connection strings: `postgres://` URIs and key=value text.

mod pairs;
mod strangers;
pub(crate) mod template;
mod uri;

use self::pairs::Pairs;
use self::uri::Uri;

/// What is wrong with a connection string, and where: the position counts characters from 1.
///
/// The error never repeats the text, because any part of it may be the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum UrlError {
    #[error(
        "unknown scheme in the connection string; expected postgres://, postgresql:// or key=value text"
    )]
    Scheme,
    #[error(
        "invalid percent-encoding at character {at} of the connection string; expected % and two hex digits (write a % as %25)"
    )]
    Percent { at: usize },
    #[error(
        "the percent-encoded text at character {at} of the connection string is not valid UTF-8, or contains a zero byte"
    )]
    Text { at: usize },
    #[error("unexpected space at character {at} of the connection string; write it as %20")]
    Blank { at: usize },
    #[error(
        "invalid IPv6 address at character {at} of the connection string; expected [address], then a port, /, ?, a comma or the end"
    )]
    Bracket { at: usize },
    #[error(
        "invalid port at character {at} of the connection string; expected digits (write a / in the password as %2F)"
    )]
    Port { at: usize },
    #[error("expected one = between key and value at character {at} of the connection string")]
    Separator { at: usize },
    #[error(
        "unknown keyword at character {at} of the connection string; expected a libpq keyword, such as sslmode"
    )]
    Keyword { at: usize },
    #[error("the parameter `{name}` in the connection string is {whose}; {advice}")]
    Stranger {
        name: &'static str,
        whose: &'static str,
        advice: &'static str,
    },
    #[error("this is {what}; {advice}")]
    Dialect {
        what: &'static str,
        advice: &'static str,
    },
    #[error(
        "unexpected second @ at character {at} of the connection string; write an @ in the user, as in Azure's user@server, or in the password as %40"
    )]
    At { at: usize },
    #[error("unclosed quote at character {at} of the connection string")]
    Quote { at: usize },
    #[error(
        "unexpected @ after the / at character {at} of the connection string; write a / in the user or the password as %2F, and an @ after them as %40"
    )]
    Slash { at: usize },
}

impl UrlError {
    /// Returns the same error at another position.
    pub(crate) fn moved(mut self, new: impl FnOnce(usize) -> usize) -> Self {
        match &mut self {
            Self::Scheme | Self::Stranger { .. } | Self::Dialect { .. } => {}
            Self::Percent { at }
            | Self::Text { at }
            | Self::Blank { at }
            | Self::Bracket { at }
            | Self::Port { at }
            | Self::Separator { at }
            | Self::Keyword { at }
            | Self::Quote { at }
            | Self::At { at }
            | Self::Slash { at } => *at = new(*at),
        }
        self
    }
}

/// libpq's keywords, including those that the drivers do not support (rejected elsewhere).
///
/// Unknown ones are rejected here: elsewhere the error would show the name, which may be part of a
/// password with a space in it.
pub(crate) const KEYWORDS: &[&str] = &[
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "options",
    "passfile",
    "password",
    "port",
    "replication",
    "require_auth",
    "requirepeer",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslkeylogfile",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// Parses a connection string into (keyword, value) pairs; of a repeated keyword the last one
/// counts.
///
/// A list of hosts becomes comma-separated lists of equal length under `host` and `port`.
///
/// # Errors
/// [`UrlError`] with the position of the defect.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>, UrlError> {
    let scheme = ["postgres://", "postgresql://"]
        .into_iter()
        .find(|scheme| text.starts_with(scheme));
    if scheme.is_none()
        && let Some((what, advice)) = strangers::dialect(text)
    {
        return Err(UrlError::Dialect { what, advice });
    }
    match scheme {
        Some(scheme) => Uri::new(text, scheme.len()).parse(),
        None if has_scheme(text) => Err(UrlError::Scheme),
        None => Pairs::new(text).parse(),
    }
}

fn has_scheme(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'+')
    })
}

/// The error for a keyword that libpq does not know. Only the names of other programs' parameters
/// are repeated: any other may be a part of the password.
fn unknown(name: &str, at: usize) -> UrlError {
    match strangers::parameter(name) {
        Some((name, whose, advice)) => UrlError::Stranger {
            name,
            whose,
            advice,
        },
        None => UrlError::Keyword { at },
    }
}

/// The pairs found so far.
#[derive(Default)]
struct Settings(Vec<(String, String)>);

impl Settings {
    fn set(&mut self, key: &str, value: String) {
        self.0.retain(|(known, _)| known != key);
        self.0.push((key.to_owned(), value));
    }
}

fn position(text: &str, byte: usize) -> usize {
    text[..byte].chars().count() + 1
}

#[cfg(test)]
mod tests;
