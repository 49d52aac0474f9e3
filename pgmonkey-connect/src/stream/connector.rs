//! The connector passed to both drivers: receives the raw socket and returns the observed stream.
//!
//! The drivers are configured for direct TLS negotiation: then they hand the socket over
//! immediately and leave everything between TCP and the startup message to this connector.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use pgmonkey_config::{ConnectionSettings, RequireAuth, Target};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::Socket;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use super::encryption::{MaybeTls, Tls};
#[cfg(feature = "tls")]
use super::negotiation;
use crate::attempt::Encryption;
use crate::error::TlsFailure;
use crate::telemetry::statements::StatementLog;
#[cfg(feature = "tls")]
use crate::tls::{TlsContext, TlsSetup};
use crate::wire::{ObservedStream, Observer};

type BoxError = Box<dyn StdError + Send + Sync>;

/// Creates one attempt's stream: encrypted as configured, with an observer, and with a deadline
/// that is in force until the server is ready for queries.
///
/// One connector serves one session; a clone shares the observer.
///
/// ```no_run
/// use pgmonkey_config::Config;
/// use pgmonkey_connect::Connector;
///
/// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config::from_yaml(
///     "connection_settings: { host: db.internal, user: app, sslmode: verify-full, sslrootcert: ca.pem }",
/// )?;
/// let (driver, connector) = Connector::bare(&config.connection_settings)?;
/// let (client, connection) = driver.connect(connector).await?;
/// tokio::spawn(connection);
/// client.batch_execute("SELECT 1").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Connector {
    observer: Arc<Observer>,
    deadline: Option<Instant>,
    encryption: Encryption,
    setup: Setup,
    /// The server's name, unless it is the one that the driver gives.
    host: Option<String>,
    facts: Arc<OnceLock<Tls>>,
    /// Whether closing the stream waits for the server to close it.
    lingers: bool,
    /// What the statements are reported to, and at which address.
    statements: Option<(Arc<StatementLog>, Target)>,
}

/// Everything that the attempts of one configuration share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    required: RequireAuth,
    #[cfg(feature = "tls")]
    context: Option<Arc<TlsContext>>,
}

impl Setup {
    /// Creates the setup for a single attempt.
    pub(crate) fn of(
        settings: &ConnectionSettings,
        encryption: Encryption,
    ) -> Result<Self, TlsFailure> {
        let required = settings.require_auth.clone();
        #[cfg(feature = "tls")]
        {
            let setup = TlsSetup::new(settings);
            Self::with_tls(required, &setup, encryption)
        }
        #[cfg(not(feature = "tls"))]
        {
            let _ = encryption;
            Ok(Self { required })
        }
    }

    /// Creates the setup, with the context of `setup` if `encryption` needs it.
    #[cfg(feature = "tls")]
    pub(crate) fn with_tls(
        required: RequireAuth,
        setup: &TlsSetup,
        encryption: Encryption,
    ) -> Result<Self, TlsFailure> {
        let context = match encryption {
            Encryption::Plain => None,
            _ => Some(setup.context()?),
        };
        Ok(Self { required, context })
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) fn plain(required: RequireAuth) -> Self {
        Self { required }
    }
}

impl Connector {
    /// Creates a connector for plain sessions. The attempt, including authentication, must finish
    /// by `deadline`.
    pub fn new(deadline: Option<Instant>) -> Self {
        Self {
            observer: Arc::default(),
            deadline,
            encryption: Encryption::Plain,
            setup: Setup::default(),
            host: None,
            facts: Arc::default(),
            lingers: false,
            statements: None,
        }
    }

    /// Reports the statements that are sent to `target`.
    pub(crate) fn reporting_to(mut self, log: &Arc<StatementLog>, target: &Target) -> Self {
        self.statements = Some((Arc::clone(log), target.clone()));
        self
    }

    /// Creates the connector for one attempt; the server's certificate must match `host`.
    pub(crate) fn for_attempt(
        host: String,
        encryption: Encryption,
        setup: Setup,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            encryption,
            host: Some(host),
            setup,
            ..Self::new(deadline)
        }
    }

    /// The observer of this connector's stream.
    pub fn observer(&self) -> &Arc<Observer> {
        &self.observer
    }

    /// How the stream is encrypted; `None` for a plain stream, or before it is created.
    pub fn tls(&self) -> Option<&Tls> {
        self.facts.get()
    }

    /// Returns the same connector for another attempt, with a new observer.
    pub(crate) fn anew(&self) -> Self {
        Self {
            observer: Arc::default(),
            facts: Arc::default(),
            ..self.clone()
        }
    }

    /// Returns a connector for a cancel request: for another stream to the same server, encrypted
    /// like this one. Closing that stream waits until the server closes its end.
    #[must_use]
    pub fn again(&self, deadline: Option<Instant>) -> Self {
        let encryption = match (self.tls(), self.encryption) {
            (None, _) => Encryption::Plain,
            (Some(_), Encryption::Direct) => Encryption::Direct,
            (Some(_), _) => Encryption::Tls { or_plain: false },
        };
        Self {
            deadline,
            encryption,
            lingers: true,
            statements: None,
            ..self.anew()
        }
    }

    /// Wraps a connected stream, such as a Unix socket.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime if there is a deadline.
    pub fn observe<S>(&self, stream: S) -> ObservedStream<S> {
        let sleep = self
            .deadline
            .map(|deadline| Box::pin(tokio::time::sleep_until(deadline.into())));
        let statements = self.statements.as_ref();
        let listener =
            statements.and_then(|(log, target)| log.session(&target.host.to_string(), target.port));
        ObservedStream::new(stream, Arc::clone(&self.observer), sleep)
            .requiring(self.setup.required.clone())
            .reporting_to(listener)
            .lingering(self.lingers)
    }

    /// Encrypts the socket within the deadline.
    async fn stream<S>(self, socket: S) -> Result<ObservedStream<MaybeTls<S>>, BoxError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let encrypted = self.encrypt(socket);
        let stream = match self.deadline {
            None => encrypted.await?,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), encrypted)
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??,
        };
        Ok(self.observe(stream))
    }

    #[cfg(feature = "tls")]
    async fn encrypt<S>(&self, socket: S) -> Result<MaybeTls<S>, TlsFailure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(context) = &self.setup.context else {
            return Ok(MaybeTls::Plain(socket));
        };
        let host = self.host.as_deref().unwrap_or_default();
        let (stream, facts) = negotiation::encrypt(socket, self.encryption, context, host).await?;
        if let Some(facts) = facts {
            let _ = self.facts.set(facts);
        }
        Ok(stream)
    }

    #[cfg(not(feature = "tls"))]
    async fn encrypt<S>(&self, socket: S) -> Result<MaybeTls<S>, TlsFailure> {
        Ok(MaybeTls::Plain(socket))
    }
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = ObservedStream<MaybeTls<Socket>>;
    type TlsConnect = Self;
    type Error = Infallible;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Self, Infallible> {
        let mut made = self.clone();
        made.host.get_or_insert_with(|| domain.to_owned());
        Ok(made)
    }
}

impl<S> TlsConnect<S> for Connector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = ObservedStream<MaybeTls<S>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, BoxError>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(self.stream(stream))
    }
}
