//! The CSV file of a bulk job: a stream that is checked on its way from one server to the other.

use crate::csv_layout::{FileError, Layout, Utf8Check};
use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use reqwest::Response;
use sailor::ObjectStorage;
use std::sync::{Arc, OnceLock};

/// Salesforce accepts 150 MB in base64, to which it converts the file.
const MAX_FILE: u64 = 100 << 20;
/// How much of a file is looked at before a job is created, in bytes.
const START: usize = 64 << 10;

/// A file that can be read any number of times.
#[derive(Clone)]
pub struct CsvFile {
    storage: ObjectStorage,
    url: String,
    pub layout: Layout,
    /// The length without the skipped bytes, if its server says it.
    pub length: Option<u64>,
    /// What is wrong with the file, as its reader has found.
    problem: Arc<OnceLock<FileError>>,
}

impl CsvFile {
    /// Looks at the start of a file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or if its start shows that Salesforce does not take it.
    pub async fn open(storage: &ObjectStorage, url: String) -> anyhow::Result<Self> {
        let mut response = storage.download(&url).await.context("the CSV file")?;
        let length = response.content_length();
        if length.is_some_and(|length| length > MAX_FILE) {
            return Err(too_large().into());
        }
        let mut start = Vec::new();
        let mut is_whole = false;
        while start.len() < START && !is_whole {
            match next(&mut response).await? {
                Some(chunk) => start.extend_from_slice(&chunk),
                None => is_whole = true,
            }
        }
        let layout = Layout::of(&start, is_whole)?;
        Ok(Self {
            storage: storage.clone(),
            url,
            length: length.map(|length| length.saturating_sub(layout.skipped as u64)),
            layout,
            problem: Arc::default(),
        })
    }

    /// The bytes from the header row on. The stream ends with an error where the file is not a text in UTF-8, or too large.
    pub fn rows(&self) -> impl Stream<Item = anyhow::Result<Bytes>> + Send + 'static {
        let file = self.clone();
        let rows = async move {
            if let Some(problem) = file.problem() {
                return Err(anyhow::Error::from(problem.clone()));
            }
            let response = file.storage.download(&file.url).await;
            let reading = Reading {
                response: response.context("the CSV file")?,
                skip: file.layout.skipped,
                read: 0,
                check: Utf8Check::default(),
                held: None,
                problem: file.problem.clone(),
            };
            Ok(stream::try_unfold(reading, async |mut reading| {
                let chunk = reading.next().await?;
                anyhow::Ok(chunk.map(|chunk| (chunk, reading)))
            }))
        };
        stream::once(rows).try_flatten()
    }

    /// What is wrong with the file, if its reader has found something.
    pub fn problem(&self) -> Option<&FileError> {
        self.problem.get()
    }
}

/// A file that is being read.
struct Reading {
    response: Response,
    /// How many bytes are still left out.
    skip: usize,
    read: u64,
    check: Utf8Check,
    /// The last chunk: it is sent when it is known that the file does not end within a character.
    held: Option<Bytes>,
    problem: Arc<OnceLock<FileError>>,
}

impl Reading {
    async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            let chunk = next(&mut self.response).await?;
            let checked = match &chunk {
                Some(chunk) => self.check(chunk),
                None => self.check.end(),
            };
            if let Err(problem) = checked {
                let problem = self.problem.get_or_init(|| problem);
                return Err(problem.clone().into());
            }
            let is_end = chunk.is_none();
            let held = self.held.take();
            self.held = chunk.map(|chunk| self.skipped(chunk));
            if let Some(held) = held.filter(|held| !held.is_empty()) {
                return Ok(Some(held));
            }
            if is_end {
                return Ok(None);
            }
        }
    }

    fn skipped(&mut self, mut chunk: Bytes) -> Bytes {
        let skipped = chunk.split_to(self.skip.min(chunk.len()));
        self.skip -= skipped.len();
        chunk
    }

    fn check(&mut self, chunk: &[u8]) -> Result<(), FileError> {
        self.read += chunk.len() as u64;
        if self.read > MAX_FILE {
            return Err(too_large());
        }
        self.check.push(chunk)
    }
}

async fn next(response: &mut Response) -> anyhow::Result<Option<Bytes>> {
    let chunk = response.chunk().await.map_err(reqwest::Error::without_url);
    chunk.context("reading the CSV file")
}

fn too_large() -> FileError {
    FileError::TooLarge((MAX_FILE >> 20) as usize)
}
