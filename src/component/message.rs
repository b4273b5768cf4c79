//! Messages, as component authors see them.

mod attachments;

pub use attachments::{Attachment, Attachments};

use crate::{
    clients::object_storage::{self, ObjectStorage},
    codes::{self, Coded},
    component::emitter::invalid,
    protocol::{Json, Object, headers::OBJECT_ID_HEADER},
};
use anyhow::Context as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// A body that accepts any JSON and ignores it, for modules that do not read the body.
///
/// ```
/// use sailor::{prelude::*, testing::Harness};
/// use serde_json::{Value, json};
///
/// async fn tick(_: Message<NoBody>, cx: Context<Value, String>) -> anyhow::Result<()> {
///     cx.data(&"tick".to_owned()).await
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// # let component = Component::new(r#"{"actions": {"tick": {}}}"#)?.action("tick", tick);
/// let emitted = Harness::new(&component, "tick").run(json!([1, "anything"])).await?;
/// assert_eq!(emitted.data::<String>(), ["tick"]);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, JsonSchema)]
pub struct NoBody {}

impl<'de> Deserialize<'de> for NoBody {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self {})
    }
}

/// A message. An incoming message has a body of the module's input type, an outgoing one a body of its output type.
///
/// A webhook trigger gets the request as a message, in which [`method`](Self::method), [`url`](Self::url),
/// [`original_url`](Self::original_url) and [`query`](Self::query) are set.
///
/// ```
/// use sailor::prelude::*;
/// use serde_json::json;
///
/// let message = Message::new(json!({"name": "Rex"})).with_id("pet-1").with_header("x-eio-routing-key", "pets");
/// assert_eq!(message.id.as_deref(), Some("pet-1"));
/// ```
#[derive(Clone, Debug)]
pub struct Message<B = Value> {
    /// The message's id. An outgoing message without one gets a new UUID on the wire.
    pub id: Option<String>,
    /// The headers of the message, not those of the transport.
    pub headers: Map<String, Value>,
    /// The content of the message.
    pub body: B,
    /// Files by name.
    pub attachments: Attachments,
    /// The HTTP method of a webhook request.
    pub method: Option<String>,
    /// The URL of a webhook request.
    pub url: Option<String>,
    /// The URL of a webhook request before the platform rewrote it.
    pub original_url: Option<String>,
    /// The query parameters of a webhook request.
    pub query: Map<String, Value>,
    raw: Object,
    /// Holds the bodies of earlier steps that are too large for a message.
    storage: Option<ObjectStorage>,
}

impl<B> Message<B> {
    /// Creates a message with this body.
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

    /// Sets the id. The id is sent unchanged, so that a receiver can recognize repeats.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Adds an attachment.
    ///
    /// ```
    /// use sailor::{Attachment, Message};
    ///
    /// let attachment = Attachment { url: "https://files.example.com/7".to_owned(), ..Attachment::default() };
    /// let message = Message::new("a letter").with_attachment("letter.pdf", attachment);
    /// assert!(message.attachments.get("letter.pdf")?.is_some());
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    #[must_use]
    pub fn with_attachment(mut self, name: impl Into<String>, attachment: Attachment) -> Self {
        self.attachments.insert(name, attachment);
        self
    }

