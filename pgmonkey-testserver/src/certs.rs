//! Certificates for servers and clients, good ones and bad ones.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A directory of PEM files: two authorities and what they signed.
///
/// | files | what |
/// |---|---|
/// | `ca.pem` | the authority the servers and clients here trust |
/// | `other-ca.pem` | one nobody trusts |
/// | `server.pem`, `.key` | for `localhost`, `127.0.0.1` and `::1` |
/// | `expired.pem`, `.key` | the same, but out of date |
/// | `wrong-name.pem`, `.key` | a server certificate for `elsewhere.example` |
/// | `other-server.pem`, `.key` | for `localhost`, signed by the second authority |
/// | `client.pem`, `.key` | client certificate, common name = the user |
/// | `wrong-client.pem`, `.key` | client certificate with common name `somebody-else` |
/// | `other-client.pem`, `.key` | client certificate signed by the second authority |
///
/// Keys are PKCS#8 and readable by their owner only.
#[derive(Clone, Debug)]
pub struct Certificates {
    dir: PathBuf,
}

impl Certificates {
    /// Makes all files anew in `dir`, which must exist; `user` is the client's common name.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn generate(dir: impl Into<PathBuf>, user: &str) -> anyhow::Result<Self> {
        let certificates = Self { dir: dir.into() };
        let ca = certificates.authority("ca", "pgmonkey test authority")?;
        let other = certificates.authority("other-ca", "pgmonkey other authority")?;

        certificates.leaf("server", &server("localhost", &LOOPBACK)?, &ca)?;
        certificates.leaf("other-server", &server("localhost", &LOOPBACK)?, &other)?;
        certificates.leaf("expired", &expired(server("localhost", &LOOPBACK)?), &ca)?;
        let elsewhere = server("elsewhere.example", &["elsewhere.example"])?;
        certificates.leaf("wrong-name", &elsewhere, &ca)?;

        certificates.leaf("client", &client(user)?, &ca)?;
        certificates.leaf("wrong-client", &client("somebody-else")?, &ca)?;
        certificates.leaf("other-client", &client(user)?, &other)?;
        Ok(certificates)
    }

    /// Takes a directory that [`generate`](Self::generate) filled earlier.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory the files are in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The authority that signed the good certificates.
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

    fn authority(&self, name: &str, title: &str) -> anyhow::Result<Issuer<'static, KeyPair>> {
        let mut params = dated(CertificateParams::default());
        params.distinguished_name.push(DnType::CommonName, title);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        write(&self.certificate(name), 0o644, &certificate.pem())?;
        Ok(Issuer::new(params, key))
    }

    fn leaf(
        &self,
        name: &str,
        params: &CertificateParams,
        issuer: &Issuer<'_, KeyPair>,
    ) -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, issuer)?;
        write(&self.certificate(name), 0o644, &certificate.pem())?;
        write(&self.key(name), 0o600, &key.serialize_pem())
    }
}

fn server(common_name: &str, names: &[&str]) -> anyhow::Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let params = CertificateParams::new(names)?;
    Ok(named(
        params,
        common_name,
        ExtendedKeyUsagePurpose::ServerAuth,
    ))
}

fn client(user: &str) -> anyhow::Result<CertificateParams> {
    let params = CertificateParams::new(Vec::new())?;
    Ok(named(params, user, ExtendedKeyUsagePurpose::ClientAuth))
}

fn named(
    params: CertificateParams,
    common_name: &str,
    usage: ExtendedKeyUsagePurpose,
) -> CertificateParams {
    let mut params = dated(params);
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

fn dated(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    params
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_after = date_time_ymd(2021, 1, 1);
    params
}

fn write(path: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    let written = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode);
        options.open(path)?.write_all(text.as_bytes())
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn every_certificate_has_a_key_only_its_owner_reads() {
        let dir = tempfile::tempdir().unwrap();
        let made = Certificates::generate(dir.path(), "app").unwrap();
        for name in ["server", "expired", "wrong-name", "other-server", "client"] {
            assert!(made.certificate(name).is_file(), "{name}");
            let mode = made.key(name).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert_ne!(
            fs::read(made.ca()).unwrap(),
            fs::read(made.certificate("other-ca")).unwrap()
        );
    }
}
