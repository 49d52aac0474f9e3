//! libpq's connection strings: `postgres://` URIs and key=value text.

/// What is wrong with a connection string, and where: the position counts characters from 1.
///
/// The text itself is never repeated, because any part of it may turn out to be the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum UrlError {
    #[error(
        "unknown scheme in the connection string; expected postgres://, postgresql:// or key=value text"
    )]
    Scheme,
    #[error(
        "bad percent-encoding at character {at} of the connection string; expected % and two hex digits, and %25 for a percent sign"
    )]
    Percent { at: usize },
    #[error(
        "the percent-encoded text at character {at} of the connection string is not UTF-8, or has a zero byte"
    )]
    Text { at: usize },
    #[error("unexpected blank at character {at} of the connection string; write it as %20")]
    Blank { at: usize },
    #[error(
        "bad IPv6 address at character {at} of the connection string; expected [address], then a port, /, ?, a comma or the end"
    )]
    Bracket { at: usize },
    #[error(
        "bad port at character {at} of the connection string; expected digits (a / in the password is written %2F)"
    )]
    Port { at: usize },
    #[error("expected one = between key and value at character {at} of the connection string")]
    Separator { at: usize },
    #[error("unknown keyword at character {at} of the connection string; expected one of libpq's")]
    Keyword { at: usize },
    #[error("unclosed quote at character {at} of the connection string")]
    Quote { at: usize },
    #[error(
        "unexpected @ behind the / at character {at} of the connection string; a / in the user or the password is written %2F, and an @ behind them %40"
    )]
    Slash { at: usize },
}

/// libpq's keywords, with those that the drivers cannot honour (their refusal is not decided here).
///
/// An unknown one is refused in this file: elsewhere its name would be shown, and it may be a piece of
/// a password with a blank in it.
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

/// Reads a connection string into (keyword, value) pairs, each keyword once: the last one counts.
///
/// A list of hosts becomes comma lists under `host` and `port`, of equal length.
///
/// # Errors
/// [`UrlError`] with the position of what is wrong.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>, UrlError> {
    let scheme = ["postgres://", "postgresql://"]
        .into_iter()
        .find(|scheme| text.starts_with(scheme));
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

/// The pairs found so far.
#[derive(Default)]
struct Settings(Vec<(String, String)>);

impl Settings {
    fn set(&mut self, key: &str, value: String) {
        self.0.retain(|(known, _)| known != key);
        self.0.push((key.to_owned(), value));
    }
}

/// A cursor over a URI. `at` is a byte position, always on a character border because it only ever
/// stops at the ASCII characters that separate parts.
struct Uri<'a> {
    text: &'a str,
    at: usize,
    settings: Settings,
}

impl<'a> Uri<'a> {
    fn new(text: &'a str, at: usize) -> Self {
        Self {
            text,
            at,
            settings: Settings::default(),
        }
    }

    fn parse(mut self) -> Result<Vec<(String, String)>, UrlError> {
        let credentials = self.credentials()?;
        self.hosts()?;
        self.check_path(credentials)?;
        if self.eat('/') {
            let (dbname, at) = self.until(&['?']);
            self.store("dbname", dbname, at)?;
        }
        if self.eat('?') {
            self.parameters()?;
        }
        Ok(self.settings.0)
    }

    /// `user:password@`, recognised by an `@` before the first `/`; whether it is there.
    fn credentials(&mut self) -> Result<bool, UrlError> {
        let rest = self.rest();
        let end = rest.find(['@', '/']);
        if !end.is_some_and(|end| rest[end..].starts_with('@')) {
            return Ok(false);
        }
        let (user, at) = self.until(&[':', '@']);
        self.store("user", user, at)?;
        if self.eat(':') {
            let (password, at) = self.until(&['@']);
            self.store("password", password, at)?;
        }
        self.eat('@');
        Ok(true)
    }

    /// Refuses what is left of a password with a `/` in it. The `/` ended the host too early, so
    /// that the rest of the password reads as the database or as parameters.
    fn check_path(&self, credentials: bool) -> Result<(), UrlError> {
        let (path, query) = self.rest().split_once('?').unwrap_or((self.rest(), ""));
        // A parameter may hold an @, as in user=me@server, but then no path follows.
        let is_rest = |pair: &str| {
            pair.split_once('@')
                .is_some_and(|(_, end)| end.contains('/'))
        };
        if path.contains('@') || (!credentials && query.split('&').any(is_rest)) {
            return Err(UrlError::Slash {
                at: self.position(self.at),
            });
        }
        Ok(())
    }

    fn hosts(&mut self) -> Result<(), UrlError> {
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        loop {
            hosts.push(self.host()?);
            ports.push(if self.eat(':') {
                self.port()?
            } else {
                String::new()
            });
            if !self.eat(',') {
                break;
            }
        }
        if hosts.len() > 1 {
            // In a list an absent port is 5432, whatever PGPORT says: so libpq.
            for port in ports.iter_mut().filter(|port| port.is_empty()) {
                "5432".clone_into(port);
            }
        }
        for (key, list) in [("host", hosts.join(",")), ("port", ports.join(","))] {
            if !list.is_empty() {
                self.settings.set(key, list);
            }
        }
        Ok(())
    }

    fn host(&mut self) -> Result<String, UrlError> {
        let start = self.at;
        if !self.eat('[') {
            let (host, at) = self.until(&[':', '/', '?', ',']);
            return self.decode(host, at);
        }
        let (host, at) = self.until(&[']', '/', '?', ',']);
        let closed = self.eat(']');
        let ends = self.rest().is_empty() || self.rest().starts_with([':', '/', '?', ',']);
        if !closed || !ends || host.is_empty() {
            return Err(UrlError::Bracket {
                at: self.position(start),
            });
        }
        self.decode(host, at)
    }

