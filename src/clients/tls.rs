//! TLS for HTTP and AMQP: the certificates that are trusted, the certificate that the broker is shown, advice about
//! errors, and one cryptography provider for the whole process.
//!
//! The name in a certificate is always compared with the host of the URL. No setting turns that off.

mod verifier;

use crate::settings::{self, NamedFile, TlsSettings};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    io,
    sync::{Arc, OnceLock},
};
use verifier::{LazyVerifier, NoCertificates};

/// Files of TLS that cannot be used. The text names the variable, the file and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TlsFileError(String);

/// Installs ring as the process's cryptography provider, unless one is installed already. No HTTP client can be built
/// without a provider, including the component's own. So the runtime calls this before any code of the component runs.
pub(crate) fn choose_cryptography() {
    if CryptoProvider::get_default().is_none() {
        // This fails if another thread was faster. The result is the same.
        let _ = ring::default_provider().install_default();
    }
}

fn provider() -> Arc<CryptoProvider> {
    choose_cryptography();
    let provider = CryptoProvider::get_default().cloned();
    provider.unwrap_or_else(|| Arc::new(ring::default_provider()))
}

/// Returns the configuration of TLS connections to the broker. The files are read at each call, so that a new connection
/// uses certificates that were replaced.
///
/// # Errors
/// Returns an error if a file of the settings cannot be used, or if no certificate is trusted at all.
pub(crate) fn broker_config() -> Result<ClientConfig, TlsFileError> {
    config(&TlsSettings::read(settings::environment))
}

fn config(settings: &TlsSettings) -> Result<ClientConfig, TlsFileError> {
    let verifier = LazyVerifier::new(settings, extra(settings)?, provider())?;
    let builder = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let (cert, key) = match (&settings.client_cert, &settings.client_key) {
        (None, None) => return Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => (cert, key),
        (Some(one), None) | (None, Some(one)) => {
            return Err(TlsFileError(format!(
                "{} is set alone: set ELASTICIO_AMQP_CLIENT_CERT and ELASTICIO_AMQP_CLIENT_KEY, or neither",
                one.variable
            )));
        }
    };
    let chain = certificates(cert)?;
    let private =
        PrivateKeyDer::from_pem_file(&key.path).map_err(|e| unusable(key, &e.to_string()))?;
    builder
        .with_client_auth_cert(chain, private)
        .map_err(|error| {
            unusable(
                key,
                &format!("it does not fit {}: {error}", cert.path.display()),
            )
        })
}

/// Returns the configuration of HTTP clients. All clients of the process share the trusted certificates, and those that
/// variables name are read once. With `trusted`, a certificate as PEM, the client is one of a test, and shares nothing.
///
/// # Errors
/// Returns an error if a file of the settings cannot be used, or `trusted` is no certificate.
pub(crate) fn http_config(trusted: Option<&str>) -> Result<ClientConfig, TlsFileError> {
    let verifier = match trusted {
        Some(pem) => {
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes());
            let certificate = certificate.map_err(|error| TlsFileError(error.to_string()))?;
            Arc::new(verifier_with([certificate])?)
        }
        None => shared_verifier()?,
    };
    let mut config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec!["h2".into(), "http/1.1".into()];
    Ok(config)
}

/// Reads the certificates that HTTP clients trust. Without this, the first handshake does.
///
/// # Errors
/// Returns an error if there are none, or a file of the settings cannot be used.
pub(crate) fn load_certificates() -> Result<(), TlsFileError> {
    shared_verifier()?.load(&TlsSettings::read(settings::environment))
}

fn shared_verifier() -> Result<Arc<LazyVerifier>, TlsFileError> {
    static VERIFIER: OnceLock<Arc<LazyVerifier>> = OnceLock::new();
    if let Some(verifier) = VERIFIER.get() {
        return Ok(verifier.clone());
    }
    let verifier = Arc::new(verifier_with([])?);
    Ok(VERIFIER.get_or_init(|| verifier).clone())
}

