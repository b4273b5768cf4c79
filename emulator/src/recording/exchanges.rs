//! A request of the component, and the response to it, in a recording.

use super::{
    body::Body,
    multipart::boundary,
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
const CONTENT_TYPE: &str = "content-type";
/// What stands for the random boundary of a multipart body.
const BOUNDARY: &str = "boundary";

pub(super) type Headers = BTreeMap<String, Vec<String>>;

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
        let mut headers = texts(&request.headers, &LEFT_OUT);
        let mut body = request.body.to_vec();
        if let Some(boundary) = boundary(content_type(&headers)) {
            for value in headers.get_mut(CONTENT_TYPE).into_iter().flatten() {
                *value = value.replace(&boundary, BOUNDARY);
            }
            body = with_boundary(&body, &boundary);
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
    /// `is_to_head` says that the response has no body, but its length.
    pub(super) fn of(response: &HttpResponse, is_to_head: bool) -> Self {
        let left_out = LEFT_OUT.into_iter();
        let left_out: Vec<_> = left_out
            .filter(|name| !is_to_head || *name != header::CONTENT_LENGTH)
            .collect();
        Self {
            status: response.status,
            headers: texts(&response.headers, &left_out),
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

fn texts(headers: &HeaderMap, left_out: &[HeaderName]) -> Headers {
    let mut texts = Headers::new();
    let kept = without_connection(headers);
    for (name, value) in kept.iter().filter(|(name, _)| !left_out.contains(name)) {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        texts.entry(name.to_string()).or_default().push(value);
    }
    texts
}

/// The type of a body; empty if there is none.
pub(super) fn content_type(headers: &Headers) -> &str {
    let values = headers.get(CONTENT_TYPE).and_then(|values| values.first());
    values.map_or("", |value| value)
}

/// A body with [`BOUNDARY`] in the place of its own. It may have parts that are no text.
fn with_boundary(body: &[u8], own: &str) -> Vec<u8> {
    let delimiter = format!("--{own}");
    let (mut changed, mut rest) = (Vec::new(), body);
    while let Some(at) = find(rest, delimiter.as_bytes()) {
        changed.extend_from_slice(&rest[..at]);
        changed.extend_from_slice(b"--");
        changed.extend_from_slice(BOUNDARY.as_bytes());
        rest = &rest[at + delimiter.len()..];
    }
    changed.extend_from_slice(rest);
    changed
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
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
        for (is_to_head, kept) in [(false, &["x-a"][..]), (true, &["content-length", "x-a"])] {
            let response = HttpResponse {
                status: 200,
                headers: headers.clone(),
                body: Default::default(),
            };
            let recorded = Response::of(&response, is_to_head);
            let names = recorded.headers.keys().map(String::as_str);
            assert_eq!(names.collect::<Vec<_>>(), kept);
            let replayed = recorded.to_http().headers;
            assert_eq!(replayed.contains_key("content-length"), is_to_head);
        }
    }

    /// The boundary is another one in each run.
    #[test]
    fn a_multipart_body_is_the_same_in_each_run() {
        let request = |boundary: &str| {
            let content_type = format!("multipart/form-data; boundary=\"{boundary}\"");
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
            let mut body = format!("--{boundary}\r\nContent-Type: image/png\r\n\r\n").into_bytes();
            body.extend(b"\xff--png\r\n--");
            body.extend(format!("{boundary}--\r\n").bytes());
            Request::of(&HttpRequest {
                method: "POST".to_owned(),
                url: "http://a.test/".to_owned(),
                headers,
                body: body.into(),
            })
        };
        let (one, other) = (request("5f9a"), request("0000-1111"));
        assert!(matches!(one.body, Body::Base64(_)));
        assert_eq!((&one.headers, &one.body), (&other.headers, &other.body));
        let bytes = one.body.bytes().unwrap();
        let parts = super::super::multipart::parts(&bytes, BOUNDARY).unwrap();
        assert_eq!(parts.len(), 1);
    }
}
