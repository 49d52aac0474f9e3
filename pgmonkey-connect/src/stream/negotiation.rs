//! From a raw socket to TLS: the request, the server's answer, the handshake.
//!
//! Reference: protocol, "SSL Session Encryption"; libpq, `sslmode` and `sslnegotiation`.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::encryption::{MaybeTls, Tls};
use crate::attempt::Encryption;
use crate::error::TlsFailure;
use crate::error::handshake::interrupted_or;
use crate::tls::{self, TlsContext};

/// `SSLRequest`: its length, and a code that is not a protocol version.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Encrypts `socket` according to `encryption`; returns the stream and how it is encrypted.
pub(crate) async fn encrypt<S>(
    mut socket: S,
    encryption: Encryption,
    context: &TlsContext,
    host: &str,
) -> Result<(MaybeTls<S>, Option<Tls>), TlsFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let direct = match encryption {
        Encryption::Plain => return Ok((MaybeTls::Plain(socket), None)),
        Encryption::Tls { or_plain } => match ask(&mut socket).await? {
            true => false,
            false if or_plain => return Ok((MaybeTls::Plain(socket), None)),
            false => return Err(TlsFailure::NotOffered),
        },
        Encryption::Direct => true,
    };
    let name = server_name(host, context.checks_name)?;
    let stream = TlsConnector::from(Arc::clone(&context.client))
        .connect(name, socket)
        .await
        .map_err(|error| {
            let failure = interrupted_or(&error, &context.trusted);
            match direct {
                true => failure.of_direct(),
                false => failure,
            }
        })?;
    if direct && stream.get_ref().1.alpn_protocol().is_none() {
        return Err(TlsFailure::NoAlpn);
    }
    let facts = facts(&stream);
    Ok((MaybeTls::Tls(Box::new(stream)), Some(facts)))
}

/// Asks for TLS; true if the server agrees.
async fn ask<S>(socket: &mut S) -> Result<bool, TlsFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let interrupted = |error: std::io::Error| TlsFailure::Interrupted(error.to_string());
    socket.write_all(&SSL_REQUEST).await.map_err(interrupted)?;
    socket.flush().await.map_err(interrupted)?;
    // Room for more than the one allowed byte: any further bytes were sent before the server can
    // have seen a handshake, so not by the server.
    let mut answer = [0; 2];
    let count = socket.read(&mut answer).await.map_err(interrupted)?;
    match (count, answer[0]) {
        (0, _) => Err(TlsFailure::Interrupted(
            "the server closed it instead of answering the request for TLS".to_owned(),
        )),
        (_, b'E') => Err(TlsFailure::ErrorReply),
        (2.., b'S' | b'N') => Err(TlsFailure::Injected),
        (_, b'S') => Ok(true),
        (_, b'N') => Ok(false),
        (_, other) => Err(TlsFailure::Garbage(other)),
    }
}

/// The name to request and, if `checked`, to verify. A host that no certificate can name is an
/// error only if the name is verified.
fn server_name(host: &str, checked: bool) -> Result<ServerName<'static>, TlsFailure> {
    match ServerName::try_from(host.to_owned()) {
        Ok(name) => Ok(name),
        // An address is never sent to the server.
        Err(_) if !checked => Ok(ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into())),
        Err(error) => Err(TlsFailure::Certificate(format!(
            "cannot be checked: {host:?} is not a name that a certificate can contain ({error})"
        ))),
    }
}

fn facts<S>(stream: &TlsStream<S>) -> Tls {
    let session = stream.get_ref().1;
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    Tls {
        version: session.protocol_version().map_or_else(String::new, version),
        cipher: session
            .negotiated_cipher_suite()
            .map_or_else(String::new, |suite| cipher(&format!("{:?}", suite.suite()))),
        peer: certificate.and_then(tls::peer_name),
    }
}

/// The version in PostgreSQL's notation: `TLSv1.3`.
fn version(version: rustls::ProtocolVersion) -> String {
    format!("{version:?}").replace('_', ".")
}

/// The registered name: rustls marks the suites of TLS 1.3 with the version.
fn cipher(name: &str) -> String {
    name.replace("TLS13_", "TLS_")
}
