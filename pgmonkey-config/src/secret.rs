use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// The text shown in place of a secret.
pub const REDACTED: &str = "***REDACTED***";

/// A password or another value that is never printed.
///
/// It has no `Display`; `Debug` prints [`REDACTED`]. The text is wiped from memory when the value
/// is dropped, and [`expose`](Self::expose) is the only way to read it.
///
/// ```
/// use pgmonkey_config::Secret;
///
/// let password = Secret::new("correct horse");
/// assert_eq!(format!("{password:?}"), "***REDACTED***");
/// assert_eq!(password.expose(), "correct horse");
/// ```
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// Returns the text.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_text() {
        let secret = Secret::new("S3cret");
        assert_eq!(
            format!("{secret:?} {secret:#?}"),
            "***REDACTED*** ***REDACTED***"
        );
        assert!(!format!("{:?}", Some(vec![secret])).contains("S3cret"));
    }

    #[test]
    fn equality_is_that_of_the_text() {
        assert_eq!(Secret::new("a"), Secret::from("a"));
        assert_ne!(Secret::new("a"), Secret::from("b".to_owned()));
    }
}
