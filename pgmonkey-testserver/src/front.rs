//! A TLS-terminating proxy in front of a server: it accepts direct TLS, which PostgreSQL does only
//! since version 17, and records handshakes, which PostgreSQL does not.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::certs::Certificates;
use crate::endpoint::Endpoint;

/// Accepts TLS, started directly or after a request, and forwards the decrypted data to a plain
/// server. Dropping it closes all connections.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Handshake>>>,
    // Dropping it ends its tasks.
    _runtime: tokio::runtime::Runtime,
}

/// The observed parameters of one handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Whether the client started TLS without a request.
    pub direct: bool,
    /// The name the client requested (SNI).
    pub name: Option<String>,
    /// The protocol both agreed on (ALPN).
    pub protocol: Option<Vec<u8>>,
}

impl TlsFront {
    /// Starts a proxy that presents the certificate called `name`; `protocols` are its ALPN
    /// protocols, `postgresql` for a current PostgreSQL.
    ///
    /// # Errors
    ///
    /// When the certificate cannot be read or there is no port.
    pub fn start(
        certificates: &Certificates,
        name: &str,
        protocols: &[&str],
        server: &Endpoint,
    ) -> anyhow::Result<Self> {
        let acceptor = acceptor(certificates, name, protocols)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let front = Self {
            address: listener.local_addr()?,
            seen: Arc::default(),
            _runtime: runtime,
        };
        let (seen, server) = (Arc::clone(&front.seen), (server.host.clone(), server.port));
        front._runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let one = pass(client, acceptor.clone(), server.clone(), Arc::clone(&seen));
                tokio::spawn(one);
            }
        });
        Ok(front)
    }

    /// The port it listens on, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The successful handshakes so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Handshake> {
        let seen = self.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn acceptor(
    certificates: &Certificates,
    name: &str,
    protocols: &[&str],
) -> anyhow::Result<TlsAcceptor> {
    let path = certificates.certificate(name);
    let chain = CertificateDer::pem_file_iter(&path)
        .and_then(Iterator::collect)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let key = PrivateKeyDer::from_pem_file(certificates.key(name))?;
    let provider = Arc::new(ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn pass(
    mut client: TcpStream,
    acceptor: TlsAcceptor,
    server: (String, u16),
    seen: Arc<Mutex<Vec<Handshake>>>,
) -> io::Result<()> {
    let mut first = [0];
    client.peek(&mut first).await?;
    // The first byte is a TLS handshake record, or part of the length of an `SSLRequest`.
    let direct = first == [0x16];
    if !direct {
        client.read_exact(&mut [0; 8]).await?;
        client.write_all(b"S").await?;
    }
    let mut stream = acceptor.accept(client).await?;
    let session = stream.get_ref().1;
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Handshake {
            direct,
            name: session.server_name().map(str::to_owned),
            protocol: session.alpn_protocol().map(<[u8]>::to_vec),
        });
    let mut server = TcpStream::connect(server).await?;
    copy_bidirectional(&mut stream, &mut server).await.map(drop)
}
