//! Certificates for servers and clients, valid and invalid.

use std::path::{Path, PathBuf};

#[cfg(feature = "certificates")]
mod generate;

/// A directory of PEM files: certificate authorities and the certificates they signed.
///
/// | files | contents |
/// |---|---|
/// | `ca.pem` | the authority the servers and clients here trust |
/// | `other-ca.pem` | an authority that is not trusted |
/// | `both-roots.pem` | both authorities in one file |
/// | `crl.pem`, `empty-crl.pem`, `expired-crl.pem` | revocation lists of `ca`: revokes `revoked`; empty; empty and expired |
/// | `server.pem`, `.key` | for `localhost`, `127.0.0.1` and `::1` |
/// | `expired.pem`, `.key` | the same, but expired |
/// | `revoked.pem`, `.key` | the same, but revoked |
/// | `chained.pem`, `.key` | the same, signed by an intermediate that `ca` signed; the file contains both |
/// | `ip-only.pem`, `.key` | for `127.0.0.1` and `::1` |
/// | `cn-only.pem`, `.key` | `localhost` as its common name only |
/// | `wrong-name.pem`, `.key` | a server certificate for `elsewhere.example` |
/// | `other-server.pem`, `.key` | for `localhost`, signed by the second authority |
/// | `self-signed.pem`, `.key` | for `localhost`, a CA certificate signed by itself, as `openssl req -x509` makes it |
/// | `p384.pem`, `.key` | like `server`, signed by `p384-ca.pem` with ECDSA and SHA-384 |
/// | `version-1.pem`, `.key` | like `cn-only`, in X.509 version 1 |
/// | `large.pem`, `.key` | like `server`, with more names and repeated until it exceeds 64 KiB |
/// | `client.pem`, `.key` | client certificate, common name = the user |
/// | `wrong-client.pem`, `.key` | client certificate with common name `somebody-else` |
/// | `other-client.pem`, `.key` | client certificate signed by the second authority |
///
/// If the `openssl` program is installed, also:
///
/// | files | contents |
/// |---|---|
/// | `ed25519.pem`, `.key` | like `server`, signed by `ed25519-ca.pem` with Ed25519 |
/// | `rsa.pem`, `.key` | like `server`, signed by `rsa-ca.pem` with RSA (PKCS#1) and SHA-256 |
/// | `rsa-pss.pem`, `.key` | like `server`, signed by `rsa-ca.pem` with RSASSA-PSS and SHA-256 |
/// | `rsa-client.pem` | client certificate with an RSA key, signed by `rsa-ca.pem` |
/// | `rsa-client.key`, `rsa-client.pkcs1.key` | its key as PKCS#8 and as PKCS#1 |
/// | `rsa-client.encrypted.key`, `rsa-client.legacy.key` | the same, encrypted with `secret`: PKCS#8, and OpenSSL's legacy format |
/// | `client.sec1.key`, `client.encrypted.key` | the key of `client` as SEC1, and encrypted with `secret` |
///
/// Keys are PKCS#8 unless stated otherwise, and readable only by their owner.
#[derive(Clone, Debug)]
pub struct Certificates {
    dir: PathBuf,
}

impl Certificates {
    /// Fails: this build has no feature `certificates`.
    ///
    /// # Errors
    ///
    /// Always.
    #[cfg(not(feature = "certificates"))]
    pub fn generate(_dir: impl Into<PathBuf>, _user: &str) -> anyhow::Result<Self> {
        anyhow::bail!(
            "certificates need the feature `certificates` of pgmonkey-testserver, which is off"
        )
    }

    /// Whether the certificate called `name` was generated: some need the `openssl` program.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.certificate(name).is_file()
    }

    /// Uses a directory that [`generate`](Self::generate) filled earlier.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory the files are in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The authority that signed the valid certificates.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.certificate("ca")
    }

    /// The certificate called `name`, such as `server` or `wrong-client`.
    #[must_use]
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.pem"))
    }

    /// The key of the certificate called `name`.
    #[must_use]
    pub fn key(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.key"))
    }
}
