//! Trigger "Poll for new mail": the messages of a folder, with their files in the platform's object storage.

use super::changes::{Change, Changes, Position};
use crate::{
    fields,
    graph::{self, Item},
    items::{MailAttachment, Received},
    time::Time,
};
use anyhow::Context as _;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Body;
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

/// How many messages fetch their files at the same time.
const CONCURRENT_DOWNLOADS: usize = 4;
/// The largest page if each message is emitted by itself: a thousand messages with their texts can fill the memory.
const MAX_PAGE_SIZE: u32 = 100;

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    #[serde(default, deserialize_with = "fields::text")]
    folder_id: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    start_time: Option<String>,
    #[serde(default, deserialize_with = "fields::checked")]
    poll_only_unread_mail: bool,
    #[serde(default, deserialize_with = "fields::checked")]
    get_attachment: bool,
    #[serde(default, deserialize_with = "fields::choice")]
    emit_behavior: Option<EmitBehavior>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
enum EmitBehavior {
    #[default]
    EmitIndividually,
    EmitAll,
}

/// Emits each message that is new or has changed since the last poll, or each page of them as one.
pub struct ReadMail {
    pub messages_per_page: u32,
}

impl Trigger for ReadMail {
    type Config = Config;
    type Snapshot = Position;
    type Output = Received;

    /// Saves the position after each page, and before an error, so that no message is emitted twice.
    async fn poll(
        &self,
        since: Option<Position>,
        cx: Context<Config, Received>,
    ) -> anyhow::Result<Option<Position>> {
        let config = &cx.config;
        let folder = fields::required(
            config.folder_id.as_ref(),
            "folderId",
            "choose a mail folder in the step",
        )?;
        let position = match since {
            Some(position) => position,
            None => config.start()?,
        };
        let path = graph::path(&["me", "mailFolders", folder, "messages"])
            .context("the mail folder (`folderId` of the step)")?;
        let page_size = match config.emit_behavior.unwrap_or_default() {
            EmitBehavior::EmitAll => self.messages_per_page,
            EmitBehavior::EmitIndividually => self.messages_per_page.min(MAX_PAGE_SIZE),
        };
        let mut changes = Changes::new(cx.oauth(), path, page_size, position);
        if config.poll_only_unread_mail {
            changes = changes.filtered("isRead eq false");
        }
        while !cx.cancelled.is_cancelled()
            && let Some(page) = changes
                .next_page()
                .await
                .context("reading the mail folder (`folderId` of the step)")?
        {
            let before = changes.position().clone();
            let emitted = emit(&cx, &mut changes, page).await;
            if *changes.position() != before {
                cx.snapshot(changes.position()).await?;
            }
            emitted?;
        }
        Ok(None)
    }
}

impl Config {
    /// Where polling starts without a snapshot.
    fn start(&self) -> anyhow::Result<Position> {
        match &self.start_time {
            Some(start) => {
                let start = Time::Text(start.clone()).timestamp("startTime")?;
                Ok(Position::from(start))
            }
            None => Ok(Position::default()),
        }
    }
}

/// Emits a page until the process stops. A message counts as emitted when the event that holds it is confirmed.
async fn emit(
    cx: &Context<Config, Received>,
    changes: &mut Changes<'_>,
    page: Vec<Change>,
) -> anyhow::Result<()> {
    let mut complete = stream::iter(page)
        .map(|change| with_files(cx, change))
        .buffered(CONCURRENT_DOWNLOADS);
    match cx.config.emit_behavior.unwrap_or_default() {
        EmitBehavior::EmitIndividually => {
            while !cx.cancelled.is_cancelled()
                && let Some(mut change) = complete.try_next().await?
            {
                cx.data(&Received(std::mem::take(&mut change.item))).await?;
                changes.mark_emitted(&change);
            }
        }
        EmitBehavior::EmitAll => {
            let page: Vec<Change> = complete.try_collect().await?;
            let items: Vec<&Item> = page.iter().map(|change| &change.item).collect();
            let results = Item::from_iter([("results".to_owned(), json!(items))]);
            cx.data(&Received(results)).await?;
            for change in &page {
                changes.mark_emitted(change);
            }
        }
    }
    Ok(())
}

/// Adds a message's files as `attachments`, if the step fetches them and the message has any.
async fn with_files(cx: &Context<Config, Received>, mut change: Change) -> anyhow::Result<Change> {
    if cx.config.get_attachment && change.item.get("hasAttachments") == Some(&Value::Bool(true)) {
        let files = files(cx, &change.id).await;
        let files =
            files.with_context(|| format!("fetching the attachments of message {}", change.id))?;
        change
            .item
            .insert("attachments".to_owned(), serde_json::to_value(files)?);
    }
    Ok(change)
}

/// An attachment as Graph lists it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedAttachment {
    #[serde(rename = "@odata.type", default)]
    kind: String,
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    size: Option<u64>,
}

/// Copies a message's files into object storage.
async fn files(
    cx: &Context<Config, Received>,
    message: &str,
) -> anyhow::Result<Vec<MailAttachment>> {
    let path = graph::path(&["me", "messages", message, "attachments"])?;
    let query = [("$select", "id,name,contentType,size")];
    let listed: Vec<ListedAttachment> = graph::all_pages(cx.oauth(), &path, &query).await?;
    let mut files = Vec::with_capacity(listed.len());
    for attachment in listed {
        let mut file = MailAttachment {
            name: attachment.name.unwrap_or_default(),
            content_type: attachment.content_type,
            size: attachment.size,
            url: None,
        };
        // A link to a file elsewhere has no content in the mailbox.
        if attachment.kind != "#microsoft.graph.referenceAttachment" {
            let id = &attachment.id;
            let path = graph::path(&["me", "messages", message, "attachments", id, "$value"])?;
            copy(cx, &path, &mut file)
                .await
                .with_context(|| format!("attachment {:?}", file.name))?;
        }
        files.push(file);
    }
    Ok(files)
}

/// Streams a file from Graph to object storage.
async fn copy(
    cx: &Context<Config, Received>,
    path: &str,
    file: &mut MailAttachment,
) -> anyhow::Result<()> {
    let response = cx.oauth().get(path).send().await?;
    let content_type = file.content_type.take().unwrap_or_else(|| {
        let header = response.headers().get("content-type");
        header
            .and_then(|value| value.to_str().ok())
            .unwrap_or("application/octet-stream")
            .to_owned()
    });
    let content = Body::wrap_stream(response.bytes_stream());
    let stored = cx.attachments()?.upload(content, &content_type).await?;
    file.url = Some(stored.url);
    // Graph's size includes its own encoding.
    file.size = stored.size.or(file.size);
    file.content_type = Some(content_type);
    Ok(())
}
