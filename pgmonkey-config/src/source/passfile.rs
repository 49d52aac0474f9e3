//! libpq's password file, `~/.pgpass`: passwords by server, database and user.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;

use crate::secret::Secret;
use crate::source::files;

/// The default socket directories of common builds of PostgreSQL. libpq knows only the one that it
/// was built with; here a session through any of them counts as `localhost` in the password file.
const SOCKET_DIRECTORIES: [&str; 3] = ["/tmp", "/var/run/postgresql", "/run/postgresql"];

/// The contents of a password file.
///
/// Each line is `host:port:database:user:password`. A field `*` matches anything, `\:` and `\\`
/// stand for `:` and `\`, and the first matching line decides. Lines that start with `#`, have
/// fewer than five fields or are not UTF-8 are skipped, as in libpq.
#[derive(Clone)]
pub struct PassFile {
    path: PathBuf,
    lines: Vec<Line>,
}

/// A password file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassFileError {
    /// The file exists, but its metadata or content could not be read.
    #[error("cannot read password file {path}: {reason}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        reason: io::Error,
    },
}

impl PassFile {
    /// Reads the file at `path`.
    ///
    /// Returns `None` if the file does not exist, and, with a warning, if libpq would ignore it: it
    /// is not a regular file, or (on Unix) its group or others have access to it.
    ///
    /// # Errors
    /// [`PassFileError::Read`] when the file exists but cannot be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Option<Self>, PassFileError> {
        let path = path.as_ref();
        let read_error = |reason| PassFileError::Read {
            path: path.to_owned(),
            reason,
        };
        // The metadata is checked before the open: opening a FIFO would wait for a writer.
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(read_error(error)),
        };
        if let Some(fault) = fault(&metadata) {
            tracing::warn!(
                name: "pgmonkey.passfile", target: "pgmonkey", event = "pgmonkey.passfile",
                file = %path.display(),
                "passfile ignored: {}: {fault}", path.display()
            );
            return Ok(None);
        }
        let bytes = Zeroizing::new(files::read(path, files::SHARED_LIMIT).map_err(read_error)?);
        Ok(Some(Self::of(path, &bytes)))
    }

    pub(crate) fn of(path: &Path, bytes: &[u8]) -> Self {
        Self {
            path: path.to_owned(),
            lines: bytes
                .split(|byte| *byte == b'\n')
                .filter_map(Line::parse)
                .collect(),
        }
    }

    /// Returns the password of the first matching line, or `None`; an empty password counts as
    /// none.
    ///
    /// `host` is the text of the `host` setting, or of `hostaddr` if there is no host. An empty
    /// host and a default socket directory (`/tmp`, `/run/postgresql`, `/var/run/postgresql`) are
    /// looked up as `localhost`, any other socket directory by its path.
    #[must_use]
    pub fn lookup(&self, host: &str, port: u16, dbname: &str, user: &str) -> Option<Secret> {
        let host = if host.is_empty() || SOCKET_DIRECTORIES.contains(&host) {
            "localhost"
        } else {
            host
        };
        let asked = [host, &port.to_string(), dbname, user];
        let line = self.lines.iter().find(|line| line.matches(asked))?;
        Some(line.password.clone()).filter(|password| !password.expose().is_empty())
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Debug for PassFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PassFile")
            .field("path", &self.path)
            .field("lines", &self.lines.len())
            .finish()
    }
}

/// Returns the path of the password file if `passfile` is not set: `PGPASSFILE`, else `~/.pgpass`
/// (`%APPDATA%\postgresql\pgpass.conf` on Windows). `None` without a home directory.
///
/// `lookup` reads an environment variable; an empty one counts as not set.
pub fn default_path(lookup: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    set(lookup, "PGPASSFILE")
        .map(PathBuf::from)
        .or_else(|| user_file(lookup, ".pgpass", "pgpass.conf"))
}

