//! A classic queue of the simulated broker.

use super::{
    frames::{Publish, QueueLimits},
    rules::ChannelId,
};
use bytes::Bytes;
use lapin::{BasicProperties, types::AMQPValue};
use std::collections::{BTreeMap, VecDeque};

pub(super) struct Message {
    /// Tells messages apart. No client sees it.
    pub(super) number: u64,
    pub(super) redelivered: bool,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

impl Message {
    pub(super) fn new(number: u64, publish: &Publish) -> Self {
        Self {
            number,
            redelivered: false,
            properties: publish.properties.clone(),
            body: publish.body.clone(),
        }
    }

    /// The same message in the queue for dead letters. The broker removes the expiration.
    pub(super) fn as_dead_letter(&self) -> Publish {
        let mut headers = self.properties.headers().clone().unwrap_or_default();
        if headers.inner().contains_key("end") {
            // A rebound has the time of the system. It must not decide which messages are equal.
            headers.insert("end".into(), AMQPValue::LongLongInt(0));
        }
        Publish {
            exchange: String::new(),
            key: String::new(),
            mandatory: false,
            properties: BasicProperties::default().with_headers(headers),
            body: self.body.clone(),
        }
    }
}

/// Messages by their position: a message that comes back gets its old place.
pub(super) struct Queue {
    messages: BTreeMap<u64, Message>,
    last_position: u64,
    /// The next delivery goes to the first consumer that has room.
    consumers: VecDeque<(ChannelId, String)>,
    pub(super) limits: QueueLimits,
    /// The queue refuses publishes, as if it had reached its length.
    pub(super) is_full: bool,
}

impl Queue {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self {
            messages: BTreeMap::new(),
            last_position: 0,
            consumers: VecDeque::new(),
            limits,
            is_full: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn refuses(&self) -> bool {
        let limit = self.limits.max_length;
        self.is_full || limit.is_some_and(|limit| self.messages.len() >= limit)
    }

    /// Adds a message at the end, and returns its position.
    pub(super) fn add(&mut self, message: Message) -> u64 {
        self.last_position += 1;
        self.messages.insert(self.last_position, message);
        self.last_position
    }

    /// Puts a message that was delivered back to its place.
    pub(super) fn put_back(&mut self, position: u64, message: Message) {
        let redelivered = Message {
            redelivered: true,
            ..message
        };
        self.messages.insert(position, redelivered);
    }

    pub(super) fn take_first(&mut self) -> Option<(u64, Message)> {
        self.messages.pop_first()
    }

    pub(super) fn take(&mut self, position: u64) -> Option<Message> {
        self.messages.remove(&position)
    }

    pub(super) fn add_consumer(&mut self, channel: ChannelId, tag: String) {
        self.consumers.push_back((channel, tag));
    }

    pub(super) fn remove_consumer(&mut self, channel: ChannelId, tag: &str) {
        self.consumers
            .retain(|(of, other)| (*of, other.as_str()) != (channel, tag));
    }

    pub(super) fn take_consumers(&mut self) -> Vec<(ChannelId, String)> {
        std::mem::take(&mut self.consumers).into()
    }

    /// Chooses the consumer of the next delivery, and puts it behind the others.
    pub(super) fn next_consumer(
        &mut self,
        has_room: impl Fn(&(ChannelId, String)) -> bool,
    ) -> Option<(ChannelId, String)> {
        let next = self.consumers.iter().position(has_room)?;
        let consumer = self.consumers.remove(next)?;
        self.consumers.push_back(consumer.clone());
        Some(consumer)
    }
}
