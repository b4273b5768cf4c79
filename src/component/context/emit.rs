//! Emitting through a module's context. Bodies have the module's output type; all other events are as in [`Emitter`].

use super::Context;
use crate::component::{
    emitter::{Emitter, NotEmitted},
    message::{HttpReply, Message},
};
use futures_util::Stream;
use serde::Serialize;
use std::future::Future;

impl<C, O: Serialize> Context<C, O> {
    /// Emits a message with this body.
    ///
    /// # Errors
    /// Returns an error if the body does not serialize to JSON, is too large or cannot be delivered. Except in the
    /// first case, an error event has been published before this returns.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// async fn double(message: Message<i64>, cx: Context<Value, i64>) -> anyhow::Result<()> {
    ///     cx.data(&(2 * message.body)).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"double": {"main": "./double.rs"}}}"#)?.action("double", double);
    /// # assert_eq!(Harness::new(&component, "double").run(json!(21)).await?.data::<i64>(), [42]);
    /// # Ok(()) }
    /// ```
    ///
    /// A body of another type does not compile:
    ///
    /// ```compile_fail,E0308
    /// # use sailor::prelude::*;
    /// async fn label(message: Message<f64>, cx: Context<serde_json::Value, String>) -> anyhow::Result<()> {
    ///     cx.data(&message.body).await
    /// }
    /// ```
    pub fn data<'a>(
        &'a self,
        body: &O,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, C, O> {
        self.emitter.data(body)
    }

    /// Emits a message for each body of an iterator, in order, with up to 32 unconfirmed at once.
    ///
    /// # Errors
    /// Returns the first error, as [`data`](Self::data) does. Bodies after it are not emitted.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// async fn split(message: Message<Vec<String>>, cx: Context<Value, String>) -> anyhow::Result<()> {
    ///     cx.data_all(message.body).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"split": {"main": "./split.rs"}}}"#)?.action("split", split);
    /// # let emitted = Harness::new(&component, "split").run(json!(["a", "b"])).await?;
    /// # assert_eq!(emitted.data::<String>(), ["a", "b"]);
    /// # Ok(()) }
    /// ```
    ///
    /// A body of another type does not compile:
    ///
    /// ```compile_fail,E0271
    /// # use sailor::prelude::*;
    /// async fn labels(message: Message<Vec<f64>>, cx: Context<serde_json::Value, String>) -> anyhow::Result<()> {
    ///     cx.data_all(message.body).await
    /// }
    /// ```
    pub fn data_all<'a, I>(
        &'a self,
        bodies: I,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, C, O, I>
    where
        I: IntoIterator<Item = O, IntoIter: Send>,
        O: Send,
    {
        self.emitter.data_all(bodies)
    }

    /// Emits a message for each body, in order, with up to 32 unconfirmed at once, and goes on after one that cannot be
    /// emitted, such as one that is too large. Returns those that were not emitted, which the caller reports. See
    /// [`Emitter::data_each`].
    pub async fn data_each<I>(&self, bodies: I) -> Vec<NotEmitted>
    where
        I: IntoIterator<Item = O, IntoIter: Send>,
        O: Send,
    {
        self.emitter.data_each(bodies).await
    }

    /// Emits a message for each body of a stream, in order, with up to 32 unconfirmed at once. The stream is read as fast
    /// as the broker confirms.
    ///
    /// # Errors
    /// Returns the first error, as [`data`](Self::data) does. Bodies after it are not emitted.
    ///
    /// ```
    /// use futures_util::{StreamExt as _, stream};
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// async fn pages(message: Message<u32>, cx: Context<Value, String>) -> anyhow::Result<()> {
    ///     let pages = stream::iter(1..=message.body).then(async |number| format!("page {number}"));
    ///     cx.data_stream(pages).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"pages": {"main": "./pages.rs"}}}"#)?.action("pages", pages);
    /// # let emitted = Harness::new(&component, "pages").run(json!(2)).await?;
    /// # assert_eq!(emitted.data::<String>(), ["page 1", "page 2"]);
    /// # Ok(()) }
    /// ```
    pub fn data_stream<'a, S>(
        &'a self,
        bodies: S,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, C, O, S>
    where
        S: Stream<Item = O> + Send,
        O: Send,
    {
        self.emitter.data_stream(bodies)
    }

