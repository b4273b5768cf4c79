//! Trigger "Poll for new mail": messages of a folder, with their files in the platform's object storage.

use super::{
    fields,
    graph::{self, Item},
    items::{MailAttachment, Received},
    poll::{Change, Changes, Position},
    time::Time,
};
use anyhow::Context as _;
use futures_util::{StreamExt, TryStreamExt, stream};
use sailor::{oauth2::AuthorizedClient, prelude::*};
use serde::Deserialize;
use serde_json::{Value, json};

/// How many messages have their files fetched at once.
const MESSAGES_AT_ONCE: usize = 4;
/// How many messages are read at once where each is emitted by itself: a thousand with their texts may fill the memory.
const AT_ONCE: u32 = 100;

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

/// Emits each message that is new or has changed since the last poll, or a page of them in one.
pub struct ReadMail {
    pub messages_per_page: u32,
}

impl Trigger for ReadMail {
    type Config = Config;
    type Snapshot = Position;
    type Output = Received;

    /// The position is saved after each page, and when something fails: what was emitted is not emitted again.
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
        let start = || match &config.start_time {
            Some(start) => Time::Text(start.clone())
                .point("startTime")
                .map(Position::from),
            None => Ok(Position::default()),
        };
        let position = since.map_or_else(start, Ok)?;
        let path = graph::path(&["me", "mailFolders", folder, "messages"])
            .context("the mail folder (`folderId` of the step)")?;
        let at_once = match config.emit_behavior {
            Some(EmitBehavior::EmitAll) => self.messages_per_page,
            _ => self.messages_per_page.min(AT_ONCE),
        };
        let mut changes = Changes::new(cx.oauth(), path, at_once, position);
        if config.poll_only_unread_mail {
            changes = changes.only("isRead eq false");
        }
        while !cx.cancelled.is_cancelled()
            && let Some(page) = changes
                .next()
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

/// Emits a page, as far as there is time; each message counts as done when what it stands in is confirmed.
async fn emit(
    cx: &Context<Config, Received>,
    changes: &mut Changes<'_>,
    page: Vec<Change>,
) -> anyhow::Result<()> {
    let mut complete = stream::iter(page)
        .map(|change| with_files(cx, change))
        .buffered(MESSAGES_AT_ONCE);
    match cx.config.emit_behavior.unwrap_or_default() {
        EmitBehavior::EmitIndividually => {
            while !cx.cancelled.is_cancelled()
                && let Some(mut change) = complete.try_next().await?
            {
                cx.data(&Received(std::mem::take(&mut change.item))).await?;
                changes.done(&change);
            }
        }
        EmitBehavior::EmitAll => {
            let page: Vec<Change> = complete.try_collect().await?;
            let items: Vec<&Item> = page.iter().map(|change| &change.item).collect();
            cx.data(&Received(Item::from_iter([(
                "results".to_owned(),
                json!(items),
            )])))
            .await?;
            page.iter().for_each(|change| changes.done(change));
        }
    }
    Ok(())
}

/// A message with its files under `attachments`, where they are wanted and there are any.
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

/// What Graph lists of an attachment.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
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
    let list = graph::path(&["me", "messages", message, "attachments"])?;
    let listed: Vec<Listed> = graph::all(
        cx.oauth(),
        &list,
        &[("$select", "id,name,contentType,size")],
    )
    .await?;
    let mut files = Vec::with_capacity(listed.len());
    for Listed {
        kind,
        id,
        name,
        content_type,
        size,
    } in listed
    {
        let mut file = MailAttachment {
            name: name.unwrap_or_default(),
            content_type,
            size,
            url: None,
        };
        // A link to a file elsewhere has no contents in the mailbox.
        if kind != "#microsoft.graph.referenceAttachment" {
            copy(
                cx,
                cx.oauth(),
                &graph::path(&["me", "messages", message, "attachments", &id, "$value"])?,
                &mut file,
            )
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
    client: &AuthorizedClient,
    path: &str,
    file: &mut MailAttachment,
) -> anyhow::Result<()> {
    let contents = client.get(path).send().await?;
    let content_type = match &file.content_type {
        Some(given) => given.clone(),
        None => {
            let told = contents
                .headers()
                .get("content-type")
                .and_then(|value| value.to_str().ok());
            told.unwrap_or("application/octet-stream").to_owned()
        }
    };
    let stored = cx
        .attachments()?
        .upload(
            reqwest::Body::wrap_stream(contents.bytes_stream()),
            &content_type,
        )
        .await?;
    file.url = Some(stored.url);
    // Graph counts its own wrapping in.
    file.size = stored.size.or(file.size);
    file.content_type = Some(content_type);
    Ok(())
}
