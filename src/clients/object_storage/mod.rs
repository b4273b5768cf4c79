//! Object storage: the encrypted bodies of lightweight messages, and attachments, which are not encrypted (wire-contract:
//! Object storage). It knows neither messages nor routing: it stores bytes and returns their ids.
//!
//! A body is sent or read as a whole, within `REQUEST_TIMEOUT` for each attempt. An attachment can be streamed.

mod bodies;

pub(crate) use bodies::{NoMemory, fetch_body, fetch_body_within};

use crate::{
    clients::{
        http::{self, HttpError, RequestPolicy, SizeLimit},
        retry::RetryPolicy,
    },
    protocol::{Cipher, StepIdentity},
    settings::{MemoryShares, ObjectStorageSettings},
};
use bytes::Bytes;
use reqwest::{
    Body, Client, RequestBuilder, Response, Url,
    header::{CONTENT_TYPE, LOCATION},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The error of every call if object storage is not configured.
pub(crate) const NOT_CONFIGURED: &str = "no object storage is configured: set ELASTICIO_OBJECT_STORAGE_URI and \
     ELASTICIO_OBJECT_STORAGE_TOKEN";
/// How many redirects a download follows.
const MAX_REDIRECTS: usize = 5;
/// How many bodies are downloaded at the same time, for all messages together.
const MAX_DOWNLOADS: usize = 4;
/// The time limit of a streamed attachment.
const STREAM_TIMEOUT: Duration = Duration::from_secs(3600);

/// Object storage with this step's token. Clones are cheap and share connections.
///
/// ```
/// use anyhow::Context as _;
/// use emulator::platform::{Platform, PlatformConfig};
/// use sailor::{prelude::*, testing::Harness};
/// use serde_json::{Value, json};
///
/// async fn count_lines(message: Message<NoBody>, cx: Context<Value, usize>) -> anyhow::Result<()> {
///     let file = message.attachments.get("rows.csv")?.context("the message has no rows.csv")?;
///     let csv = cx.attachments()?.download(&file.url).await?.text().await?;
///     cx.data(&csv.lines().count()).await
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// # let component = Component::new(r#"{"actions": {"lines": {}}}"#)?.action("lines", count_lines);
/// let storage = Platform::start(PlatformConfig::default()).await?;
/// storage.set_object("rows", "a;b\n1;2\n");
/// let harness = Harness::new(&component, "lines").object_storage(&storage.url(), "emulator-storage-token");
/// let file = json!({ "url": format!("{}/objects/rows", storage.url()) });
/// let emitted = harness.run_message(json!({ "attachments": { "rows.csv": file } })).await?;
/// assert_eq!(emitted.data::<usize>(), [2]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ObjectStorage {
    http: Client,
    streams: Client,
    policy: RequestPolicy,
    cipher: Option<Cipher>,
    /// The largest body that is read.
    limit: SizeLimit,
    downloads: Arc<Semaphore>,
    /// The memory budget: bodies that are read at the same time are together no larger than the largest body, because
    /// each is in memory twice while it is decrypted.
    memory_budget: Arc<Semaphore>,
    credentials: Arc<StorageCredentials>,
}

#[derive(Debug)]
struct StorageCredentials {
    uri: String,
    token: SecretString,
    request_id: String,
}

/// A file in object storage, as an attachment of a message refers to it.
///
/// ```
/// use sailor::prelude::*;
///
/// async fn store(message: Message<String>, cx: Context<serde_json::Value, String>) -> anyhow::Result<()> {
///     let file = cx.attachments()?.upload(message.body.into_bytes(), "text/plain").await?;
///     tracing::info!(size = file.size, "Stored a file");
///     cx.data(&file.url).await
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// The URL for [`ObjectStorage::download`].
    pub url: String,
    /// The media type.
    pub content_type: String,
    /// The size in bytes, if it is known.
    pub size: Option<u64>,
}

/// A call of object storage failed after its last attempt. The error does not contain the body of the response: errors
/// are logged, and a server may repeat the request.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation} failed: {reason}")]
pub struct ObjectStorageError {
    operation: String,
    reason: String,
    /// A later attempt can succeed, and repeats nothing that has had an effect.
    transient: bool,
    too_large: bool,
    no_memory: Option<NoMemory>,
}