    /// Emits a whole message, with id, headers and attachments.
    ///
    /// # Errors
    /// Returns the same errors as [`data`](Self::data).
    ///
    /// ```
    /// use sailor::{prelude::*, testing::{Event, Harness}};
    /// use serde_json::{Value, json};
    ///
    /// async fn route(message: Message<String>, cx: Context<Value, String>) -> anyhow::Result<()> {
    ///     let key = if message.body.is_empty() { "empty" } else { "full" };
    ///     cx.message(Message::new(message.body).with_header("x-eio-routing-key", key)).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"route": {}}}"#)?.action("route", route);
    /// let emitted = Harness::new(&component, "route").run(json!("a text")).await?;
    /// let sent = json!({ "headers": { "x-eio-routing-key": "full" }, "body": "a text" });
    /// assert_eq!(emitted.events, [Event::Data(sent)]);
    /// # Ok(()) }
    /// ```
    ///
    /// A body of another type does not compile:
    ///
    /// ```compile_fail,E0308
    /// # use sailor::prelude::*;
    /// async fn label(message: Message<f64>, cx: Context<serde_json::Value, String>) -> anyhow::Result<()> {
    ///     cx.message(message).await
    /// }
    /// ```
    pub fn message<'a>(
        &'a self,
        message: Message<O>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, C, O> {
        self.emitter.message(message)
    }
}

