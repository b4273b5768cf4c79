//! Emitting events, and the interface to the receiver of these events.

mod each;

use crate::{
    broker::transport::Confirm,
    codes::{self, Coded},
    component::{
        error::{AlreadyReported, report_of},
        message::{HttpReply, Message},
    },
    protocol::{ErrorReport, Json, Object},
};
use anyhow::Context as _;
pub use each::NotEmitted;
use futures_util::{Stream, StreamExt, future::BoxFuture, stream, stream::FuturesUnordered};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{borrow::Cow, future::Future, sync::Arc};

/// One thing that a module emits.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Data(Object),
    Error(ErrorReport),
    Rebound(String),
    Snapshot(Json),
    UpdateSnapshot(Map<String, Value>),
    UpdateKeys(Map<String, Value>),
    HttpReply(HttpReply),
}

/// Receives events: the engine in a container, a list in a [`Harness`](crate::testing::Harness).
pub(crate) trait EventSink: Send + Sync + 'static {
    /// Takes an event; events are published in the order in which these calls resolve.
    ///
    /// If a publish fails, the failure is reported to the user before its confirm resolves.
    fn emit(&self, event: Event) -> BoxFuture<'_, anyhow::Result<Confirm>>;

    /// Takes an event as [`emit`](Self::emit) does, but does not report that data cannot be published. The caller does.
    fn emit_unreported(&self, event: Event) -> BoxFuture<'_, anyhow::Result<Confirm>>;

    /// Reports the failure of an outcome that nobody else waits for. The message does not end before.
    fn report_failure(&self, outcome: BoxFuture<'static, anyhow::Result<()>>);
}

/// How many unconfirmed events [`Emitter::data_stream`] allows at once.
const MAX_UNCONFIRMED: usize = 32;

/// Emits events. It is cheap to clone, so a module can emit from several tasks.
///
/// Every method resolves when the broker has confirmed the event, so awaiting it applies back-pressure. A message is
/// acknowledged only after all its events are confirmed, even if the module does not await them. Events that are not
/// awaited wait for memory before they are published. When a thousand of one message wait, each further one holds its thread
/// for 10 ms.
///
/// A clone may outlive its message, as in a streaming trigger. Events that it emits later carry the same headers, and
/// the acknowledgement does not wait for them.
///
/// # Cancel safety
/// Dropping one of these futures does not cancel an event that is already queued. Data, a reply or a snapshot that
/// still waits for a rate limit, for memory or for an upload is not sent. An error or new credentials are sent once the future has been polled.
///
/// ```
/// use sailor::{prelude::*, testing::Harness};
/// use serde_json::{Value, json};
///
/// async fn read(_: Message<NoBody>, cx: Context) -> anyhow::Result<()> {
///     let emitter = cx.emitter();
///     let reader = tokio::spawn(async move { emitter.data("from another task").await });
///     reader.await?
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// # let component = Component::new(r#"{"actions": {"read": {}}}"#)?.action("read", read);
/// let emitted = Harness::new(&component, "read").run(json!({})).await?;
/// assert_eq!(emitted.data::<Value>(), ["from another task"]);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Emitter(pub(crate) Arc<dyn EventSink>);

impl std::fmt::Debug for Emitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Emitter")
    }
}

impl Emitter {
    async fn emit(&self, event: Event) -> anyhow::Result<()> {
        confirmed(self.0.emit(event).await?).await
    }

    /// Emits a message with this body.
    ///
    /// # Errors
    /// Returns an error if the body cannot be serialized, is too large, or cannot be published. Except in the first
    /// case, an error event has been published before this returns.
    pub fn data<'a, T: Serialize + ?Sized>(
        &'a self,
        body: &T,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, T> {
        // Serialized before the future is created: the future does not hold `&T`, so `T` need not be `Sync`.
        let message = message_from_body(body);
        async move { self.emit(Event::Data(message?)).await }
    }

    /// Emits a message for each item of an iterator, in order, with up to 32 unconfirmed at once.
    ///
    /// # Errors
    /// Returns the first error, as [`data`](Self::data) does. Items after it are not emitted.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// async fn rows(message: Message<Vec<Vec<i64>>>, cx: Context) -> anyhow::Result<()> {
    ///     let sums = message.body.into_iter().map(|row| row.iter().sum::<i64>());
    ///     cx.emitter().data_all(sums).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"rows": {}}}"#)?.action("rows", rows);
    /// let emitted = Harness::new(&component, "rows").run(json!([[1, 2], [3]])).await?;
    /// assert_eq!(emitted.data::<i64>(), [3, 3]);
    /// # Ok(()) }
    /// ```
    pub fn data_all<'a, I>(
        &'a self,
        bodies: I,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, I>
    where
        I: IntoIterator<Item: Serialize + Send, IntoIter: Send>,
    {
        self.data_stream(stream::iter(bodies))
    }

