//! Messages as component authors see them.

mod attachments;

pub use attachments::{Attachment, Attachments};

use crate::{
    clients::object_storage::{self, ObjectStorage},
    protocol::{Json, Object, headers::OBJECT_ID_HEADER},
};
use anyhow::Context as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// Accepts any body and keeps nothing of it: for modules that only need to be started.
#[derive(Clone, Copy, Debug, Default, JsonSchema)]
pub struct NoBody {}

impl<'de> Deserialize<'de> for NoBody {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self {})
    }
}

/// A message: incoming with a body of the module's input type, or outgoing with whatever can be written as JSON.
///
/// Webhook triggers receive the request as a message and find [`method`](Self::method), [`url`](Self::url),
/// [`original_url`](Self::original_url) and [`query`](Self::query) set.
///
/// ```
/// use sailor::prelude::*;
/// use serde_json::json;
/// let message = Message::new(json!({"name": "Rex"})).with_id("pet-1").with_header("x-eio-routing-key", "pets");
/// assert_eq!(message.id.as_deref(), Some("pet-1"));
/// ```
#[derive(Clone, Debug)]
pub struct Message<B = Value> {
    /// The message's own id; an outgoing message without one gets a new uuid on the wire.
    pub id: Option<String>,
    /// The message's headers (not those of the transport).
    pub headers: Map<String, Value>,
    /// What the message says.
    pub body: B,
    /// Files by name.
    pub attachments: Attachments,
    /// HTTP method of a webhook request.
    pub method: Option<String>,
    /// URL of a webhook request.
    pub url: Option<String>,
    /// URL of a webhook request before the platform rewrote it.
    pub original_url: Option<String>,
    /// Query parameters of a webhook request.
    pub query: Map<String, Value>,
    raw: Object,
    /// Where bodies of earlier steps may be kept.
    storage: Option<ObjectStorage>,
}

impl<B> Message<B> {
    /// A message to send, with this body.
    pub fn new(body: B) -> Self {
        Self {
            id: None,
            headers: Map::new(),
            body,
            attachments: Attachments::default(),
            method: None,
            url: None,
            original_url: None,
            query: Map::new(),
            raw: Object::new(),
            storage: None,
        }
    }

    /// The same message with an id: it becomes the id on the wire too, so that a receiver can tell repeats.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The same message with one more header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// The same message with one more attachment.
    #[must_use]
    pub fn with_attachment(mut self, name: impl Into<String>, attachment: Attachment) -> Self {
        self.attachments.insert(name, attachment);
        self
    }

    /// What an earlier step emitted, where the flow passes it through. It is read only when asked for, and a body that is
    /// kept in object storage is fetched then, each time.
    ///
    /// # Errors
    /// When the body cannot be fetched, or the entry does not fit `P`; names the member.
    pub fn passthrough<P: DeserializeOwned>(
        &self,
        step_id: &str,
    ) -> impl Future<Output = anyhow::Result<Option<Message<P>>>> + Send + use<B, P> {
        // Found before the future exists: it holds no `&B`, so `B` need not be `Sync`.
        let reading = format!("reading passthrough entry {step_id}");
        let (entry, storage) = (self.passthrough_entry(step_id), self.storage.clone());
        async move {
            let Some(entry) = entry.context(reading.clone())? else {
                return Ok(None);
            };
            let entry = with_body(entry, storage.as_ref()).await?;
            Message::read(entry).context(reading).map(Some)
        }
    }

    fn passthrough_entry(&self, step_id: &str) -> anyhow::Result<Option<Object>> {
        let Some(all) = self.raw.get("passthrough") else {
            return Ok(None);
        };
        let steps = Object::read(all.bytes())?;
        Ok(steps
            .get(step_id)
            .map(|entry| Object::read(entry.bytes()))
            .transpose()?)
    }

    /// The message's members as they came in, among them such as this type does not name. Bodies of earlier steps that are
    /// kept in object storage stand there as references; [`passthrough`](Self::passthrough) fetches them.
    pub fn raw(&self) -> &Object {
        &self.raw
    }
}

