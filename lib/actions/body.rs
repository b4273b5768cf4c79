//! The body of a request: JSON, a form, text, a multipart form, or a file as it is. Files are read before the request is
//! sent, so that it can be sent again after a refresh of the token.

use anyhow::{Context as _, bail};
use reqwest::header::CONTENT_TYPE;
use sailor::{Attachments, ObjectStorage, oauth2::AuthorizedRequest, prelude::*};
use serde::Deserialize;
use serde_json::{Map, Value};

/// How the body is sent.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum BodyType {
    /// As JSON.
    #[default]
    Json,
    /// The members of an object, as an HTML form sends them.
    Form,
    /// A text as it is.
    Text,
    /// The members of an object, and the message's attachments.
    Multipart,
    /// The bytes of one attachment.
    Raw,
}

/// What the files of one request may have together: they are in memory twice while it is sent.
const LONGEST: usize = 50 << 20;

/// The files that go into a request.
pub type Files = Vec<(String, Attachment)>;

/// Those of the message's attachments that `names` lists, or all of them.
pub fn chosen(attachments: &Attachments, names: Option<&[String]>) -> anyhow::Result<Files> {
    let Some(names) = names else {
        return attachments.iter().collect();
    };
    let find = |name: &String| {
        let file = attachments.get(name)?;
        let file = file.with_context(|| {
            format!("`attachments` names {name:?}, which the message does not have")
        })?;
        Ok((name.clone(), file))
    };
    names.iter().map(find).collect()
}

/// Gives the request its body. `has_type` says that its headers name a content type already.
pub async fn put(
    request: AuthorizedRequest,
    kind: BodyType,
    body: Option<Value>,
    files: Files,
    has_type: bool,
    storage: impl FnOnce() -> anyhow::Result<ObjectStorage>,
) -> anyhow::Result<AuthorizedRequest> {
    let typed = |request: AuthorizedRequest, content_type: &str| {
        if has_type {
            request
        } else {
            request.header(CONTENT_TYPE.as_str(), content_type)
        }
    };
    Ok(match kind {
        BodyType::Json => match body {
            Some(body) => request.json(&body),
            None => request,
        },
        BodyType::Form => request.form(&pairs(body)?),
        BodyType::Text => typed(request, "text/plain; charset=utf-8").body(match body {
            None => String::new(),
            Some(body) => scalar(&body)
                .context("`body` must be a text to be sent as one; it is a list or an object")?,
        }),
        BodyType::Raw => {
            let [(name, file)] = &files[..] else {
                let count = files.len();
                bail!(
                    "a raw body is the bytes of one attachment, not of {count}: name it in `attachments`"
                );
            };
            let content_type = file
                .content_type
                .as_deref()
                .unwrap_or("application/octet-stream");
            typed(request, content_type).body(read(&storage()?, name, file, LONGEST).await?)
        }
        BodyType::Multipart => {
            let boundary = format!("part-{}", uuid::Uuid::new_v4().simple());
            let mut form = Multipart {
                boundary: &boundary,
                bytes: Vec::new(),
            };
            for (name, value) in pairs(body)? {
                form.part(&name, None, value.as_bytes());
            }
            let storage = if files.is_empty() {
                None
            } else {
                Some(storage()?)
            };
            for (name, file) in &files {
                let Some(storage) = &storage else { break };
                let room = LONGEST.saturating_sub(form.bytes.len());
                let bytes = read(storage, name, file, room).await?;
                form.part(name, Some(file), &bytes);
            }
            request
                .header(
                    CONTENT_TYPE.as_str(),
                    &format!("multipart/form-data; boundary={boundary}"),
                )
                .body(form.finished())
        }
    })
}

/// The members of a form; lists are sent as several.
fn pairs(body: Option<Value>) -> anyhow::Result<Vec<(String, String)>> {
    let members = match body {
        None => Map::new(),
        Some(Value::Object(members)) => members,
        Some(_) => bail!(
            "`body` must be an object to be sent as a form: its members are the form's fields"
        ),
    };
    let mut pairs = Vec::new();
    for (name, value) in members {
        let values = match value {
            Value::Array(values) => values,
            Value::Null => vec![],
            value => vec![value],
        };
        for value in &values {
            let value = scalar(value)
                .with_context(|| format!("`body.{name}` is an object: a form has texts only"))?;
            pairs.push((name.clone(), value));
        }
    }
    Ok(pairs)
}

/// A value that a form, a query or a text can hold.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

async fn read(
    storage: &ObjectStorage,
    name: &str,
    file: &Attachment,
    room: usize,
) -> anyhow::Result<Vec<u8>> {
    let mut answer = storage
        .download(&file.url)
        .await
        .with_context(|| format!("reading attachment {name:?}"))?;
    let mut bytes = Vec::new();
    loop {
        let chunk = answer.chunk().await.map_err(reqwest::Error::without_url);
        let Some(chunk) = chunk.with_context(|| format!("reading attachment {name:?}"))? else {
            return Ok(bytes);
        };
        if bytes.len() + chunk.len() > room {
            bail!(
                "the attachments are too large for one request, at {name:?}: it takes {} MB",
                LONGEST >> 20
            );
        }
        bytes.extend_from_slice(&chunk);
    }
}

/// `multipart/form-data` (RFC 7578), put together in memory.
struct Multipart<'a> {
    boundary: &'a str,
    bytes: Vec<u8>,
}

impl Multipart<'_> {
    fn part(&mut self, name: &str, file: Option<&Attachment>, content: &[u8]) {
        let mut head = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{}\"",
            self.boundary,
            escaped(name)
        );
        if let Some(file) = file {
            let plain = |kind: &&str| kind.bytes().all(|byte| (b' '..0x7f).contains(&byte));
            let kind = file
                .content_type
                .as_deref()
                .filter(plain)
                .unwrap_or("application/octet-stream");
            head += &format!("; filename=\"{}\"\r\nContent-Type: {kind}", escaped(name));
        }
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(b"\r\n\r\n");
        self.bytes.extend_from_slice(content);
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn finished(mut self) -> Vec<u8> {
        self.bytes
            .extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        self.bytes
    }
}

/// A name as browsers write it between quotes.
fn escaped(name: &str) -> String {
    name.replace('"', "%22")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}
