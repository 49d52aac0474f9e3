//! Certificates of X.509 version 1. `rcgen` does not generate them, nor does `openssl x509` since
//! version 3.2, but old servers still have them.

use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{Certificate, KeyPair, SigningKey};
use yasna::{ASN1Result, BERReaderSeq};

/// The fields that both versions have: serial number, signature algorithm, issuer, dates, subject,
/// key.
const FIELDS: usize = 6;

/// Converts a certificate to version 1, signs it again with `signer` and returns it as PEM.
pub(super) fn version_1(version_3: &Certificate, signer: &KeyPair) -> anyhow::Result<String> {
    let (fields, algorithm) = yasna::parse_der(version_3.der(), |reader| {
        reader.read_sequence(|parts| {
            let fields = parts.next().read_sequence(common_fields)?;
            let algorithm = parts.next().read_der()?;
            // Skip the signature of the version 3 certificate.
            parts.next().read_der()?;
            Ok((fields, algorithm))
        })
    })?;
    let body = sequence(&fields);
    let signature = signer.sign(&body)?;
    let signature = yasna::construct_der(|writer| {
        writer.write_bitvec_bytes(&signature, signature.len() * 8);
    });
    let whole = Pem::new("CERTIFICATE", sequence(&[body, algorithm, signature]));
    let lines = EncodeConfig::new().set_line_ending(LineEnding::LF);
    Ok(pem::encode_config(&whole, lines))
}

/// Reads the common fields and skips the version number and the extensions, which version 1 lacks.
fn common_fields(parts: &mut BERReaderSeq<'_, '_>) -> ASN1Result<Vec<Vec<u8>>> {
    parts.next().read_der()?;
    let fields: ASN1Result<Vec<_>> = (0..FIELDS).map(|_| parts.next().read_der()).collect();
    parts.next().read_der()?;
    fields
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            for part in parts {
                writer.next().write_der(part);
            }
        });
    })
}
