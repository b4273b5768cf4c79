//! What a module emitted during a run.

use super::Verdict;
use crate::component::{
    emitter,
    error::ModuleOutcome,
    message::{Attachment, HttpReply},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Something that a module emitted.
///
/// ```
/// use sailor::{prelude::*, testing::{Event, Harness}};
/// use serde_json::{Value, json};
///
/// async fn count(_: Message<NoBody>, cx: Context<Value, u64>) -> anyhow::Result<()> {
///     cx.data(&1).await?;
///     cx.snapshot(&json!({ "last": 1 })).await
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// # let component = Component::new(r#"{"actions": {"count": {"main": "./count.rs"}}}"#)?.action("count", count);
/// let emitted = Harness::new(&component, "count").run(json!({})).await?;
/// assert_eq!(emitted.events[0], Event::Data(json!({ "headers": {}, "body": 1 })));
/// assert_eq!(emitted.events[1], Event::Snapshot(json!({ "last": 1 })));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A message, with all its members.
    Data(Value),
    /// The text of an error.
    Error(String),
    /// The reason of a rebound.
    Rebound(String),
    /// A new snapshot.
    Snapshot(Value),
    /// Members merged into the snapshot.
    UpdateSnapshot(Value),
    /// New credentials, as they would be saved in the account.
    UpdateKeys(Value),
    /// The reply to an HTTP request.
    HttpReply(HttpReply),
}

/// The result of running a module.
///
/// ```
/// use sailor::{prelude::*, testing::{Harness, Verdict}};
/// use serde_json::{Value, json};
///
/// async fn fail(_: Message<NoBody>, _: Context) -> anyhow::Result<()> {
///     anyhow::bail!("no such order")
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// # let component = Component::new(r#"{"actions": {"fail": {"main": "./fail.rs"}}}"#)?.action("fail", fail);
/// let emitted = Harness::new(&component, "fail").run(json!({})).await?;
/// assert_eq!(emitted.verdict, Verdict::Rejected);
/// assert_eq!(emitted.error.unwrap().to_string(), "no such order");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Emitted {
    /// What the module emitted, in order. An error or rebound that it returned is the last event.
    pub events: Vec<Event>,
    /// The verdict on the message.
    pub verdict: Verdict,
    /// The error that the module returned, if it failed.
    pub error: Option<anyhow::Error>,
}

impl Emitted {
    /// Returns the bodies of all emitted messages.
    ///
    /// # Panics
    /// Panics if a body does not deserialize to `T`.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// async fn squares(message: Message<Vec<u32>>, cx: Context<Value, u32>) -> anyhow::Result<()> {
    ///     cx.data_all(message.body.into_iter().map(|n| n * n)).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"squares": {}}}"#)?.action("squares", squares);
    /// let emitted = Harness::new(&component, "squares").run(json!([2, 3])).await?;
    /// assert_eq!(emitted.data::<u32>(), [4, 9]);
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn data<T: DeserializeOwned>(&self) -> Vec<T> {
        let bodies = self.events.iter().filter_map(|event| match event {
            Event::Data(message) => Some(message["body"].clone()),
            _ => None,
        });
        bodies
            .map(|body| serde_json::from_value(body).expect("the body of an emitted message"))
            .collect()
    }
}

impl Emitted {
    /// Returns an attachment that the module has emitted: that of the last message that has it. It can be an attachment of the
    /// next message ([`Harness::attachment`](super::Harness::attachment)).
    ///
    /// # Panics
    /// Panics if no message has such an attachment.
    #[track_caller]
    #[must_use]
    pub fn attachment(&self, name: &str) -> Attachment {
        let found = self.events.iter().rev().find_map(|event| match event {
            Event::Data(message) => message["attachments"].get(name),
            _ => None,
        });
        let Some(found) = found else {
            panic!("no message has the attachment {name:?}: {:?}", self.events);
        };
        serde_json::from_value(found.clone()).expect("an attachment of an emitted message")
    }

    /// Adds the events that the module's result causes, as the engine does.
    pub(super) fn new(mut events: Vec<Event>, result: anyhow::Result<()>) -> Self {
        let outcome = ModuleOutcome::from(&result);
        let error = result.err();
        match (outcome, &error) {
            (ModuleOutcome::Rebound(reason), _) => events.push(Event::Rebound(reason)),
            (ModuleOutcome::Failed, Some(error)) => events.push(Event::Error(format!("{error:#}"))),
            _ => {}
        }
        let verdict = verdict_on(&events);
        Self {
            events,
            verdict,
            error,
        }
    }
}

/// A message is rejected if there was an error event.
fn verdict_on(events: &[Event]) -> Verdict {
    if events.iter().any(|event| matches!(event, Event::Error(_))) {
        Verdict::Rejected
    } else {
        Verdict::Acknowledged
    }
}

impl TryFrom<emitter::Event> for Event {
    type Error = anyhow::Error;

    fn try_from(event: emitter::Event) -> anyhow::Result<Self> {
        Ok(match event {
            emitter::Event::Data(message) => Self::Data(message.to_json().parse()?),
            emitter::Event::Error(report) => Self::Error(report.message),
            emitter::Event::Rebound(reason) => Self::Rebound(reason),
            emitter::Event::Snapshot(state) => Self::Snapshot(state.parse()?),
            emitter::Event::UpdateSnapshot(members) => Self::UpdateSnapshot(members.into()),
            emitter::Event::UpdateKeys(keys) => Self::UpdateKeys(keys.into()),
            emitter::Event::HttpReply(reply) => Self::HttpReply(reply),
        })
    }
}
