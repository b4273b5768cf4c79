//! The bodies of lightweight messages: encrypted, and read as a whole into memory.

use super::{NOT_CONFIGURED, ObjectStorage, ObjectStorageError, UploadResponse};
use crate::{
    clients::http::{self, HttpError, SizeLimit},
    codes::{self, Coded},
    protocol::{Encoding, EnvelopeError, Json, MAX_LOGGED_ID, truncated},
};
use bytes::Bytes;
use reqwest::{Response, header::CONTENT_TYPE};
use tokio::sync::SemaphorePermit;

/// The unit of the memory budget, in bytes.
const BUDGET_UNIT: usize = 1024;

/// There is no memory for a body of so many bytes at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoMemory(pub(crate) usize);

impl ObjectStorageError {
    /// The error of a download that failed. It contains nothing of the response.
    fn of_download(id: &str, error: HttpError) -> Self {
        Self {
            too_large: matches!(error, HttpError::TooLarge(_)),
            no_memory: match error {
                HttpError::NoMemory(size) => Some(NoMemory(size)),
                _ => None,
            },
            ..Self::new(fetching(id), error.without_contents())
        }
    }
}

impl ObjectStorage {
    /// Stores the body of a message and returns its id.
    pub(crate) async fn put(&self, body: &Json) -> Result<String, ObjectStorageError> {
        let plain = body.as_bytes();
        let ciphertext = match &self.cipher {
            Some(cipher) => {
                let mut buffer = Vec::with_capacity(plain.len() + 16);
                buffer.extend_from_slice(plain);
                Bytes::from(cipher.encrypt(buffer, Encoding::Raw))
            }
            None => Bytes::copy_from_slice(plain),
        };
        let response = http::send_with_retry(&self.policy, SizeLimit::STATUS, || {
            self.upload_request(&self.http)
                .header(CONTENT_TYPE, "application/json")
                .body(ciphertext.clone())
        });
        response
            .await
            .and_then(|response| response.json::<UploadResponse>())
            .map_err(|e| e.without_contents())
            .and_then(UploadResponse::id)
            .map_err(|reason| ObjectStorageError::new("storing a message's body", reason))
    }

    /// Downloads the body of a message by its id. `limit` is the size limit of this body, if it is lower than the
    /// general limit.
    pub(crate) async fn get(
        &self,
        id: &str,
        limit: Option<SizeLimit>,
    ) -> Result<Json, ObjectStorageError> {
        let limit = limit
            .filter(|limit| limit.bytes < self.limit.bytes)
            .unwrap_or(self.limit);
        let download = http::retry(&self.policy, || self.download_once(id, limit)).await;
        // The permits last until the body has been decrypted and checked.
        let (body, _permits) =
            download.map_err(|error| ObjectStorageError::of_download(id, error))?;
        self.open(id, body)
    }

    /// Downloads the body of a message by its id, into memory that `admit` gives. It is asked with the size in bytes that the
    /// body has at least, and it may refuse.
    pub(super) async fn get_within(
        &self,
        id: &str,
        admit: impl Fn(usize) -> bool,
    ) -> Result<Json, ObjectStorageError> {
        let limit = self.policy.timeout;
        let download = http::retry(&self.policy, || async {
            let _slot = self.downloads.acquire().await.ok();
            let request = self.authorize(self.http.get(self.object_url(id)));
            let reading = async {
                let response = http::send(request.timeout(limit)).await?;
                http::read_within(response, self.limit, &admit).await
            };
            reading.await.map_err(|error| error.with_limit(limit))
        });
        let downloaded = download.await;
        let response = downloaded.map_err(|error| ObjectStorageError::of_download(id, error))?;
        self.open(id, response.body)
    }

    /// Decrypts and checks a body.
    fn open(&self, id: &str, body: Bytes) -> Result<Json, ObjectStorageError> {
        let failed = |reason: String| ObjectStorageError::new(fetching(id), reason);
        let plain = match &self.cipher {
            Some(cipher) => cipher
                .decrypt(&body, Encoding::Raw)
                .map_err(|e| failed(e.to_string()))?
                .into(),
            None => body,
        };
        Json::from_text(plain).map_err(|error| match error {
            EnvelopeError::NotJson { line, column } => failed(format!(
                "the object is not JSON, line {line}, column {column}"
            )),
            error => failed(error.to_string()),
        })
    }

    /// Downloads a body once. The permits limit the number of bodies, and of their bytes, in memory.
    async fn download_once(
        &self,
        id: &str,
        limit: SizeLimit,
    ) -> Result<(Bytes, [Option<SemaphorePermit<'_>>; 2]), HttpError> {
        let slot = self.downloads.acquire().await.ok();
        let request = self.authorize(self.http.get(self.object_url(id)));
        // The wait for memory is not part of the time limit, because the storage does not cause it.
        let wait_for_memory = async |response: &Response| {
            // Without a length, the body may be as large as the limit.
            let length = response
                .content_length()
                .and_then(|length| usize::try_from(length).ok());
            let size = length.map_or(limit.bytes, |length| length.min(limit.bytes));
            let memory = self.memory_budget.acquire_many(budget_units(size));
            memory.await.ok()
        };
        let sent = http::send_and_read(request, self.policy.timeout, limit, wait_for_memory);
        let (response, memory) = sent.await?;
        Ok((response.body, [slot, memory]))
    }
}

fn fetching(id: &str) -> String {
    format!("fetching object {}", truncated(id, MAX_LOGGED_ID))
}

/// Returns the share of the memory budget that a body of this size takes.
pub(super) fn budget_units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(BUDGET_UNIT)).unwrap_or(u32::MAX)
}

/// Downloads the body of a message. The error is a sentence that the platform knows. The reason is only logged, except
/// for the size of the body, which the user can change.
pub(crate) async fn fetch_body(
    storage: Option<&ObjectStorage>,
    id: &str,
    limit: Option<SizeLimit>,
) -> anyhow::Result<Json> {
    let fetched = match storage {
        Some(storage) => storage.get(id, limit).await,
        None => Err(not_configured(id)),
    };
    fetched.map_err(|error| error_for_platform(id, &error))
}

/// Downloads the body of a message as [`fetch_body`] does, into memory that `admit` gives ([`ObjectStorage::get_within`]).
pub(crate) async fn fetch_body_within(
    storage: Option<&ObjectStorage>,
    id: &str,
    admit: impl Fn(usize) -> bool,
) -> anyhow::Result<Result<Json, NoMemory>> {
    let fetched = match storage {
        Some(storage) => storage.get_within(id, admit).await,
        None => Err(not_configured(id)),
    };
    match fetched {
        Err(ObjectStorageError {
            no_memory: Some(no_memory),
            ..
        }) => Ok(Err(no_memory)),
        Err(error) => Err(error_for_platform(id, &error)),
        Ok(body) => Ok(Ok(body)),
    }
}

/// The error of a download without object storage.
fn not_configured(id: &str) -> ObjectStorageError {
    ObjectStorageError::new(fetching(id), NOT_CONFIGURED.to_owned())
}

/// Logs why a body could not be downloaded, and returns the sentence that the platform knows.
fn error_for_platform(id: &str, error: &ObjectStorageError) -> anyhow::Error {
    tracing::error!(code = %codes::BODY_DOWNLOAD_FAILED, "Downloading a message body from object storage failed: {error}");
    let id = truncated(id, MAX_LOGGED_ID);
    let mut text = format!("Failed to get message body with id={id}");
    if error.too_large {
        text += &format!(": {}", error.reason);
    }
    Coded::new(codes::BODY_DOWNLOAD_FAILED, text).into()
}