impl<C, O: ?Sized> Context<C, O> {
    /// Returns an emitter that other tasks can use. Unlike the context, it emits bodies of any type.
    ///
    /// ```
    /// use futures_util::future;
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// async fn both(_: Message<NoBody>, cx: Context<Value, Value>) -> anyhow::Result<()> {
    ///     let emitter = cx.emitter();
    ///     let (first, second) = future::join(emitter.data("a text"), emitter.data(&[1, 2])).await;
    ///     first.and(second)
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"both": {"main": "./both.rs"}}}"#)?.action("both", both);
    /// # let emitted = Harness::new(&component, "both").run(json!({})).await?;
    /// # assert_eq!(emitted.data::<Value>(), [json!("a text"), json!([1, 2])]);
    /// # Ok(()) }
    /// ```
    pub fn emitter(&self) -> Emitter {
        self.emitter.clone()
    }

    /// Reports an error to the user. The module continues; the message is rejected when it ends.
    ///
    /// # Errors
    /// Returns an error if the report cannot be delivered.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::{Harness, Verdict}};
    /// use serde_json::{Value, json};
    ///
    /// async fn lenient(message: Message<Vec<String>>, cx: Context<Value, u32>) -> anyhow::Result<()> {
    ///     for text in &message.body {
    ///         match text.parse() {
    ///             Ok(number) => cx.data(&number).await?,
    ///             Err(error) => cx.error(error).await?,
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"lenient": {}}}"#)?.action("lenient", lenient);
    /// let emitted = Harness::new(&component, "lenient").run(json!(["1", "x", "3"])).await?;
    /// assert_eq!((emitted.data::<u32>(), emitted.verdict), (vec![1, 3], Verdict::Rejected));
    /// # Ok(()) }
    /// ```
    pub async fn error(&self, error: impl Into<anyhow::Error>) -> anyhow::Result<()> {
        self.emitter.error(error).await
    }

    /// Sends the message back, to be delivered again later: after 15 s the first time, then after twice as long each
    /// time. The module continues; to stop, return a [`Rebound`](crate::Rebound) instead.
    ///
    /// # Errors
    /// Returns an error if the message cannot be delivered. Past the rebound limit an error event is published instead,
    /// and this returns `Ok`.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::{Event, Harness}};
    /// use serde_json::{Value, json};
    ///
    /// async fn export(message: Message<String>, cx: Context<Value, String>) -> anyhow::Result<()> {
    ///     if message.body.is_empty() {
    ///         return cx.rebound("the export is not ready").await;
    ///     }
    ///     cx.data(&message.body).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"export": {}}}"#)?.action("export", export);
    /// let emitted = Harness::new(&component, "export").run(json!("")).await?;
    /// assert_eq!(emitted.events, [Event::Rebound("the export is not ready".to_owned())]);
    /// # Ok(()) }
    /// ```
    pub async fn rebound(&self, reason: impl Into<String>) -> anyhow::Result<()> {
        self.emitter.rebound(reason).await
    }

    /// Replaces the step's snapshot.
    ///
    /// # Errors
    /// Returns an error if `state` does not serialize to JSON, or cannot be delivered.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::{Event, Harness}};
    /// use serde_json::{Value, json};
    ///
    /// async fn count(_: Message<NoBody>, cx: Context<Value, u64>) -> anyhow::Result<()> {
    ///     let next = cx.stored_snapshot::<u64>()?.unwrap_or(0) + 1;
    ///     cx.data(&next).await?;
    ///     cx.snapshot(&next).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"count": {}}}"#)?.action("count", count);
    /// let emitted = Harness::new(&component, "count").snapshot(json!(4)).run(json!({})).await?;
    /// assert_eq!(emitted.events.last(), Some(&Event::Snapshot(json!(5))));
    /// # Ok(()) }
    /// ```
    pub fn snapshot<'a, T: Serialize + ?Sized>(
        &'a self,
        state: &T,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, C, O, T> {
        self.emitter.snapshot(state)
    }

    /// Merges members into the step's snapshot, one level deep.
    ///
    /// # Errors
    /// Returns an error if `members` does not serialize to a JSON object, or cannot be delivered.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::{Event, Harness}};
    /// use serde_json::{Value, json};
    ///
    /// async fn remember(message: Message<String>, cx: Context<Value, String>) -> anyhow::Result<()> {
    ///     cx.data(&message.body).await?;
    ///     cx.update_snapshot(&json!({ "last": message.body })).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"remember": {}}}"#)?.action("remember", remember);
    /// let emitted = Harness::new(&component, "remember").run(json!("a")).await?;
    /// assert_eq!(emitted.events.last(), Some(&Event::UpdateSnapshot(json!({ "last": "a" }))));
    /// # Ok(()) }
    /// ```
    pub fn update_snapshot<'a, T: Serialize + ?Sized>(
        &'a self,
        members: &T,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, C, O, T> {
        self.emitter.update_snapshot(members)
    }

    /// Saves new credentials, such as `{"oauth": {…}}`, in the step's account. Resolves when they are saved; later messages
    /// see them in their configuration.
    ///
    /// # Errors
    /// Returns an error if the credentials cannot be saved. An error event has been published before this returns.
    ///
    /// ```
    /// # use sailor::prelude::*;
    /// # use serde_json::{Value, json};
    /// async fn log_in(_: Message<NoBody>, cx: Context<Value, Value>) -> anyhow::Result<()> {
    ///     let login = cx.http().post("https://api.example.com/login").json(&cx.config);
    ///     let session: Value = login.send().await?.error_for_status()?.json().await?;
    ///     cx.update_keys(&json!({ "session": session["id"] })).await
    /// }
    /// ```
    pub fn update_keys<'a, T: Serialize + ?Sized>(
        &'a self,
        keys: &T,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, C, O, T> {
        self.emitter.update_keys(keys)
    }

    /// Replies to the HTTP request that started the flow.
    ///
    /// # Errors
    /// Returns an error if no request waits for a reply, or if the reply is too large or cannot be delivered.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::{Event, Harness}};
    /// use serde_json::{Value, json};
    ///
    /// async fn webhook(message: Message<Value>, cx: Context<Value, Value>) -> anyhow::Result<()> {
    ///     cx.data(&message.body).await?;
    ///     cx.http_reply(HttpReply::json(202, &json!({ "accepted": true }))?).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"triggers": {"webhook": {}}}"#)?.trigger("webhook", webhook);
    /// let emitted = Harness::new(&component, "webhook").run(json!({})).await?;
    /// assert!(matches!(&emitted.events[1], Event::HttpReply(reply) if reply.status_code == 202));
    /// # Ok(()) }
    /// ```
    pub async fn http_reply(&self, reply: HttpReply) -> anyhow::Result<()> {
        self.emitter.http_reply(reply).await
    }
}
