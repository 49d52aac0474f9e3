use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::redact::told;
use crate::secret::Secret;
use crate::source::document::reason;
use crate::source::files;

/// Where a password or a passphrase comes from.
///
/// `Debug` shows no secret: it hides a value, and of a command it shows only the program.
///
/// ```
/// use pgmonkey_config::{Secret, SecretSource};
///
/// let source = SecretSource::from("S3cret");
/// assert_eq!(source.value(), Some(&Secret::new("S3cret")));
/// assert!(!format!("{source:?}").contains("S3cret"));
/// assert_eq!(SecretSource::File("/run/secrets/pg".into()).value(), None);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretSource {
    /// The secret itself.
    Value(Secret),
    /// A file, read for each new session; see [`read_file`](Self::read_file).
    File(PathBuf),
    /// A program whose standard output is the secret. Only for `password`.
    Command(SecretCommand),
}

impl SecretSource {
    /// Returns the secret if the configuration contains it, else `None`.
    pub fn value(&self) -> Option<&Secret> {
        match self {
            Self::Value(secret) => Some(secret),
            Self::File(_) | Self::Command(_) => None,
        }
    }

    /// Reads a secret from a regular file: UTF-8 text of at most
    /// [`files::OWN_LIMIT`](crate::files::OWN_LIMIT) bytes, without a byte order mark and without
    /// one newline at its end.
    ///
    /// ```no_run
    /// use pgmonkey_config::SecretSource;
    ///
    /// let password = SecretSource::read_file("/run/secrets/pg")?;
    /// # Ok::<(), pgmonkey_config::SecretFileError>(())
    /// ```
    ///
    /// # Errors
    /// [`SecretFileError`] with the path, if the file cannot be read, is not UTF-8 text, or holds
    /// no secret: it is empty, or contains a zero byte. The error never contains the content.
    pub fn read_file(path: impl AsRef<Path>) -> Result<Secret, SecretFileError> {
        let path = path.as_ref();
        let fail = |reason: String| SecretFileError {
            path: path.to_owned(),
            reason,
        };
        let bytes =
            files::read(path, files::OWN_LIMIT).map_err(|error: io::Error| fail(reason(&error)))?;
        match Self::secret_in(bytes) {
            Ok(Some(secret)) => Ok(secret),
            Ok(None) => Err(fail(
                "the file is empty; write the secret into it".to_owned(),
            )),
            Err(reason) => Err(fail(reason.to_owned())),
        }
    }

    /// Takes the secret from the bytes of a file or of a program's output: text in UTF-8, without a
    /// byte order mark and without one newline at its end. `None` if nothing is left.
    ///
    /// ```
    /// use pgmonkey_config::{Secret, SecretSource};
    ///
    /// let secret = SecretSource::secret_in(b"S3cret\n".to_vec());
    /// assert_eq!(secret, Ok(Some(Secret::new("S3cret"))));
    /// ```
    ///
    /// # Errors
    /// Why the bytes are no text, without them.
    pub fn secret_in(bytes: Vec<u8>) -> Result<Option<Secret>, &'static str> {
        let text = files::line_of(bytes)?;
        if text.contains('\0') {
            return Err("not text: contains a zero byte");
        }
        Ok((!text.is_empty()).then(|| Secret::new(text)))
    }
}

impl From<Secret> for SecretSource {
    fn from(secret: Secret) -> Self {
        Self::Value(secret)
    }
}

impl From<String> for SecretSource {
    fn from(text: String) -> Self {
        Self::Value(Secret::from(text))
    }
}

impl From<&str> for SecretSource {
    fn from(text: &str) -> Self {
        Self::Value(Secret::from(text))
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(secret) => secret.fmt(f),
            Self::File(path) => {
                let shown = path.to_string_lossy();
                f.debug_tuple("File")
                    .field(&told("passfile", &shown))
                    .finish()
            }
            Self::Command(command) => command.fmt(f),
        }
    }
}

