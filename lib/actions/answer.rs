//! The API's answer as messages: JSON, text, or a file in object storage; whole, or one message for each item of a list.

use super::{api, fields::Pointer};
use anyhow::{Context as _, bail};
use encoding_rs::Encoding;
use percent_encoding::percent_decode_str;
use reqwest::{
    Body, Response,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE},
};
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap};

/// What the answer's body is taken for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum AnswerType {
    /// What its content type says.
    #[default]
    Auto,
    /// JSON, and an error if it is not.
    Json,
    /// Text, whatever is in it.
    Text,
    /// A file, whatever is in it.
    Attachment,
}

/// A file of this size at most is kept in memory until object storage has it, so that it can be sent there again.
const KEPT: u64 = 8 << 20;

/// The API's answer.
#[derive(Clone, Serialize, JsonSchema)]
pub struct Answer {
    /// HTTP status.
    status: u16,
    /// Headers of the answer.
    headers: BTreeMap<String, String>,
    /// JSON where the answer is JSON, text where it is text, an item of its list where it is split, nothing where it is
    /// a file: that is an attachment.
    body: Value,
}

/// How an answer is emitted.
pub struct Emission<'a> {
    /// Method and path of the request.
    pub request: &'a str,
    /// Whether the request can be sent again when its answer breaks off.
    pub repeatable: bool,
    pub kind: AnswerType,
    /// Where the list is whose items are to be messages of their own.
    pub split: Option<&'a Pointer>,
}

enum Content {
    Inline(Value),
    File(String, Attachment),
}

impl Emission<'_> {
    pub async fn emit<C>(self, answer: Response, cx: &Context<C, Answer>) -> anyhow::Result<()> {
        let status = answer.status().as_u16();
        let headers = answer
            .headers()
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        if self.split.is_some() && matches!(status, 204 | 304) {
            // No contents, no items.
            return Ok(());
        }
        let whole = |body| Answer {
            status,
            headers,
            body,
        };
        match (self.content(answer, cx).await?, self.split) {
            (Content::Inline(body), None) => cx.data(&whole(body)).await,
            (Content::Inline(mut body), Some(split)) => {
                let items = split.list(&mut body, "splitPointer")?;
                let frame = whole(Value::Null);
                cx.data_all(items.into_iter().map(|body| Answer {
                    body,
                    ..frame.clone()
                }))
                .await
            }
            (Content::File(name, file), None) => {
                cx.message(Message::new(whole(Value::Null)).with_attachment(name, file))
                    .await
            }
            (Content::File(..), Some(_)) => {
                bail!("the answer is a file and has no list to split: leave `splitPointer` empty")
            }
        }
    }

    async fn content<C>(
        &self,
        answer: Response,
        cx: &Context<C, Answer>,
    ) -> anyhow::Result<Content> {
        let declared = answer
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let name = name_of(&answer);
        let file = async |body: Body| stored(name, body, declared.as_deref(), cx).await;
        let kind = match self.kind {
            AnswerType::Auto => declared.as_deref().map_or(AnswerType::Auto, kind_of),
            asked => asked,
        };
        if kind == AnswerType::Attachment
            && answer.content_length().is_none_or(|length| length > KEPT)
        {
            return file(Body::wrap_stream(answer.bytes_stream())).await;
        }
        let bytes = api::bytes(answer, self.request, self.repeatable).await?;
        if bytes.is_empty() && kind != AnswerType::Attachment {
            return Ok(Content::Inline(Value::Null));
        }
        let lossy = |bytes: &[u8]| Content::Inline(String::from_utf8_lossy(bytes).into());
        match kind {
            AnswerType::Attachment => file(bytes.into()).await,
            AnswerType::Text => match decoded(&bytes, declared.as_deref()) {
                Some(text) => Ok(Content::Inline(text.into())),
                None if self.kind == AnswerType::Text => Ok(lossy(&bytes)),
                None => file(bytes.into()).await,
            },
            AnswerType::Json if self.kind == AnswerType::Json => {
                api::read_json(&bytes, self.request).map(Content::Inline)
            }
            // What does not say what it is may be anything, and what says that it is JSON may be an error page.
            AnswerType::Json | AnswerType::Auto => match serde_json::from_slice(&bytes) {
                Ok(json) => Ok(Content::Inline(json)),
                Err(_) if kind == AnswerType::Json || str::from_utf8(&bytes).is_ok() => {
                    Ok(lossy(&bytes))
                }
                Err(_) => file(bytes.into()).await,
            },
        }
    }
}

/// What a content type says.
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

/// A text in the character set that its content type names, UTF-8 unless it names one; none where it is not.
fn decoded(bytes: &[u8], content_type: Option<&str>) -> Option<String> {
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

/// A name for the file: the one that the API gives, or else the last part of its address.
fn name_of(answer: &Response) -> String {
    let disposition = answer
        .headers()
        .get(CONTENT_DISPOSITION)
        .and_then(|value| value.to_str().ok());
    let last = || {
        answer
            .url()
            .path_segments()?
            .rfind(|part| !part.is_empty())
            .map(str::to_owned)
    };
    disposition
        .and_then(given_name)
        .or_else(last)
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

async fn stored<C>(
    name: String,
    body: Body,
    content_type: Option<&str>,
    cx: &Context<C, Answer>,
) -> anyhow::Result<Content> {
    let storage = cx.attachments().context("the answer is a file")?;
    let file = storage
        .upload(body, content_type.unwrap_or("application/octet-stream"))
        .await?;
    let attachment = Attachment {
        url: file.url,
        content_type: Some(file.content_type),
        size: file.size,
        ..Attachment::default()
    };
    Ok(Content::File(name, attachment))
}

#[cfg(test)]
mod tests {
    use super::{decoded, given_name};

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
                decoded(bytes, content_type).as_deref(),
                text,
                "{content_type:?}"
            );
        }
    }
}
