//! Action "Send mail": sends a message from the user's mailbox, with files from object storage or other URLs.

use super::create_event::BodyType;
use crate::{fields, graph};
use anyhow::Context as _;
use base64_simd::STANDARD as BASE64;
use sailor::{
    http::{BodyError, read_body},
    prelude::*,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The most that the files of one message may have together, in bytes: Graph accepts requests of 4 MB, and base64 adds a
/// third.
const MAX_BYTES: usize = 3_000_000;

/// The message to send.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mail {
    /// Subject.
    subject: String,
    /// Recipients.
    to_recipients: Vec<Recipient>,
    /// Recipients of a copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cc_recipients: Vec<Recipient>,
    /// Text of the message.
    body: MailBody,
    /// Whether a copy is kept in the sent items. The default is true.
    #[serde(
        default,
        deserialize_with = "fields::flag",
        skip_serializing_if = "Option::is_none"
    )]
    save_to_sent_items: Option<bool>,
    /// Files to attach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<File>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Recipient {
    email_address: Address,
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct Address {
    /// Mail address.
    address: String,
    /// Display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct MailBody {
    /// The text.
    content: String,
    /// `text` or `html`. The default is `text`.
    #[serde(
        default,
        deserialize_with = "fields::choice",
        skip_serializing_if = "Option::is_none"
    )]
    content_type: Option<BodyType>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct File {
    /// Name of the file.
    name: String,
    /// URL of its content, such as the `url` of an attachment of an earlier step.
    url: String,
}

/// Sends the message once, and emits its input. A lost response is an error: a retry could send the message twice.
pub async fn send_mail(message: Message<Mail>, cx: Context<Value, Mail>) -> anyhow::Result<()> {
    let mail = message.body;
    check(&mail)?;
    let mut request = json!({
        "message": {
            "subject": mail.subject,
            "toRecipients": mail.to_recipients,
            "ccRecipients": mail.cc_recipients,
            "body": { "contentType": mail.body.content_type.unwrap_or_default(), "content": mail.body.content },
        },
        "saveToSentItems": mail.save_to_sent_items.unwrap_or(true),
    });
    if !mail.attachments.is_empty() {
        request["message"]["attachments"] = encoded_files(&mail.attachments, &cx).await?.into();
    }
    let sent = cx
        .oauth()
        .post(graph::path(&["me", "sendMail"])?)
        .json(&request)
        .send()
        .await;
    sent.context("sending the message")?;
    cx.data(&mail).await
}

fn check(mail: &Mail) -> anyhow::Result<()> {
    anyhow::ensure!(
        !mail.to_recipients.is_empty(),
        "`toRecipients` is empty: give at least one recipient"
    );
    for (list, recipients) in [
        ("toRecipients", &mail.to_recipients),
        ("ccRecipients", &mail.cc_recipients),
    ] {
        let empty = recipients
            .iter()
            .position(|recipient| recipient.email_address.address.trim().is_empty());
        if let Some(at) = empty {
            anyhow::bail!("`{list}[{at}].emailAddress.address` is empty: give a mail address");
        }
    }
    Ok(())
}

/// The files as Graph takes them: within the request.
async fn encoded_files(files: &[File], cx: &Context<Value, Mail>) -> anyhow::Result<Vec<Value>> {
    let mut room = MAX_BYTES;
    let mut encoded = Vec::with_capacity(files.len());
    for (at, file) in files.iter().enumerate() {
        anyhow::ensure!(
            !file.name.trim().is_empty(),
            "`attachments[{at}].name` is empty: give the file's name"
        );
        let fetched = fetch(file, cx, &mut room).await;
        let (content_type, content) =
            fetched.with_context(|| format!("`attachments[{at}]` ({})", file.name))?;
        encoded.push(json!({
            "@odata.type": "#microsoft.graph.fileAttachment",
            "name": file.name,
            "contentType": content_type,
            "contentBytes": BASE64.encode_to_string(&content),
        }));
    }
    Ok(encoded)
}

/// Fetches the media type and the content of a file. `room` is how many bytes it may have, and shrinks by its size.
async fn fetch(
    file: &File,
    cx: &Context<Value, Mail>,
    room: &mut usize,
) -> anyhow::Result<(String, Vec<u8>)> {
    let response = cx.attachments()?.download(&file.url).await?;
    let content_type = response
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("application/octet-stream")
        .to_owned();
    let content = match read_body(response, *room).await {
        Ok(content) => content,
        Err(BodyError::TooLarge { .. }) => anyhow::bail!(
            "the attachments have more than {MAX_BYTES} bytes together, which is the most that one mail can carry"
        ),
        Err(error) => return Err(error.into()),
    };
    *room -= content.len();
    Ok((content_type, content))
}
