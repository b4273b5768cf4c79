//! The verifier of servers' certificates, which reads the system's certificates when the first one is verified.

use super::{TlsFileError, no_certificates};
use crate::settings::TlsSettings;
use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use rustls_platform_verifier::Verifier;
use std::sync::{Arc, OnceLock};

/// Verifies with the system's certificates and others. Reading the system's takes ten milliseconds and two megabytes, and
/// a step that only uses `http://` and `amqp://` needs none of them.
#[derive(Debug)]
pub(super) struct LazyVerifier {
    extra: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    loaded: OnceLock<Verifier>,
}

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
        };
        if !settings.system.is_empty() {
            verifier
                .loaded()
                .map_err(|error| TlsFileError(format!("{error}; {}", no_certificates(settings))))?;
        }
        Ok(verifier)
    }

    /// Reads the certificates, unless that is done. A failure is not kept: the next handshake reads them again.
    fn loaded(&self) -> Result<&Verifier, Error> {
        if let Some(verifier) = self.loaded.get() {
            return Ok(verifier);
        }
        let verifier =
            Verifier::new_with_extra_roots(self.extra.iter().cloned(), self.provider.clone())?;
        Ok(self.loaded.get_or_init(|| verifier))
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
        self.loaded()?.verify_server_cert(
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
        self.loaded()?.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.loaded()?.verify_tls13_signature(message, cert, signed)
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
