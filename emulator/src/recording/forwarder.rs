//! The proxy's answers while a run is recorded: those of the servers.

use super::{
    exchanges::{Exchange, Request, Response, to_send, without_connection},
    proxy::{HttpRequest, HttpResponse, NoRequest, Respond},
};
use crate::{event::Event, local_platform::LocalPlatform};
use axum::http::header::CONTENT_ENCODING;
use reqwest::{Certificate, Client, Method, redirect::Policy};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// What a component calls at the platform's address; the rest are calls of the sailor.
const OF_COMPONENT: [&str; 3] = ["/sample", "/objects", "/signed"];

/// What an author can do about a client that does not trust the proxy.
const ADVICE: &str = "A client with trusted certificates of its own has to trust those in the file that ELASTICIO_CA_CERTS and \
     NODE_EXTRA_CA_CERTS name, too";

/// Sends each request on to its server, and keeps both.
pub(super) struct Forwarder {
    platform: String,
    provider: String,
    /// The time line.
    events: mpsc::UnboundedSender<Event>,
    http: Client,
    exchanges: Mutex<Vec<Exchange>>,
    /// The requests without a response, also those that the client gave up.
    waiting: Mutex<Vec<String>>,
    /// Why the exchanges are not all that the component did.
    problem: Mutex<Option<String>>,
    /// What may be the reason if the run fails.
    hints: Mutex<Vec<String>>,
}

impl Forwarder {
    pub(super) fn new(local: &LocalPlatform, certificates: &str) -> anyhow::Result<Self> {
        http_double::choose_cryptography();
        let trusted = Certificate::from_pem_bundle(certificates.as_bytes())?;
        let http = Client::builder()
            .redirect(Policy::none())
            .tls_certs_merge(trusted)
            .build()?;
        Ok(Self {
            platform: local.emulator.platform().url(),
            provider: local.emulator.provider().url(),
            events: local.emulator.others(),
            http,
            exchanges: Mutex::default(),
            waiting: Mutex::default(),
            problem: Mutex::default(),
            hints: Mutex::default(),
        })
    }

    pub(super) fn exchanges(&self) -> MutexGuard<'_, Vec<Exchange>> {
        lock(&self.exchanges)
    }

    /// Why the exchanges of a good run are not all that the component did.
    pub(super) fn problem(&self) -> Option<String> {
        self.noted_or(|request| format!("the component did not wait for the response to {request}"))
    }

    /// The same of a run that failed: its end may be why a request has no response.
    pub(super) fn problem_of_failed(&self) -> Option<String> {
        self.noted_or(|request| format!("{request} had no response yet"))
    }

    /// What was noted, or what there is to say of the first request without a response.
    fn noted_or(&self, waiting: impl FnOnce(&str) -> String) -> Option<String> {
        let noted = lock(&self.problem).clone();
        noted.or_else(|| lock(&self.waiting).first().map(|request| waiting(request)))
    }

    /// The first problem is told: others can be its consequences.
    fn note(&self, problem: String) {
        lock(&self.problem).get_or_insert(problem);
    }

    /// What may be the reason if the run fails.
    pub(super) fn hints(&self) -> Vec<String> {
        lock(&self.hints).clone()
    }

    /// Whether it is a request of the module, and not of the sailor.
    fn is_of_component(&self, url: &str) -> bool {
        url.strip_prefix(&self.platform)
            .is_none_or(|path| OF_COMPONENT.iter().any(|begin| path.starts_with(begin)))
    }

    /// Shows a request on the time line, unless it went to a service of the emulator that tells it anyway.
    fn show(&self, request: &HttpRequest, status: Option<u16>) {
        let known = [&self.platform, &self.provider];
        if !known.iter().any(|url| request.url.starts_with(*url)) {
            let event = Event::from_proxy(&request.method, &request.url, status);
            // The run may have ended.
            let _ = self.events.send(event);
        }
    }

    async fn send(&self, request: &HttpRequest) -> Result<HttpResponse, reqwest::Error> {
        let method = Method::from_bytes(request.method.as_bytes()).unwrap_or(Method::GET);
        let sent = self
            .http
            .request(method, &request.url)
            .headers(to_send(&request.headers))
            .body(request.body.clone())
            .send()
            .await?;
        let (status, headers) = (sent.status().as_u16(), without_connection(sent.headers()));
        Ok(HttpResponse {
            status,
            headers,
            body: sent.bytes().await?,
        })
    }
}

impl Respond for Forwarder {
    async fn respond(&self, request: HttpRequest) -> HttpResponse {
        let address = request.url.split('?').next().unwrap_or_default();
        let line = format!("{} {address}", request.method);
        let is_of_component = self.is_of_component(&request.url);
        if is_of_component && request.headers.contains_key(CONTENT_ENCODING) {
            let text = "a request has a compressed body, where secrets cannot be found: send it without Content-Encoding";
            self.note(text.to_owned());
        }
        if is_of_component {
            lock(&self.waiting).push(line.clone());
        }
        // It is dropped here when the client gives up.
        let sent = self.send(&request).await;
        let mut waiting = lock(&self.waiting);
        if let Some(at) = waiting.iter().position(|waiting| *waiting == line) {
            waiting.swap_remove(at);
        }
        drop(waiting);
        self.show(&request, sent.as_ref().ok().map(|sent| sent.status));
        let response = match sent {
            Ok(response) => response,
            Err(error) => {
                let text = format!("no response to {line}: {}", reason(&error));
                self.note(text.clone());
                return HttpResponse::of_proxy(format!("emulator: {text}"));
            }
        };
        // What the client understands, it has decoded.
        let is_compressed = response.headers.contains_key(CONTENT_ENCODING);
        if is_compressed && !response.body.is_empty() && is_of_component {
            let text = "a response has a compressed body, where secrets cannot be found";
            self.note(text.to_owned());
        }
        if is_of_component {
            self.exchanges().push(Exchange {
                request: Request::of(&request),
                response: Response::of(&response, request.method == "HEAD"),
            });
        }
        response
    }

    fn had_no_request(&self, server: &str, why: NoRequest) {
        let server = server.trim_end_matches(":443");
        let text = match &why {
            NoRequest::Distrust(alert) => format!(
                "TLS to {server} failed: a client of the component does not trust the certificate of the emulator's proxy \
                 ({alert}). {ADVICE}"
            ),
            NoRequest::NoTls(reason) => {
                format!("TLS to {server} failed in the emulator's proxy: {reason}")
            }
            NoRequest::Closed => format!(
                "a client of the component connected to {server}, and sent no request. {ADVICE}"
            ),
        };
        if why == NoRequest::Closed {
            let mut hints = lock(&self.hints);
            if !hints.contains(&text) {
                hints.push(text);
            }
        } else {
            self.note(text);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last cause, which has no address.
fn reason(error: &reqwest::Error) -> String {
    let first: &dyn std::error::Error = error;
    let causes = std::iter::successors(first.source(), |cause| cause.source());
    causes
        .map(ToString::to_string)
        .last()
        .unwrap_or_else(|| "it failed".to_owned())
}
