//! The verifier of servers' certificates, which reads the system's certificates when the first one is verified.

use super::{TlsFileError, no_certificates};
use crate::settings::TlsSettings;
use rustls::{
    DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use rustls_platform_verifier::Verifier;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Verifies with the system's certificates and others. Reading the system's takes ten milliseconds and two megabytes, and
/// a step that only uses `http://` and `amqp://` needs none of them.
#[derive(Debug)]
pub(super) struct LazyVerifier {
    extra: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    loaded: OnceLock<Verifier>,
    /// Is held while the certificates are read, so that handshakes at the same moment read them once.
    loading: Mutex<()>,
}

/// The system has no certificates that are trusted.
#[derive(Debug, thiserror::Error)]
#[error("no server is trusted: {0}")]
pub(super) struct NoCertificates(String);

impl LazyVerifier {
    /// Trusts the system's certificates and `extra`. If a variable names the files of the system's certificates, they are read
    /// at once: a wrong file is reported at the start.
    ///
    /// # Errors
    /// Returns an error if a variable names files and they contain no certificate.
    pub(super) fn new(
        settings: &TlsSettings,
        extra: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsFileError> {
        let verifier = Self {
            extra,
            provider,
            loaded: OnceLock::new(),
            loading: Mutex::default(),
        };
        if !settings.system.is_empty() {
            verifier.load(settings)?;
        }
        Ok(verifier)
    }

    /// Reads the certificates now.
    ///
    /// # Errors
    /// Returns an error that says what to do if there are none.
    pub(super) fn load(&self, settings: &TlsSettings) -> Result<(), TlsFileError> {
        let loaded = self.loaded().map(|_| ());
        loaded.map_err(|error| TlsFileError(format!("{error}; {}", no_certificates(settings))))
    }

    /// Reads the certificates, unless that is done. A failure is not kept: the next handshake reads them again.
    fn loaded(&self) -> Result<&Verifier, NoCertificates> {
        if let Some(verifier) = self.loaded.get() {
            return Ok(verifier);
        }
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verifier) = self.loaded.get() {
            return Ok(verifier);
        }
        let extra = self.extra.iter().cloned();
        let verifier = Verifier::new_with_extra_roots(extra, self.provider.clone())
            .map_err(|error| NoCertificates(error.to_string()))?;
        Ok(self.loaded.get_or_init(|| verifier))
    }

    fn verifier(&self) -> Result<&Verifier, Error> {
        let other = |error| Error::Other(OtherError(Arc::new(error)));
        self.loaded().map_err(other)
    }
}

impl ServerCertVerifier for LazyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verifier()?.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?
            .verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?
            .verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        // Asked for before a certificate is there.
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::provider, *};

    #[test]
    fn the_systems_certificates_are_read_at_the_first_handshake() {
        let settings = TlsSettings::read(|_| None);
        let verifier = LazyVerifier::new(&settings, Vec::new(), provider()).unwrap();
        assert!(!verifier.supported_verify_schemes().is_empty());
        assert!(verifier.loaded.get().is_none());
        let garbage = CertificateDer::from(vec![0]);
        let name = ServerName::try_from("server.example").unwrap();
        verifier
            .verify_server_cert(&garbage, &[], &name, &[], UnixTime::now())
            .unwrap_err();
        assert!(verifier.loaded.get().is_some());
    }
}
