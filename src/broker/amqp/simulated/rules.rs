//! What the simulated broker does with the frames that reach it: RabbitMQ's rules for channels, exchanges, confirms and
//! classic queues. It does no I/O and knows no time.

use super::{
    frames::{Answer, Binding, Delivered, Event, Frame, Publish, QueueLimits, Request, Settlement},
    observed::{Observed, Outcome},
    queue::{Message, Queue},
};
use lapin::{Error, ErrorKind, protocol::AMQPError};
use std::collections::{BTreeMap, BTreeSet};

/// A channel of a connection.
pub(super) type ChannelId = (u64, u16);

/// The broker's side of a channel.
#[derive(Default)]
pub(super) struct Channel {
    /// The prefetch of later consumers; 0 is none.
    prefetch: u16,
    pub(super) has_confirms: bool,
    pub(super) published: u64,
    /// The outcomes of publishes whose confirm is not sent yet.
    pub(super) unconfirmed: BTreeMap<u64, Outcome>,
    last_delivery: u64,
    unsettled: BTreeMap<u64, Unsettled>,
    consumers: BTreeMap<String, Consumer>,
}

struct Consumer {
    queue: String,
    prefetch: u16,
    unsettled: u16,
}

struct Unsettled {
    queue: String,
    consumer: String,
    position: u64,
    message: Message,
}

pub(super) struct Rules {
    pub(super) queues: BTreeMap<String, Queue>,
    pub(super) exchanges: BTreeSet<String>,
    pub(super) bindings: BTreeSet<Binding>,
    channels: BTreeMap<ChannelId, Channel>,
    /// The largest body, in bytes. A larger one closes its channel.
    pub(super) max_message: usize,
    pub(super) last_message: u64,
    /// What the broker sends; the network takes it.
    pub(super) sent: Vec<(ChannelId, Event)>,
    /// What has happened; the network takes it.
    pub(super) observed: Vec<Observed>,
    /// Messages that expire, with the time in milliseconds; the network takes them.
    pub(super) expiring: Vec<(String, u64, u64)>,
}

impl Rules {
    pub(super) fn new(max_message: usize) -> Self {
        Self {
            queues: BTreeMap::new(),
            exchanges: BTreeSet::new(),
            bindings: BTreeSet::new(),
            channels: BTreeMap::new(),
            max_message,
            last_message: 0,
            sent: Vec::new(),
            observed: Vec::new(),
            expiring: Vec::new(),
        }
    }

    /// Handles a frame. Frames on a channel that the broker has closed are ignored.
    pub(super) fn receive(&mut self, connection: u64, frame: Frame) {
        let id = (connection, frame.channel);
        match frame.request {
            Request::OpenChannel => {
                self.channels.insert(id, Channel::default());
                return self.answer(id, Answer::Done);
            }
            Request::CloseConnection => {
                self.release(connection);
                return self.answer(id, Answer::Done);
            }
            _ if !self.channels.contains_key(&id) => return,
            _ => {}
        }
        match frame.request {
            Request::OpenChannel | Request::CloseConnection => {}
            Request::CloseChannel => {
                self.close(id);
                self.answer(id, Answer::Done);
            }
            Request::Qos(prefetch) => {
                self.channel(id).prefetch = prefetch;
                self.answer(id, Answer::Done);
            }
            Request::Consume { queue, tag } => self.consume(id, queue, tag),
            Request::Cancel(tag) => {
                self.cancel(id, &tag);
                self.answer(id, Answer::Done);
            }
            Request::ConfirmSelect => {
                self.channel(id).has_confirms = true;
                self.answer(id, Answer::Done);
            }
            Request::Publish(publish) => self.publish(id, *publish),
            Request::Settle(number, settlement) => self.settle(id, number, settlement),
            request => self.configure(id, request),
        }
    }

    fn configure(&mut self, id: ChannelId, request: Request) {
        let answer = match request {
            Request::DeclareQueue { name, limits } => {
                self.declare_queue(name, limits);
                Answer::Done
            }
            Request::DeclareExchange(name) => {
                self.exchanges.insert(name);
                Answer::Done
            }
            Request::DeleteQueue(name) => {
                self.delete_queue(&name);
                Answer::Done
            }
            Request::Bind(binding) => {
                self.bindings.insert(binding);
                Answer::Done
            }
            Request::Unbind(binding) => {
                self.bindings.remove(&binding);
                Answer::Done
            }
            Request::Get(queue) => {
                let taken = self.queues.get_mut(&queue).and_then(Queue::take_first);
                Answer::Message(taken.map(|(_, message)| Box::new(message.delivered(0))))
            }
            _ => return,
        };
        self.answer(id, answer);
    }

