//! The address and credentials of a server.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::certs::Certificates;
use crate::settings::Kind;

const POLL: Duration = Duration::from_millis(10);

/// The address of a test server and the credentials of its superuser.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) dbname: String,
    pub(crate) socket_dir: Option<PathBuf>,
    pub(crate) log_file: Option<PathBuf>,
}

impl Endpoint {
    /// Parses `postgres://user:password@host:port/dbname`, percent-encoded where needed.
    ///
    /// Missing parts get PostgreSQL's defaults (port 5432, user `postgres`, the database named like
    /// the user); parameters after `?` are ignored.
    ///
    /// # Errors
    ///
    /// When the text is not such a URL. The error does not show it, because it has the password.
    ///
    /// # Examples
    ///
    /// ```
    /// let endpoint = pgmonkey_testserver::Endpoint::from_url("postgres://app:s%40fe@[::1]/shop")?;
    /// assert_eq!((endpoint.host(), endpoint.port()), ("::1", 5432));
    /// assert_eq!(endpoint.password(), "s@fe");
    /// assert_eq!(endpoint.url(), "postgres://app:s%40fe@[::1]:5432/shop");
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn from_url(url: &str) -> anyhow::Result<Self> {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .context("a server's URL must start with postgres:// or postgresql://")?;
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, dbname) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, address) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = host_and_port(address)?;
        let user = non_empty(decode(user)?, "postgres");
        Ok(Self {
            host: non_empty(decode(host)?, "localhost"),
            port,
            dbname: non_empty(decode(dbname)?, &user),
            user,
            password: decode(password)?,
            socket_dir: None,
            log_file: None,
        })
    }

    /// The address or name to connect to.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The superuser's password, in plain text.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The database to use.
    #[must_use]
    pub fn dbname(&self) -> &str {
        &self.dbname
    }

    /// The directory with the server's Unix socket, if it runs on this machine.
    #[must_use]
    pub fn socket_dir(&self) -> Option<&Path> {
        self.socket_dir.as_deref()
    }

    /// The file the server logs to, if it runs on this machine.
    #[must_use]
    pub fn log_file(&self) -> Option<&Path> {
        self.log_file.as_deref()
    }

    /// Returns the server's log so far; empty if it cannot be read from here.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = self.log_file().map(fs::read).and_then(Result::ok);
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    }

    /// Whether the server has logged this text.
    #[must_use]
    pub fn log_contains(&self, text: &str) -> bool {
        self.log().contains(text)
    }

    /// Waits until the server has logged this text; returns false if `limit` passes first. The log
    /// of a server in a container arrives here a little later than it is written.
    #[must_use]
    pub fn wait_for_log(&self, text: &str, limit: Duration) -> bool {
        self.wait_for_log_after(0, text, limit)
    }

    /// Waits until the server has logged this text after the first `seen` bytes of its log (see
    /// [`log`](Self::log)); returns false if `limit` passes first.
    #[must_use]
    pub fn wait_for_log_after(&self, seen: usize, text: &str, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            if self.log().get(seen..).is_some_and(|new| new.contains(text)) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(POLL);
        }
    }

    /// Returns `postgres://user:password@host:port/dbname`.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "postgres://{}:{}@{}:{}/{}",
            encode(&self.user),
            encode(&self.password),
            bracketed(&self.host),
            self.port,
            encode(&self.dbname)
        )
    }

    /// Returns a pgmonkey config file for this server, without TLS.
    ///
    /// `connection_type` is `normal`, `pool`, `async` or `async_pool`.
    #[must_use]
    pub fn config_yaml(&self, connection_type: &str) -> String {
        format!(
            "connection_type: {connection_type}\n\
             connection_settings:\n\
             \x20 host: {}\n\
             \x20 port: {}\n\
             \x20 user: {}\n\
             \x20 password: {}\n\
             \x20 dbname: {}\n",
            quoted(&self.host),
            self.port,
            quoted(&self.user),
            quoted(&self.password),
            quoted(&self.dbname)
        )
    }

    /// Returns the same with the TLS settings that a server of this kind requires.
    #[must_use]
    pub fn config_yaml_tls(
        &self,
        connection_type: &str,
        kind: Kind,
        certificates: &Certificates,
    ) -> String {
        let mut text = self.config_yaml(connection_type);
        let mut set = |key: &str, path: PathBuf| {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "  {key}: {}", quoted(&path.to_string_lossy()));
        };
        if kind != Kind::Plain {
            set("sslmode", "verify-full".into());
            set("sslrootcert", certificates.ca());
        }
        if kind == Kind::ClientCert {
            set("sslcert", certificates.certificate("client"));
            set("sslkey", certificates.key("client"));
        }
        text
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Endpoint({}@{}:{}/{})",
            self.user, self.host, self.port, self.dbname
        )
    }
}

fn host_and_port(address: &str) -> anyhow::Result<(&str, u16)> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => rest
            .split_once(']')
            .context("a server's URL has a `[` without its `]`")?,
        None => address.split_at(address.find(':').unwrap_or(address.len())),
    };
    let port = port.strip_prefix(':').unwrap_or(port);
    match port {
        "" => Ok((host, 5432)),
        _ => Ok((
            host,
            port.parse()
                .context("a server's URL has a port that is not a number from 0 to 65535")?,
        )),
    }
}

fn non_empty(text: String, default: &str) -> String {
    if text.is_empty() {
        default.to_owned()
    } else {
        text
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        encode(host)
    }
}

/// A YAML scalar in single quotes: only the quote itself needs escaping.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn decode(text: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        ensure!(rest.len() >= 2, "a server's URL ends within a %xx");
        let (digits, tail) = rest.split_at(2);
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        bytes.push(u8::from_str_radix(digits, 16).context("a server's URL has a bad %xx")?);
        rest = tail;
    }
    String::from_utf8(bytes).context("a server's URL is not UTF-8 once decoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(password: &str) -> Endpoint {
        Endpoint {
            host: "127.0.0.1".into(),
            port: 5432,
            user: "postgres".into(),
            password: password.into(),
            dbname: "pgmonkey".into(),
            socket_dir: None,
            log_file: None,
        }
    }

    #[test]
    fn a_url_comes_back_as_it_went() {
        for password in ["simple", "p@ss:w/rd?#%", "ünïcode", ""] {
            let there = endpoint(password);
            assert_eq!(Endpoint::from_url(&there.url()).unwrap(), there);
        }
    }

    #[test]
    fn what_a_url_leaves_out_gets_the_defaults() {
        let found = Endpoint::from_url("postgresql://?sslmode=disable").unwrap();
        assert_eq!(found.url(), "postgres://postgres:@localhost:5432/postgres");
    }

    #[test]
    fn bad_urls_are_refused_without_showing_them() {
        for url in [
            "mysql://u:secret@h/d",
            "postgres://u:secret@h:port/d",
            "postgres://u:secret@[::1/d",
            "postgres://u:secret%4@h/d",
            "postgres://u:secret%zz@h/d",
        ] {
            let error = format!("{:#}", Endpoint::from_url(url).unwrap_err());
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_file_text_quotes_the_password() {
        let text = endpoint("it's: #1").config_yaml("pool");
        assert!(text.starts_with("connection_type: pool\n"), "{text}");
        assert!(text.contains("  password: 'it''s: #1'\n"), "{text}");
    }

    #[test]
    fn debug_shows_no_password() {
        assert!(!format!("{:?}", endpoint("geheim")).contains("geheim"));
    }
}