/// An earlier step's message with its body, which may be kept in object storage.
async fn with_body(mut entry: Object, storage: Option<&ObjectStorage>) -> anyhow::Result<Object> {
    let headers = entry
        .get("headers")
        .and_then(|headers| headers.parse::<Map<String, Value>>().ok());
    let mut headers = headers.unwrap_or_default();
    let Some(id) = headers.remove(OBJECT_ID_HEADER) else {
        return Ok(entry);
    };
    if let Some(id) = id.as_str().filter(|id| !id.is_empty())
        && entry.get("body").is_none_or(Json::is_empty)
    {
        entry.set("body", object_storage::fetch_body(storage, id, None).await?);
    }
    entry.set("headers", Json::of(&headers)?);
    Ok(entry)
}

impl<B: DeserializeOwned> Message<B> {
    /// Types a message's members; a missing body is `null`.
    pub(crate) fn read(raw: Object) -> anyhow::Result<Self> {
        fn member<T: DeserializeOwned + Default>(raw: &Object, name: &str) -> anyhow::Result<T> {
            let value: Option<T> = match raw.get(name) {
                Some(json) => json
                    .parse()
                    .with_context(|| format!("the message's {name}"))?,
                None => None,
            };
            Ok(value.unwrap_or_default())
        }
        let body = match raw.get("body") {
            Some(body) => body.parse(),
            None => Json::from(&Value::Null).parse(),
        };
        Ok(Self {
            id: match raw.get("id") {
                Some(id) => id.parse::<String>().ok(),
                None => None,
            },
            headers: member(&raw, "headers")?,
            body: body.context("the message's body is not what this function takes")?,
            attachments: Attachments::of(raw.get("attachments").cloned()),
            method: member(&raw, "method")?,
            url: member(&raw, "url")?,
            original_url: member(&raw, "originalUrl")?,
            query: raw
                .get("query")
                .and_then(|query| query.parse().ok())
                .unwrap_or_default(),
            raw,
            storage: None,
        })
    }

    /// The same, with where bodies of earlier steps may be kept.
    pub(crate) fn with_storage(self, storage: Option<ObjectStorage>) -> Self {
        Self { storage, ..self }
    }
}

impl<B: Serialize> Message<B> {
    /// The members to send: those that came in, overwritten by what the fields say.
    pub(crate) fn write(self) -> anyhow::Result<Object> {
        let mut object = self.raw;
        let body = Json::of(&self.body).context("writing the message's body as JSON")?;
        if let Some(id) = &self.id {
            object.set("id", Json::of(id)?);
        }
        object.set("headers", Json::of(&self.headers)?);
        if body.as_bytes() != b"null" || object.get("body").is_some() {
            object.set("body", body);
        }
        match self.attachments.write()? {
            Some(attachments) => object.set("attachments", attachments),
            None if object.get("attachments").is_some() => {
                object.set("attachments", Json::empty_object());
            }
            None => {}
        }
        for (name, text) in [
            ("method", &self.method),
            ("url", &self.url),
            ("originalUrl", &self.original_url),
        ] {
            if let Some(text) = text {
                object.set(name, Json::of(text)?);
            }
        }
        if !self.query.is_empty() {
            object.set("query", Json::of(&self.query)?);
        }
        Ok(object)
    }
}

impl TryFrom<Value> for Message<Value> {
    type Error = anyhow::Error;

    /// A message from one JSON object, with whatever members it has.
    fn try_from(message: Value) -> anyhow::Result<Self> {
        Self::read(Object::read(Json::from(&message).bytes())?)
    }
}

/// The answer to the request that started a flow (wire-contract: HTTP replies).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpReply {
    /// Status to answer with, such as 200.
    pub status_code: u16,
    /// Headers to answer with.
    #[serde(default)]
    pub headers: Map<String, Value>,
    /// What to answer.
    #[serde(default)]
    pub body: Value,
}

impl HttpReply {
    /// An answer in JSON.
    ///
    /// # Errors
    /// When `body` cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(status_code: u16, body: &T) -> serde_json::Result<Self> {
        let headers =
            Map::from_iter([("content-type".to_owned(), Value::from("application/json"))]);
        Ok(Self {
            status_code,
            headers,
            body: serde_json::to_value(body)?,
        })
    }
}
