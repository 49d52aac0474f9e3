//! Builds rustls' configuration from the settings, and rebuilds it when a file changes.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pgmonkey_config::{ConnectionSettings, SecretSource, SslMode, TlsVersion};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

use super::files::{self, Check, Files, Roots};
use super::key;
use super::verifier::Verifier;
use crate::error::TlsFailure;
use crate::files::Stamp;
use crate::telemetry::events;

/// The name of PostgreSQL's protocol in a handshake (ALPN).
pub(crate) const ALPN: &[u8] = b"postgresql";

/// Everything that the handshakes of one configuration share.
pub(crate) struct TlsContext {
    pub(crate) client: Arc<ClientConfig>,
    /// Whether the server's name is checked.
    pub(crate) checks_name: bool,
    /// The source of trusted roots, for error texts.
    pub(crate) trusted: String,
}

impl fmt::Debug for TlsContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsContext")
            .field("trusted", &self.trusted)
            .field("checks_name", &self.checks_name)
            .finish_non_exhaustive()
    }
}

/// Builds the context on first use, and again when one of its files has changed: certificates are
/// replaced while programs run.
#[derive(Debug)]
pub(crate) struct TlsSetup {
    settings: ConnectionSettings,
    made: Mutex<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    files: Files,
    stamps: Vec<Option<Stamp>>,
    context: Arc<TlsContext>,
}

impl TlsSetup {
    pub(crate) fn new(settings: &ConnectionSettings) -> Self {
        Self {
            settings: settings.clone(),
            made: Mutex::default(),
        }
    }

    /// Returns the context for the current contents of the files.
    pub(crate) fn context(&self) -> Result<Arc<TlsContext>, TlsFailure> {
        let files = Files::choose(&self.settings, own_file)?;
        let passphrase = self.settings.sslpassword.as_ref();
        let passphrase = passphrase.and_then(|source| match source {
            SecretSource::File(path) => Some(path.as_path()),
            _ => None,
        });
        let stamps: Vec<_> = files.paths().chain(passphrase).map(Stamp::of).collect();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made
            && made.files == files
            && made.stamps == stamps
        {
            return Ok(Arc::clone(&made.context));
        }
        let context = match (build(&self.settings, &files), &*made) {
            (Ok(context), _) => Arc::new(context),
            // Certificate and key are replaced one after the other.
            (Err(failure), Some(made)) if made.files == files && failure.is_of_identity() => {
                if let Some((certificate, _)) = &files.identity {
                    events::certificate_kept(certificate, &failure);
                }
                return Ok(Arc::clone(&made.context));
            }
            (Err(failure), _) => return Err(failure),
        };
        let kept = made.insert(Made {
            files,
            stamps,
            context,
        });
        Ok(Arc::clone(&kept.context))
    }

    /// Whether an unusable file is an error, rather than a reason to go without TLS: because the
    /// settings name a file, or require TLS.
    pub(crate) fn is_asked_for(&self) -> bool {
        let settings = &self.settings;
        settings.sslmode >= SslMode::Require
            || settings.sslrootcert.is_some()
            || settings.sslcert.is_some()
            || settings.sslcrl.is_some()
    }
}

fn own_file(name: &str) -> Option<PathBuf> {
    pgmonkey_config::user_files::tls(name, &|name| std::env::var(name).ok())
}

fn build(settings: &ConnectionSettings, files: &Files) -> Result<TlsContext, TlsFailure> {
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(files, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(settings))
        .map_err(|error| TlsFailure::Handshake(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut client = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = files::certificates("sslcert", certificate)?;
            let passphrase = key::passphrase(settings.sslpassword.as_ref())?;
            let secret = key::load(key, passphrase.as_ref())?;
            builder
                .with_client_auth_cert(chain, secret)
                .map_err(|error| {
                    let what = format!(
                        "and {} cannot be used together: {}",
                        key.display(),
                        identity_text(&error)
                    );
                    files::fault("sslcert", certificate, &what)
                })?
        }
    };
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.enable_sni = settings.sslsni;
    // PostgreSQL does not resume TLS sessions.
    client.resumption = Resumption::disabled();
    Ok(TlsContext {
        client: Arc::new(client),
        checks_name: files.check == Check::Full,
        trusted: files.trusted(),
    })
}

fn verifier(files: &Files, provider: &Arc<CryptoProvider>) -> Result<Verifier, TlsFailure> {
    let trusted = match &files.roots {
        Roots::None => Vec::new(),
        Roots::File(path) => files::certificates("sslrootcert", path)?,
        Roots::System => system_roots()?,
    };
    let revoked = match &files.crl {
        Some(path) => files::revocations(path)?,
        None => Vec::new(),
    };
    let pins = revoked.is_empty() && matches!(files.roots, Roots::File(_));
    let chain = match files.check {
        Check::Nothing => None,
        _ => Some(chain(files, provider, &trusted, revoked)?),
    };
    Ok(Verifier {
        provider: Arc::clone(provider),
        chain,
        check_name: files.check == Check::Full,
        pinned: if pins { trusted } else { Vec::new() },
    })
}

/// The operating system's roots, or those in `SSL_CERT_FILE`. That file is read here first, with a
/// size limit, because the loader has none.
fn system_roots() -> Result<Vec<CertificateDer<'static>>, TlsFailure> {
    if let Some(named) = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from)
        && named.exists()
    {
        files::read("sslrootcert: system (SSL_CERT_FILE)", &named)?;
    }
    Ok(rustls_native_certs::load_native_certs().certs)
}

fn chain(
    files: &Files,
    provider: &Arc<CryptoProvider>,
    trusted: &[CertificateDer<'static>],
    revoked: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Arc<WebPkiServerVerifier>, TlsFailure> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .with_crls(revoked)
        .enforce_revocation_expiration()
        .build()
        .map_err(|error| TlsFailure::File {
            key: "sslrootcert",
            reason: format!("{} cannot be used: {error}", files.trusted()),
        })
}

fn versions(settings: &ConnectionSettings) -> Vec<&'static SupportedProtocolVersion> {
    let newest = settings
        .ssl_max_protocol_version
        .unwrap_or(TlsVersion::Tls13);
    [
        (TlsVersion::Tls12, &version::TLS12),
        (TlsVersion::Tls13, &version::TLS13),
    ]
    .into_iter()
    .filter(|(known, _)| (settings.ssl_min_protocol_version..=newest).contains(known))
    .map(|(_, version)| version)
    .collect()
}

fn identity_text(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => "the key belongs to another certificate".to_owned(),
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))
            if format!("{other:?}").contains("UnsupportedCertVersion") =>
        {
            "the certificate is of X.509 version 1: reissue it as version 3".to_owned()
        }
        other => other.to_string(),
    }
}
