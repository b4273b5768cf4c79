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
    #[serde(default, deserialize_with = "fields::text")]
    original_mail_folders: Option<String>,
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
pub async fn move_mail(
    message: Message<MailId>,
    cx: Context<Config, MovedMail>,
) -> anyhow::Result<()> {
    let (config, id) = (&cx.config, message.body.message_id.trim());
    anyhow::ensure!(
        !id.is_empty(),
        "`messageId` is empty: map the id of the message that is to be moved"
    );
    let folder = fields::required(
        config.original_mail_folders.as_ref(),
        "originalMailFolders",
        "choose the folder that the message is in",
    )?;
    let path = graph::path(&["me", "mailFolders", folder, "messages", id, "move"]);
    let path = path
        .context("the message (`messageId`) or its folder (`originalMailFolders` of the step)")?;
    let wanted = config
        .destination_folder
        .as_deref()
        .unwrap_or("deleteditems");
    let destination: Item = cx
        .oauth()
        .get(
            graph::path(&["me", "mailFolders", wanted])
                .context("the destination folder (`destinationFolder` of the step)")?,
        )
        .send_json()
        .await
        .context("looking up the destination folder (`destinationFolder` of the step)")?;
    let destination_id = destination
        .get("id")
        .and_then(|id| id.as_str())
        .context("Graph gave a mail folder without `id`")?;
    let moved: Item = cx
        .oauth()
        .post(path)
        .json(&json!({ "destinationId": destination_id }))
        .send_json()
        .await
        .context("moving the message (`messageId`) out of its folder (`originalMailFolders` of the step)")?;
    let mut moved = graph::without_annotations(moved);
    moved.insert(
        "currentFolder".to_owned(),
        graph::without_annotations(destination).into(),
    );
    cx.data(&MovedMail(moved)).await
}
