//! Reads facts from a server's certificate.

use pgmonkey_config::Host;
use rustls::pki_types::CertificateDer;
use sha2::digest::Digest;
use sha2::{Sha256, Sha384, Sha512};
use tokio_postgres::tls::ChannelBinding;
use x509_cert::Certificate;
use x509_cert::der::asn1::{Any, ObjectIdentifier};
use x509_cert::der::oid::db::{rfc5912, rfc8410};
use x509_cert::der::{Decode, Reader, SliceReader, TagNumber};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::spki::AlgorithmIdentifierOwned;

/// The channel binding of a SCRAM login: the hash of the server's certificate, with the hash
/// function of its signature, or SHA-256 in place of MD5 and SHA-1 (RFC 5929,
/// `tls-server-end-point`). None if the signature algorithm names no hash function, as with
/// Ed25519.
pub(crate) fn channel_binding(certificate: &CertificateDer<'_>) -> ChannelBinding {
    let hash = Certificate::from_der(certificate)
        .ok()
        .and_then(|parsed| hash_of(parsed.signature_algorithm()));
    match hash {
        Some(Hash::Sha256) => bind(Sha256::digest(certificate).to_vec()),
        Some(Hash::Sha384) => bind(Sha384::digest(certificate).to_vec()),
        Some(Hash::Sha512) => bind(Sha512::digest(certificate).to_vec()),
        None => ChannelBinding::none(),
    }
}

fn bind(hash: Vec<u8>) -> ChannelBinding {
    ChannelBinding::tls_server_end_point(hash)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

fn hash_of(algorithm: &AlgorithmIdentifierOwned) -> Option<Hash> {
    match algorithm.oid {
        rfc5912::ID_RSASSA_PSS => pss_hash(algorithm.parameters.as_ref()?),
        rfc5912::SHA_384_WITH_RSA_ENCRYPTION | rfc5912::ECDSA_WITH_SHA_384 => Some(Hash::Sha384),
        rfc5912::SHA_512_WITH_RSA_ENCRYPTION | rfc5912::ECDSA_WITH_SHA_512 => Some(Hash::Sha512),
        rfc8410::ID_ED_25519 | rfc8410::ID_ED_448 => None,
        _ => Some(Hash::Sha256),
    }
}

/// The hash function named in the parameters of RSASSA-PSS (RFC 4055): the field tagged 0, SHA-1 if
/// it is missing.
fn pss_hash(parameters: &Any) -> Option<Hash> {
    let mut fields = SliceReader::new(parameters.value()).ok()?;
    let named: Option<AlgorithmIdentifierOwned> = fields
        .context_specific(TagNumber(0), x509_cert::der::TagMode::Explicit)
        .ok()?;
    match named.map(|named| named.oid) {
        Some(oid) if oid == ID_SHA_384 => Some(Hash::Sha384),
        Some(oid) if oid == ID_SHA_512 => Some(Hash::Sha512),
        _ => Some(Hash::Sha256),
    }
}

const ID_SHA_384: ObjectIdentifier = rfc5912::ID_SHA_384;
const ID_SHA_512: ObjectIdentifier = rfc5912::ID_SHA_512;

/// The certificate's subject: its first host name or address, otherwise its common name.
pub(crate) fn peer_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let subject = parsed.tbs_certificate();
    let alternative = subject.get_extension::<SubjectAltName>().ok().flatten();
    let named = alternative.and_then(|(_, names)| names.0.iter().find_map(host_name));
    named.or_else(|| Some(subject.subject().common_name().ok()??.value().into_owned()))
}

fn host_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(octets) => match octets.as_bytes() {
            [a, b, c, d] => Some(Host::Ip([*a, *b, *c, *d].into()).to_string()),
            octets => <[u8; 16]>::try_from(octets)
                .ok()
                .map(|octets| Host::Ip(octets.into()).to_string()),
        },
        _ => None,
    }
}
