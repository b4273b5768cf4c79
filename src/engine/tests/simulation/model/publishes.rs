//! What becomes of events, and what that proves.

use super::{ChannelId, Emission, InputMessage, Model};
use crate::{
    broker::amqp::simulated::Outcome,
    engine::tests::simulation::{contents::EventId, world::QUEUE},
    protocol::Headers,
};
use std::collections::{BTreeMap, BTreeSet};

impl Model {
    /// A message has come into a queue.
    pub(super) fn enqueued(
        &mut self,
        queue: &str,
        number: u64,
        from: Option<u64>,
        headers: &Headers,
        body: &[u8],
    ) {
        if queue != QUEUE {
            return;
        }
        let Some(class) = self.contents.class(body) else {
            return self.wrong(format!("message {number} is unknown"));
        };
        self.note(&format!(
            "message {number} of class {class} comes in, from {from:?}"
        ));
        self.counts.messages += 1;
        let content = format!("{headers:?} {body:?}");
        let message = InputMessage {
            class,
            content,
            has_id: headers.contains_key("messageId"),
            is_redelivered: false,
            received_by: BTreeSet::new(),
            verdicts: BTreeMap::new(),
            settled_on: None,
        };
        self.messages.insert(number, message);
    }

    /// A publish has arrived at the broker.
    pub(super) fn published(
        &mut self,
        (channel, number): (ChannelId, u64),
        key: &str,
        headers: &Headers,
        body: &[u8],
        outcome: Outcome,
    ) {
        // What is refused need not be read.
        let id = match outcome {
            Outcome::Refused => None,
            _ => self.contents.event(key, body),
        };
        self.note(&format!(
            "{key} {id:?} arrives on {channel:?} as {number}: {outcome:?}"
        ));
        self.publishes
            .insert((channel, number), (id, key.to_owned()));
        let process = self.process_of(channel.0);
        let is_retry = headers.contains_key("retry");
        self.processes.entry(process).or_default().has_retried |=
            is_retry || outcome != Outcome::Taken;
        if outcome == Outcome::Returned {
            self.returned.insert((channel, number));
        }
        if outcome != Outcome::Taken {
            return;
        }
        match (key, id) {
            (_, Some(id)) => self.event_taken(process, id, is_retry),
            ("error", None) => {
                if let (Some(class), Some(message)) =
                    (self.contents.failed_class(body), headers.get("messageId"))
                {
                    let told = self.told.entry((process, class)).or_default();
                    told.insert(message.to_string());
                }
            }
            ("rebound", None) => {
                if let Some(class) = self.contents.class(body) {
                    self.rebounds.entry((process, class)).or_default().0 += 1;
                }
            }
            _ => self.wrong(format!("an event under {key} cannot be read")),
        }
    }

    fn event_taken(&mut self, process: usize, id: EventId, is_retry: bool) {
        let event = self.events.entry(id).or_default();
        let (is_repeat, is_confirmed) = (event.taken > 0, event.is_confirmed);
        event.taken += 1;
        if is_repeat && is_confirmed {
            self.wrong(format!("event {id:?} is published again after its confirm"));
        }
        if is_repeat && !is_retry {
            self.wrong(format!(
                "event {id:?} is repeated without the header `retry`"
            ));
        }
        let has_retried = self.processes.entry(process).or_default().has_retried;
        let emitted = &self.runs[id.0].emitted;
        let is_late = emitted.contains(&(id, Emission::Late));
        let is_later = |(other, emission): &(EventId, Emission)| {
            other.1 > id.1 && *emission != Emission::Late && self.is_taken(*other)
        };
        if !has_retried && !is_late && emitted.iter().any(is_later) {
            self.wrong(format!(
                "event {id:?} is published after a later one, without a retry"
            ));
        }
    }

    /// A confirm has arrived at the client.
    pub(super) fn confirmed(&mut self, channel: ChannelId, number: u64, ack: bool) {
        self.note(&format!("{number} on {channel:?} is confirmed: {ack}"));
        let Some((id, key)) = self.publishes.get(&(channel, number)).cloned() else {
            return self.wrong(format!(
                "{number} on {channel:?} is confirmed before it arrived"
            ));
        };
        let was_returned = self.returned.contains(&(channel, number));
        if let Some(event) = id.and_then(|id| self.events.get_mut(&id))
            && ack
            && !was_returned
        {
            event.is_confirmed = true;
        }
        // The confirm of a returned event proves no binding.
        if !ack || !was_returned {
            let process = self.process_of(channel.0);
            self.processes.entry(process).or_default().bound.insert(key);
        }
    }

    /// A return has arrived at the client.
    pub(super) fn return_received(&mut self, channel: ChannelId, key: &str, body: &[u8]) {
        let id = self.contents.event(key, body);
        self.note(&format!("{key} {id:?} is returned on {channel:?}"));
        let process = self.process_of(channel.0);
        let process = self.processes.entry(process).or_default();
        let is_bound = process.bound.contains(key);
        if let Some(id) = id {
            self.events.entry(id).or_default().may_end_flow = !is_bound;
        }
    }
}
