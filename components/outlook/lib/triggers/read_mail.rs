//! Trigger "Poll for new mail": the messages of a folder, with their files in the platform's object storage.

use super::{
    changes::{Batch, Changes},
    emit::{emit, report},
    files::{Complete, Files},
    position::Position,
};
use crate::{
    fields,
    graph::{self, Item},
    items::Received,
    time::Time,
};
use anyhow::Context as _;
use futures_util::{StreamExt, stream};
use sailor::{
    prelude::*,
    snapshot::{Memory, Snapshot},
};
use serde::{Deserialize, Serialize};

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
    pub get_attachment: bool,
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
    messages_per_page: u32,
    memory: Memory<Position>,
}

impl ReadMail {
    pub fn new(messages_per_page: u32) -> Self {
        Self {
            messages_per_page,
            memory: Memory::default(),
        }
    }
}

impl Trigger for ReadMail {
    type Config = Config;
    type Snapshot = Snapshot<Position>;
    type Output = Received;

    /// Saves the position after each page, and before an error, so that no message is emitted twice.
    async fn poll(
        &self,
        since: Option<Snapshot<Position>>,
        cx: Context<Config, Received>,
    ) -> anyhow::Result<Option<Snapshot<Position>>> {
        let config = &cx.config;
        let folder = fields::required(
            config.folder_id.as_ref(),
            "folderId",
            "choose a mail folder in the step",
        )?;
        let position = match since {
            Some(since) => self.memory.recall(since),
            None => config.start()?,
        };
        let path = graph::path(&["me", "mailFolders", folder, "messages"])
            .context("the mail folder (`folderId` of the step)")?;
        let page_size = match config.emit_behavior.unwrap_or_default() {
            EmitBehavior::EmitAll => self.messages_per_page,
            EmitBehavior::EmitIndividually => self.messages_per_page.min(MAX_PAGE_SIZE),
        };
        let mut changes = Changes::new(cx.oauth(), path.clone(), page_size, position);
        if config.poll_only_unread_mail {
            changes = changes.filtered("isRead eq false");
        }
        let mut emission = Emission {
            cx: &cx,
            files: Files::new(&cx, &path),
            together: usize::MAX,
        };
        while !cx.cancelled.is_cancelled()
            && let Some(batch) = changes
                .next()
                .await
                .context("reading the mail folder (`folderId` of the step)")?
        {
            let before = changes.position().clone();
            let emitted = emission.emit(&mut changes, batch).await;
            if *changes.position() != before {
                let snapshot = self.memory.save(changes.position().clone())?;
                cx.snapshot(&snapshot).await?;
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

/// Emits the messages of one poll.
struct Emission<'a> {
    cx: &'a Context<Config, Received>,
    files: Files<'a>,
    /// The most messages in one event; it becomes smaller if they are too large together.
    together: usize,
}

/// The messages of a page as one event.
#[derive(Serialize)]
struct Results<'a> {
    results: Vec<&'a Item>,
}

impl Emission<'_> {
    /// Emits a page until the process stops. A message counts as emitted when the event that holds it is confirmed.
    ///
    /// # Errors
    /// Returns an error if a message can be emitted only later. Those before it are emitted and marked.
    async fn emit(&mut self, changes: &mut Changes<'_>, batch: Batch) -> anyhow::Result<()> {
        let cx = self.cx;
        report(cx, changes, batch.faults).await?;
        let is_together = cx.config.emit_behavior == Some(EmitBehavior::EmitAll);
        let files = &self.files;
        let complete = stream::iter(batch.changes).map(|change| files.add(change));
        let mut complete = complete.buffered(CONCURRENT_DOWNLOADS);
        let mut page = Vec::new();
        let mut failed = None;
        while !cx.cancelled.is_cancelled()
            && let Some(result) = complete.next().await
        {
            match result {
                Ok(message) if is_together => page.push(message),
                Ok(mut message) => {
                    let item = Received(std::mem::take(&mut message.change.item));
                    emit(cx, changes, &message.change, item).await?;
                    report_files(cx, message.errors).await?;
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        drop(complete);
        self.emit_together(changes, page).await?;
        failed.map_or(Ok(()), Err)
    }

    /// Emits messages as one event, or as several if they are too large together.
    async fn emit_together(
        &mut self,
        changes: &mut Changes<'_>,
        mut page: Vec<Complete>,
    ) -> anyhow::Result<()> {
        while !page.is_empty() {
            let count = self.together.min(page.len());
            let items = page[..count].iter().map(|message| &message.change.item);
            let results = Results {
                results: items.collect(),
            };
            match self.cx.emitter().data_each([results]).await.pop() {
                Some(failed) if !failed.is_permanent => return Err(failed.into_error()),
                Some(failed) if count > 1 => {
                    failed.dismiss();
                    self.together = count.div_ceil(2);
                    continue;
                }
                Some(failed) => {
                    let error = page[0].change.not_emitted(failed.into_error());
                    self.cx.error(error).await?;
                }
                None => {}
            }
            for message in page.drain(..count) {
                changes.mark_done(&message.change);
                report_files(self.cx, message.errors).await?;
            }
        }
        Ok(())
    }
}

/// Reports the files that a message lacks.
async fn report_files(
    cx: &Context<Config, Received>,
    errors: Vec<anyhow::Error>,
) -> anyhow::Result<()> {
    for error in errors {
        cx.error(error).await?;
    }
    Ok(())
}
