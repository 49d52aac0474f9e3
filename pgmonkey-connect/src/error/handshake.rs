//! Translates rustls' errors into texts for database administrators.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use super::TlsFailure;

/// The failure of a handshake: rustls' error, or the end of the connection.
pub(crate) fn interrupted_or(error: &io::Error, trusted: &str) -> TlsFailure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(error) => failure_in(error, trusted),
        None => TlsFailure::Interrupted(error.to_string()),
    }
}

/// The failure for a rustls error if the source of trusted roots is unknown.
pub(crate) fn failure_of(error: &Error) -> TlsFailure {
    failure_in(error, "sslrootcert")
}

fn failure_in(error: &Error, trusted: &str) -> TlsFailure {
    match error {
        Error::InvalidCertificate(error) => TlsFailure::Certificate(certificate(error, trusted)),
        Error::InvalidCertRevocationList(error) => {
            TlsFailure::Certificate(format!("cannot be checked against sslcrl: {error:?}"))
        }
        Error::AlertReceived(alert) => TlsFailure::Handshake(alert_text(*alert)),
        Error::PeerIncompatible(reason) => TlsFailure::Handshake(incompatible(reason)),
        // Only certificates are that long in a handshake.
        Error::InvalidMessage(
            InvalidMessage::HandshakePayloadTooLarge | InvalidMessage::CertificatePayloadTooLarge,
        ) => TlsFailure::Handshake(
            "the server's certificates have more than 64 KiB, which is the limit of rustls: reissue them with fewer names, or shorten the chain".to_owned(),
        ),
        Error::InvalidMessage(_) => {
            TlsFailure::Handshake("the server answered with something that is not TLS".to_owned())
        }
        other => TlsFailure::Handshake(other.to_string()),
    }
}

fn certificate(error: &CertificateError, trusted: &str) -> String {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => "has expired".to_owned(),
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "is not valid yet: compare the clocks of both machines".to_owned()
        }
        E::Revoked => "was revoked (sslcrl)".to_owned(),
        E::UnknownRevocationStatus => {
            "cannot be checked: sslcrl has no list of the authority that signed it".to_owned()
        }
        E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
            "cannot be checked: the list in sslcrl is out of date".to_owned()
        }
        E::UnknownIssuer => format!("is not signed by an authority in {trusted}"),
        E::NotValidForName => "is for another name".to_owned(),
        E::NotValidForNameContext {
            expected,
            presented,
        } => name_mismatch(&expected.to_str(), presented),
        E::Other(other) => odd(&*other.0),
        other => format!("is refused: {other}"),
    }
}

fn name_mismatch(expected: &str, presented: &[String]) -> String {
    if presented.is_empty() {
        return format!(
            "names no host, so it cannot be checked for {expected:?}: reissue it with a subject alternative name (a common name alone is ignored), or use sslmode verify-ca"
        );
    }
    let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
    format!(
        "is for {}, not for {expected:?}",
        names
            .iter()
            .map(|name| format!("{name:?}"))
            .collect::<Vec<_>>()
            .join(", ")
    )
}

/// The name in `DnsName("db.internal")` and `IpAddress(10.0.0.1)`.
fn bare(presented: &str) -> &str {
    let inner = presented
        .split_once('(')
        .map_or(presented, |(_, rest)| rest.trim_end_matches(')'));
    inner.trim_matches('"')
}

/// Errors for which rustls has no variant.
fn odd(error: &(dyn StdError + Send + Sync)) -> String {
    let text = format!("{error:?}");
    if text.contains("UnsupportedCertVersion") {
        return "is of X.509 version 1, which rustls does not support: reissue it as version 3 (with openssl, add an extension such as subjectAltName)".to_owned();
    }
    if text.contains("CaUsedAsEndEntity") {
        return "is a CA certificate: reissue it with CA:FALSE, or name it in sslrootcert"
            .to_owned();
    }
    format!("is refused: {error}")
}

fn alert_text(alert: AlertDescription) -> String {
    let advice = match alert {
        AlertDescription::UnknownCA => {
            "the server does not trust the authority that signed sslcert"
        }
        AlertDescription::CertificateRequired => {
            "the server asks for a client certificate: set sslcert and sslkey"
        }
        AlertDescription::CertificateExpired => "sslcert has expired",
        AlertDescription::CertificateRevoked => "sslcert was revoked",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => "the server rejected sslcert",
        AlertDescription::DecryptError => "the server rejected the signature made with sslkey",
        AlertDescription::ProtocolVersion => {
            "the server supports none of the TLS versions that ssl_min_protocol_version and ssl_max_protocol_version allow"
        }
        AlertDescription::NoApplicationProtocol => {
            "the server does not speak PostgreSQL there (ALPN)"
        }
        AlertDescription::HandshakeFailure => "both sides have no cipher in common",
        _ => "the server ended the handshake",
    };
    format!("{advice} (alert {alert:?})")
}

fn incompatible(reason: &PeerIncompatible) -> String {
    match reason {
        PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::ServerDoesNotSupportTls12Or13 => {
            "the server offers no TLS version that ssl_min_protocol_version and ssl_max_protocol_version allow".to_owned()
        }
        other => format!("both sides have nothing in common ({other:?})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_bare() {
        let presented = ["DnsName(\"db3.internal\")", "IpAddress(10.0.0.3)"].map(String::from);
        assert_eq!(
            name_mismatch("db2", &presented),
            "is for \"db3.internal\", \"10.0.0.3\", not for \"db2\""
        );
        assert!(name_mismatch("db2", &[]).contains("reissue"));
    }
}