impl ObjectStorageError {
    fn new(operation: impl Into<String>, reason: String) -> Self {
        Self {
            operation: operation.into(),
            reason,
            transient: false,
            too_large: false,
            no_memory: None,
        }
    }

    /// An attachment could not be read.
    fn of_fetch(operation: &str, error: &HttpError) -> Self {
        Self {
            transient: error.is_transient(),
            ..Self::new(operation, error.without_contents())
        }
    }

    /// Returns true if an attachment could not be read, and a later attempt can succeed: the server could not be reached, or
    /// answered with 408, 425, 429 or 5xx. If a module fails with such an error, its message is delivered again later. A failed
    /// upload is never one: the stream that it sent may have failed, and the module may have done something before it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.transient
    }
}

impl ObjectStorage {
    /// Neither client may follow redirects, because the token is for the storage's own URL. `streams` is the client for
    /// streamed attachments. Without a cipher, bodies are not encrypted.
    pub(crate) fn new(
        http: Client,
        streams: Client,
        settings: &ObjectStorageSettings,
        cipher: Option<Cipher>,
        identity: &StepIdentity,
    ) -> Self {
        let limit = settings
            .size_limit
            .unwrap_or_else(|| MemoryShares::new(None).largest_body());
        Self {
            http,
            streams,
            policy: policy(settings),
            cipher,
            limit: SizeLimit {
                bytes: limit,
                variable: Some("ELASTICIO_OBJECT_STORAGE_SIZE_LIMIT"),
            },
            downloads: Arc::new(Semaphore::new(MAX_DOWNLOADS)),
            memory_budget: Arc::new(Semaphore::new(bodies::budget_units(limit) as usize)),
            credentials: Arc::new(StorageCredentials {
                uri: settings.uri.clone(),
                token: settings.token.clone(),
                request_id: format!("f:{};s:{};m:", identity.flow_id, identity.step_id),
            }),
        }
    }

    /// Makes only a few more attempts once `stopping` is cancelled.
    pub(crate) fn with_cancellation(mut self, stopping: CancellationToken) -> Self {
        self.policy.stopping = stopping;
        self
    }

    /// Stores a file without encryption, for an attachment of a message.
    ///
    /// A body in memory has a time limit of 60 s and is retried after a transient error. A stream has a time limit of one
    /// hour and is sent once. If the future is dropped, the storage may keep a file that nobody uses.
    ///
    /// # Errors
    /// Returns an error if the storage cannot be reached, responds with an error status, or returns no object id.
    ///
    /// ```
    /// use sailor::prelude::*;
    /// use serde_json::Value;
    ///
    /// /// Stores a large response without holding it in memory.
    /// async fn export(_: Message<NoBody>, cx: Context<Value, String>) -> anyhow::Result<()> {
    ///     let report = cx.http().get("https://api.example.com/report").send().await?.error_for_status()?;
    ///     let file = cx.attachments()?.upload(reqwest::Body::from(report), "text/csv").await?;
    ///     cx.message(Message::new("report".to_owned()).with_attachment("report.csv", file.into())).await
    /// }
    /// ```
    pub async fn upload(
        &self,
        body: impl Into<Body>,
        content_type: &str,
    ) -> Result<StoredFile, ObjectStorageError> {
        let failed = |reason: String| ObjectStorageError::new("storing an attachment", reason);
        let body = body.into();
        let in_memory = body.as_bytes().map(Bytes::copy_from_slice);
        let size = in_memory.as_ref().map(|bytes| bytes.len() as u64);
        let request = |http| self.upload_request(http).header(CONTENT_TYPE, content_type);
        let response = match in_memory {
            Some(bytes) => {
                http::retry(&self.policy, || {
                    http::send(request(&self.http).body(bytes.clone()))
                })
                .await
            }
            None => {
                let sent = http::send(request(&self.streams).timeout(STREAM_TIMEOUT).body(body));
                sent.await.map_err(|error| error.with_limit(STREAM_TIMEOUT))
            }
        };
        let body = match response {
            Ok(response) => http::read(response, SizeLimit::STATUS).await,
            Err(error) => Err(error),
        };
        let stored = body
            .and_then(|body| body.json::<UploadResponse>())
            .map_err(|e| failed(e.without_contents()))?;
        let size = size.or(stored.content_length);
        let url = format!(
            "{}?storage_type=maester",
            self.object_url(&stored.id().map_err(failed)?)
        );
        Ok(StoredFile {
            url,
            content_type: content_type.to_owned(),
            size,
        })
    }