    /// Emits a message for each item of a stream, in order, with up to 32 unconfirmed at once.
    ///
    /// # Errors
    /// Returns the first error, as [`data`](Self::data) does. Items after it are not emitted.
    pub async fn data_stream<T, S>(&self, bodies: S) -> anyhow::Result<()>
    where
        T: Serialize + Send,
        S: Stream<Item = T> + Send,
    {
        let mut bodies = std::pin::pin!(bodies);
        let mut unconfirmed = FuturesUnordered::new();
        while let Some(body) = bodies.next().await {
            let message = message_from_body(&body);
            if unconfirmed.len() == MAX_UNCONFIRMED {
                unconfirmed.next().await.transpose()?;
            }
            let confirm = self.0.emit(Event::Data(message?)).await?;
            unconfirmed.push(confirmed(confirm));
        }
        while let Some(result) = unconfirmed.next().await {
            result?;
        }
        Ok(())
    }

    /// Emits a whole message, with its id, headers and attachments.
    ///
    /// # Errors
    /// Returns the same errors as [`data`](Self::data).
    ///
    /// A receiver recognizes a repeated message by its id:
    ///
    /// ```
    /// use sailor::{prelude::*, testing::{Event, Harness}};
    /// use serde_json::{Value, json};
    ///
    /// async fn created(message: Message<Value>, cx: Context) -> anyhow::Result<()> {
    ///     let order = Message::new(message.body["lines"].clone()).with_id(format!("order-{}", message.body["id"]));
    ///     cx.emitter().message(order).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"created": {}}}"#)?.action("created", created);
    /// let emitted = Harness::new(&component, "created").run(json!({ "id": 7, "lines": [] })).await?;
    /// assert_eq!(emitted.events, [Event::Data(json!({ "id": "order-7", "headers": {}, "body": [] }))]);
    /// # Ok(()) }
    /// ```
    pub fn message<'a, B: Serialize>(
        &'a self,
        message: Message<B>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, B> {
        let message = message.write();
        async move { self.emit(Event::Data(message?)).await }
    }

    /// Reports an error to the user and continues. The message will be rejected when it ends.
    ///
    /// # Errors
    /// Returns an error if the report cannot be published.
    pub async fn error(&self, error: impl Into<anyhow::Error>) -> anyhow::Result<()> {
        self.emit(Event::Error(report_of(&error.into()))).await
    }

    /// Sends the message back, to be delivered again later: after 15 seconds the first time, then after twice as long
    /// each time.
    ///
    /// # Errors
    /// Returns an error if the rebound cannot be published. Past the rebound limit an error event is published instead,
    /// and this returns `Ok`.
    pub async fn rebound(&self, reason: impl Into<String>) -> anyhow::Result<()> {
        self.emit(Event::Rebound(reason.into())).await
    }

    /// Replaces the step's snapshot.
    ///
    /// # Errors
    /// Returns an error if the state cannot be serialized or published.
    pub fn snapshot<'a, T: Serialize + ?Sized>(
        &'a self,
        state: &T,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, T> {
        let state = Json::of(state).with_context(|| invalid("writing the snapshot as JSON"));
        async move { self.emit(Event::Snapshot(state?)).await }
    }

    /// Merges members into the step's snapshot, one level deep.
    ///
    /// # Errors
    /// Returns an error if `members` does not serialize to a JSON object, or cannot be published.
    pub fn update_snapshot<'a, T: Serialize + ?Sized>(
        &'a self,
        members: &T,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, T> {
        let members = to_json_object(members, "a snapshot update");
        async move { self.emit(Event::UpdateSnapshot(members?)).await }
    }

    /// Saves new credentials, such as `{"oauth": {…}}`, in the account that the step uses. Resolves when the platform
    /// has them over every configured way; later messages see them in their configuration.
    ///
    /// # Errors
    /// Returns an error if the platform refuses them, or if there is no way to save them. An error event has been
    /// published before this returns.
    pub fn update_keys<'a, T: Serialize + ?Sized>(
        &'a self,
        keys: &T,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, T> {
        let keys = to_json_object(keys, "updateKeys");
        async move { self.emit(Event::UpdateKeys(keys?)).await }
    }

    /// Replies to the HTTP request that started the flow.
    ///
    /// # Errors
    /// Returns an error if the message has no `reply_to`, or if the reply is too large or cannot be published.
    pub async fn http_reply(&self, reply: HttpReply) -> anyhow::Result<()> {
        self.emit(Event::HttpReply(reply)).await
    }
}

/// Waits for a confirm. Marks a failure as reported, so that the module's own error does not report it again.
async fn confirmed(confirm: Confirm) -> anyhow::Result<()> {
    match confirm.await {
        Ok(()) => Ok(()),
        Err(error) => Err(AlreadyReported(error.to_string()).into()),
    }
}

fn message_from_body<T: Serialize + ?Sized>(body: &T) -> anyhow::Result<Object> {
    let mut message = Object::new();
    message.set("headers", Json::empty_object());
    message.set(
        "body",
        Json::of(body).with_context(|| invalid("writing the message's body as JSON"))?,
    );
    Ok(message)
}

pub(super) fn to_json_object<T: Serialize + ?Sized>(
    value: &T,
    what: &str,
) -> anyhow::Result<Map<String, Value>> {
    let value = serde_json::to_value(value);
    match value.with_context(|| invalid(format!("writing {what} as JSON")))? {
        Value::Object(members) => Ok(members),
        _ => Err(invalid(format!("{what} must be a JSON object")).into()),
    }
}

/// The error of a module that emits something that is no event.
pub(crate) fn invalid(text: impl Into<Cow<'static, str>>) -> Coded {
    Coded::new(codes::INVALID_EVENT, text)
}
