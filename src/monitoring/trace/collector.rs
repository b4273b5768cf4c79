//! Requests to the collector. They have the runtime's HTTP client, with its certificates and proxies, and a thread of their
//! own: a module that blocks its threads does not keep spans back.

use super::Reason;
use crate::{codes, settings::TraceSettings};
use anyhow::Context as _;
use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::{
    RequestBuilder, Url,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap},
};
use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{runtime, time::Instant};

/// The least time between two warnings about a collector that is away.
const WARNING_INTERVAL: Duration = Duration::from_secs(600);
/// How much of a response is read. It says nothing that is used, but a connection can be used again after that.
const RESPONSE_LIMIT: usize = 64 * 1024;

/// The collector that spans are sent to.
pub(super) struct Collector {
    http: reqwest::Client,
    reason: Reason,
    /// The endpoint without secrets.
    address: String,
    endpoint: Url,
    headers: HeaderMap,
    timeout: Duration,
    runtime: runtime::Runtime,
    outage: Mutex<Outage>,
}

/// What the log has been told about the collector.
#[derive(Default)]
struct Outage {
    /// When it was told last that the collector is away.
    warned: Option<Instant>,
    /// It was told that the collector is away, and not that it is back.
    is_told: bool,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collector({})", self.address)
    }
}

impl Collector {
    pub(super) fn new(
        settings: &TraceSettings,
        http: reqwest::Client,
        reason: Reason,
        address: String,
    ) -> anyhow::Result<Self> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("traces")
            .enable_all()
            .build()
            .context("starting the thread that sends spans")?;
        Ok(Self {
            http,
            reason,
            address,
            endpoint: settings.endpoint.clone(),
            headers: settings.headers.iter().cloned().collect(),
            timeout: settings.timeout,
            runtime,
            outage: Mutex::default(),
        })
    }

    fn request(&self, request: Request<Bytes>) -> RequestBuilder {
        let (parts, body) = request.into_parts();
        // Not those that the exporter reads from the environment: the settings have read and checked them.
        let about_body = [CONTENT_TYPE, CONTENT_ENCODING].into_iter();
        let about_body =
            about_body.filter_map(|name| Some((name.clone(), parts.headers.get(name)?)));
        let headers = about_body.map(|(name, value)| (name, value.clone()));
        self.http
            .post(self.endpoint.clone())
            .headers(self.headers.clone())
            .headers(headers.collect())
            .timeout(self.timeout)
            .body(body)
    }

    fn note(&self, failure: Option<&str>) {
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        outage.note(&self.address, failure);
    }
}

impl Outage {
    /// Tells the log when the collector goes away and comes back: once, and then from time to time.
    fn note(&mut self, collector: &str, failure: Option<&str>) {
        let Some(reason) = failure else {
            if std::mem::take(&mut self.is_told) {
                tracing::info!(collector, "The collector takes spans again");
            }
            return;
        };
        let is_due = |warned: Instant| warned.elapsed() >= WARNING_INTERVAL;
        if self.warned.is_none_or(is_due) {
            (self.warned, self.is_told) = (Some(Instant::now()), true);
            tracing::warn!(
                code = %codes::SPANS_LOST,
                collector,
                reason,
                "The collector does not take spans, and those of the meantime are lost; messages are not affected"
            );
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let exchange = exchange(self.request(request), self.reason);
        let response = self.runtime.spawn(exchange).await?;
        match &response {
            Ok(response) if response.status().is_success() => self.note(None),
            Ok(response) => self.note(Some(&response.status().to_string())),
            Err(reason) => self.note(Some(reason)),
        }
        Ok(response?)
    }
}

/// Sends a request, and returns the response without its body.
async fn exchange(request: RequestBuilder, reason: Reason) -> Result<Response<Bytes>, String> {
    let mut response = request.send().await.map_err(|error| reason(&error))?;
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = std::mem::take(response.headers_mut());
    let mut read = 0;
    // The status is the answer, whether its body arrives or not.
    while read < RESPONSE_LIMIT
        && let Ok(Some(part)) = response.chunk().await
    {
        read += part.len();
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::captured_log::CapturedLog;

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_is_away_is_told_every_10_minutes() {
        let log = CapturedLog::begin();
        let mut outage = Outage::default();
        for _ in 0..3 {
            for second in 0..600 {
                outage.note("http://collector", Some("it is away"));
                // It comes back for a moment, which changes nothing.
                outage.note("http://collector", (second % 2 == 0).then_some("still"));
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        }
        assert_eq!(
            log.count(&["The collector does not take spans", "it is away"]),
            3
        );
    }
}
