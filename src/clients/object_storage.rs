//! Object storage: bodies of lightweight messages, encrypted, and attachments, as they are (wire-contract: Object storage).
//!
//! A message's body is read and sent whole, in `REQUEST_TIMEOUT` for each try; attachments can be streams either way.

use crate::{
    clients::http::{self, HttpError, RetryPolicy, SizeLimit},
    protocol::{Cipher, Encoding, EnvelopeError, Json, MAX_LOGGED_ID, StepIdentity, truncated},
    settings::{self, ObjectStorageSettings},
};
use bytes::Bytes;
use reqwest::{
    Body, Client, RequestBuilder, Response, Url,
    header::{CONTENT_TYPE, LOCATION},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;

/// Why there is none, and the remedy.
pub(crate) const NOT_CONFIGURED: &str = "no object storage is configured: set ELASTICIO_OBJECT_STORAGE_URI and ELASTICIO_OBJECT_STORAGE_TOKEN";
/// How many redirects a download follows.
const REDIRECTS: usize = 5;
/// How many bodies are fetched at once, by all messages together.
const DOWNLOADS: usize = 4;
/// What the room for bodies is counted in, in bytes.
const UNIT: usize = 1024;
/// How long an attachment that is a stream may take.
const LONGEST_STREAM: Duration = Duration::from_secs(3600);

/// Object storage with this step's token. Clones are cheap and share connections.
///
/// ```
/// use anyhow::Context as _;
/// use sailor::prelude::*;
///
/// async fn count_lines(message: Message<NoBody>, cx: Context<serde_json::Value, usize>) -> anyhow::Result<()> {
///     let file = message.attachments.get("rows.csv")?.context("the message has no rows.csv")?;
///     let csv = cx.attachments()?.download(&file.url).await?.text().await?;
///     cx.data(&csv.lines().count()).await
/// }
/// ```
#[derive(Clone, Debug)]
pub struct ObjectStorage {
    http: Client,
    streams: Client,
    policy: RetryPolicy,
    cipher: Option<Cipher>,
    /// What is read of one body.
    limit: SizeLimit,
    downloads: Arc<Semaphore>,
    /// Bodies that are read at once are no larger together than one may be: each is in memory twice while it is decrypted.
    room: Arc<Semaphore>,
    access: Arc<Access>,
}

#[derive(Debug)]
struct Access {
    uri: String,
    token: SecretString,
    request_id: String,
}

/// A file in object storage, as it stands among a message's attachments.
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
    /// Where components read it with [`ObjectStorage::download`].
    pub url: String,
    /// Its media type.
    pub content_type: String,
    /// Its size in bytes, where it is known.
    pub size: Option<u64>,
}

/// A call of object storage that failed, after all tries. What the server says beside its status is not told: it may
/// repeat what it was sent, and errors end in logs.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{doing} failed: {cause}")]
pub struct ObjectStorageError {
    doing: String,
    cause: String,
    too_large: bool,
}

impl ObjectStorageError {
    fn new(doing: impl Into<String>, cause: String) -> Self {
        Self {
            doing: doing.into(),
            cause,
            too_large: false,
        }
    }
}

impl ObjectStorage {
    /// Neither client may follow redirects: the token is for the storage's own address. `streams` waits for an answer as
    /// long as a request says. Without a cipher, bodies are kept as they are.
    pub(crate) fn new(
        http: Client,
        streams: Client,
        settings: &ObjectStorageSettings,
        cipher: Option<Cipher>,
        identity: &StepIdentity,
    ) -> Self {
        let limit = settings
            .size_limit
            .unwrap_or_else(settings::share_of_one_body);
        Self {
            http,
            streams,
            policy: policy(settings),
            cipher,
            limit: SizeLimit {
                bytes: limit,
                variable: Some("ELASTICIO_OBJECT_STORAGE_SIZE_LIMIT"),
            },
            downloads: Arc::new(Semaphore::new(DOWNLOADS)),
            room: Arc::new(Semaphore::new(units(limit) as usize)),
            access: Arc::new(Access {
                uri: settings.uri.clone(),
                token: settings.token.clone(),
                request_id: format!("f:{};s:{};m:", identity.flow_id, identity.step_id),
            }),
        }
    }

