//! The TLS part of a program on the drivers: rustls, configured as `sslmode` requires.

use std::path::{Path, PathBuf};

use pgmonkey::config::{ConnectionSettings, Host, RootCert, SslMode, SslNegotiation, TlsVersion};

use super::super::literal;

/// How a program opens its sessions.
pub(super) struct Tls {
    /// The driver's mode.
    pub(super) mode: &'static str,
    /// The function `tls` and what it depends on; `None` if no session is encrypted.
    pub(super) source: Option<Source>,
}

/// The part of a program that sets up TLS.
pub(super) struct Source {
    pub(super) function: String,
    pub(super) imports: Vec<&'static str>,
    pub(super) dependencies: Vec<&'static str>,
}

/// As in libpq: existing root certificates are used under every mode, the name is checked only
/// under one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    Nothing,
    Chain,
    Full,
}

/// What the settings ask for. `own` is the directory of the user's own files.
///
/// # Errors
///
/// The key and value that a few lines of code cannot support.
pub(super) fn plan(
    settings: &ConnectionSettings,
    own: &dyn Fn(&str) -> Option<PathBuf>,
) -> Result<Tls, String> {
    let refused = |key: &str, value: &dyn std::fmt::Display| {
        Err(format!("connection_settings.{key}: {value}"))
    };
    let targets = settings.targets();
    let local = |target: &pgmonkey::config::Target| matches!(target.host, Host::Unix(_));
    // A Unix socket is never encrypted, whatever the mode. `allow` starts in plain text, and the
    // drivers make no second attempt.
    let plain = matches!(settings.sslmode, SslMode::Disable | SslMode::Allow);
    if plain || targets.iter().all(local) {
        return Ok(Tls {
            mode: "Disable",
            source: None,
        });
    }
    let demanded = settings.sslmode != SslMode::Prefer;
    if demanded && targets.iter().any(local) {
        return refused(
            "sslmode",
            &format_args!("{} with a Unix socket among the hosts", settings.sslmode),
        );
    }
    if settings.sslpassword.is_some() {
        return refused("sslpassword", &"(an encrypted key)");
    }
    let existing = |name| own(name).filter(|path| path.exists());
    let crl = settings.sslcrl.clone().or_else(|| existing("root.crl"));
    let roots = settings
        .sslrootcert
        .clone()
        .or_else(|| existing("root.crt").map(RootCert::Path));
    let check = match (&roots, settings.sslmode) {
        (_, SslMode::VerifyFull) => Check::Full,
        (None, SslMode::VerifyCa) => {
            return refused("sslmode", &"verify-ca without sslrootcert");
        }
        (None, _) => Check::Nothing,
        (Some(_), _) => Check::Chain,
    };
    if let Some(crl) = crl.filter(|_| check != Check::Nothing) {
        return refused("sslcrl", &crl.display());
    }
    let identity = match (&settings.sslcert, &settings.sslkey) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        _ => existing("postgresql.crt").zip(own("postgresql.key")),
    };
    Ok(Tls {
        mode: if demanded { "Require" } else { "Prefer" },
        source: Some(source(settings, check, roots.as_ref(), identity.as_ref())),
    })
}

fn source(
    settings: &ConnectionSettings,
    check: Check,
    roots: Option<&RootCert>,
    identity: Option<&(PathBuf, PathBuf)>,
) -> Source {
    let mode = settings.sslmode;
    let body = body(settings, check, roots, identity);
    let verifier = match check {
        Check::Full => "",
        Check::Chain => ANY_NAME,
        Check::Nothing => ANY_SERVER,
    };
    let from_file = matches!(roots, Some(RootCert::Path(_)));
    Source {
        function: format!(
            "/// TLS for the sessions: sslmode {mode}.\nfn tls() -> Result<MakeRustlsConnect, Box<dyn Error>> {{\n{body}}}\n\n{verifier}"
        ),
        imports: imports(check, from_file, identity.is_some()),
        dependencies: dependencies(check, from_file),
    }
}

fn imports(check: Check, from_file: bool, has_identity: bool) -> Vec<&'static str> {
    let mut imports = vec![
        "rustls::ClientConfig",
        "rustls::crypto::ring",
        "tokio_postgres_rustls::MakeRustlsConnect",
    ];
    if check != Check::Nothing {
        imports.push("rustls::RootCertStore");
    }
    if from_file || has_identity {
        imports.push("rustls::pki_types::pem::PemObject");
        // The custom verifiers also import this name.
        imports.extend((check == Check::Full).then_some("rustls::pki_types::CertificateDer"));
    }
    if has_identity {
        imports.push("rustls::pki_types::PrivateKeyDer");
    }
    let more: &[&str] = match check {
        Check::Full => &[],
        Check::Chain => &[NEEDED, CHAIN],
        Check::Nothing => &[NEEDED, SERVER],
    };
    imports.extend(more.iter().flat_map(|lines| lines.lines()));
    imports
}

