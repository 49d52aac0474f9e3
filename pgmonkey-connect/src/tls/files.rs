//! Chooses and reads the files of a session's TLS setup.
//!
//! Reference: libpq, `sslrootcert`, `sslcert`, `sslkey`, `sslcrl` and "SSL File Usage".

use std::path::{Path, PathBuf};

use pgmonkey_config::{ConnectionSettings, RootCert, SslMode, files};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::error::TlsFailure;

/// Which parts of the server's certificate are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Only that the server holds the certificate's private key.
    Nothing,
    /// The chain up to a trusted root.
    Chain,
    /// The chain and the name.
    Full,
}

/// The source of trusted roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Roots {
    None,
    File(PathBuf),
    System,
}

/// The files and checks of one session's TLS setup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) check: Check,
    pub(super) roots: Roots,
    /// The client's certificate and its key.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
    pub(super) crl: Option<PathBuf>,
}

impl Files {
    /// Chooses the files: those in the settings, otherwise the user's own files if they exist.
    pub(super) fn choose(
        settings: &ConnectionSettings,
        own: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<Self, TlsFailure> {
        let existing = |name| own(name).filter(|path: &PathBuf| path.exists());
        let mode = settings.sslmode;
        let roots = match &settings.sslrootcert {
            Some(RootCert::System) => Roots::System,
            Some(RootCert::Path(path)) => Roots::File(path.clone()),
            None => match existing("root.crt") {
                Some(path) => Roots::File(path),
                None if mode == SslMode::VerifyFull => Roots::System,
                None if mode == SslMode::VerifyCa => return Err(no_root(own("root.crt"))),
                None => Roots::None,
            },
        };
        let check = match (&roots, mode) {
            (Roots::None, _) => Check::Nothing,
            (_, SslMode::VerifyFull) => Check::Full,
            _ => Check::Chain,
        };
        let identity = match (&settings.sslcert, &settings.sslkey) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            _ => existing("postgresql.crt").zip(own("postgresql.key")),
        };
        let crl = settings.sslcrl.clone().or_else(|| existing("root.crl"));
        Ok(Self {
            check,
            identity,
            // libpq checks revocation only if it checks the chain.
            crl: crl.filter(|_| roots != Roots::None),
            roots,
        })
    }

    /// The paths of all files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let root = match &self.roots {
            Roots::File(path) => Some(path),
            _ => None,
        };
        let (certificate, key) = self.identity.as_ref().map(|(c, k)| (c, k)).unzip();
        [root, certificate, key, self.crl.as_ref()]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }

    /// The source of trusted roots, for error texts.
    pub(super) fn trusted(&self) -> String {
        match &self.roots {
            Roots::File(path) => path.display().to_string(),
            _ => "the operating system's list".to_owned(),
        }
    }
}

/// The certificates in the PEM file at `path`, which is the value of `key`.
pub(super) fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsFailure> {
    let text = read(key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(fault(key, path, "holds no certificate in PEM form")),
        Err(error) => Err(fault(key, path, &format!("is no PEM file: {error}"))),
    }
}

/// The revocation lists in the PEM file at `path`.
pub(super) fn revocations(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsFailure> {
    let key = "sslcrl";
    let text = read(key, path)?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(fault(key, path, "holds no revocation list in PEM form")),
        Err(error) => Err(fault(key, path, &format!("is no PEM file: {error}"))),
    }
}

pub(super) fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsFailure> {
    files::read(path, files::SHARED_LIMIT)
        .map_err(|error| fault(key, path, &format!("cannot be read: {error}")))
}

pub(super) fn fault(key: &'static str, path: &Path, what: &str) -> TlsFailure {
    TlsFailure::File {
        key,
        reason: format!("{} {what}", path.display()),
    }
}

fn no_root(looked: Option<PathBuf>) -> TlsFailure {
    let place = looked.map_or_else(
        || "~/.postgresql/root.crt".to_owned(),
        |path| path.display().to_string(),
    );
    TlsFailure::File {
        key: "sslrootcert",
        reason: format!(
            "sslmode verify-ca needs a root certificate, and {place} does not exist: set sslrootcert to a PEM file"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(mode: SslMode) -> ConnectionSettings {
        let mut settings = ConnectionSettings::default();
        settings.sslmode = mode;
        settings
    }

    fn nowhere(_: &str) -> Option<PathBuf> {
        None
    }

    #[test]
    fn without_a_root_only_verify_full_checks() {
        for mode in [SslMode::Allow, SslMode::Prefer, SslMode::Require] {
            let files = Files::choose(&settings(mode), nowhere).expect("nothing to check");
            assert_eq!((files.check, files.roots), (Check::Nothing, Roots::None));
        }
        let files = Files::choose(&settings(SslMode::VerifyFull), nowhere).expect("system roots");
        assert_eq!((files.check, files.roots), (Check::Full, Roots::System));
        let error = Files::choose(&settings(SslMode::VerifyCa), nowhere).expect_err("no root");
        assert!(error.to_string().contains("root.crt"), "{error}");
    }

    #[test]
    fn a_root_makes_the_weaker_modes_check_the_chain() {
        for mode in [SslMode::Allow, SslMode::Prefer, SslMode::Require] {
            let mut settings = settings(mode);
            settings.sslrootcert = Some(RootCert::Path("/ca.pem".into()));
            settings.sslcrl = Some("/crl.pem".into());
            let files = Files::choose(&settings, nowhere).expect("named");
            assert_eq!(files.check, Check::Chain, "{mode}");
            assert_eq!(files.paths().count(), 2);
        }
    }

    #[test]
    fn the_users_own_files_count_where_they_exist() {
        let own = |name: &str| match name {
            "root.crl" => None,
            // Any file that certainly exists.
            _ => std::env::current_exe().ok(),
        };
        let files = Files::choose(&settings(SslMode::Prefer), own).expect("all there");
        assert_eq!(files.check, Check::Chain);
        assert!(files.identity.is_some() && files.crl.is_none());
    }
}