    /// The same, with few tries once `stopping` has fired.
    pub(crate) fn until(mut self, stopping: CancellationToken) -> Self {
        self.policy.stopping = stopping;
        self
    }

    /// Keeps a message's body and gives its id.
    pub(crate) async fn put(&self, body: &Json) -> Result<String, ObjectStorageError> {
        let plain = body.as_bytes();
        let sealed = match &self.cipher {
            Some(cipher) => {
                let mut buffer = Vec::with_capacity(plain.len() + 16);
                buffer.extend_from_slice(plain);
                Bytes::from(cipher.encrypt(buffer, Encoding::Raw))
            }
            None => Bytes::copy_from_slice(plain),
        };
        let answer = http::send_with_retry(&self.policy, SizeLimit::STATUS, || {
            self.upload_request(&self.http)
                .header(CONTENT_TYPE, "application/json")
                .body(sealed.clone())
        });
        let stored = answer
            .await
            .and_then(|answer| answer.json::<Stored>())
            .map_err(|e| e.without_contents());
        stored
            .and_then(Stored::id)
            .map_err(|cause| ObjectStorageError::new("storing a message's body", cause))
    }

    /// Fetches a message's body by its id, a few at a time. There may be less room for it than for any body.
    pub(crate) async fn get(
        &self,
        id: &str,
        room: Option<SizeLimit>,
    ) -> Result<Json, ObjectStorageError> {
        let limit = room
            .filter(|room| room.bytes < self.limit.bytes)
            .unwrap_or(self.limit);
        let failed = |cause: String| ObjectStorageError::new(fetching(id), cause);
        let answer = http::retry(&self.policy, || async {
            let turn = self.downloads.acquire().await;
            let (began, limit_of_try) = (Instant::now(), self.policy.timeout);
            let request = self.own(self.http.get(self.object_address(id)));
            let response = http::within(limit_of_try, http::send(request)).await?;
            let left = limit_of_try.saturating_sub(began.elapsed());
            // Where it does not say how long it is, it may be as long as any. The wait is not the storage's fault.
            let length = response
                .content_length()
                .and_then(|length| usize::try_from(length).ok());
            let room = self
                .room
                .acquire_many(units(
                    length.map_or(limit.bytes, |length| length.min(limit.bytes)),
                ))
                .await;
            let answer = http::within(left, http::read(response, limit)).await?;
            Ok((answer.body, turn, room))
        });
        // The turn lasts as long as what it is for is in memory.
        let (sealed, _turn, _room) = answer.await.map_err(|e| ObjectStorageError {
            too_large: matches!(e, HttpError::TooLarge(_)),
            ..failed(e.without_contents())
        })?;
        let plain = match &self.cipher {
            Some(cipher) => cipher
                .decrypt(&sealed, Encoding::Raw)
                .map_err(|e| failed(e.to_string()))?
                .into(),
            None => sealed,
        };
        Json::checked(plain).map_err(|error| match error {
            EnvelopeError::NotJson { line, column } => failed(format!(
                "the object is not JSON, line {line}, column {column}"
            )),
            error => failed(error.to_string()),
        })
    }