    pub(super) fn declare_queue(&mut self, name: String, limits: QueueLimits) {
        self.queues
            .entry(name)
            .or_insert_with(|| Queue::new(limits));
    }

    pub(super) fn declare_exchange(&mut self, name: &str) {
        self.exchanges.insert(name.to_owned());
    }

    pub(super) fn set_bound(&mut self, binding: Binding, is_bound: bool) {
        if is_bound {
            self.bindings.insert(binding);
        } else {
            self.bindings.remove(&binding);
        }
    }

    /// Makes a queue refuse publishes, or accept them again.
    pub(super) fn set_full(&mut self, queue: &str, is_full: bool) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.is_full = is_full;
        }
    }

    /// Puts a message into a queue, as another client does.
    pub(super) fn put(&mut self, queue: &str, publish: Publish) {
        self.enqueue(queue, &publish, None);
        self.dispatch(queue);
    }

    /// The number of messages in a queue, and of those that are delivered and not settled.
    pub(super) fn count(&self, queue: &str) -> (usize, usize) {
        let ready = self.queues.get(queue).map_or(0, Queue::len);
        let unsettled = self.channels.values().flat_map(|c| c.unsettled.values());
        (ready, unsettled.filter(|u| u.queue == queue).count())
    }

    /// Cancels all consumers of a queue, as a broker does whose queue moves to another node.
    pub(super) fn cancel_consumers(&mut self, queue: &str) {
        let consumers = self.queues.get_mut(queue).map(Queue::take_consumers);
        for (id, tag) in consumers.unwrap_or_default() {
            self.channel(id).consumers.remove(&tag);
            self.sent.push((id, Event::CancelConsumer(tag)));
        }
    }

    /// A connection is gone: its unsettled messages return to their queues.
    pub(super) fn release(&mut self, connection: u64) {
        let ids: Vec<ChannelId> = self
            .channels
            .range((connection, 0)..=(connection, u16::MAX))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.close(id);
        }
    }

    /// A message's time in a queue is over.
    pub(super) fn expire(&mut self, queue: &str, position: u64) {
        let Some(expired) = self.queues.get_mut(queue) else {
            return;
        };
        if let Some(message) = expired.take(position) {
            let target = expired.limits.dead_letters_to.clone();
            self.dead_letter(target, message);
        }
    }

    /// The confirms that a channel still owes.
    pub(super) fn unconfirmed(&self, id: ChannelId) -> Vec<u64> {
        let channel = self.channels.get(&id);
        channel.map_or_else(Vec::new, |channel| {
            channel.unconfirmed.keys().copied().collect()
        })
    }

    /// The open channels of a connection.
    pub(super) fn channels_of(&self, connection: u64) -> Vec<ChannelId> {
        let all = self.channels.keys();
        all.filter(|(of, _)| *of == connection).copied().collect()
    }

    /// Sends the confirm of one publish, and if all earlier ones have the same result, of those too. RabbitMQ knows at once
    /// that a publish has no binding, so returned publishes are confirmed in their order.
    pub(super) fn confirm(&mut self, id: ChannelId, number: u64, with_earlier: bool) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let mut earlier = channel.unconfirmed.range(..number);
        let first = earlier.find(|(_, outcome)| **outcome == Outcome::Returned);
        let number = first.map_or(number, |(first, _)| *first);
        let Some(outcome) = channel.unconfirmed.remove(&number) else {
            return;
        };
        let ack = outcome != Outcome::Nacked;
        let mut earlier = channel.unconfirmed.range(..number);
        let multiple = with_earlier && earlier.all(|(_, other)| (*other != Outcome::Nacked) == ack);
        if multiple {
            channel.unconfirmed = channel.unconfirmed.split_off(&number);
        }
        let confirm = Event::Confirm {
            number,
            multiple,
            ack,
        };
        self.sent.push((id, confirm));
    }

    pub(super) fn channel(&mut self, id: ChannelId) -> &mut Channel {
        self.channels.entry(id).or_default()
    }

    fn answer(&mut self, id: ChannelId, answer: Answer) {
        self.sent.push((id, Event::Answer(answer)));
    }

    /// Closes a channel because of an error. The confirms that it owes are never sent.
    pub(super) fn fail(&mut self, id: ChannelId, code: u16, text: String) {
        self.close(id);
        let error = AMQPError::from_id(code, text.into());
        let error = error.map_or_else(
            || ErrorKind::MissingHeartbeatError.into(),
            |error| Error::from(ErrorKind::ProtocolError(error)),
        );
        self.sent.push((id, Event::CloseChannel(error)));
    }

    fn close(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.remove(&id) else {
            return;
        };
        let mut touched = BTreeSet::new();
        for (tag, consumer) in &channel.consumers {
            if let Some(queue) = self.queues.get_mut(&consumer.queue) {
                queue.remove_consumer(id, tag);
            }
        }
        for unsettled in channel.unsettled.into_values() {
            touched.insert(unsettled.queue.clone());
            self.requeue(unsettled);
        }
        for queue in touched {
            self.dispatch(&queue);
        }
    }

    fn requeue(&mut self, unsettled: Unsettled) {
        let number = unsettled.message.number;
        if let Some(queue) = self.queues.get_mut(&unsettled.queue) {
            queue.put_back(unsettled.position, unsettled.message);
            self.observed.push(Observed::Requeued { number });
        }
    }

    fn consume(&mut self, id: ChannelId, queue: String, tag: String) {
        let Some(consumed) = self.queues.get_mut(&queue) else {
            let text = format!("NOT_FOUND - no queue '{queue}' in vhost '/'");
            return self.fail(id, 404, text);
        };
        consumed.add_consumer(id, tag.clone());
        let channel = self.channel(id);
        let consumer = Consumer {
            queue: queue.clone(),
            prefetch: channel.prefetch,
            unsettled: 0,
        };
        channel.consumers.insert(tag, consumer);
        self.answer(id, Answer::Done);
        self.dispatch(&queue);
    }

    fn cancel(&mut self, id: ChannelId, tag: &str) {
        if let Some(consumer) = self.channel(id).consumers.remove(tag)
            && let Some(queue) = self.queues.get_mut(&consumer.queue)
        {
            queue.remove_consumer(id, tag);
        }
    }

    pub(super) fn delete_queue(&mut self, name: &str) {
        self.cancel_consumers(name);
        self.queues.remove(name);
        self.bindings.retain(|binding| binding.queue != name);
    }

    /// Delivers messages to the consumers in turn, while one of them may have more.
    pub(super) fn dispatch(&mut self, name: &str) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        while !queue.is_empty() {
            let channels = &self.channels;
            let has_room = |(id, tag): &(ChannelId, String)| {
                let consumer = channels.get(id).and_then(|c| c.consumers.get(tag));
                consumer.is_some_and(|c| c.prefetch == 0 || c.unsettled < c.prefetch)
            };
            let Some((id, tag)) = queue.next_consumer(has_room) else {
                return;
            };
            let (Some((position, message)), Some(channel)) =
                (queue.take_first(), self.channels.get_mut(&id))
            else {
                return;
            };
            channel.last_delivery += 1;
            let delivery = message.delivered(channel.last_delivery);
            self.observed.push(Observed::Delivered {
                channel: id,
                delivery: channel.last_delivery,
                number: message.number,
                redelivered: message.redelivered,
            });
            if let Some(consumer) = channel.consumers.get_mut(&tag) {
                consumer.unsettled += 1;
            }
            let unsettled = Unsettled {
                queue: name.to_owned(),
                consumer: tag.clone(),
                position,
                message,
            };
            channel.unsettled.insert(channel.last_delivery, unsettled);
            self.sent.push((id, Event::Deliver { tag, delivery }));
        }
    }

    fn settle(&mut self, id: ChannelId, number: u64, settlement: Settlement) {
        let channel = self.channel(id);
        let Some(unsettled) = channel.unsettled.remove(&number) else {
            let text = format!("PRECONDITION_FAILED - unknown delivery tag {number}");
            self.observed
                .push(Observed::SettledTwice { connection: id.0 });
            return self.fail(id, 406, text);
        };
        if let Some(consumer) = channel.consumers.get_mut(&unsettled.consumer) {
            consumer.unsettled -= 1;
        }
        let queue = unsettled.queue.clone();
        if settlement == Settlement::Requeue {
            self.requeue(unsettled);
        } else {
            self.observed.push(Observed::Settled {
                connection: id.0,
                number: unsettled.message.number,
                settlement,
            });
            if settlement == Settlement::Reject {
                let target = self.queues.get(&queue);
                let target = target.and_then(|queue| queue.limits.dead_letters_to.clone());
                self.dead_letter(target, unsettled.message);
            }
        }
        self.dispatch(&queue);
    }

    fn dead_letter(&mut self, target: Option<String>, message: Message) {
        let Some(target) = target else { return };
        let publish = message.as_dead_letter();
        self.enqueue(&target, &publish, None);
        self.dispatch(&target);
    }
}

impl Message {
    fn delivered(&self, number: u64) -> Delivered {
        Delivered {
            number,
            redelivered: self.redelivered,
            properties: self.properties.clone(),
            body: self.body.clone(),
        }
    }
}
