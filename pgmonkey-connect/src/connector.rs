//! The connector both drivers are given: it gets the raw socket and returns the observed stream.
//!
//! The drivers are told to use direct TLS negotiation, for then they hand the socket over at
//! once and leave everything between TCP and the startup message to this connector.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use pgmonkey_config::{Config, ConnectionSettings, RequireAuth, Settings};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::Socket;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use crate::encryption::MaybeTls;
use crate::failure::{ConnectCause, ConnectFailure, FailedAttempt, TlsFailure};
use crate::plan::{self, Attempt, Encryption};
use crate::report::Tls;
use crate::wire::{ObservedStream, Observer};
use crate::{Error, credentials};
#[cfg(feature = "tls")]
use crate::{
    negotiation,
    tls::{TlsContext, TlsSetup},
};

type BoxError = Box<dyn StdError + Send + Sync>;

/// Makes one attempt's stream: encrypted as asked, with an observer, and with a deadline that
/// holds until the server is ready for queries.
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
    /// The server's name, where it is not the one the driver gives.
    host: Option<String>,
    facts: Arc<OnceLock<Tls>>,
    /// Whether closing the stream waits for the server to close it.
    lingers: bool,
}

/// What every attempt of one configuration needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    required: RequireAuth,
    #[cfg(feature = "tls")]
    context: Option<Arc<TlsContext>>,
}

impl Setup {
    /// For one attempt that stands alone.
    fn of(settings: &ConnectionSettings, encryption: Encryption) -> Result<Self, TlsFailure> {
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

    /// With the context of `setup` where `encryption` needs it.
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
    /// A connector for plain sessions, whose attempt must be over by `deadline`, authentication
    /// included.
    pub fn new(deadline: Option<Instant>) -> Self {
        Self {
            observer: Arc::default(),
            deadline,
            encryption: Encryption::Plain,
            setup: Setup::default(),
            host: None,
            facts: Arc::default(),
            lingers: false,
        }
    }

    /// The connector for one attempt.
    pub(crate) fn for_attempt(attempt: &Attempt, setup: Setup, deadline: Option<Instant>) -> Self {
        Self {
            encryption: attempt.encryption,
            host: Some(plan::server_name(&attempt.target)),
            setup,
            ..Self::new(deadline)
        }
    }

    /// A bare driver's settings and the connector that goes with them, for those who want a
    /// session with libpq's TLS and none of our handles: to the first host, by its first kind of
    /// encryption, without a second try. `connect_timeout` counts from now, and `options` is all
    /// that is sent of session settings.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if settings are out of range or do not go together, [`Error::Connect`] if
    /// a file of certificates cannot be used, [`Error::Unsupported`].
    pub fn bare(settings: &ConnectionSettings) -> Result<(tokio_postgres::Config, Self), Error> {
        // No file has checked them, and errors repeat their names.
        let mut whole = Settings::default();
        whole.connection_settings = settings.clone();
        let config = Config::new(whole)?;
        let settings = &config.connection_settings;
        plan::check(settings, false)?;
        let target = settings.targets().swap_remove(0);
        // The driver resolves the name by itself.
        let address = match plan::lookup(&target) {
            plan::Lookup::Known(address) => Some(address),
            plan::Lookup::Name(_) => None,
        };
        let encryption = plan::encryptions(settings, address.as_ref())[0];
        let deadline = settings
            .connect_timeout
            .and_then(|limit| Instant::now().checked_add(limit));
        let connector = Self {
            encryption,
            host: Some(plan::server_name(&target)),
            setup: Setup::of(settings, encryption).map_err(|failure| {
                let cause = ConnectCause::Tls(failure);
                let attempt = FailedAttempt::before(target.to_string(), cause);
                let (user, dbname) = (settings.effective_user(), settings.effective_dbname());
                Error::Connect(Arc::new(ConnectFailure::new(user, dbname, vec![attempt])))
            })?,
            ..Self::new(deadline)
        };
        let password = credentials::password(settings, &target);
        let driver = plan::driver_config(
            settings,
            &target,
            address.as_ref(),
            settings.options.as_deref(),
            password.as_ref().map(|found| found.secret.expose()),
        );
        Ok((driver, connector))
    }

    /// The observer of the stream this connector makes.
    pub fn observer(&self) -> &Arc<Observer> {
        &self.observer
    }

    /// How the stream is encrypted; `None` for a plain one, or before it is made.
    pub fn tls(&self) -> Option<&Tls> {
        self.facts.get()
    }

    /// The same connector for another try: with an observer that has seen nothing.
    pub(crate) fn anew(&self) -> Self {
        Self {
            observer: Arc::default(),
            facts: Arc::default(),
            ..self.clone()
        }
    }

    /// A connector for another stream to the same server, encrypted as this one's turned out:
    /// for a cancel request. Closing that stream waits for the server's end of it.
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
            ..self.anew()
        }
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
            .requiring(self.setup.required.clone())
            .lingering(self.lingers)
    }

    /// Encrypts within the deadline.
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