/// Returns the path of one of libpq's per-user files: `unix_name` in the home directory, on Windows
/// `windows_name` in PostgreSQL's application data.
pub(crate) fn user_file(
    lookup: &dyn Fn(&str) -> Option<String>,
    unix_name: &str,
    windows_name: &str,
) -> Option<PathBuf> {
    if cfg!(windows) {
        let data = set(lookup, "APPDATA").map(PathBuf::from)?;
        return Some(data.join("postgresql").join(windows_name));
    }
    let home = set(lookup, "HOME").map(PathBuf::from);
    Some(home.or_else(|| etcetera::home_dir().ok())?.join(unix_name))
}

/// Returns the value of an environment variable; an empty one counts as not set.
pub(crate) fn set(lookup: &dyn Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    lookup(name).filter(|value| !value.is_empty())
}

/// Whether the error means that there is no such file.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Returns why libpq would ignore this file, if it would.
fn fault(metadata: &Metadata) -> Option<String> {
    if !metadata.is_file() {
        return Some("it is not a regular file".to_owned());
    }
    let mode = files::mode_open_to_others(metadata)?;
    Some(format!(
        "its group or others have access to it (mode {mode:04o}); restrict it with `chmod 0600`"
    ))
}

#[derive(Clone)]
struct Line {
    /// Host, port, database, user; `None` matches anything.
    fields: [Option<String>; 4],
    password: Secret,
}

impl Line {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let text = text.trim_end_matches('\r');
        if text.starts_with('#') {
            return None;
        }
        let mut rest = Some(text);
        let mut next = || {
            let (field, after) = split_field(rest?);
            rest = after;
            Some(field)
        };
        let fields = [next()?, next()?, next()?, next()?].map(pattern);
        Some(Self {
            fields,
            password: Secret::new(unescape(next()?)),
        })
    }

    fn matches(&self, asked: [&str; 4]) -> bool {
        self.fields
            .iter()
            .zip(asked)
            .all(|(field, asked)| field.as_deref().is_none_or(|field| field == asked))
    }
}

/// Returns the text before the first unescaped `:`, and the text after it.
fn split_field(text: &str) -> (&str, Option<&str>) {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b':' if !escaped => return (&text[..at], Some(&text[at + 1..])),
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    (text, None)
}

fn pattern(field: &str) -> Option<String> {
    (field != "*").then(|| unescape(field))
}

