//! The HTTP server of `HEALTH_PORT`: `/livez`, `/readyz` and `/metrics`.
//!
//! It has a thread of its own, so it responds while modules block all others. So "live" means that the process runs, and not
//! that the module makes progress: a module may compute for minutes. The age of the oldest message tells that.

use super::Metrics;
use anyhow::Context as _;
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::prometheus_text;
use std::{
    convert::Infallible,
    net::{Ipv4Addr, TcpListener},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// How long a client may take to send its request and to read the response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The delay after a connection could not be accepted, such as for want of file descriptors.
const ACCEPT_DELAY: Duration = Duration::from_millis(100);
/// How many connections are served at once. Further ones wait.
const MAX_CONNECTIONS: usize = 64;
/// The largest head of a request that is read, in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// The running server. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct HealthServer {
    _stop: DropGuard,
}

impl HealthServer {
    /// Listens on all IPv4 addresses of this machine.
    ///
    /// # Errors
    /// Returns an error if the port cannot be bound, or no thread can be started.
    pub(crate) fn start(port: u16, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let bound = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
        let listener = bound.with_context(|| {
            format!(
                "ELASTICIO_HEALTH_PORT: port {port} cannot be bound; choose a port that is free"
            )
        })?;
        Self::serve(listener, metrics).context("starting the server of ELASTICIO_HEALTH_PORT")
    }

    fn serve(listener: TcpListener, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        std::thread::Builder::new()
            .name("health".into())
            .spawn(move || {
                runtime.block_on(stopped.run_until_cancelled(accept(listener, metrics)));
            })?;
        tracing::info!(port, "Health and metrics are served");
        Ok(Self {
            _stop: stop.drop_guard(),
        })
    }
}

async fn accept(listener: tokio::net::TcpListener, metrics: Arc<Metrics>) {
    let (tasks, permits) = (
        TaskTracker::new(),
        Arc::new(Semaphore::new(MAX_CONNECTIONS)),
    );
    // The semaphore is never closed.
    while let Ok(permit) = permits.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let serving = serve_one(stream, metrics.clone());
                tasks.spawn(async move {
                    // What the client does not send or read in time is not awaited.
                    let _ = timeout(REQUEST_TIMEOUT, serving).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "A connection for health and metrics was not accepted.");
                sleep(ACCEPT_DELAY).await;
            }
        }
    }
}

/// Serves one request of a connection, and closes it.
async fn serve_one(stream: TcpStream, metrics: Arc<Metrics>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &metrics);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "A request for health or metrics failed.");
    }
}

fn respond(method: &Method, path: &str, metrics: &Metrics) -> Response<Full<Bytes>> {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    match path {
        "/livez" | "/readyz" | "/metrics" if !is_read => {
            let mut refused = text(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET and HEAD are allowed\n",
            );
            let allowed = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, allowed);
            refused
        }
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match metrics.readiness() {
            Ok(()) => text(StatusCode::OK, "ok\n"),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        "/metrics" => {
            let mut response = text(StatusCode::OK, metrics.text());
            let format = HeaderValue::from_static(prometheus_text::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, format);
            response
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "not found: there are /livez, /readyz and /metrics\n",
        ),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, plain);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
