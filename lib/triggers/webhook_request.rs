//! A webhook request, and the members of it that the step's fields can name.

use crate::fields::Pointer;
use sailor::{prelude::*, protocol::Json};
use serde::Serialize;
use serde_json::{Map, Value};
use std::str::FromStr;

/// A webhook request.
#[derive(Serialize, JsonSchema)]
pub struct Received {
    /// HTTP method.
    pub(super) method: String,
    /// Request headers, with names in lower case.
    pub(super) headers: Map<String, Value>,
    /// Query parameters.
    pub(super) query: Map<String, Value>,
    /// The body as JSON if it is JSON, otherwise as text.
    pub(super) body: Value,
    #[serde(skip)]
    pub(super) raw: Vec<u8>,
}

impl Received {
    pub fn new(message: Message<Value>) -> Self {
        let raw = raw_body(&message);
        Self {
            method: message.method.unwrap_or_else(|| "POST".to_owned()),
            headers: with_lowercase_names(message.headers),
            query: message.query,
            body: parse(&raw),
            raw,
        }
    }

    /// The values of a header, which a request can have several times.
    pub fn header(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = match self.headers.get(&name.to_lowercase()) {
            Some(Value::Array(values)) => values,
            Some(value) => std::slice::from_ref(value),
            None => &[],
        };
        values.iter().filter_map(Value::as_str)
    }
}

/// The body for the signature, byte by byte as it was sent. The platform passes it on as `rawData` if component.json
/// says `consumesRawData`. Otherwise this is the message's body, which may have other white space.
fn raw_body(message: &Message<Value>) -> Vec<u8> {
    match message.body.get("rawData") {
        Some(Value::String(text)) => text.clone().into_bytes(),
        _ => message
            .raw()
            .get("body")
            .map(|body| body.as_bytes().to_vec())
            .unwrap_or_default(),
    }
}

/// If names differ only in their letter case, the header has a list of values.
fn with_lowercase_names(headers: Map<String, Value>) -> Map<String, Value> {
    let mut lowercase = Map::new();
    for (name, value) in headers {
        let values = match lowercase.remove(&name.to_lowercase()) {
            None => value,
            Some(Value::Array(mut values)) => {
                values.push(value);
                values.into()
            }
            Some(first) => vec![first, value].into(),
        };
        lowercase.insert(name.to_lowercase(), values);
    }
    lowercase
}

/// Reads JSON as JavaScript writes it: with half a surrogate pair, or after a byte order mark.
fn parse(raw: &[u8]) -> Value {
    let text = raw.strip_prefix("\u{feff}".as_bytes()).unwrap_or(raw);
    let json = serde_json::from_slice(text).ok();
    let json = json.or_else(|| Json::from_text(text.to_vec().into()).ok()?.parse().ok());
    json.unwrap_or_else(|| String::from_utf8_lossy(raw).into())
}

/// A member of a request that a field names: `query:NAME`, `header:NAME`, or `body:` and a JSON pointer.
#[derive(Debug)]
pub enum Member {
    Query(String),
    Header(String),
    Body(Pointer),
}

impl Member {
    /// The text of the member. `None` if it is missing, empty, a list or an object.
    pub fn text(&self, request: &Received) -> Option<String> {
        let text = match self {
            Self::Query(name) => scalar(request.query.get(name)?)?,
            Self::Header(name) => request.header(name).next()?.to_owned(),
            Self::Body(pointer) => scalar(pointer.find(&request.body)?)?,
        };
        Some(text).filter(|text| !text.is_empty())
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

impl FromStr for Member {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (place, name) = text.split_once(':').unwrap_or_default();
        match place {
            "query" if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            "header" if is_header_name(name) => Ok(Self::Header(name.to_owned())),
            "body" if name.starts_with('/') => Ok(Self::Body(name.parse()?)),
            _ => Err("a member of the request: query:NAME, header:NAME or body:/POINTER"),
        }
    }
}

/// Whether `name` can be the name of a header (RFC 9110 §5.6.2).
pub fn is_header_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}
