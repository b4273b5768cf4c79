//! The files of messages: copied to object storage, or noted if they cannot be.

use super::{change::Change, cid, read_mail::Config};
use crate::{
    graph::{self, Item, PageError},
    items::{MailAttachment, Received},
};
use anyhow::Context as _;
use futures_util::TryStreamExt;
use reqwest::{Body, StatusCode, header::CONTENT_TYPE};
use sailor::{
    http::{InvalidSegment, path_segment},
    oauth2::Error,
    prelude::*,
};
use serde_json::Value;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

/// The most messages in a row whose files fail for reasons that may pass: then the service itself is at fault.
const MAX_IN_A_ROW: u32 = 5;
/// What is requested of attachments. Only files have a content id.
const MEMBERS: &str = "id,name,contentType,size,isInline";
const CONTENT_ID: &str = "microsoft.graph.fileAttachment/contentId";

/// Fetches the files of the messages of one poll.
pub struct Files<'a> {
    cx: &'a Context<Config, Received>,
    /// The list of messages.
    list: &'a str,
    in_a_row: AtomicU32,
}

/// A message with its files.
pub struct Complete {
    pub change: Change,
    /// One error for each file that is missing.
    pub errors: Vec<anyhow::Error>,
}

/// What is known of a failure.
#[derive(Clone, Copy, PartialEq)]
enum Cause {
    /// The file: a later attempt fails as well.
    File,
    /// The account, or a service that is busy.
    Service,
    /// The file or a service.
    Unclear,
}

impl<'a> Files<'a> {
    pub fn new(cx: &'a Context<Config, Received>, list: &'a str) -> Self {
        Self {
            cx,
            list,
            in_a_row: AtomicU32::new(0),
        }
    }

    /// Adds a message's files as `attachments`, if the step fetches them and the message has any. Graph's
    /// `hasAttachments` does not count inline files.
    ///
    /// # Errors
    /// Returns an error if Graph or the storage does not work. A file that fails alone is noted.
    pub async fn add(&self, mut change: Change) -> anyhow::Result<Complete> {
        let mut errors = Vec::new();
        let has_attachments = change.item.get("hasAttachments") == Some(&Value::Bool(true));
        if self.cx.config.get_attachment && (has_attachments || refers_to_files(&change.item)) {
            let found = self.of(&change.id).await;
            let (files, left_out) = found
                .with_context(|| format!("fetching the attachments of message {}", change.id))?;
            errors = left_out;
            if has_attachments || !files.is_empty() {
                let files = serde_json::to_value(files)?;
                change.item.insert("attachments".to_owned(), files);
            }
        }
        Ok(Complete { change, errors })
    }

    /// Copies a message's files. Returns them, and one error for each that is left out.
    async fn of(&self, message: &str) -> anyhow::Result<(Vec<MailAttachment>, Vec<anyhow::Error>)> {
        let mut errors = Vec::new();
        let path = graph::path(&["me", "messages", message, "attachments"])?;
        let mut note = |name: String, error: anyhow::Error| {
            let noted = format!("{error:#}");
            errors.push((name, error));
            Some(noted)
        };
        let mut files = Vec::new();
        let mut has_copied = false;
        match self.attempt(|| self.listed(&path)).await? {
            Ok(listed) => {
                for attachment in &listed {
                    let file = match self.attempt(|| self.copied(&path, attachment)).await? {
                        Ok(file) => file,
                        Err(error) => {
                            let mut file = described(attachment);
                            file.error = note(format!("attachment {:?}", file.name), error);
                            file
                        }
                    };
                    has_copied |= file.url.is_some();
                    files.push(file);
                }
            }
            Err(error) => files.push(MailAttachment {
                error: note("the list of attachments".to_owned(), error),
                ..MailAttachment::default()
            }),
        }
        self.count(has_copied, &mut errors)?;
        let errors = errors
            .into_iter()
            .map(|(name, error)| error.context(format!("{name} of message {message} is left out")));
        Ok((files, errors.collect()))
    }

    /// Does something, and once more if it fails while Graph and the storage work. The inner error is about the file.
    async fn attempt<T, R: Future<Output = anyhow::Result<T>>>(
        &self,
        work: impl Fn() -> R,
    ) -> anyhow::Result<anyhow::Result<T>> {
        let error = match work().await {
            Ok(done) => return Ok(Ok(done)),
            Err(error) => error,
        };
        match Cause::of(&error) {
            Cause::File => return Ok(Err(error)),
            Cause::Unclear if self.services_work(&error).await => {}
            Cause::Unclear | Cause::Service => return Err(error),
        }
        match work().await {
            Err(error) if Cause::of(&error) == Cause::Service => Err(error),
            result => Ok(result),
        }
    }

