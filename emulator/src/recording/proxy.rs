//! A proxy for HTTP and HTTPS on loopback. What it responds is another's.

use axum::http::HeaderMap;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{AlertDescription, Error as TlsError, ServerConfig},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A request as it came through the proxy.
#[derive(Clone, Debug)]
pub(super) struct HttpRequest {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

#[derive(Clone, Debug)]
pub(super) struct HttpResponse {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl HttpResponse {
    /// A response of the proxy itself.
    pub(super) fn of_proxy(text: String) -> Self {
        Self {
            status: 502,
            headers: HeaderMap::new(),
            body: text.into(),
        }
    }
}

/// What responds to the requests.
pub(super) trait Respond: Send + Sync + 'static {
    fn respond(&self, request: HttpRequest) -> impl Future<Output = HttpResponse> + Send;

    /// Takes note of a connection for `https` on which no request came.
    fn had_no_request(&self, server: &str, why: NoRequest);
}

/// Why no request came from a client that has connected to a server through the proxy.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NoRequest {
    /// The client does not take the certificate that the proxy shows. This is its alert.
    Distrust(String),
    /// TLS failed in another way.
    NoTls(String),
    /// The client went away: it has no use for the connection any more, or does not trust the certificate and does not say so.
    Closed,
}

impl NoRequest {
    fn of(error: &io::Error) -> Self {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        match cause {
            Some(TlsError::AlertReceived(alert)) if is_about_trust(*alert) => {
                Self::Distrust(format!("{alert:?}"))
            }
            Some(other) => Self::NoTls(other.to_string()),
            None => Self::Closed,
        }
    }
}

fn is_about_trust(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::UnknownCA
            | A::BadCertificate
            | A::CertificateUnknown
            | A::UnsupportedCertificate
            | A::CertificateExpired
            | A::CertificateRevoked
            | A::AccessDenied
            | A::DecryptError
    )
}

/// A running proxy. It stops when this is dropped.
pub(super) struct Proxy {
    addr: SocketAddr,
    /// The certificate of its authority, as PEM.
    pub(super) certificate: String,
    _stop: DropGuard,
}

impl Proxy {
    pub(super) async fn start<R: Respond>(responder: Arc<R>) -> anyhow::Result<Self> {
        http_double::choose_cryptography();
        let authority = Authority::new()?;
        let certificate = authority.issuer.pem();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            responder,
            authority,
            stop: stop.clone(),
        });
        let accepting = async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.spawn(stream, None);
            }
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(accepting));
        Ok(Self {
            addr,
            certificate,
            _stop: stop.drop_guard(),
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

struct Shared<R> {
    responder: Arc<R>,
    authority: Authority,
    stop: CancellationToken,
}

impl<R: Respond> Shared<R> {
    /// Serves a connection: one to the proxy, or one through it to the server `tunnel`.
    fn spawn<S>(self: &Arc<Self>, stream: S, tunnel: Option<String>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let is_used = Arc::new(AtomicBool::new(false));
        let service = {
            let (shared, tunnel, is_used) = (self.clone(), tunnel.clone(), is_used.clone());
            service_fn(move |request| {
                let (shared, tunnel) = (shared.clone(), tunnel.clone());
                is_used.store(true, Ordering::Relaxed);
                async move { Ok::<_, Infallible>(shared.handle(request, tunnel.as_deref()).await) }
            })
        };
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let shared = self.clone();
        let serving = async move {
            // A client that goes away is none of the proxy's business.
            drop(connection.with_upgrades().await);
            if let Some(server) = tunnel.filter(|_| !is_used.load(Ordering::Relaxed)) {
                shared.responder.had_no_request(&server, NoRequest::Closed);
            }
        };
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(serving));
    }

    async fn handle(
        self: &Arc<Self>,
        request: Request<Incoming>,
        tunnel: Option<&str>,
    ) -> Response<Full<Bytes>> {
        if request.method() == Method::CONNECT {
            self.open_tunnel(request);
            return Response::new(Full::default());
        }
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return response(HttpResponse::of_proxy("the body ended early".to_owned()));
        };
        let url = match tunnel {
            // The port of `CONNECT` is always written.
            Some(server) => format!("https://{}{}", server.trim_end_matches(":443"), parts.uri),
            None => parts.uri.to_string(),
        };
        let request = HttpRequest {
            method: parts.method.to_string(),
            url,
            headers: parts.headers,
            body: body.to_bytes(),
        };
        response(self.responder.respond(request).await)
    }

    /// Ends the TLS of the connection in the place of the server.
    fn open_tunnel(self: &Arc<Self>, request: Request<Incoming>) {
        let Some(server) = request.uri().authority().cloned() else {
            return;
        };
        let shared = self.clone();
        let opening = async move {
            let why = match shared.authority.acceptor(server.host()) {
                Ok(acceptor) => {
                    let Ok(stream) = hyper::upgrade::on(request).await else {
                        return;
                    };
                    match acceptor.accept(TokioIo::new(stream)).await {
                        Ok(stream) => return shared.spawn(stream, Some(server.to_string())),
                        Err(error) => NoRequest::of(&error),
                    }
                }
                Err(error) => NoRequest::NoTls(error.to_string()),
            };
            shared.responder.had_no_request(server.as_str(), why);
        };
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(opening));
    }
}

fn response(from: HttpResponse) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(from.body));
    *response.status_mut() = StatusCode::from_u16(from.status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = from.headers;
    response
}

/// Issues the certificates of servers.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    issued: Mutex<HashMap<String, TlsAcceptor>>,
}

impl Authority {
    fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(vec![])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?,
            issued: Mutex::default(),
        })
    }

    fn acceptor(&self, host: &str) -> anyhow::Result<TlsAcceptor> {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(acceptor) = issued.get(host) {
            return Ok(acceptor.clone());
        }
        let key = KeyPair::generate()?;
        let name = host.trim_matches(['[', ']']).to_owned();
        let certificate = CertificateParams::new(vec![name])?.signed_by(&key, &self.issuer)?;
        let private = key.serialize_der().try_into().map_err(io::Error::other)?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        issued.insert(host.to_owned(), acceptor.clone());
        Ok(acceptor)
    }
}