    /// Returns what an earlier step emitted, or `None` if the flow does not pass it through. Each call downloads the
    /// body if it is in object storage.
    ///
    /// # Errors
    /// Returns an error if the body cannot be fetched, or if the entry does not deserialize to `P`. The error names the
    /// member.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Order { id: u64 }
    ///
    /// async fn order_id(message: Message<NoBody>, cx: Context<Value, u64>) -> anyhow::Result<()> {
    ///     match message.passthrough::<Order>("step_1").await? {
    ///         Some(order) => cx.data(&order.body.id).await,
    ///         None => anyhow::bail!("step_1 is not passed through"),
    ///     }
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"orderId": {}}}"#)?.action("orderId", order_id);
    /// let message = json!({ "body": {}, "passthrough": { "step_1": { "body": { "id": 7 } } } });
    /// let emitted = Harness::new(&component, "orderId").run_message(message).await?;
    /// assert_eq!(emitted.data::<u64>(), [7]);
    /// # Ok(()) }
    /// ```
    pub fn passthrough<P: DeserializeOwned>(
        &self,
        step_id: &str,
    ) -> impl Future<Output = anyhow::Result<Option<Message<P>>>> + Send + use<B, P> {
        // Read outside of the future, so that the future does not hold `&B` and `B` need not be `Sync`.
        let reading = format!("reading passthrough entry {step_id}");
        let (entry, storage) = (self.passthrough_entry(step_id), self.storage.clone());
        async move {
            let Some(entry) = entry.context(reading.clone())? else {
                return Ok(None);
            };
            let entry = with_fetched_body(entry, storage.as_ref()).await?;
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

    /// Returns the members of the incoming message unchanged, including those that this type has no field for. Bodies
    /// of earlier steps in object storage are references; [`passthrough`](Self::passthrough) downloads them.
    ///
    /// ```
    /// use sailor::Message;
    /// use serde_json::json;
    ///
    /// let message = Message::try_from(json!({ "body": {}, "rawData": "PHhtbC8+" }))?;
    /// let raw_data: String = message.raw().get("rawData").unwrap().parse()?;
    /// assert_eq!(raw_data, "PHhtbC8+");
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn raw(&self) -> &Object {
        &self.raw
    }
}

/// Fetches the body of an earlier step's message, if it is in object storage.
async fn with_fetched_body(
    mut entry: Object,
    storage: Option<&ObjectStorage>,
) -> anyhow::Result<Object> {
    let headers = entry.get("headers").and_then(Json::members);
    let mut headers = headers.unwrap_or_default();
    let Some(id) = headers.get(OBJECT_ID_HEADER) else {
        return Ok(entry);
    };
    if let Some(id) = id.parse().ok().filter(|id: &String| !id.is_empty())
        && entry.get("body").is_none_or(Json::is_empty)
    {
        let body = object_storage::fetch_body(storage, &id, None).await?;
        entry.set("body", body);
    }
    headers.remove(OBJECT_ID_HEADER);
    entry.set("headers", headers.to_json());
    Ok(entry)
}

impl<B: DeserializeOwned> Message<B> {
    /// Reads the members of a message into fields. A missing body is `null`.
    pub(crate) fn read(raw: Object) -> anyhow::Result<Self> {
        let body = match raw.get("body") {
            Some(body) => body.parse(),
            None => Json::from(&Value::Null).parse(),
        };
        let query = raw.get("query").and_then(|query| query.parse().ok());
        Ok(Self {
            id: raw.get("id").and_then(|id| id.parse().ok()),
            headers: match raw.get("headers").filter(|headers| headers.is_object()) {
                Some(headers) => headers
                    .parse()
                    .with_context(|| mismatch("the message's headers"))?,
                None => Map::new(), // PHP writes an empty object as a list.
            },
            body: body
                .with_context(|| mismatch("the message's body does not match this function"))?,
            attachments: Attachments::from_incoming(raw.get("attachments").cloned()),
            method: member(&raw, "method")?,
            url: member(&raw, "url")?,
            original_url: member(&raw, "originalUrl")?,
            query: query.unwrap_or_default(),
            raw,
            storage: None,
        })
    }

    /// Sets the source of bodies of earlier steps.
    pub(crate) fn with_storage(self, storage: Option<ObjectStorage>) -> Self {
        Self { storage, ..self }
    }
}

/// The error of a message that has another form than its function expects.
fn mismatch(text: impl Into<Cow<'static, str>>) -> Coded {
    Coded::new(codes::MESSAGE_MISMATCH, text)
}

/// Reads a member that may be missing or null.
fn member<T: DeserializeOwned + Default>(raw: &Object, name: &str) -> anyhow::Result<T> {
    let Some(json) = raw.get(name) else {
        return Ok(T::default());
    };
    let value: Option<T> = json
        .parse()
        .with_context(|| mismatch(format!("the message's {name}")))?;
    Ok(value.unwrap_or_default())
}

impl<B: Serialize> Message<B> {
    /// Returns the members to send: the incoming ones, overwritten by the fields.
    pub(crate) fn write(self) -> anyhow::Result<Object> {
        let mut object = self.raw;
        let body =
            Json::of(&self.body).with_context(|| invalid("writing the message's body as JSON"))?;
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

    /// Reads a message from a JSON object.
    ///
    /// # Errors
    /// Returns an error if `message` is not an object, or if a member has the wrong type.
    fn try_from(message: Value) -> anyhow::Result<Self> {
        Self::read(Object::read(Json::from(&message).bytes())?)
    }
}

/// The response to the HTTP request that started the flow (wire-contract: HTTP replies).
///
/// ```
/// use sailor::HttpReply;
/// use serde_json::json;
///
/// let reply = HttpReply::json(201, &json!({ "id": 7 }))?;
/// assert_eq!(reply.headers["content-type"], "application/json");
/// let text = HttpReply { status_code: 200, headers: Default::default(), body: "done".into() };
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpReply {
    /// The status code, such as 200.
    pub status_code: u16,
    /// The headers.
    #[serde(default)]
    pub headers: Map<String, Value>,
    /// The body.
    #[serde(default)]
    pub body: Value,
}

impl HttpReply {
    /// Creates a reply with a JSON body and its content type.
    ///
    /// # Errors
    /// Returns an error if `body` does not serialize to JSON.
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