fn unescape(field: &str) -> String {
    let mut chars = field.chars();
    let mut plain = String::with_capacity(field.len());
    while let Some(c) = chars.next() {
        // A backslash at the end stands for itself.
        plain.push(if c == '\\' {
            chars.next().unwrap_or(c)
        } else {
            c
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(text: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let path = directory.path().join("pgpass");
        fs::write(&path, text).expect("write");
        permit(&path, 0o600);
        (directory, path)
    }

    #[cfg(unix)]
    fn permit(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }

    #[cfg(not(unix))]
    fn permit(_: &Path, _: u32) {}

    fn load(text: impl AsRef<[u8]>) -> PassFile {
        let (_directory, path) = file(text);
        PassFile::load(path)
            .expect("readable")
            .expect("not ignored")
    }

    fn ask(text: &str, host: &str, port: u16, dbname: &str, user: &str) -> Option<String> {
        let secret = load(text).lookup(host, port, dbname, user)?;
        Some(secret.expose().to_owned())
    }

    #[test]
    fn the_first_match_wins_and_fields_may_be_wild() {
        let text = "db:5432:shop:app:exact\n*:*:*:app:any\ndb:5432:*:*:late\n";
        assert_eq!(ask(text, "db", 5432, "shop", "app").unwrap(), "exact");
        assert_eq!(ask(text, "db", 5433, "shop", "app").unwrap(), "any");
        assert_eq!(ask(text, "db", 5432, "shop", "bob").unwrap(), "late");
        assert_eq!(ask(text, "other", 5432, "shop", "bob"), None);
    }

    #[test]
    fn a_star_is_wild_only_alone() {
        assert_eq!(ask("d*:1:a:b:x", "db", 1, "a", "b"), None);
        assert_eq!(ask("d*:1:a:b:x", "d*", 1, "a", "b").unwrap(), "x");
        assert_eq!(ask("\\*:1:a:b:x", "h", 1, "a", "b"), None);
    }

    #[test]
    fn escapes_work_in_every_field() {
        let text = r"fe80\:\:1:5432:a\\b:us\:er:p\:a\\ss";
        assert_eq!(
            ask(text, "fe80::1", 5432, "a\\b", "us:er").unwrap(),
            "p:a\\ss"
        );
        assert_eq!(ask("h:1:d:u:end\\", "h", 1, "d", "u").unwrap(), "end\\");
        assert_eq!(ask("h:1:d:u:pw:more", "h", 1, "d", "u").unwrap(), "pw");
        assert_eq!(ask("h:1:d:u:pw  ", "h", 1, "d", "u").unwrap(), "pw  ");
    }

    #[test]
    fn comments_short_and_broken_lines_are_skipped() {
        let text = b"# h:1:d:u:no\nh:1:d:u\n\n\xff:1:d:u:no\nh:1:d:u:yes\r\n";
        let found = load(text).lookup("h", 1, "d", "u").expect("the last line");
        assert_eq!(found.expose(), "yes");
    }

    #[test]
    fn an_empty_password_is_none_and_still_decides() {
        assert_eq!(ask("h:1:d:u:\nh:1:d:u:later", "h", 1, "d", "u"), None);
    }

    #[test]
    fn default_sockets_and_no_host_are_localhost() {
        for host in [
            "",
            "/tmp",
            "/run/postgresql",
            "/var/run/postgresql",
            "localhost",
        ] {
            assert_eq!(
                ask("localhost:1:d:u:pw", host, 1, "d", "u").unwrap(),
                "pw",
                "{host}"
            );
        }
        assert_eq!(ask("localhost:1:d:u:pw", "/srv/pg", 1, "d", "u"), None);
        assert_eq!(
            ask("/srv/pg:1:d:u:pw", "/srv/pg", 1, "d", "u").unwrap(),
            "pw"
        );
    }

    #[test]
    fn a_missing_file_is_none() {
        let (_directory, path) = file("");
        assert!(
            PassFile::load(path.with_file_name("absent"))
                .unwrap()
                .is_none()
        );
        assert!(PassFile::load(path.join("below-a-file")).unwrap().is_none());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_others_can_read_is_ignored() {
        let (_directory, path) = file("h:1:d:u:pw");
        for mode in [0o640, 0o604, 0o620, 0o610, 0o777] {
            permit(&path, mode);
            assert!(PassFile::load(&path).unwrap().is_none(), "{mode:o}");
        }
        permit(&path, 0o400);
        assert!(PassFile::load(&path).unwrap().is_some());
    }

    #[test]
    fn what_is_not_a_regular_file_is_ignored() {
        let (directory, _path) = file("");
        assert!(PassFile::load(directory.path()).unwrap().is_none());
        if cfg!(unix) {
            assert!(PassFile::load("/dev/null").unwrap().is_none());
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let file = load("h:1:d:u:tricky-secret\n");
        let shown = format!("{file:?} {:?}", file.lookup("h", 1, "d", "u"));
        assert!(!shown.contains("tricky"), "{shown}");
    }

    #[test]
    fn the_default_path_follows_the_environment() {
        let path = default_path(&|name| (name == "PGPASSFILE").then(|| "/etc/pass".to_owned()));
        assert_eq!(path, Some(PathBuf::from("/etc/pass")));
        if !cfg!(windows) {
            let home = |name: &str| match name {
                "HOME" => Some("/home/app".to_owned()),
                _ => Some(String::new()),
            };
            assert_eq!(
                default_path(&home),
                Some(PathBuf::from("/home/app/.pgpass"))
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_found(
            fields in proptest::array::uniform4("[^\\n\\r\\x00*#/]{1,9}"),
            password in "[^\\n\\r\\x00]{1,9}",
        ) {
            let escape = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
            let [host, dbname, user, _] = &fields;
            let text = format!(
                "{}:5432:{}:{}:{}",
                escape(host), escape(dbname), escape(user), escape(&password),
            );
            let line = Line::parse(text.as_bytes()).expect("five fields");
            prop_assert!(line.matches([host, "5432", dbname, user]));
            prop_assert_eq!(line.password.expose(), password.as_str());
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Line::parse(&bytes);
        }
    }
}
