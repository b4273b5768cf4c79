//! The double of an API behind access tokens: it records calls, checks their tokens, and injects faults. What it
//! responds is the [`Service`]'s.

use crate::{
    call::{RecordedCall, read_call},
    calls::Calls,
    disconnect::Disconnect,
    error::ErrorFormat,
    rules::Rules,
    server::{Listener, Server},
    trouble::{Trouble, Troublemaker},
    url::percent_decoded,
};
use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    http::HeaderMap,
    response::Response,
};
use bytes::Bytes;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// Issues the access tokens that an API takes.
pub trait TokenIssuer: Send + Sync + 'static {
    /// Whether the API accepts this access token now.
    fn is_valid(&self, access_token: &str) -> bool;

    /// Records a call of the API, so that the issuer's log shows what its tokens are used for.
    fn record_call(&self, call: &RecordedCall);

    /// Adds a member to all token responses from now on, such as the address of the API.
    fn add_token_member(&self, name: &str, value: Value);
}

/// The service that a double imitates: its state and its responses.
pub trait Service: ErrorFormat + Send + 'static {
    /// Its name.
    const NAME: &'static str;

    /// The response to a request with a valid access token.
    fn respond(&mut self, request: &ServiceRequest) -> Response;

    /// The response to a request that needs no access token; none for all other requests.
    fn respond_without_token(&self, _request: &ServiceRequest) -> Option<Response> {
        None
    }

    /// Adds the headers that all responses have.
    fn add_headers(&self, _headers: &mut HeaderMap) {}
}

/// A request, in the parts that services look at.
#[derive(Clone, Debug)]
pub struct ServiceRequest {
    /// `GET`, `POST`, …
    pub method: String,
    /// The address without its query.
    pub url: String,
    /// The path as received.
    pub path: String,
    /// The length of path and query in bytes.
    pub length: usize,
    /// The query, decoded.
    pub query: BTreeMap<String, String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl ServiceRequest {
    fn new(call: &RecordedCall, addr: SocketAddr) -> Self {
        let query = call.query.replace('+', " ");
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self {
            method: call.method.clone(),
            url: format!("http://{addr}{}", call.path),
            path: call.path.clone(),
            length: call.path_and_query().len(),
            query: pairs
                .map(|(name, value)| (percent_decoded(name), percent_decoded(value)))
                .collect(),
            headers: call.headers.clone(),
            body: call.body.clone(),
        }
    }

    /// The segments of the path, each decoded by itself: an id with a slash that is not encoded makes more segments.
    #[must_use]
    pub fn segments(&self) -> Vec<String> {
        let path = self.path.trim_matches('/');
        path.split('/').map(percent_decoded).collect()
    }
}

/// Work that is done at the service before a call is carried out.
type Hook = Box<dyn FnOnce() + Send>;

/// A running double of a service. Clones are handles to the same one; it stops with the last.
pub struct ServiceDouble<S: Service> {
    shared: Arc<Shared<S>>,
    server: Arc<Server>,
}

struct Shared<S> {
    tokens: Box<dyn TokenIssuer>,
    addr: SocketAddr,
    calls: Calls,
    hooks: Rules<Hook>,
    trouble: Troublemaker,
    service: Mutex<S>,
}

impl<S: Service> Clone for ServiceDouble<S> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            server: self.server.clone(),
        }
    }
}

impl<S: Service> fmt::Debug for ServiceDouble<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl<S: Service> ServiceDouble<S> {
    /// Listens on a free port of 127.0.0.1, and accepts the tokens of this issuer.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(tokens: impl TokenIssuer, service: S) -> io::Result<Self> {
        let listener = Listener::bind(0).await?;
        let shared = Arc::new(Shared {
            tokens: Box::new(tokens),
            addr: listener.addr(),
            calls: Calls::new(listener.calls()),
            hooks: Rules::default(),
            trouble: Troublemaker::default(),
            service: service.into(),
        });
        let router = Router::new()
            .fallback(respond::<S>)
            .with_state(shared.clone());
        let server = listener.serve(S::NAME, router).into();
        Ok(Self { shared, server })
    }

    /// `http://127.0.0.1:PORT`, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.addr)
    }

    /// The service's state. Calls wait while the guard lives.
    pub fn service(&self) -> MutexGuard<'_, S> {
        self.shared.service()
    }

    /// Its calls so far, and the faults for those to come.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.shared.calls
    }

    /// What goes wrong with its responses from now on. A fault of [`calls`](Self::calls) comes before it.
    ///
    /// # Panics
    /// When a pattern is not a regular expression.
    pub fn set_trouble(&self, trouble: Trouble) {
        self.shared.trouble.set(trouble);
    }

    /// Does something once, before the next call that matches is carried out.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    pub fn before_response(&self, pattern: &str, work: impl FnOnce(&Self) + Send + 'static) {
        // Weak, so that work that is never done does not keep the double alive.
        let weak = (Arc::downgrade(&self.shared), Arc::downgrade(&self.server));
        let hook: Hook = Box::new(move || {
            if let Some(double) = Self::upgrade(&weak) {
                work(&double);
            }
        });
        self.shared.hooks.add(pattern, [hook]);
    }

    fn upgrade((shared, server): &(Weak<Shared<S>>, Weak<Server>)) -> Option<Self> {
        Some(Self {
            shared: shared.upgrade()?,
            server: server.upgrade()?,
        })
    }

    /// Stops listening and ends open calls.
    pub async fn shutdown(&self) {
        self.server.shutdown().await;
    }
}

impl<S: Service> Shared<S> {
    fn service(&self) -> MutexGuard<'_, S> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_out(&self, call: &RecordedCall) -> Response {
        let request = ServiceRequest::new(call, self.addr);
        let mut service = self.service();
        let token = call.token.as_deref();
        if let Some(response) = service.respond_without_token(&request) {
            response
        } else if token.is_some_and(|token| self.tokens.is_valid(token)) {
            service.respond(&request)
        } else {
            S::unauthorized()
        }
    }
}

async fn respond<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    ConnectInfo(disconnect): ConnectInfo<Disconnect>,
    request: Request,
) -> Response {
    let call = match read_call::<S>(request, "Bearer").await {
        Ok(call) => call,
        Err(response) => return response,
    };
    if let Some(hook) = shared.hooks.next(&call.line()) {
        hook();
    }
    let carry_out = async || {
        let carry_out = || shared.carry_out(&call);
        shared.trouble.respond::<S>(&call, carry_out)
    };
    let responding = shared.calls.respond::<S>(call.clone(), carry_out);
    let mut response = responding.await;
    if let Some(response) = &mut response {
        shared.service().add_headers(response.headers_mut());
        let mut finished = call.without_contents();
        finished.finish(Some(response.status().as_u16()));
        shared.tokens.record_call(&finished);
    }
    disconnect.unless(response)
}
