//! What a module emitted during a run.

use super::Verdict;
use crate::component::{emitter, error::ModuleOutcome, message::HttpReply};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Something that a module emitted.
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
#[derive(Debug)]
pub struct Emitted {
    /// What the module emitted, in order. An error or rebound that it returned is the last event.
    pub events: Vec<Event>,
    /// What would become of the message.
    pub verdict: Verdict,
    /// The error that the module returned, if it failed.
    pub error: Option<anyhow::Error>,
}

impl Emitted {
    /// Returns the bodies of all messages.
    ///
    /// # Panics
    /// Panics if a body does not deserialize to `T`.
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
    /// Adds what the module's result asks for to the events that it emitted, as the engine does.
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
