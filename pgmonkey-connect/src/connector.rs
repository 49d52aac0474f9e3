//! The connector both drivers are given: it gets the raw socket and returns the observed stream.
//!
//! The drivers are told to use direct TLS negotiation, for then they hand the socket over at
//! once and leave everything between TCP and the startup message to this connector.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::Socket;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use crate::wire::{ObservedStream, Observer};

/// Makes one attempt's stream: with an observer, and with a deadline that holds until the
/// server is ready for queries.
///
/// One connector serves one session; a clone shares the observer.
#[derive(Debug, Clone)]
pub struct Connector {
    observer: Arc<Observer>,
    deadline: Option<Instant>,
}

impl Connector {
    /// A connector whose attempt must be over by `deadline`, authentication included.
    pub fn new(deadline: Option<Instant>) -> Self {
        Self {
            observer: Arc::default(),
            deadline,
        }
    }

    /// The observer of the stream this connector makes.
    pub fn observer(&self) -> &Arc<Observer> {
        &self.observer
    }

    /// Wraps a stream that is connected already, as for a Unix socket.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime if there is a deadline.
    pub fn observe<S>(&self, stream: S) -> ObservedStream<S> {
        let sleep = self
            .deadline
            .map(|deadline| Box::pin(tokio::time::sleep_until(deadline.into())));
        ObservedStream::new(stream, Arc::clone(&self.observer), sleep)
    }
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = ObservedStream<Socket>;
    type TlsConnect = Self;
    type Error = Infallible;

    fn make_tls_connect(&mut self, _domain: &str) -> Result<Self, Infallible> {
        Ok(self.clone())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Connector {
    type Stream = ObservedStream<S>;
    type Error = Infallible;
    type Future = Ready<Result<ObservedStream<S>, Infallible>>;

    fn connect(self, stream: S) -> Self::Future {
        ready(Ok(self.observe(stream)))
    }
}
