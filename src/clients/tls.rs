//! TLS for HTTP and AMQP: the certificates that the system trusts, and one cryptography provider for the whole process.

use rustls::{
    ClientConfig,
    crypto::{CryptoProvider, ring},
};
use rustls_platform_verifier::ConfigVerifierExt;

/// Installs ring as the process's cryptography provider, unless one is installed already. No HTTP client can be built
/// without a provider, including the component's own. So the runtime calls this before any code of the component runs.
pub(crate) fn choose_cryptography() {
    if CryptoProvider::get_default().is_none() {
        // This fails if another thread was faster. The result is the same.
        let _ = ring::default_provider().install_default();
    }
}

/// Returns the configuration of TLS connections: no client certificate, and the certificates that the system trusts or
/// those in `SSL_CERT_FILE` and `SSL_CERT_DIR`.
pub(crate) fn client_config() -> Result<ClientConfig, rustls::Error> {
    choose_cryptography();
    ClientConfig::with_platform_verifier()
}
