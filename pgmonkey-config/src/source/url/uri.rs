//! Parses a `postgres://` URI.

use super::template::PLACEHOLDERS;
use super::{KEYWORDS, Settings, UrlError, position, unknown};

/// A cursor over a URI. `at` is a byte offset, always on a character boundary because it stops only
/// at the ASCII characters that separate parts.
pub(super) struct Uri<'a> {
    text: &'a str,
    at: usize,
    settings: Settings,
}

impl<'a> Uri<'a> {
    pub(super) fn new(text: &'a str, at: usize) -> Self {
        Self {
            text,
            at,
            settings: Settings::default(),
        }
    }

    pub(super) fn parse(mut self) -> Result<Vec<(String, String)>, UrlError> {
        let credentials = self.credentials()?;
        self.check_hosts(credentials)?;
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

    /// Reads `user:password@`, recognised by an `@` before the first `/`; returns whether it
    /// exists.
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

    /// Rejects a second `@` before the path: the first one ended the user or the password.
    fn check_hosts(&self, credentials: bool) -> Result<(), UrlError> {
        let rest = self.rest();
        let hosts = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
        match hosts.find('@').filter(|_| credentials) {
            Some(at) => Err(UrlError::At {
                at: self.position(self.at + at),
            }),
            None => Ok(()),
        }
    }

    /// Rejects the rest of a password with a `/` in it. The `/` ends the host too early, so that
    /// the rest of the password reads as the database or as parameters.
    fn check_path(&self, credentials: bool) -> Result<(), UrlError> {
        let (path, query) = self.rest().split_once('?').unwrap_or((self.rest(), ""));
        // A parameter may contain an @, as in user=me@server, but then no path follows.
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
            // As in libpq, a missing port in a list is 5432, regardless of PGPORT.
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
        let of_port = |c: char| c.is_ascii_digit() || PLACEHOLDERS.contains(&c);
        if port.chars().all(of_port) {
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
                return Err(unknown(&key, self.position(start)));
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

    /// Returns the text up to the first of `stops`, and its start.
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

    /// Counts characters only for an error: counting for every part would be slow for a long text.
    fn decode(&self, raw: &str, at: usize) -> Result<String, UrlError> {
        decode(raw).map_err(|(defect, offset)| defect(self.position(at) + offset))
    }

    fn position(&self, byte: usize) -> usize {
        position(self.text, byte)
    }
}

/// Creates an error from the position of the defect.
type Defect = fn(usize) -> UrlError;

/// Decodes percent-encoding; the error is the index, from 0, of the invalid character.
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
    // `from_str_radix` alone would also accept a sign.
    let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    hex.then(|| u8::from_str_radix(digits, 16).ok())?
}