    fn port(&mut self) -> Result<String, UrlError> {
        let (port, at) = self.until(&['/', '?', ',']);
        let port = self.decode(port, at)?;
        if port.bytes().all(|b| b.is_ascii_digit()) {
            Ok(port)
        } else {
            Err(UrlError::Port {
                at: self.position(at),
            })
        }
    }

    fn parameters(&mut self) -> Result<(), UrlError> {
        while !self.rest().is_empty() {
            let (pair, start) = self.until(&['&']);
            self.eat('&');
            let Some((key, value)) = pair.split_once('=').filter(|(_, v)| !v.contains('=')) else {
                return Err(UrlError::Separator {
                    at: self.position(start),
                });
            };
            let value = self.decode(value, start + key.len() + 1)?;
            let key = self.decode(key, start)?;
            // The one JDBC spelling that libpq understands.
            if key == "ssl" && value == "true" {
                self.settings.set("sslmode", "require".to_owned());
            } else if KEYWORDS.contains(&key.as_str()) {
                self.settings.set(&key, value);
            } else {
                return Err(UrlError::Keyword {
                    at: self.position(start),
                });
            }
        }
        Ok(())
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn eat(&mut self, expected: char) -> bool {
        let found = self.rest().starts_with(expected);
        self.at += if found { expected.len_utf8() } else { 0 };
        found
    }

    /// The text up to the first of `stops`, and where it starts.
    fn until(&mut self, stops: &[char]) -> (&'a str, usize) {
        let (rest, start) = (self.rest(), self.at);
        let length = rest.find(stops).unwrap_or(rest.len());
        self.at += length;
        (&rest[..length], start)
    }

    fn store(&mut self, key: &str, raw: &str, at: usize) -> Result<(), UrlError> {
        let value = self.decode(raw, at)?;
        if !value.is_empty() {
            self.settings.set(key, value);
        }
        Ok(())
    }

    /// Counts characters for an error only: for every part of a long text it would take long.
    fn decode(&self, raw: &str, at: usize) -> Result<String, UrlError> {
        decode(raw).map_err(|(defect, offset)| defect(self.position(at) + offset))
    }

    fn position(&self, byte: usize) -> usize {
        position(self.text, byte)
    }
}

fn position(text: &str, byte: usize) -> usize {
    text[..byte].chars().count() + 1
}

/// What is wrong, given the position of it.
type Defect = fn(usize) -> UrlError;

/// Takes the percent-encoding away; an error with the character, from 0, that is to blame.
fn decode(raw: &str) -> Result<String, (Defect, usize)> {
    let text = raw.trim();
    let blanks = raw.chars().take_while(|c| c.is_whitespace()).count();
    let mut bytes = Vec::with_capacity(text.len());
    let mut chars = text.char_indices();
    let mut here = blanks;
    while let Some((index, c)) = chars.next() {
        if c.is_whitespace() {
            return Err((|at| UrlError::Blank { at }, here));
        }
        if c == '%' {
            let byte = text.get(index + 1..index + 3).and_then(hex_byte);
            bytes.push(byte.ok_or((percent as Defect, here))?);
            chars.nth(1);
            here += 2;
        } else {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        here += 1;
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))
        .ok_or((|at| UrlError::Text { at }, blanks))
}

fn percent(at: usize) -> UrlError {
    UrlError::Percent { at }
}

fn hex_byte(digits: &str) -> Option<u8> {
    // `from_str_radix` alone would also take a sign.
    let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    hex.then(|| u8::from_str_radix(digits, 16).ok())?
}

/// A cursor over key=value text.
struct Pairs<'a> {
    text: &'a str,
    chars: std::iter::Peekable<std::str::CharIndices<'a>>,
    settings: Settings,
}

impl<'a> Pairs<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            chars: text.char_indices().peekable(),
            settings: Settings::default(),
        }
    }

    fn parse(mut self) -> Result<Vec<(String, String)>, UrlError> {
        loop {
            self.blanks();
            let start = self.here();
            if start == self.text.len() {
                return Ok(self.settings.0);
            }
            let key = self.keyword(start)?;
            let value = self.value()?;
            self.settings.set(key, value);
        }
    }

    fn keyword(&mut self, start: usize) -> Result<&'a str, UrlError> {
        while self
            .chars
            .next_if(|(_, c)| *c != '=' && !c.is_ascii_whitespace())
            .is_some()
        {}
        let key = &self.text[start..self.here()];
        self.blanks();
        let at = || position(self.text, start);
        if self.chars.next_if(|(_, c)| *c == '=').is_none() {
            return Err(UrlError::Separator { at: at() });
        }
        if KEYWORDS.contains(&key) {
            Ok(key)
        } else {
            Err(UrlError::Keyword { at: at() })
        }
    }

    fn value(&mut self) -> Result<String, UrlError> {
        self.blanks();
        let quote = self.chars.next_if(|(_, c)| *c == '\'');
        let mut value = String::new();
        while let Some((_, c)) = self.chars.next() {
            match c {
                '\\' => value.extend(self.chars.next().map(|(_, escaped)| escaped)),
                '\'' if quote.is_some() => return Ok(value),
                _ if quote.is_none() && c.is_ascii_whitespace() => return Ok(value),
                _ => value.push(c),
            }
        }
        match quote {
            Some((start, _)) => Err(UrlError::Quote {
                at: position(self.text, start),
            }),
            None => Ok(value),
        }
    }

    fn blanks(&mut self) {
        while self
            .chars
            .next_if(|(_, c)| c.is_ascii_whitespace())
            .is_some()
        {}
    }

    fn here(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |(at, _)| *at)
    }
}

#[cfg(test)]
mod tests;
