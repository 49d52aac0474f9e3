//! Certificates of X.509 version 1. `rcgen` makes none, nor does `openssl x509` since its version
//! 3.2, and old servers still have them.

use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{Certificate, KeyPair, SigningKey};
use yasna::{ASN1Result, BERReaderSeq};

/// Serial number, signature's algorithm, issuer, dates, subject, key: what both versions have.
const FIELDS: usize = 6;

/// The same certificate as version 1, signed by `signer` anew, as PEM.
pub(super) fn version_1(version_3: &Certificate, signer: &KeyPair) -> anyhow::Result<String> {
    let (fields, algorithm) = yasna::parse_der(version_3.der(), |reader| {
        reader.read_sequence(|parts| {
            let fields = parts.next().read_sequence(common_fields)?;
            let algorithm = parts.next().read_der()?;
            // The signature of what is left behind.
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

/// Leaves out the version's number and the extensions, which version 1 has not.
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
