//! Action "Move mail": moves a message to another folder, or to the deleted items.

use super::{
    fields,
    graph::{self, Item},
    items::MovedMail,
};
use anyhow::Context as _;
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::json;

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    original_mail_folders: String,
    #[serde(default, deserialize_with = "fields::text")]
    destination_folder: Option<String>,
}

/// The message to move.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailId {
    /// Id of the message, as the trigger "Poll for New Mail" gives it.
    message_id: String,
}

/// Emits the message as it is after the move: it has another id there.
pub async fn move_mail(message: Message<MailId>, cx: Context<Config, MovedMail>) -> anyhow::Result<()> {
    let (config, id) = (&cx.config, message.body.message_id.trim());
    anyhow::ensure!(!id.is_empty(), "`messageId` is empty: map the id of the message that is to be moved");
    anyhow::ensure!(
        !config.original_mail_folders.is_empty(),
        "`originalMailFolders` is empty: choose the folder that the message is in"
    );
    let destination = config.destination_folder.as_deref().unwrap_or("deleteditems");
    let folder: Item = cx
        .oauth()
        .get(graph::path(&["me", "mailFolders", destination]))
        .send_json()
        .await
        .context("looking up the destination folder (`destinationFolder` of the step)")?;
    let folder_id = folder.get("id").and_then(|id| id.as_str()).context("Graph gave a mail folder without `id`")?;
    let path = graph::path(&["me", "mailFolders", &config.original_mail_folders, "messages", id, "move"]);
    let moved: Item = cx
        .oauth()
        .post(path)
        .json(&json!({ "destinationId": folder_id }))
        .send_json()
        .await
        .context("moving the message (`messageId`) out of its folder (`originalMailFolders` of the step)")?;
    let mut moved = graph::without_annotations(moved);
    moved.insert("currentFolder".to_owned(), graph::without_annotations(folder).into());
    cx.data(&MovedMail(moved)).await
}
