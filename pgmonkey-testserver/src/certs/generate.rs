//! Generates the certificates.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

use super::Certificates;

mod openssl;
mod version_1;

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

impl Certificates {
    /// Generates all files in `dir`, which must exist; `user` is the client's common name.
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

        certificates.leaf("ip-only", &server("here", &LOOPBACK[1..])?, &ca)?;
        certificates.leaf("cn-only", &server("localhost", &[])?, &ca)?;
        certificates.revoked(&ca)?;
        certificates.chained(&ca)?;
        certificates.self_signed()?;
        certificates.p384()?;
        certificates.version_1(&ca)?;
        certificates.large(&ca)?;
        let both = [other.1.as_str(), &ca.1].concat();
        write(&certificates.certificate("both-roots"), 0o644, &both)?;

        certificates.leaf("client", &client(user)?, &ca)?;
        certificates.leaf("wrong-client", &client("somebody-else")?, &ca)?;
        certificates.leaf("other-client", &client(user)?, &other)?;
        openssl::add(&certificates, user)?;
        Ok(certificates)
    }

    fn authority(&self, name: &str, title: &str) -> anyhow::Result<Authority> {
        self.authority_with(name, title, KeyPair::generate()?)
    }

    fn authority_with(&self, name: &str, title: &str, key: KeyPair) -> anyhow::Result<Authority> {
        let params = authority(title);
        let pem = params.self_signed(&key)?.pem();
        write(&self.certificate(name), 0o644, &pem)?;
        write(&self.key(name), 0o600, &key.serialize_pem())?;
        Ok(Authority(Issuer::new(params, key), pem))
    }

    fn leaf(
        &self,
        name: &str,
        params: &CertificateParams,
        issuer: &Authority,
    ) -> anyhow::Result<()> {
        self.leaf_with(name, params, issuer, &KeyPair::generate()?)
    }

    fn leaf_with(
        &self,
        name: &str,
        params: &CertificateParams,
        issuer: &Authority,
        key: &KeyPair,
    ) -> anyhow::Result<()> {
        let certificate = params.signed_by(key, &issuer.0)?;
        write(&self.certificate(name), 0o644, &certificate.pem())?;
        write(&self.key(name), 0o600, &key.serialize_pem())
    }

    /// Generates a server certificate and the revocation lists that do or do not list it.
    fn revoked(&self, ca: &Authority) -> anyhow::Result<()> {
        let mut params = server("localhost", &LOOPBACK)?;
        let number = SerialNumber::from(77);
        params.serial_number = Some(number.clone());
        self.leaf("revoked", &params, ca)?;
        let revoked = RevokedCertParams {
            serial_number: number,
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        self.list("crl", 2120, vec![revoked], ca)?;
        self.list("empty-crl", 2120, Vec::new(), ca)?;
        self.list("expired-crl", 2022, Vec::new(), ca)
    }

    fn list(
        &self,
        name: &str,
        until: i32,
        revoked_certs: Vec<RevokedCertParams>,
        ca: &Authority,
    ) -> anyhow::Result<()> {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let pem = params.signed_by(&ca.0)?.pem()?;
        write(&self.certificate(name), 0o644, &pem)
    }

    fn chained(&self, ca: &Authority) -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        let mut params = authority("pgmonkey intermediate");
        params.use_authority_key_identifier_extension = true;
        let middle = params.signed_by(&key, &ca.0)?.pem();
        let middle = Authority(Issuer::new(params, key), middle);
        self.leaf("chained", &server("localhost", &LOOPBACK)?, &middle)?;
        let path = self.certificate("chained");
        let both = fs::read_to_string(&path)? + &middle.1;
        write(&path, 0o644, &both)
    }

    /// Repeats the certificate, because rustls does not serve a single one of this size.
    fn large(&self, ca: &Authority) -> anyhow::Result<()> {
        let mut params = server("localhost", &LOOPBACK)?;
        for name in 0..1000 {
            let name = format!("host-{name:04}.example").try_into()?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        self.leaf("large", &params, ca)?;
        let path = self.certificate("large");
        let again = fs::read_to_string(&path)?.repeat(4);
        write(&path, 0o644, &again)
    }

    fn self_signed(&self) -> anyhow::Result<()> {
        let mut params = server("localhost", &LOOPBACK)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.extended_key_usages.clear();
        params.key_usages.clear();
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        write(&self.certificate("self-signed"), 0o644, &pem)?;
        write(&self.key("self-signed"), 0o600, &key.serialize_pem())
    }

    /// Generates a server certificate and its authority, with longer keys and hashes.
    fn p384(&self) -> anyhow::Result<()> {
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384);
        let ca = self.authority_with("p384-ca", "pgmonkey longer authority", key()?)?;
        let params = server("localhost", &LOOPBACK)?;
        self.leaf_with("p384", &params, &ca, &key()?)
    }

    fn version_1(&self, ca: &Authority) -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        let later = server("localhost", &[])?.signed_by(&key, &ca.0)?;
        let pem = version_1::version_1(&later, ca.0.key())?;
        write(&self.certificate("version-1"), 0o644, &pem)?;
        write(&self.key("version-1"), 0o600, &key.serialize_pem())
    }
}

/// A certificate authority and its certificate as PEM.
struct Authority(Issuer<'static, KeyPair>, String);

fn authority(title: &str) -> CertificateParams {
    let mut params = dated(CertificateParams::default());
    params.distinguished_name.push(DnType::CommonName, title);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
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
mod tests;
