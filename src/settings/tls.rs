//! The variables of TLS and of proxies. Reading them needs no step: one-time calls and the command line use them too.
//!
//! Two kinds of variables are read elsewhere. `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the system's trusted
//! certificates; the certificate loader reads them. `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or
//! lower case, are read by the HTTP client, with `NO_PROXY`.

use super::{variable::Variable, variables as vars};
use std::path::PathBuf;

const PROXIES: [&Variable; 3] = [&vars::HTTPS_PROXY, &vars::HTTP_PROXY, &vars::ALL_PROXY];

/// A file that a variable names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The full name of the variable.
    pub variable: String,
    /// The file.
    pub path: PathBuf,
}

/// The files of TLS, all in PEM format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// `CA_CERTS` (our own) and `NODE_EXTRA_CA_CERTS` (no prefix): certificates that are trusted in addition to the system's.
    pub ca_certs: Vec<NamedFile>,
    /// `AMQP_CLIENT_CERT` (our own): the certificate that the broker is shown, with its chain.
    pub client_cert: Option<NamedFile>,
    /// `AMQP_CLIENT_KEY` (our own): the private key of that certificate.
    pub client_key: Option<NamedFile>,
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR` (no prefix), for error texts.
    pub system: Vec<NamedFile>,
}

impl TlsSettings {
    /// Reads the variables. It does not read the files.
    ///
    /// ```
    /// use sailor::settings::TlsSettings;
    ///
    /// let settings = TlsSettings::read(|name| (name == "ELASTICIO_CA_CERTS").then(|| "/ca.pem".to_owned()));
    /// assert_eq!(settings.ca_certs[0].path.to_str(), Some("/ca.pem"));
    /// ```
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let file = |variable: &Variable| {
            let path = get(variable.name).filter(|text| !text.is_empty())?.into();
            let variable = variable.name.to_owned();
            Some(NamedFile { variable, path })
        };
        let trusted = [&vars::ELASTICIO_CA_CERTS, &vars::NODE_EXTRA_CA_CERTS];
        let system = [&vars::SSL_CERT_FILE, &vars::SSL_CERT_DIR];
        Self {
            ca_certs: trusted.into_iter().filter_map(&file).collect(),
            client_cert: file(&vars::AMQP_CLIENT_CERT),
            client_key: file(&vars::AMQP_CLIENT_KEY),
            system: system.into_iter().filter_map(&file).collect(),
        }
    }
}

/// Returns a warning for each variable of a proxy that is not the URL of one. The HTTP client ignores such a variable.
pub(super) fn proxy_warnings(get: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let is_wrong = |name: &String| {
        let text = get(name).unwrap_or_default();
        !text.is_empty() && !is_proxy(&text)
    };
    let names = PROXIES
        .iter()
        .flat_map(|proxy| [proxy.name.to_owned(), proxy.name.to_lowercase()]);
    let wrong = names.filter(is_wrong);
    wrong
        .map(|name| {
            format!("{name} is not the URL of a proxy, such as http://proxy:3128; it is ignored")
        })
        .collect()
}

fn is_proxy(text: &str) -> bool {
    match text.split_once("://") {
        Some((scheme, _)) => {
            matches!(&*scheme.to_ascii_lowercase(), "http" | "https")
                && reqwest::Url::parse(text).is_ok_and(|url| url.has_host())
        }
        None => reqwest::Url::parse(&format!("http://{text}")).is_ok_and(|url| url.has_host()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_known_with_its_variable() {
        let settings = TlsSettings::read(|name| Some(format!("/{name}")));
        let variables = |files: &[NamedFile]| -> Vec<String> {
            files.iter().map(|file| file.variable.clone()).collect()
        };
        assert_eq!(
            variables(&settings.ca_certs),
            ["ELASTICIO_CA_CERTS", "NODE_EXTRA_CA_CERTS"]
        );
        assert_eq!(
            variables(&settings.system),
            ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        );
        let key = settings.client_key.unwrap();
        assert_eq!(key.path.to_str(), Some("/ELASTICIO_AMQP_CLIENT_KEY"));
        let empty = TlsSettings::read(|_| Some(String::new()));
        assert_eq!(empty, TlsSettings::read(|_| None));
    }

    #[test]
    fn only_a_wrong_proxy_causes_a_warning() {
        for (text, warns) in [
            ("http://proxy:3128", false),
            ("http://user:password@proxy:3128/", false),
            ("https://proxy", false),
            ("proxy:3128", false),
            ("", false),
            ("http://", true),
            ("socks5://proxy:1080", true),
            ("a proxy", true),
        ] {
            let get = |name: &str| (name == "https_proxy").then(|| text.to_owned());
            let warnings = proxy_warnings(get);
            assert_eq!(!warnings.is_empty(), warns, "{text}");
            assert!(
                warnings
                    .iter()
                    .all(|warning| warning.starts_with("https_proxy "))
            );
            assert!(!warnings.iter().any(|warning| warning.contains("password")));
        }
    }
}