/// Trusts the certificates of the system and of the settings, and others.
fn verifier_with(
    others: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Result<LazyVerifier, TlsFileError> {
    let settings = TlsSettings::read(settings::environment);
    let mut extra = extra(&settings)?;
    extra.extend(others);
    LazyVerifier::new(&settings, extra, provider())
}

fn extra(settings: &TlsSettings) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let mut all = Vec::new();
    for file in &settings.ca_certs {
        all.extend(certificates(file)?);
    }
    Ok(all)
}

/// Reads the certificates of a file. There is at least one.
fn certificates(file: &NamedFile) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let read = CertificateDer::pem_file_iter(&file.path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(file, &error.to_string()))?;
    if read.is_empty() {
        return Err(unusable(file, "it contains no certificate"));
    }
    let mut store = RootCertStore::empty();
    for certificate in &read {
        store
            .add(certificate.clone())
            .map_err(|error| unusable(file, &error.to_string()))?;
    }
    Ok(read)
}

fn unusable(file: &NamedFile, problem: &str) -> TlsFileError {
    TlsFileError(format!(
        "{} names {}, which cannot be used: {problem}; it must be a PEM file that this process can read",
        file.variable,
        file.path.display()
    ))
}

/// What to do if no certificate is trusted at all.
fn no_certificates(settings: &TlsSettings) -> String {
    if settings.system.is_empty() {
        return "install the system's CA certificates, or set SSL_CERT_FILE to a file of trusted certificates".into();
    }
    let named = settings.system.iter();
    let named = named.map(|file| format!("{} ({})", file.variable, file.path.display()));
    format!("check {}", named.collect::<Vec<_>>().join(" and "))
}

/// What an address is called in advice about TLS.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    /// "the broker" or "the server".
    pub(crate) name: &'static str,
    /// Where its address comes from.
    pub(crate) address: &'static str,
    /// What to use if it does not speak TLS.
    pub(crate) plain: &'static str,
}

/// Returns the TLS error inside of an I/O error, which can be inside of another one.
pub(crate) fn inside(error: &io::Error) -> Option<&Error> {
    let inner = error.get_ref()?;
    inner
        .downcast_ref()
        .or_else(|| inside(inner.downcast_ref()?))
}

/// Returns what the reader can do about a failed TLS connection.
pub(crate) fn advice(error: &Error, peer: Peer) -> String {
    let Peer {
        name,
        address,
        plain,
    } = peer;
    match error {
        Error::InvalidCertificate(error) => certificate_advice(error, peer),
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown,
        ) => format!(
            "{name} requires a client certificate that it trusts; ELASTICIO_AMQP_CLIENT_CERT and \
             ELASTICIO_AMQP_CLIENT_KEY name the one for the broker"
        ),
        Error::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion,
        )
        | Error::PeerIncompatible(_) => {
            format!("{name} must support TLS 1.2 or 1.3 with common ciphers")
        }
        Error::InvalidMessage(_) => {
            format!("the server does not speak TLS: check the port in {address}, or use {plain}")
        }
        // Of the verifier.
        Error::Other(other) if other.0.is::<NoCertificates>() => {
            no_certificates(&TlsSettings::read(settings::environment))
        }
        _ => format!("check the TLS settings of {name}"),
    }
}

fn certificate_advice(error: &CertificateError, peer: Peer) -> String {
    let Peer { name, address, .. } = peer;
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "the issuer of {name}'s certificate is not trusted: set ELASTICIO_CA_CERTS to a file with the issuer's \
             certificate, or SSL_CERT_FILE or SSL_CERT_DIR to all certificates that are trusted"
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("{name}'s certificate is for another name: check the host in {address}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("{name}'s certificate has expired: renew it, or check this machine's clock")
        }
        _ => format!("check {name}'s certificate"),
    }
}