    /// Opens the URL of an attachment, on any server. Read the body as a stream if it may be large.
    ///
    /// Only requests to this storage carry the token, and none of them after a redirect to another server.
    ///
    /// # Errors
    /// Returns an error if `url` is not a URL, or if its server cannot be reached, responds with an error status, or
    /// redirects more than five times.
    pub async fn download(&self, url: &str) -> Result<Response, ObjectStorageError> {
        const FETCHING: &str = "fetching an attachment";
        let failed = |reason: String| ObjectStorageError::new(FETCHING, reason);
        let mut url = Url::parse(url).map_err(|e| failed(format!("its url is not a URL: {e}")))?;
        let mut is_storage = true;
        for _ in 0..=MAX_REDIRECTS {
            is_storage &= self.is_storage_url(&url);
            let response = http::retry(&self.policy, || {
                let request = self.http.get(url.clone());
                http::send_without_redirects(if is_storage {
                    self.authorize(request)
                } else {
                    request
                })
            });
            let response = response.await;
            let response = response.map_err(|e| ObjectStorageError::of_fetch(FETCHING, &e))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location = response
                .headers()
                .get(LOCATION)
                .and_then(|location| location.to_str().ok());
            url = location
                .and_then(|location| url.join(location).ok())
                .ok_or_else(|| failed("its server redirects without a valid URL".into()))?;
        }
        Err(failed(format!(
            "its server redirects more than {MAX_REDIRECTS} times"
        )))
    }

    /// Asks for an object that cannot exist, with one attempt. Its 404 shows that the storage is there and takes the token.
    pub(crate) async fn look(&self) -> Result<(), HttpError> {
        let id = uuid::Uuid::new_v4().to_string();
        let request = self.authorize(self.http.get(self.object_url(&id)));
        let (_, response) = http::send_dated(request.timeout(self.policy.timeout)).await;
        response
            .map(drop)
            .map_err(|error| error.with_limit(self.policy.timeout))
    }

    fn upload_request(&self, http: &Client) -> RequestBuilder {
        self.authorize(http.post(format!("{}/objects", self.credentials.uri)))
    }

    fn object_url(&self, id: &str) -> String {
        format!("{}/objects/{}", self.credentials.uri, http::segment(id))
    }

    /// Adds the token and the request id to a request to the storage.
    fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        request
            .bearer_auth(self.credentials.token.expose_secret())
            .header("x-request-id", &self.credentials.request_id)
    }

    /// Returns true for the storage's own URL and the URLs below it.
    fn is_storage_url(&self, url: &Url) -> bool {
        Url::parse(&self.credentials.uri).is_ok_and(|storage| {
            let base = storage.path().trim_end_matches('/');
            storage.origin() == url.origin()
                && url
                    .path()
                    .strip_prefix(base)
                    .is_some_and(|rest| rest.starts_with('/'))
        })
    }
}

/// Returns the retry policy that the variables configure. Without them, a request outlasts an outage of 30 seconds.
fn policy(settings: &ObjectStorageSettings) -> RequestPolicy {
    let mut policy = RequestPolicy::for_outages(settings.timeout);
    if let Some(retries) = settings.retries {
        policy.retry = RetryPolicy::doubling(Duration::from_millis(100), Duration::from_secs(15))
            .with_jitter()
            .with_attempts(retries.saturating_add(1));
    }
    policy
}

/// The needed part of the response to an upload.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UploadResponse {
    object_id: Option<String>,
    content_length: Option<u64>,
}

impl UploadResponse {
    fn id(self) -> Result<String, String> {
        self.object_id
            .filter(|id| !id.is_empty())
            .ok_or_else(|| "the response contains no objectId".to_owned())
    }
}

#[cfg(test)]
mod tests;
