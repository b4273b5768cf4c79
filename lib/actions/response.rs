//! The API's response as messages: JSON, text, or a file in object storage; whole, or one message for each item of a list.

use crate::{api, fields::Pointer};
use anyhow::{Context as _, bail};
use reqwest::{
    Body, Response,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE},
};
use sailor::{
    http::{self, decode_text, headers_as_json},
    prelude::*,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How the response is read.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum AnswerType {
    /// As its content type says.
    #[default]
    Auto,
    /// As JSON; anything else is an error.
    Json,
    /// As text.
    Text,
    /// As a file.
    Attachment,
}

/// A file of at most this size is kept in memory until it is stored: its upload can be repeated.
const MAX_BUFFERED_FILE: u64 = 8 << 20;

/// The API's response.
#[derive(Clone, Serialize, JsonSchema)]
pub struct EmittedResponse {
    /// HTTP status.
    status: u16,
    /// Response headers. Several `set-cookie` are a list, the values of another repeated header are joined with commas.
    headers: Map<String, Value>,
    /// JSON, text, or an item of a split list; null if the response is a file, which is an attachment.
    body: Value,
}

/// How a response is emitted.
pub struct EmitOptions<'a> {
    /// Method and path of the request, for errors.
    pub request: &'a str,
    /// Whether the request can be sent again if its response breaks off.
    pub is_repeatable: bool,
    pub kind: AnswerType,
    /// The list whose items become messages of their own.
    pub split: Option<&'a Pointer>,
}

enum ResponseContent {
    Inline(Value),
    File(String, Attachment),
}

impl EmitOptions<'_> {
    pub async fn emit<C>(
        self,
        response: Response,
        cx: &Context<C, EmittedResponse>,
    ) -> anyhow::Result<()> {
        let status = response.status().as_u16();
        if self.split.is_some() && matches!(status, 204 | 304) {
            // Without content there are no items.
            return Ok(());
        }
        let mut emitted = EmittedResponse {
            status,
            headers: headers_as_json(response.headers()),
            body: Value::Null,
        };
        match (self.content(response, cx).await?, self.split) {
            (ResponseContent::Inline(body), None) => {
                emitted.body = body;
                cx.data(&emitted).await
            }
            (ResponseContent::Inline(mut body), Some(split)) => {
                let items = split.take_list(&mut body, "splitPointer")?.items;
                let responses = items.into_iter().map(|body| EmittedResponse {
                    body,
                    ..emitted.clone()
                });
                cx.data_all(responses).await
            }
            (ResponseContent::File(name, file), None) => {
                cx.message(Message::new(emitted).with_attachment(name, file))
                    .await
            }
            (ResponseContent::File(..), Some(_)) => {
                bail!("the response is a file and cannot be split: leave `splitPointer` empty")
            }
        }
    }

    async fn content<C>(
        &self,
        response: Response,
        cx: &Context<C, EmittedResponse>,
    ) -> anyhow::Result<ResponseContent> {
        let content_type = response.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let content_type = content_type.map(str::to_owned);
        let content_type = content_type.as_deref();
        let name = file_name(&response);
        let kind = match self.kind {
            AnswerType::Auto => content_type.map_or(AnswerType::Auto, kind_of),
            chosen => chosen,
        };
        let length = response.content_length();
        if kind == AnswerType::Attachment && length.is_none_or(|length| length > MAX_BUFFERED_FILE)
        {
            let body = Body::wrap_stream(response.bytes_stream());
            return store(name, body, content_type, cx).await;
        }
        let bytes = api::read(response, self.request, self.is_repeatable).await?;
        match self.inline(kind, &bytes, content_type)? {
            Some(value) => Ok(ResponseContent::Inline(value)),
            None => store(name, bytes.into(), content_type, cx).await,
        }
    }

    /// The value of a response that was read as `kind`; `None` if it is a file.
    fn inline(
        &self,
        kind: AnswerType,
        bytes: &[u8],
        content_type: Option<&str>,
    ) -> anyhow::Result<Option<Value>> {
        let lossy = || Some(http::decode_text_lossy(bytes, content_type).into());
        match kind {
            AnswerType::Attachment => Ok(None),
            _ if bytes.is_empty() => Ok(Some(Value::Null)),
            AnswerType::Text if self.kind == AnswerType::Auto && is_plain(content_type) => {
                Ok(structure(bytes, content_type)
                    .or_else(|| decode_text(bytes, content_type).map(Value::from)))
            }
            AnswerType::Text => match decode_text(bytes, content_type) {
                Some(text) => Ok(Some(text.into())),
                None if self.kind == AnswerType::Text => Ok(lossy()),
                None => Ok(None),
            },
            AnswerType::Json if self.kind == AnswerType::Json => {
                api::parse_json(bytes, content_type, self.request).map(Some)
            }
            // A response that claims to be JSON may be an error page, and one without a content type may be anything.
            AnswerType::Json => {
                let json = http::parse_json(bytes, content_type).ok();
                Ok(json.or_else(lossy))
            }
            AnswerType::Auto => Ok(structure(bytes, content_type)
                .or_else(|| decode_text(bytes, content_type).map(Value::from))),
        }
    }
}

/// The JSON of a response that does not claim to be JSON: an object or a list. Other texts that look like JSON, such as `123`,
/// are texts.
fn structure(bytes: &[u8], content_type: Option<&str>) -> Option<Value> {
    let json = http::parse_json(bytes, content_type).ok();
    json.filter(|json: &Value| json.is_object() || json.is_array())
}

/// Whether a response says no more than that it is text. APIs and gateways send JSON so.
fn is_plain(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|content_type| media_type(content_type) == "text/plain")
}

fn media_type(content_type: &str) -> String {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

/// How a response of this content type is read.
fn kind_of(content_type: &str) -> AnswerType {
    let kind = media_type(content_type);
    let is_text = kind.starts_with("text/")
        || kind.ends_with("+xml")
        || matches!(
            &*kind,
            "application/xml"
                | "application/javascript"
                | "application/x-www-form-urlencoded"
                | "application/x-ndjson"
                | "application/yaml"
        );
    match &*kind {
        "" => AnswerType::Auto,
        "application/json" | "text/json" | "application/x-json" | "text/x-json" => AnswerType::Json,
        kind if kind.ends_with("+json") => AnswerType::Json,
        _ if is_text => AnswerType::Text,
        _ => AnswerType::Attachment,
    }
}

/// A name for the file: the one that the API gives, or else the last part of the URL.
fn file_name(response: &Response) -> String {
    let given = response.headers().get(CONTENT_DISPOSITION);
    let given = given.and_then(http::file_name);
    let last_part = || {
        let mut parts = response.url().path_segments()?;
        parts.rfind(|part| !part.is_empty()).map(str::to_owned)
    };
    given
        .or_else(last_part)
        .unwrap_or_else(|| "file".to_owned())
}

/// Puts a file into object storage.
async fn store<C>(
    name: String,
    body: Body,
    content_type: Option<&str>,
    cx: &Context<C, EmittedResponse>,
) -> anyhow::Result<ResponseContent> {
    let storage = cx.attachments().context("the response is a file")?;
    let content_type = content_type.unwrap_or("application/octet-stream");
    let file = storage.upload(body, content_type).await?;
    Ok(ResponseContent::File(name, file.into()))
}
