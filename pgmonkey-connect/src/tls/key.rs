//! Loads the client's private key in each supported form.
//!
//! Reference: libpq, "Client Certificates", `sslkey` and `sslpassword`.

use std::fs;
use std::path::Path;

use pgmonkey_config::{Secret, SecretSource};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::files::{fault, read};
use crate::error::TlsFailure;

const KEY: &str = "sslkey";
const PASSPHRASE: &str = "sslpassword";

/// Returns the key's passphrase, read from its file if it is in one.
pub(super) fn passphrase(source: Option<&SecretSource>) -> Result<Option<Secret>, TlsFailure> {
    match source {
        None => Ok(None),
        Some(SecretSource::Value(secret)) => Ok(Some(secret.clone())),
        Some(SecretSource::File(path)) => match SecretSource::read_file(path) {
            Ok(secret) => Ok(Some(secret)),
            Err(error) => Err(fault(PASSPHRASE, path, error.reason())),
        },
        // `Config::new` refuses a command here.
        Some(_) => Ok(None),
    }
}

/// Reads the key at `path`, which only its owner may be able to read.
pub(super) fn load(
    path: &Path,
    password: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, TlsFailure> {
    check_access(path)?;
    let text = read(KEY, path)?;
    let said = |words: &str| {
        text.windows(words.len())
            .any(|part| part == words.as_bytes())
    };
    if said("BEGIN ENCRYPTED PRIVATE KEY") {
        return decrypt(path, &text, password);
    }
    if said("Proc-Type: 4,ENCRYPTED") {
        return Err(fault(
            KEY,
            path,
            "is encrypted in OpenSSL's old format; convert it with `openssl pkcs8 -topk8 -in OLD -out NEW`",
        ));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let what = format!("holds no private key in PEM form (PKCS#8, PKCS#1 or SEC1): {error}");
        fault(KEY, path, &what)
    })
}

/// Refuses an encrypted key.
#[cfg(not(feature = "encrypted-keys"))]
fn decrypt(
    path: &Path,
    _: &[u8],
    _: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, TlsFailure> {
    Err(fault(
        KEY,
        path,
        "is encrypted, which needs the feature `encrypted-keys` of pgmonkey; turn it on in \
         Cargo.toml, or use a key that is not encrypted",
    ))
}

#[cfg(feature = "encrypted-keys")]
fn decrypt(
    path: &Path,
    text: &[u8],
    password: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, TlsFailure> {
    use pkcs8::EncryptedPrivateKeyInfoRef;
    use pkcs8::der::{Decode, Document};
    use rustls::pki_types::PrivatePkcs8KeyDer;

    let Some(password) = password else {
        return Err(fault(KEY, path, "is encrypted: set sslpassword"));
    };
    let refused = |what: String| fault(KEY, path, &what);
    let text = std::str::from_utf8(text).map_err(|_| refused("is no PEM file".to_owned()))?;
    let (_, document) =
        Document::from_pem(text).map_err(|error| refused(format!("cannot be read: {error}")))?;
    let key = EncryptedPrivateKeyInfoRef::from_der(document.as_bytes())
        .and_then(|sealed| {
            sealed
                .decrypt(password.expose())
                .map_err(|_| pkcs8::der::ErrorKind::Failed.into())
        })
        .map_err(|_| {
            refused(
                "cannot be decrypted: sslpassword is wrong, or the cipher is one that is no longer safe"
                    .to_owned(),
            )
        })?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

/// libpq's rule: only the owner may read the file; if root owns it, its group may too.
#[cfg(unix)]
fn check_access(path: &Path) -> Result<(), TlsFailure> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).map_err(|error| {
        let what = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "does not exist, but the client certificate needs it".to_owned()
            }
            _ => format!("cannot be read: {error}"),
        };
        fault(KEY, path, &what)
    })?;
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden == 0 {
        return Ok(());
    }
    Err(fault(
        KEY,
        path,
        "can be read by users other than its owner; run chmod 600 on it (640 if root owns it)",
    ))
}

#[cfg(not(unix))]
fn check_access(path: &Path) -> Result<(), TlsFailure> {
    fs::metadata(path)
        .map(drop)
        .map_err(|error| fault(KEY, path, &format!("cannot be read: {error}")))
}
