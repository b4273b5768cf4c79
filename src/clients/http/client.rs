//! Builds the HTTP clients: their time limits, and which redirects they follow.

use super::{HttpError, error::with_causes};
use crate::clients::tls;
use reqwest::{
    Client, ClientBuilder, Proxy,
    redirect::{Action, Attempt, Policy},
};
use std::time::Duration;

/// The time limit for a connection: name lookup, TCP and TLS.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server may send nothing, from the first byte of the request on.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection is kept that nobody uses.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How many redirects a client follows.
const MAX_REDIRECTS: usize = 10;

/// Builds the client that follows redirects. A process has one, and clones it.
pub(crate) fn client() -> Result<Client, HttpError> {
    build(Policy::custom(follow_without_leaks), None)
}

/// Builds the client for requests whose token is for one URL only.
pub(crate) fn client_without_redirects() -> Result<Client, HttpError> {
    build(Policy::none(), None)
}

/// A proxy for all requests of a test, and the certificate that it shows, as PEM.
#[derive(Debug)]
pub(crate) struct TestProxy {
    pub(crate) uri: String,
    pub(crate) certificate: String,
}

/// The clients of a run in memory.
pub(crate) struct TestClients {
    pub(crate) following: Client,
    pub(crate) direct: Client,
    pub(crate) streaming: Client,
}

impl TestClients {
    /// Builds the clients. Without a proxy they are those of a step.
    pub(crate) fn new(proxy: Option<&TestProxy>) -> Result<Self, HttpError> {
        Ok(Self {
            following: build(Policy::custom(follow_without_leaks), proxy)?,
            direct: build(Policy::none(), proxy)?,
            streaming: finish(builder(Policy::none(), proxy)?)?,
        })
    }
}

/// Builds the client for requests that may take as long as their bodies move, such as uploads and the requests of modules to
/// an API: each needs a limit of its own, or [`execute`](super::execute). It does not follow redirects.
pub(crate) fn streaming_client() -> Result<Client, HttpError> {
    finish(builder(Policy::none(), None)?)
}

/// Reads the trusted certificates if requests to this URL need them, on a thread that may wait for files. Without this, the first
/// handshake reads them.
///
/// # Errors
/// Returns an error if there are none.
pub(crate) async fn load_certificates_for(url: &str) -> Result<(), HttpError> {
    if !url.starts_with("https:") {
        return Ok(());
    }
    let loaded = tokio::task::spawn_blocking(tls::load_certificates).await;
    let problem = match loaded {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic.to_string(),
    };
    Err(HttpError::NoResponse {
        reason: format!("the certificates of HTTPS servers cannot be checked: {problem}"),
        is_transient: false,
    })
}

/// Builds a client for requests that are never sent.
pub(crate) fn idle_client() -> Client {
    tls::choose_cryptography();
    Client::new()
}

fn build(redirects: Policy, proxy: Option<&TestProxy>) -> Result<Client, HttpError> {
    // reqwest starts this time limit when the request's first byte is sent.
    finish(builder(redirects, proxy)?.read_timeout(READ_TIMEOUT))
}

fn builder(redirects: Policy, proxy: Option<&TestProxy>) -> Result<ClientBuilder, HttpError> {
    let certificate = proxy.map(|proxy| proxy.certificate.as_str());
    let tls = tls::http_config(certificate).map_err(|error| unusable(error.to_string()))?;
    let mut builder = Client::builder();
    if let Some(proxy) = proxy {
        let all = Proxy::all(&proxy.uri).map_err(|error| unusable(with_causes(&error)))?;
        builder = builder.proxy(all);
    }
    Ok(builder
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("elasticio-sailor-rs/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        // The URL of the previous request may contain secrets.
        .referer(false)
        .redirect(redirects))
}

fn finish(builder: ClientBuilder) -> Result<Client, HttpError> {
    builder
        .build()
        .map_err(|error| unusable(with_causes(&error)))
}

fn unusable(problem: String) -> HttpError {
    HttpError::NoResponse {
        reason: format!("the HTTP client cannot be created: {problem}"),
        is_transient: false,
    }
}

/// Stops at a redirect that would leak credentials, so that the redirect itself is the response.
fn follow_without_leaks(attempt: Attempt) -> Action {
    if would_leak_credentials(&attempt) {
        attempt.stop()
    } else {
        Policy::limited(MAX_REDIRECTS).redirect(attempt)
    }
}

/// reqwest compares only consecutive URLs: it removes `Authorization` if a redirect leads to another origin, and
/// restores it for the next redirect. So the second request to a foreign origin would carry it. A redirect back to the
/// first origin may carry it.
fn would_leak_credentials(attempt: &Attempt) -> bool {
    let (first, last) = (attempt.previous().first(), attempt.previous().last());
    let next = attempt.url().origin();
    first.is_some_and(|first| first.origin() != next)
        && last.is_some_and(|last| last.origin() == next)
}
