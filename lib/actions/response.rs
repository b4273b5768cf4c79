//! The API's response as messages: JSON, text, or a file in object storage; whole, or one message for each item of a list.

use crate::{api, fields::Pointer};
use anyhow::{Context as _, bail};
use encoding_rs::Encoding;
use percent_encoding::percent_decode_str;
use reqwest::{
    Body, Response,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap, HeaderName},
};
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap};

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
    /// Response headers.
    headers: BTreeMap<String, String>,
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
            headers: texts(response.headers()),
            body: Value::Null,
        };
        match (self.content(response, cx).await?, self.split) {
            (ResponseContent::Inline(body), None) => {
                emitted.body = body;
                cx.data(&emitted).await
            }
            (ResponseContent::Inline(mut body), Some(split)) => {
                let items = split.take_list(&mut body, "splitPointer")?;
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
        let content_type = header(&response, CONTENT_TYPE).map(str::to_owned);
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
        let lossy = || Some(String::from_utf8_lossy(bytes).into());
        match kind {
            AnswerType::Attachment => Ok(None),
            _ if bytes.is_empty() => Ok(Some(Value::Null)),
            AnswerType::Text => match decode(bytes, content_type) {
                Some(text) => Ok(Some(text.into())),
                None if self.kind == AnswerType::Text => Ok(lossy()),
                None => Ok(None),
            },
            AnswerType::Json if self.kind == AnswerType::Json => {
                api::parse_json(bytes, self.request).map(Some)
            }
            // A response that claims to be JSON may be an error page, and one without a content type may be anything.
            AnswerType::Json | AnswerType::Auto => match serde_json::from_slice(bytes) {
                Ok(json) => Ok(Some(json)),
                Err(_) if kind == AnswerType::Json || str::from_utf8(bytes).is_ok() => Ok(lossy()),
                Err(_) => Ok(None),
            },
        }
    }
}

fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let headers = headers.iter();
    headers
        .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
        .collect()
}

fn header(response: &Response, name: HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

/// How a response of this content type is read.
fn kind_of(content_type: &str) -> AnswerType {
    let kind = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
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
        "application/json" => AnswerType::Json,
        kind if kind.ends_with("+json") => AnswerType::Json,
        _ if is_text => AnswerType::Text,
        _ => AnswerType::Attachment,
    }
}

/// Decodes a text in the character set of its content type, UTF-8 by default. Returns `None` if it is not text of that
/// set.
fn decode(bytes: &[u8], content_type: Option<&str>) -> Option<String> {
    let parameters = content_type.unwrap_or_default().split(';').skip(1);
    let charset = parameters.filter_map(|parameter| parameter.split_once('='));
    let charset = charset
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .map(|(_, value)| value)
        .next();
    let encoding = match charset {
        Some(charset) => Encoding::for_label(charset.trim().trim_matches('"').as_bytes())?,
        None => encoding_rs::UTF_8,
    };
    encoding
        .decode_without_bom_handling_and_without_replacement(bytes)
        .map(Cow::into_owned)
}

/// A name for the file: the one that the API gives, or else the last part of the URL.
fn file_name(response: &Response) -> String {
    let given = header(response, CONTENT_DISPOSITION).and_then(given_name);
    let last_part = || {
        let mut parts = response.url().path_segments()?;
        parts.rfind(|part| !part.is_empty()).map(str::to_owned)
    };
    given
        .or_else(last_part)
        .unwrap_or_else(|| "file".to_owned())
}

/// The file's name in `Content-Disposition` (RFC 6266): `filename*`, or else `filename`.
fn given_name(disposition: &str) -> Option<String> {
    let mut quoted = false;
    let parameters = disposition.split(|c| {
        quoted ^= c == '"';
        c == ';' && !quoted
    });
    let parameters: Vec<_> = parameters
        .filter_map(|parameter| parameter.split_once('='))
        .collect();
    let find = |wanted: &str| {
        let found = parameters
            .iter()
            .find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim().trim_matches('"'))
    };
    let extended = || {
        let (charset, rest) = find("filename*")?.split_once('\'')?;
        let bytes: Vec<u8> = percent_decode_str(rest.split_once('\'')?.1).collect();
        Encoding::for_label(charset.as_bytes())?
            .decode_without_bom_handling_and_without_replacement(&bytes)
            .map(Cow::into_owned)
    };
    extended()
        .or_else(|| find("filename").map(str::to_owned))
        .filter(|name| !name.is_empty())
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

#[cfg(test)]
mod tests {
    use super::{decode, given_name};

    #[test]
    fn file_names_are_read_from_content_disposition() {
        for (disposition, name) in [
            ("attachment; filename=\"a;b.csv\"", Some("a;b.csv")),
            ("attachment; FileName=a.csv", Some("a.csv")),
            (
                "attachment; filename=\"x\"; filename*=UTF-8''%C3%A4%20b.csv",
                Some("ä b.csv"),
            ),
            ("attachment; filename*=iso-8859-1'de'%E4.csv", Some("ä.csv")),
            ("attachment; filename*=utf-16x''a; filename=b", Some("b")),
            ("inline", None),
            ("attachment; filename=\"\"", None),
        ] {
            assert_eq!(given_name(disposition).as_deref(), name, "{disposition}");
        }
    }

    #[test]
    fn texts_are_decoded_by_their_charset() {
        for (bytes, content_type, text) in [
            (
                &b"M\xfcller"[..],
                Some("text/csv; charset=iso-8859-1"),
                Some("Müller"),
            ),
            (b"M\xc3\xbcller", Some("text/plain"), Some("Müller")),
            (
                b"M\xc3\xbcller",
                Some("text/plain; charset=\"UTF-8\""),
                Some("Müller"),
            ),
            (b"M\xfcller", Some("text/plain"), None),
            (b"M", Some("text/plain; charset=klingon"), None),
        ] {
            assert_eq!(
                decode(bytes, content_type).as_deref(),
                text,
                "{content_type:?}"
            );
        }
    }
}
