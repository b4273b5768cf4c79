//! A request of the component, and the response to it, in a recording.

use super::{
    body::Body,
    proxy::{HttpRequest, HttpResponse},
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const OF_CONNECTION: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Headers that each HTTP client writes in its own way: they are not recorded.
const LEFT_OUT: [HeaderName; 5] = [
    header::ACCEPT_ENCODING,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::HOST,
    header::USER_AGENT,
];
/// What stands for the random boundary of a multipart body.
const BOUNDARY: &str = "boundary";

type Headers = BTreeMap<String, Vec<String>>;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exchange {
    pub(super) request: Request,
    pub(super) response: Response,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) url: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) headers: Headers,
    #[serde(default, skip_serializing_if = "Body::is_empty")]
    pub(super) body: Body,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Response {
    pub(super) status: u16,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) headers: Headers,
    #[serde(default, skip_serializing_if = "Body::is_empty")]
    pub(super) body: Body,
}

impl Request {
    pub(super) fn of(request: &HttpRequest) -> Self {
        let mut headers = texts(&request.headers);
        let mut body = request.body.clone();
        if let Some(boundary) = boundary(&request.headers) {
            let plain = |text: &str| text.replace(&boundary, BOUNDARY);
            for value in headers.values_mut().flatten() {
                *value = plain(value);
            }
            if let Ok(text) = std::str::from_utf8(&body) {
                body = plain(text).into();
            }
        }
        Self {
            method: request.method.clone(),
            url: request.url.clone(),
            headers,
            body: Body::of(&body),
        }
    }

    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method, self.url)
    }
}

impl Response {
    pub(super) fn of(response: &HttpResponse) -> Self {
        Self {
            status: response.status,
            headers: texts(&response.headers),
            body: Body::of(&response.body),
        }
    }

    pub(super) fn to_http(&self) -> HttpResponse {
        let pairs = self.headers.iter();
        let pairs = pairs.flat_map(|(name, values)| values.iter().map(move |v| (name, v)));
        let pairs = pairs.filter_map(|(name, value)| {
            let name: HeaderName = name.parse().ok()?;
            Some((name, HeaderValue::from_str(value).ok()?))
        });
        HttpResponse {
            status: self.status,
            headers: pairs.collect(),
            body: self.body.bytes().unwrap_or_default(),
        }
    }
}

/// Headers without those that belong to a connection. What is sent on is otherwise unchanged.
pub(super) fn without_connection(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in OF_CONNECTION {
        headers.remove(name);
    }
    headers
}

/// The headers of a request that is sent on. The HTTP client writes its own length, and asks for what it can decode.
pub(super) fn to_send(headers: &HeaderMap) -> HeaderMap {
    let mut headers = without_connection(headers);
    for name in [
        header::ACCEPT_ENCODING,
        header::CONTENT_LENGTH,
        header::HOST,
    ] {
        headers.remove(name);
    }
    headers
}

fn texts(headers: &HeaderMap) -> Headers {
    let mut texts = Headers::new();
    let kept = without_connection(headers);
    for (name, value) in kept.iter().filter(|(name, _)| !LEFT_OUT.contains(name)) {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        texts.entry(name.to_string()).or_default().push(value);
    }
    texts
}

fn boundary(headers: &HeaderMap) -> Option<String> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (_, rest) = content_type.split_once("boundary=")?;
    let boundary = rest.split(';').next()?.trim().trim_matches('"');
    (content_type.starts_with("multipart/") && !boundary.is_empty()).then(|| boundary.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_on_has_the_headers_of_the_client() {
        let names = [
            "content-encoding",
            "user-agent",
            "x-a",
            "host",
            "content-length",
            "upgrade",
            "te",
        ];
        let value = HeaderValue::from_static("1");
        let headers: HeaderMap = names
            .map(|name| (HeaderName::from_static(name), value.clone()))
            .into_iter()
            .collect();
        let sent = to_send(&headers);
        assert!(names[..3].iter().all(|name| sent.contains_key(*name)));
        assert_eq!(sent.len(), 3, "{sent:?}");
        // The answer to `HEAD` says how long the body would be.
        assert!(without_connection(&headers).contains_key("content-length"));
        assert_eq!(texts(&headers).into_keys().collect::<Vec<_>>(), ["x-a"]);
    }
}
