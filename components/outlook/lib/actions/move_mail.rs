//! Action "Move mail": moves a message to another folder, or to the deleted items.

use crate::{
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
    #[serde(default, deserialize_with = "fields::text")]
    original_mail_folders: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    destination_folder: Option<String>,
}

/// The message to move.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailId {
    /// Id of the message, as the trigger "Poll for New Mail" emits it.
    message_id: String,
}

/// Emits the moved message, which has a new id, and its folder.
pub async fn move_mail(
    message: Message<MailId>,
    cx: Context<Config, MovedMail>,
) -> anyhow::Result<()> {
    let id = message.body.message_id.trim();
    let source = source(&cx.config, id)?;
    let destination = destination(&cx).await?;
    let destination_id = destination
        .get("id")
        .and_then(|id| id.as_str())
        .context("Graph returned a mail folder without `id`")?;
    let moved: Item = cx
        .oauth()
        .post(source)
        .json(&json!({ "destinationId": destination_id }))
        .send_json()
        .await
        .context("moving the message (`messageId`) out of its folder (`originalMailFolders` of the step)")?;
    let mut moved = graph::without_annotations(moved);
    let folder = graph::without_annotations(destination);
    moved.insert("currentFolder".to_owned(), folder.into());
    cx.data(&MovedMail(moved)).await
}

/// The path of the request that moves the message.
fn source(config: &Config, id: &str) -> anyhow::Result<String> {
    anyhow::ensure!(
        !id.is_empty(),
        "`messageId` is empty: map the id of the message to move"
    );
    let folder = fields::required(
        config.original_mail_folders.as_ref(),
        "originalMailFolders",
        "choose the folder that the message is in",
    )?;
    graph::path(&["me", "mailFolders", folder, "messages", id, "move"])
        .context("the message (`messageId`) or its folder (`originalMailFolders` of the step)")
}

/// The folder that the message goes to.
async fn destination(cx: &Context<Config, MovedMail>) -> anyhow::Result<Item> {
    let wanted = cx.config.destination_folder.as_deref();
    let path = graph::path(&["me", "mailFolders", wanted.unwrap_or("deleteditems")])
        .context("the destination folder (`destinationFolder` of the step)")?;
    cx.oauth()
        .get(path)
        .send_json()
        .await
        .context("looking up the destination folder (`destinationFolder` of the step)")
}