/// A secret could not be read from its file. The error names the file, never its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}", path = told("passfile", &path.to_string_lossy()))]
pub struct SecretFileError {
    path: PathBuf,
    reason: String,
}

impl SecretFileError {
    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns why it could not be read, without the path.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// A program whose standard output is a secret. It is run without a shell.
///
/// Its arguments may contain secrets: `Debug` shows only the program.
///
/// ```
/// use std::time::Duration;
/// use pgmonkey_config::SecretCommand;
///
/// let mut command = SecretCommand::new(["vault", "read", "-field=password", "database/app"]);
/// command.ttl = Some(Duration::from_secs(600));
/// assert_eq!(command.program(), "vault");
/// assert_eq!(command.timeout, Duration::from_secs(10));
/// assert!(!format!("{command:?}").contains("database/app"));
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretCommand {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long the secret is kept in memory. `None`, the default: it is not kept.
    pub ttl: Option<Duration>,
    /// How long the program may run. Default: 10 s; never zero.
    pub timeout: Duration,
}

impl SecretCommand {
    /// The time limit unless another is set.
    pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

    /// Wraps a program and its arguments, with the defaults of the other fields.
    pub fn new<T: Into<String>>(command: impl IntoIterator<Item = T>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            ttl: None,
            timeout: Self::TIMEOUT,
        }
    }

    /// Returns the program for display, without its arguments. If the whole command line is in the
    /// first item, only the text before the first space is shown.
    pub fn program(&self) -> &str {
        let program = self.command.first().map_or("", String::as_str);
        program.split_whitespace().next().unwrap_or_default()
    }
}

impl fmt::Debug for SecretCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretCommand")
            .field("program", &told("passfile", self.program()))
            .field("ttl", &self.ttl)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a scratch file");
        std::fs::write(file.path(), bytes).expect("it can be written");
        file
    }

    #[test]
    fn one_newline_and_a_mark_are_not_part_of_the_secret() {
        for (bytes, secret) in [
            (&b"S3cret"[..], "S3cret"),
            (b"S3cret\n", "S3cret"),
            (b"S3cret\r\n", "S3cret"),
            (b"S3cret\n\n", "S3cret\n"),
            (b" S3cret \r", " S3cret \r"),
            (b"\xef\xbb\xbfS3cret\n", "S3cret"),
        ] {
            let file = file(bytes);
            let read = SecretSource::read_file(file.path()).expect("it is a secret");
            assert_eq!(read.expose(), secret);
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_with_its_path() {
        for (bytes, reason) in [
            (&b""[..], "empty"),
            (b"\n", "empty"),
            (b"\xef\xbb\xbf\r\n", "empty"),
            (b"S3cret\0", "zero byte"),
            (b"S3cret\xff", "UTF-8"),
            (&[b'a'; files::OWN_LIMIT as usize + 1], "larger than"),
        ] {
            let file = file(bytes);
            let error = SecretSource::read_file(file.path()).expect_err("no secret");
            let text = format!("{error} {error:?}");
            assert!(error.reason().contains(reason), "{text}");
            assert!(text.contains(&*file.path().to_string_lossy()), "{text}");
            assert!(!text.contains("S3cret"), "{text}");
        }
        let error = SecretSource::read_file("/nowhere/pg").expect_err("no file");
        assert_eq!(error.to_string(), "/nowhere/pg: file not found");
    }

    #[test]
    fn debug_shows_the_program_and_the_path_only() {
        let command = SecretCommand::new(["/opt/x --token=S3cret", "S3cret"]);
        let shown = format!("{:?}", SecretSource::Command(command));
        assert!(
            shown.contains("/opt/x") && !shown.contains("S3cret"),
            "{shown}"
        );
        let path = SecretSource::File("/run/secrets/pg".into());
        assert_eq!(format!("{path:?}"), "File(\"/run/secrets/pg\")");
        let login = SecretSource::File("postgres://u:S3cret@h".into());
        assert!(!format!("{login:?}").contains("S3cret"));
    }
}