    /// Stores a file, unencrypted, for the attachments of a message.
    ///
    /// A body in memory is sent again when the storage fails for a moment, a stream is sent once. Bytes have
    /// to be through in 60 s, a stream in an hour. Dropping the future may leave a file that nobody knows of.
    ///
    /// # Errors
    /// When the storage cannot be reached, refuses, or its answer names no object.
    pub async fn upload(
        &self,
        body: impl Into<Body>,
        content_type: &str,
    ) -> Result<StoredFile, ObjectStorageError> {
        let failed = |cause: String| ObjectStorageError::new("storing an attachment", cause);
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
            None => http::send(request(&self.streams).timeout(LONGEST_STREAM).body(body)).await,
        };
        let answer = match response {
            Ok(response) => http::read(response, SizeLimit::STATUS).await,
            Err(error) => Err(error),
        };
        let stored = answer
            .and_then(|answer| answer.json::<Stored>())
            .map_err(|e| failed(e.without_contents()))?;
        let size = size.or(stored.content_length);
        let url = format!(
            "{}?storage_type=maester",
            self.object_address(&stored.id().map_err(failed)?)
        );
        Ok(StoredFile {
            url,
            content_type: content_type.to_owned(),
            size,
        })
    }

    /// Opens an attachment's URL, wherever it leads; read the body as a stream where it may be large. Only this
    /// storage itself is shown the token, and no longer once a redirect has led elsewhere.
    ///
    /// # Errors
    /// When `url` is not an address, its server cannot be reached, refuses, or redirects more than five times.
    pub async fn download(&self, url: &str) -> Result<Response, ObjectStorageError> {
        let failed = |cause: String| ObjectStorageError::new("fetching an attachment", cause);
        let mut url =
            Url::parse(url).map_err(|e| failed(format!("its url is not an address: {e}")))?;
        let mut is_own = true;
        for _ in 0..=REDIRECTS {
            is_own &= self.is_own(&url);
            let answer = http::retry(&self.policy, || {
                let request = self.http.get(url.clone());
                http::send_redirectable(if is_own { self.own(request) } else { request })
            });
            let response = answer.await.map_err(|e| failed(e.without_contents()))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location = response
                .headers()
                .get(LOCATION)
                .and_then(|location| location.to_str().ok());
            url = location
                .and_then(|location| url.join(location).ok())
                .ok_or_else(|| failed("its server redirects to no address".into()))?;
        }
        Err(failed(format!(
            "its server redirects more than {REDIRECTS} times"
        )))
    }

    fn upload_request(&self, http: &Client) -> RequestBuilder {
        self.own(http.post(format!("{}/objects", self.access.uri)))
    }

    fn object_address(&self, id: &str) -> String {
        format!("{}/objects/{}", self.access.uri, http::segment(id))
    }

    /// A request to the storage itself, with token and request id.
    fn own(&self, request: RequestBuilder) -> RequestBuilder {
        request
            .bearer_auth(self.access.token.expose_secret())
            .header("x-request-id", &self.access.request_id)
    }

    /// True for the storage's own address and what lies below it.
    fn is_own(&self, url: &Url) -> bool {
        Url::parse(&self.access.uri).is_ok_and(|own| {
            let base = own.path().trim_end_matches('/');
            own.origin() == url.origin()
                && url
                    .path()
                    .strip_prefix(base)
                    .is_some_and(|rest| rest.starts_with('/'))
        })
    }
}

fn fetching(id: &str) -> String {
    format!("fetching object {}", truncated(id, MAX_LOGGED_ID))
}

/// How much room a body of this size takes.
fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// Fetches a message's body. The platform knows the sentence this fails with; the cause is for the log, and for the user
/// where it is the body's size.
pub(crate) async fn body(
    storage: Option<&ObjectStorage>,
    id: &str,
    room: Option<SizeLimit>,
) -> anyhow::Result<Json> {
    let fetched = match storage {
        Some(storage) => storage.get(id, room).await,
        None => Err(ObjectStorageError::new(
            fetching(id),
            NOT_CONFIGURED.to_owned(),
        )),
    };
    fetched.map_err(|error| {
        tracing::error!("Object storage did not give a message body: {error}");
        let id = truncated(id, MAX_LOGGED_ID);
        if error.too_large {
            anyhow::anyhow!("Failed to get message body with id={id}: {}", error.cause)
        } else {
            anyhow::anyhow!("Failed to get message body with id={id}")
        }
    })
}

/// What a variable says counts as it is; what none says is patient.
fn policy(settings: &ObjectStorageSettings) -> RetryPolicy {
    let patient = RetryPolicy::patient(settings.timeout);
    match settings.retries {
        Some(retries) => RetryPolicy {
            attempts: Some(retries.saturating_add(1)),
            delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(15),
            ..patient
        },
        None => patient,
    }
}

/// The storage's answer to an upload, as far as we need it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    object_id: Option<String>,
    content_length: Option<u64>,
}

impl Stored {
    fn id(self) -> Result<String, String> {
        self.object_id
            .filter(|id| !id.is_empty())
            .ok_or_else(|| "the storage's answer names no objectId".to_owned())
    }
}

#[cfg(test)]
mod tests;
