//! For tests that call what is started here with `reqwest`: its clients cannot be built before the process has chosen its
//! cryptography, even where nothing speaks TLS.

use rustls::crypto::{CryptoProvider, ring};

/// Installs ring as the process's cryptography, as the sailor does, unless another provider is installed already.
pub(crate) fn choose() {
    if CryptoProvider::get_default().is_none() {
        // It fails when another thread was faster, which is fine.
        let _ = ring::default_provider().install_default();
    }
}
