//! Action "Send mail": a message from the user's mailbox, with files from addresses such as object storage's.

use super::{create_event::BodyType, fields, graph};
use anyhow::Context as _;
use base64_simd::STANDARD as BASE64;
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What all files of a message may have together, in bytes: Graph takes requests of 4 MB, and base64 adds a third.
const MOST_BYTES: usize = 3_000_000;

/// The message to send.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mail {
    /// Subject.
    subject: String,
    /// Whom it is for.
    to_recipients: Vec<Recipient>,
    /// Who gets a copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cc_recipients: Vec<Recipient>,
    /// Text of the message.
    body: MailBody,
    /// Whether it is kept among the sent items; it is unless this is false.
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
    /// Name to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct MailBody {
    /// The text itself.
    content: String,
    /// `text` or `html`; `text` when left out.
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
    /// Where its contents are, such as the `url` of an attachment of an earlier step.
    url: String,
}

/// Sends the message once, and emits what was given. An answer that is lost is an error: a second try could send it
/// twice.
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
        request["message"]["attachments"] = attached(&mail.attachments, &cx).await?.into();
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

/// The files in the message itself.
async fn attached(files: &[File], cx: &Context<Value, Mail>) -> anyhow::Result<Vec<Value>> {
    let mut left = MOST_BYTES;
    let mut attached = Vec::with_capacity(files.len());
    for (at, file) in files.iter().enumerate() {
        anyhow::ensure!(
            !file.name.trim().is_empty(),
            "`attachments[{at}].name` is empty: give the file's name"
        );
        let fetched = fetch(file, cx, &mut left).await;
        let (content_type, contents) =
            fetched.with_context(|| format!("`attachments[{at}]` ({})", file.name))?;
        attached.push(json!({
            "@odata.type": "#microsoft.graph.fileAttachment",
            "name": file.name,
            "contentType": content_type,
            "contentBytes": BASE64.encode_to_string(&contents),
        }));
    }
    Ok(attached)
}

/// A file's type and contents; `left` is what it may have, and less what it has afterwards.
async fn fetch(
    file: &File,
    cx: &Context<Value, Mail>,
    left: &mut usize,
) -> anyhow::Result<(String, Vec<u8>)> {
    let mut answer = cx.attachments()?.download(&file.url).await?;
    let told = answer
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok());
    let content_type = told.unwrap_or("application/octet-stream").to_owned();
    let mut contents = Vec::new();
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(reqwest::Error::without_url)
        .context("reading its contents")?
    {
        *left = left.checked_sub(chunk.len()).with_context(|| {
            format!("the attachments have more than {MOST_BYTES} bytes together, which is all that one mail can carry")
        })?;
        contents.extend_from_slice(&chunk);
    }
    Ok((content_type, contents))
}
