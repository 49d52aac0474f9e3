//! Checks that the server's authentication request is allowed.
//!
//! Reference: libpq, `require_auth`; protocol, "Message Formats: Authentication…".

use std::fmt;

use pgmonkey_config::{AuthMethod, RequireAuth};

use crate::printable::line;

use super::limit::{LOGIN_BYTES, LOGIN_MESSAGES, LimitExceeded};

/// Follows the server's side of one login.
#[derive(Debug, Default)]
pub(super) struct Login {
    allowed: RequireAuth,
    asked: Option<AuthMethod>,
    /// Whether the server has reported that it is ready for queries.
    over: bool,
    bytes: usize,
    refusal: Option<LoginRefused>,
}

/// The client ended the login before sending anything.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginRefused {
    /// The server asked for a method that `require_auth` does not allow, or for none at all.
    Method {
        /// The method that the server asked for.
        asked: AuthMethod,
        /// The value of `require_auth`.
        allowed: RequireAuth,
    },
    /// The server announced a message longer than any message of a login.
    TooLong {
        /// The announced length in bytes.
        bytes: usize,
    },
    /// The server sent an error in the format of protocol 2, as PostgreSQL does while it cannot start a
    /// process for the session.
    Unframed {
        /// The server's text.
        text: String,
    },
    /// The server sent more than a login needs.
    Limit(LimitExceeded),
    /// The server derives this user's SCRAM key with more iterations than the drivers accept.
    ScramIterations {
        /// The server's number.
        count: u32,
    },
    /// The server authenticates this user by OAuth and nothing else.
    Oauth,
}

/// The most SCRAM iterations that the drivers accept; postgres-protocol 0.6.
const MOST_SCRAM_ITERATIONS: u32 = 100_000;

impl fmt::Display for LoginRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method {
                asked: AuthMethod::None,
                allowed,
            } => write!(
                f,
                "the server let this user in without authentication, and require_auth asks for {allowed}"
            ),
            Self::Method { asked, allowed } => write!(
                f,
                "the server asks for {asked} authentication, and require_auth allows {allowed}: no password was sent"
            ),
            Self::TooLong { bytes } => write!(
                f,
                "the server announced a message of {bytes} bytes before the login was over, which may take {LOGIN_BYTES} bytes: it does not speak the PostgreSQL protocol"
            ),
            Self::Unframed { text } if text.is_empty() => {
                f.write_str("the server refused the session with an error without a text")
            }
            Self::Unframed { text } => {
                write!(f, "the server refused the session: {}", line(text))
            }
            Self::Limit(limit) => limit.fmt(f),
            Self::ScramIterations { count } => write!(
                f,
                "the server derives this user's SCRAM key with {count} iterations, and the drivers accept at most {MOST_SCRAM_ITERATIONS}: set scram_iterations to {MOST_SCRAM_ITERATIONS} or less on the server, then set the user's password again"
            ),
            Self::Oauth => f.write_str(
                "the server authenticates this user by OAuth, which the drivers do not support: ask for a line in pg_hba.conf with scram-sha-256 or cert"
            ),
        }
    }
}

impl std::error::Error for LoginRefused {}

impl LoginRefused {
    /// What a message that is too long is if it is an error: one whose text begins where the length
    /// would be, and ends with a zero.
    pub(super) fn or_unframed(self, text: Option<Vec<u8>>) -> Self {
        match (self, text) {
            (Self::TooLong { .. }, Some(text)) => {
                let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
                let text = String::from_utf8_lossy(text).trim().to_owned();
                Self::Unframed { text }
            }
            (refused, _) => refused,
        }
    }
}

impl Login {
    pub(super) fn requiring(allowed: RequireAuth) -> Self {
        Self {
            allowed,
            ..Self::default()
        }
    }

    /// Receives one authentication message; returns the method once the server accepts the login.
    pub(super) fn asked(&mut self, body: &[u8]) -> Option<AuthMethod> {
        let code = body.first_chunk().map(|code| u32::from_be_bytes(*code))?;
        if code == 0 {
            let method = *self.asked.get_or_insert(AuthMethod::None);
            self.check(method);
            return Some(method);
        }
        let rest = body.get(4..).unwrap_or_default();
        if let Some(method) = method(code, rest) {
            self.asked = Some(method);
            self.check(method);
        }
        if let Some(refusal) = unsupported(code, rest) {
            self.refusal.get_or_insert(refusal);
        }
        None
    }