fn dependencies(check: Check, from_file: bool) -> Vec<&'static str> {
    let mut dependencies = vec![
        r#"rustls = { version = "0.23", default-features = false, features = ["ring", "std", "tls12"] }"#,
        r#"tokio-postgres-rustls = "0.14""#,
    ];
    if check != Check::Nothing && !from_file {
        dependencies.push("rustls-native-certs = \"0.8\"");
    }
    dependencies
}

/// The body of the function `tls`.
fn body(
    settings: &ConnectionSettings,
    check: Check,
    roots: Option<&RootCert>,
    identity: Option<&(PathBuf, PathBuf)>,
) -> String {
    let mut body = String::from("    let provider = Arc::new(ring::default_provider());\n");
    if check != Check::Nothing {
        body.push_str(&trusted(roots));
    }
    let verifier = match check {
        Check::Full => "        .with_root_certificates(roots)\n",
        Check::Chain => {
            body.push_str(
                "    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());\n    let verifier = Arc::new(AnyName(chain.build()?));\n",
            );
            CUSTOM
        }
        Check::Nothing => {
            body.push_str(
                "    let verifier = Arc::new(AnyServer(provider.signature_verification_algorithms));\n",
            );
            CUSTOM
        }
    };
    if let Some((certificate, key)) = identity {
        body.push_str(&format!(
            "    let certificate = CertificateDer::pem_file_iter({})?.collect::<Result<Vec<_>, _>>()?;\n    let key = PrivateKeyDer::from_pem_file({})?;\n",
            text(certificate),
            text(key),
        ));
    }
    let own = match identity {
        Some(_) => "        .with_client_auth_cert(certificate, key)?;\n",
        None => "        .with_no_client_auth();\n",
    };
    let changes = changes(settings);
    let mutable = if changes.is_empty() { "" } else { "mut " };
    body.push_str(&format!(
        "    let {mutable}config = ClientConfig::builder_with_provider(provider)\n        {}?\n{verifier}{own}{changes}    Ok(MakeRustlsConnect::new(config))\n",
        versions(settings),
    ));
    body
}

const CUSTOM: &str = "        .dangerous()\n        .with_custom_certificate_verifier(verifier)\n";

/// The root certificates to trust.
fn trusted(roots: Option<&RootCert>) -> String {
    let certificates = match roots {
        Some(RootCert::Path(path)) => format!("CertificateDer::pem_file_iter({})?", text(path)),
        // An invalid certificate in the system's store must not prevent the use of the others.
        _ => {
            return "    let mut roots = RootCertStore::empty();\n    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);\n".to_owned();
        }
    };
    format!(
        "    let mut roots = RootCertStore::empty();\n    for certificate in {certificates} {{\n        roots.add(certificate?)?;\n    }}\n"
    )
}

fn versions(settings: &ConnectionSettings) -> &'static str {
    match (
        settings.ssl_min_protocol_version,
        settings.ssl_max_protocol_version,
    ) {
        (TlsVersion::Tls13, _) => ".with_protocol_versions(&[&rustls::version::TLS13])",
        (_, Some(TlsVersion::Tls12)) => ".with_protocol_versions(&[&rustls::version::TLS12])",
        _ => ".with_safe_default_protocol_versions()",
    }
}

/// Settings that the builder does not cover.
fn changes(settings: &ConnectionSettings) -> String {
    let mut text = String::new();
    if !settings.sslsni {
        text.push_str("    config.enable_sni = false;\n");
    }
    if settings.sslnegotiation == SslNegotiation::Direct {
        text.push_str("    config.alpn_protocols = vec![b\"postgresql\".to_vec()];\n");
    }
    text
}

fn text(path: &Path) -> String {
    literal(&path.to_string_lossy())
}

const NEEDED: &str = "\
rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier}
rustls::pki_types::{CertificateDer, ServerName, UnixTime}
rustls::{DigitallySignedStruct, SignatureScheme}";
const CHAIN: &str = "\
rustls::CertificateError
rustls::client::WebPkiServerVerifier";
const SERVER: &str = "\
rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature}";

const ANY_NAME: &str = "\
/// Accepts a server whose certificate is signed by a trusted root, whatever its name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        // The name is checked last: a certificate that fails only this check is trusted.
        match self.0.verify_server_cert(server, others, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                NotValidForName | NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

";

const ANY_SERVER: &str = "\
/// Accepts any server that holds the private key of its certificate. This prevents eavesdropping,
/// but not a man in the middle: sslmode verify-full does.
#[derive(Debug)]
struct AnyServer(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

";
