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

/// A file that a request sends.
pub struct FileToSend {
    /// The name of the attachment.
    name: String,
    attachment: Attachment,
    /// The name of its part in a multipart form.
    part: String,
    /// The name that the form gives the file.
    file_name: String,
}

/// An attachment to send: its name, or also the names that a multipart form gives it.
#[derive(Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a name, or an object with `name`, `part` and `fileName`"
)]
pub enum FileChoice {
    Name(String),
    #[serde(rename_all = "camelCase")]
    Named {
        name: String,
        #[serde(default)]
        part: Option<String>,
        #[serde(default)]
        file_name: Option<String>,
    },
}

/// The attachments that were chosen, or all of them. `part` is the step's name for their parts, if it has one.
pub fn select_files(
    attachments: &Attachments,
    choices: Option<Vec<FileChoice>>,
    part: Option<&str>,
) -> anyhow::Result<Vec<FileToSend>> {
    let file = |name: String, attachment: Attachment| FileToSend {
        part: part.unwrap_or(&name).to_owned(),
        file_name: name.clone(),
        name,
        attachment,
    };
    let Some(choices) = choices else {
        let all = attachments.iter();
        return all
            .map(|entry| entry.map(|(name, found)| file(name, found)))
            .collect();
    };
    let find = |name: String| {
        let found = attachments.get(&name)?.with_context(|| {
            format!("`attachments` names {name:?}, which the message does not have")
        })?;
        anyhow::Ok(file(name, found))
    };
    let choose = |choice| match choice {
        FileChoice::Name(name) => find(name),
        FileChoice::Named {
            name,
            part,
            file_name,
        } => {
            let mut file = find(name)?;
            file.part = part.unwrap_or(file.part);
            file.file_name = file_name.unwrap_or(file.file_name);
            Ok(file)
        }
    };
    choices.into_iter().map(choose).collect()
}

/// What a request sends.
pub struct RequestBody {
    pub kind: BodyType,
    pub value: Option<Value>,
    pub files: Vec<FileToSend>,
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
                let file = self.only_file()?;
                let content = read(&storage()?, file, MAX_FILES).await?;
                let content_type = file.attachment.content_type.as_deref();
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

    fn only_file(&self) -> anyhow::Result<&FileToSend> {
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
    files: &[FileToSend],
    storage: impl FnOnce() -> anyhow::Result<ObjectStorage>,
) -> anyhow::Result<Multipart> {
    let mut form = Multipart::new();
    for (name, value) in pairs(value)? {
        form.field(&name, &value);
    }
    if !files.is_empty() {
        let storage = storage()?;
        for file in files {
            let room = MAX_FILES.saturating_sub(form.len());
            let content = read(&storage, file, room).await?;
            form.file(&file.part, &file.file_name, &file.attachment, &content);
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
async fn read(storage: &ObjectStorage, file: &FileToSend, room: usize) -> anyhow::Result<Vec<u8>> {
    let name = &file.name;
    let reading = || format!("reading attachment {name:?}");
    let response = storage
        .download(&file.attachment.url)
        .await
        .with_context(reading)?;
    match read_body(response, room).await {
        Ok(content) => Ok(content),
        Err(BodyError::TooLarge { .. }) => bail!(
            "the attachments are too large for one request, at {name:?}: it takes {} MB",
            MAX_FILES >> 20
        ),
        Err(error) => Err(error).with_context(reading),
    }
}
