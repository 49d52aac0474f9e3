//! A stream with or without TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

use crate::wire::ObservedStream;

/// The layer between the observed protocol and the socket.
#[derive(Debug)]
#[non_exhaustive]
pub enum MaybeTls<S> {
    /// No encryption.
    Plain(S),
    /// A TLS session.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    Tls(Box<tokio_rustls::client::TlsStream<S>>),
}

impl<S> MaybeTls<S> {
    /// The channel binding for a SCRAM login: derived from the server's certificate.
    pub fn channel_binding(&self) -> ChannelBinding {
        match self {
            Self::Plain(_) => ChannelBinding::none(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                let certificates = stream.get_ref().1.peer_certificates();
                certificates
                    .and_then(<[_]>::first)
                    .map_or_else(ChannelBinding::none, crate::tls::channel_binding)
            }
        }
    }
}

/// How a session is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: String,
    /// The cipher suite's registered name.
    pub cipher: String,
    /// The subject of the server's certificate: its first host name or address, otherwise its
    /// common name.
    pub peer: Option<String>,
}

/// Makes the same call on either kind of stream.
macro_rules! either {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            MaybeTls::Plain($inner) => $call,
            #[cfg(feature = "tls")]
            MaybeTls::Tls($inner) => $call,
        }
    };
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for MaybeTls<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(&mut *self, inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for MaybeTls<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(&mut *self, inner => Pin::new(inner).poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for ObservedStream<MaybeTls<S>> {
    fn channel_binding(&self) -> ChannelBinding {
        let stream = self.inner();
        stream.map_or_else(ChannelBinding::none, MaybeTls::channel_binding)
    }
}