    /// Whether the services that an error can come from work for other requests.
    async fn services_work(&self, error: &anyhow::Error) -> bool {
        if !graph::is_available(self.cx.oauth(), self.list).await {
            return false;
        }
        if error.is::<Error>() || error.is::<PageError>() {
            return true;
        }
        match self.cx.attachments() {
            Ok(storage) => storage.upload("", "text/plain").await.is_ok(),
            Err(_) => false,
        }
    }

    /// Counts the messages in a row whose files fail for reasons that may pass.
    ///
    /// # Errors
    /// Returns the last of these errors if there are too many.
    fn count(
        &self,
        has_copied: bool,
        errors: &mut Vec<(String, anyhow::Error)>,
    ) -> anyhow::Result<()> {
        let unclear = |(_, error): &(String, anyhow::Error)| Cause::of(error) == Cause::Unclear;
        if has_copied {
            self.in_a_row.store(0, Relaxed);
        } else if let Some(last) = errors.iter().rposition(unclear)
            && self.in_a_row.fetch_add(1, Relaxed) + 1 >= MAX_IN_A_ROW
        {
            let (name, error) = errors.swap_remove(last);
            return Err(error.context(name));
        }
        Ok(())
    }

    /// A message's attachments, without their contents.
    async fn listed(&self, path: &str) -> anyhow::Result<Vec<Item>> {
        let list = |members: String| {
            let client = self.cx.oauth();
            let query = [("$select", members)];
            async move { graph::all_items(client, path, &query).await }
        };
        let listed = list(format!("{MEMBERS},{CONTENT_ID}")).await;
        match &listed {
            Err(error) if status(error) == Some(StatusCode::BAD_REQUEST) => {
                list(MEMBERS.to_owned()).await
            }
            _ => listed,
        }
    }

    /// Streams a file from Graph to object storage. A link to a file elsewhere has no content in the mailbox.
    async fn copied(&self, path: &str, attachment: &Item) -> anyhow::Result<MailAttachment> {
        let mut file = described(attachment);
        if text(attachment, "@odata.type") == Some("#microsoft.graph.referenceAttachment") {
            return Ok(file);
        }
        let id = path_segment(text(attachment, "id").unwrap_or_default())?;
        let path = format!("{path}/{id}/$value");
        let response = self.cx.oauth().get(&path).send().await?;
        let content_type = file.content_type.take().unwrap_or_else(|| {
            let header = response.headers().get(CONTENT_TYPE);
            let header = header.and_then(|value| value.to_str().ok());
            header.unwrap_or("application/octet-stream").to_owned()
        });
        let broken = Arc::new(AtomicBool::new(false));
        let flag = broken.clone();
        let content = response.bytes_stream();
        let content = content.inspect_err(move |_| flag.store(true, Relaxed));
        let stored = self.cx.attachments()?;
        let stored = stored
            .upload(Body::wrap_stream(content), &content_type)
            .await;
        if broken.load(Relaxed) {
            return Err(Error::NoResponse {
                request: format!("GET {path}"),
                reason: "its end did not arrive".to_owned(),
                repeatable: true,
            }
            .into());
        }
        let stored = stored?;
        file.url = Some(stored.url);
        // Graph's size includes its own encoding.
        file.size = stored.size.or(file.size);
        file.content_type = Some(content_type);
        Ok(file)
    }
}

impl Cause {
    fn of(error: &anyhow::Error) -> Self {
        if error.is::<InvalidSegment>() {
            return Self::File;
        }
        match error.downcast_ref::<Error>() {
            None | Some(Error::NoResponse { .. }) => Self::Unclear,
            Some(Error::Status {
                status,
                retry_after,
                ..
            }) => match status.as_u16() {
                401 | 429 => Self::Service,
                403 | 503 if retry_after.is_some() => Self::Service,
                408 | 500.. => Self::Unclear,
                _ => Self::File,
            },
            Some(_) => Self::Service,
        }
    }
}

fn status(error: &anyhow::Error) -> Option<StatusCode> {
    error.downcast_ref::<Error>()?.status()
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// What Graph says of an attachment.
fn described(attachment: &Item) -> MailAttachment {
    let text = |name| text(attachment, name).map(str::to_owned);
    MailAttachment {
        name: text("name").unwrap_or_default(),
        content_type: text("contentType"),
        size: attachment.get("size").and_then(Value::as_u64),
        is_inline: attachment.get("isInline").and_then(Value::as_bool),
        content_id: text("contentId"),
        ..MailAttachment::default()
    }
}

/// Whether the text of a message refers to inline files.
fn refers_to_files(message: &Item) -> bool {
    let body = message.get("body").and_then(|body| body.get("content"));
    body.and_then(Value::as_str).is_some_and(cid::has_reference)
}