    /// Counts `bytes` more from the server, which has now sent `messages` messages in all.
    pub(super) fn count(&mut self, bytes: usize, messages: u32) {
        if self.over {
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        let limit = if self.bytes > LOGIN_BYTES {
            LimitExceeded::LoginBytes
        } else if messages > LOGIN_MESSAGES {
            LimitExceeded::LoginMessages
        } else {
            return;
        };
        self.refusal.get_or_insert(LoginRefused::Limit(limit));
    }

    /// The server is ready for queries.
    pub(super) fn ends(&mut self) {
        self.over = true;
    }

    /// Whether the login is complete and nothing is to be refused.
    #[inline]
    pub(super) fn is_settled(&self) -> bool {
        self.over && self.refusal.is_none()
    }

    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Why the login must not continue, if so; `missing` bytes of the current message are still to
    /// come.
    pub(super) fn refusal(&mut self, missing: usize) -> Option<LoginRefused> {
        if !self.over && missing > LOGIN_BYTES {
            return Some(LoginRefused::TooLong { bytes: missing });
        }
        // Refuse before waiting for the rest of the message.
        if !self.over && self.bytes.saturating_add(missing) > LOGIN_BYTES {
            return Some(LoginRefused::Limit(LimitExceeded::LoginBytes));
        }
        self.refusal.take()
    }

    fn check(&mut self, asked: AuthMethod) {
        if !self.allowed.allows(asked) && self.refusal.is_none() {
            self.refusal = Some(LoginRefused::Method {
                asked,
                allowed: self.allowed.clone(),
            });
        }
    }
}

/// The method that a request starts; `None` for a request that continues a method.
fn method(code: u32, rest: &[u8]) -> Option<AuthMethod> {
    match code {
        3 => Some(AuthMethod::Password),
        5 => Some(AuthMethod::Md5),
        7 => Some(AuthMethod::Gss),
        9 => Some(AuthMethod::Sspi),
        10 => Some(match wants_oauth(rest) {
            true => AuthMethod::Oauth,
            false => AuthMethod::ScramSha256,
        }),
        _ => None,
    }
}

/// Whether OAuth is the only mechanism offered.
fn wants_oauth(mechanisms: &[u8]) -> bool {
    let mut names = mechanisms.split(|byte| *byte == 0);
    mechanisms.starts_with(b"OAUTHBEARER") && !names.any(|name| name.starts_with(b"SCRAM-"))
}

/// Why the drivers cannot answer a request, for requests that they refuse in fewer words.
fn unsupported(code: u32, rest: &[u8]) -> Option<LoginRefused> {
    match code {
        10 if wants_oauth(rest) => Some(LoginRefused::Oauth),
        11 => {
            let text = std::str::from_utf8(rest).ok()?;
            let count = text.split(',').find_map(|part| part.strip_prefix("i="))?;
            // More digits than fit are more iterations than any limit.
            let is_number = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
            let count = is_number.then(|| count.parse().unwrap_or(u32::MAX))?;
            (count > MOST_SCRAM_ITERATIONS).then_some(LoginRefused::ScramIterations { count })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(code: u32, rest: &[u8]) -> Vec<u8> {
        [&code.to_be_bytes(), rest].concat()
    }

    fn refused(required: &str, requests: &[Vec<u8>]) -> Option<String> {
        let mut login = Login::requiring(required.parse().expect("valid"));
        for request in requests {
            login.asked(request);
        }
        login.refusal(0).map(|refusal| refusal.to_string())
    }

    #[test]
    fn what_is_not_allowed_is_refused_at_the_request() {
        let clear = [request(3, b"")];
        assert!(
            refused("scram-sha-256", &clear)
                .expect("refused")
                .contains("no password was sent")
        );
        assert_eq!(refused("password", &clear), None);
        assert!(refused("!password", &clear).is_some());
        assert!(refused("scram-sha-256", &[request(5, b"salt")]).is_some());
        let scram = [
            request(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
            request(11, b"r=x"),
            request(12, b"v=x"),
            request(0, b""),
        ];
        assert_eq!(refused("scram-sha-256", &scram), None);
        assert!(refused("md5", &scram[..1]).is_some());
    }

    #[test]
    fn what_the_drivers_cannot_answer_is_named() {
        let scram = |last: &str| {
            let first = request(10, b"SCRAM-SHA-256\0\0");
            [
                first,
                request(11, format!("r=x,s=eA==,i={last}").as_bytes()),
            ]
        };
        assert_eq!(refused("none,scram-sha-256", &scram("100000")), None);
        let text = refused("none,scram-sha-256", &scram("150000")).expect("refused");
        assert!(text.contains("150000 iterations") && text.contains("at most 100000"));
        assert!(refused("scram-sha-256", &scram("99999999999")).is_some());
        assert_eq!(
            refused("scram-sha-256", &scram("x")),
            None,
            "the driver's error"
        );
        let oauth = [request(10, b"OAUTHBEARER\0\0")];
        assert!(
            refused("oauth", &oauth)
                .expect("refused")
                .contains("by OAuth")
        );
        let both = [request(10, b"OAUTHBEARER\0SCRAM-SHA-256\0\0")];
        assert_eq!(refused("scram-sha-256", &both), None);
    }

    #[test]
    fn a_login_that_was_not_asked_for_needs_none() {
        let trusted = [request(0, b"")];
        assert!(
            refused("scram-sha-256", &trusted)
                .expect("refused")
                .contains("without authentication")
        );
        assert_eq!(refused("none", &trusted), None);
        assert_eq!(refused("scram-sha-256,none", &trusted), None);
    }

    #[test]
    fn the_method_is_known_at_the_end() {
        let mut login = Login::default();
        assert_eq!(login.asked(&request(5, b"salt")), None);
        assert_eq!(login.asked(&request(0, b"")), Some(AuthMethod::Md5));
    }

    #[test]
    fn a_message_that_no_login_has_is_refused() {
        let mut login = Login::default();
        assert_eq!(login.refusal(4 << 10), None);
        assert!(login.refusal(usize::MAX).is_some());
        login.asked(&request(0, b""));
        assert!(login.refusal(usize::MAX).is_some(), "not ready yet");
        login.ends();
        assert_eq!(login.refusal(usize::MAX), None, "rows may be long");
    }

    #[test]
    fn an_error_without_a_length_is_shown_with_its_text() {
        let too_long = || LoginRefused::TooLong { bytes: usize::MAX };
        let text = b"could not fork new process\n\0E\0\0".to_vec();
        let shown = too_long().or_unframed(Some(text)).to_string();
        assert!(shown.ends_with("refused the session: could not fork new process"));
        let empty = too_long().or_unframed(Some(b"\0E\0\0\x14SFATAL".to_vec()));
        assert!(empty.to_string().ends_with("an error without a text"));
        assert_eq!(too_long().or_unframed(None), too_long(), "not an error");
    }

    #[test]
    fn the_sum_of_a_login_is_bounded_until_the_server_is_ready() {
        let exceeded = |login: &mut Login| match login.refusal(0) {
            Some(LoginRefused::Limit(limit)) => Some(limit),
            _ => None,
        };
        let mut login = Login::default();
        login.count(LOGIN_BYTES, LOGIN_MESSAGES);
        assert_eq!(exceeded(&mut login), None, "the limits themselves");
        assert!(login.refusal(1).is_some(), "what is announced counts");
        login.asked(&request(0, b""));
        login.count(1, LOGIN_MESSAGES);
        assert_eq!(exceeded(&mut login), Some(LimitExceeded::LoginBytes));
        let mut login = Login::default();
        login.count(5, LOGIN_MESSAGES + 1);
        assert_eq!(exceeded(&mut login), Some(LimitExceeded::LoginMessages));
        let mut login = Login::default();
        login.ends();
        login.count(usize::MAX, u32::MAX);
        assert_eq!(exceeded(&mut login), None);
    }
}
