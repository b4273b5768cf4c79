//! The body of a request: JSON, a form, text, a multipart form, or the content of a file. Files are read before the
//! request is sent: it can be sent again after a refresh of the token.

use super::multipart::Multipart;
use anyhow::{Context as _, bail};
use reqwest::header::CONTENT_TYPE;
use sailor::{
    Attachments, ObjectStorage,
    http::{BodyError, read_body},
    oauth2::AuthorizedRequest,
    prelude::*,
};
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
    /// A text, unchanged.
    Text,
    /// The members of an object, and the message's attachments.
    Multipart,
    /// The content of one attachment.
    Raw,
}

/// The largest total size of the files of one request, in bytes. They are in memory twice while the request is sent.
const MAX_FILES: usize = 50 << 20;

/// The files that a request sends, by name.
pub type Files = Vec<(String, Attachment)>;

/// The attachments of these names, or all of them.
pub fn select_files(attachments: &Attachments, names: Option<&[String]>) -> anyhow::Result<Files> {
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

/// What a request sends.
pub struct RequestBody {
    pub kind: BodyType,
    pub value: Option<Value>,
    pub files: Files,
    /// Whether the message's headers set a content type.
    pub has_content_type: bool,
}

impl RequestBody {
    /// Gives the request this body. `storage` is called if there are files.
    pub async fn apply_to(
        self,
        request: AuthorizedRequest,
        storage: impl FnOnce() -> anyhow::Result<ObjectStorage>,
    ) -> anyhow::Result<AuthorizedRequest> {
        match self.kind {
            BodyType::Json => Ok(match &self.value {
                Some(value) => request.json(value),
                None => request,
            }),
            BodyType::Form => Ok(request.form(&pairs(self.value)?)),
            BodyType::Text => {
                let request = self.typed(request, "text/plain; charset=utf-8");
                Ok(request.body(text(self.value)?))
            }
            BodyType::Raw => {
                let (name, file) = self.only_file()?;
                let content = read(&storage()?, name, file, MAX_FILES).await?;
                let content_type = file.content_type.as_deref();
                let content_type = content_type.unwrap_or("application/octet-stream");
                Ok(self.typed(request, content_type).body(content))
            }
            BodyType::Multipart => {
                let form = multipart(self.value, &self.files, storage).await?;
                Ok(request
                    .header(CONTENT_TYPE.as_str(), &form.content_type())
                    .body(form.finish()))
            }
        }
    }

    /// Sets the content type, unless the message sets one.
    fn typed(&self, request: AuthorizedRequest, content_type: &str) -> AuthorizedRequest {
        if self.has_content_type {
            request
        } else {
            request.header(CONTENT_TYPE.as_str(), content_type)
        }
    }

    fn only_file(&self) -> anyhow::Result<&(String, Attachment)> {
        match &self.files[..] {
            [file] => Ok(file),
            files => bail!(
                "a raw body is the content of one attachment, and there are {}: name one in `attachments`",
                files.len()
            ),
        }
    }
}

async fn multipart(
    value: Option<Value>,
    files: &Files,
    storage: impl FnOnce() -> anyhow::Result<ObjectStorage>,
) -> anyhow::Result<Multipart> {
    let mut form = Multipart::new();
    for (name, value) in pairs(value)? {
        form.field(&name, &value);
    }
    if !files.is_empty() {
        let storage = storage()?;
        for (name, file) in files {
            let room = MAX_FILES.saturating_sub(form.len());
            let content = read(&storage, name, file, room).await?;
            form.file(name, file, &content);
        }
    }
    Ok(form)
}

fn text(value: Option<Value>) -> anyhow::Result<String> {
    match value {
        None => Ok(String::new()),
        Some(value) => scalar(&value)
            .context("`body` is a list or an object: as a text, it must be a single value"),
    }
}

/// The fields of a form; a list is several fields.
fn pairs(value: Option<Value>) -> anyhow::Result<Vec<(String, String)>> {
    let members = match value {
        None => Map::new(),
        Some(Value::Object(members)) => members,
        Some(_) => bail!("`body` must be an object: its members are the form's fields"),
    };
    let mut pairs = Vec::new();
    for (name, value) in members {
        for value in values(&value) {
            let value = scalar(value).with_context(|| {
                format!("`body.{name}` is an object: a form has only single values")
            })?;
            pairs.push((name.clone(), value));
        }
    }
    Ok(pairs)
}

/// The values of a form field or a parameter: the items of a list, a single value, or nothing for `null`.
pub fn values(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        Value::Null => &[],
        value => std::slice::from_ref(value),
    }
}

/// The text of a value that is neither `null`, a list nor an object.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Reads a file of at most `room` bytes.
async fn read(
    storage: &ObjectStorage,
    name: &str,
    file: &Attachment,
    room: usize,
) -> anyhow::Result<Vec<u8>> {
    let reading = || format!("reading attachment {name:?}");
    let response = storage.download(&file.url).await.with_context(reading)?;
    match read_body(response, room).await {
        Ok(content) => Ok(content),
        Err(BodyError::TooLarge { .. }) => bail!(
            "the attachments are too large for one request, at {name:?}: it takes {} MB",
            MAX_FILES >> 20
        ),
        Err(error) => Err(error).with_context(reading),
    }
}
