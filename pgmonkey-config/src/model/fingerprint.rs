use std::fmt;

use sha2::{Digest, Sha256};

use crate::model::canonical;
use crate::model::settings::Settings;
use crate::schema::choice::ConnectionType;

/// Bytes of the short id: 12 hexadecimal digits.
const SHORT: usize = 6;

/// The identity of a configuration for one connection type.
///
/// It is a SHA-256 digest of the canonical form of the effective settings: two files that describe
/// the same sessions have the same fingerprint, whatever their key order, quoting or spelled-out
/// defaults. It covers the password, so the digest is a secret too: `Debug` and `Display` show a
/// short id that is computed without the secrets.
///
/// ```
/// use pgmonkey_config::{Config, ConnectionType};
///
/// let a = Config::from_yaml("connection_settings: { host: db, port: '5432' }").unwrap();
/// let b = Config::from_yaml("connection_settings: { host: db }").unwrap();
/// assert_eq!(a.fingerprint(ConnectionType::Pool), b.fingerprint(ConnectionType::Pool));
/// ```
#[derive(Clone, Copy)]
pub struct Fingerprint {
    digest: [u8; 32],
    /// The digest without the credentials.
    login: [u8; 32],
    short: [u8; SHORT],
}

impl Fingerprint {
    pub(crate) fn of(settings: &Settings, kind: ConnectionType) -> Self {
        let digest = Sha256::digest(canonical::bytes(
            settings,
            kind,
            canonical::Secrets::Included,
        ));
        let login = canonical::Secrets::CredentialsLeft;
        let login = Sha256::digest(canonical::bytes(settings, kind, login));
        let shown = Sha256::digest(canonical::bytes(settings, kind, canonical::Secrets::Left));
        let mut short = [0; SHORT];
        short.copy_from_slice(&shown[..SHORT]);
        Self {
            digest: digest.into(),
            login: login.into(),
            short,
        }
    }

    /// Returns whether both describe the same sessions of the same user, and differ at most in
    /// `password` and `sslpassword`, as after a rotation. A session parameter with the name of a
    /// secret, such as `app.token`, counts as a difference: it may stand for another tenant.
    ///
    /// ```
    /// # use pgmonkey_config::{Config, ConnectionType::Pool};
    /// let with = |password| Config::from_yaml(&format!("connection_settings: {{ host: db, password: {password} }}"));
    /// let (old, new) = (with("before").unwrap(), with("after").unwrap());
    /// assert_ne!(old.fingerprint(Pool), new.fingerprint(Pool));
    /// assert!(old.fingerprint(Pool).is_same_login(new.fingerprint(Pool)));
    /// ```
    pub fn is_same_login(&self, other: &Self) -> bool {
        self.login == other.login
    }

    /// Returns the full digest. Treat it as a secret: a guessed password can be checked against it.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.digest
    }
}

// The others follow from the same settings, so the full digest alone decides.
impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Fingerprint {}

impl std::hash::Hash for Fingerprint {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl PartialOrd for Fingerprint {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Fingerprint {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.digest.cmp(&other.digest)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.short
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}
