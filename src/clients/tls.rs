//! TLS for HTTP and AMQP: the system's trusted certificates, and one choice of cryptography for the whole process.

use rustls::{
    ClientConfig,
    crypto::{CryptoProvider, ring},
};
use rustls_platform_verifier::ConfigVerifierExt;

/// Installs ring as the process's cryptography, unless another provider is installed already.
///
/// HTTP clients take what is installed, and cannot be built without. That holds for the component's own clients too, so
/// the runtime calls this before any code of the component runs.
pub(crate) fn choose_cryptography() {
    if CryptoProvider::get_default().is_none() {
        // It fails when another thread was faster, which is fine.
        let _ = ring::default_provider().install_default();
    }
}

/// What a TLS connection starts from: no client certificate, and the certificates that the system trusts, or those in
/// `SSL_CERT_FILE` and `SSL_CERT_DIR`.
pub(crate) fn client_config() -> Result<ClientConfig, rustls::Error> {
    choose_cryptography();
    ClientConfig::with_platform_verifier()
}
