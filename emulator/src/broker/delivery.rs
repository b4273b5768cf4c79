//! Deliveries: to consumers in turn, within their prefetch, and back into the queue when they are not acknowledged.

use super::{
    codec::short,
    error::{AmqpError, Outcome},
    message::{DeathReason, Event, Message},
    queue::{Consumer, Queue, QueuedMessage},
    state::{Channel, Connection, State, Unacked},
};
use amq_protocol::protocol::{AMQPClass, basic};
use std::{collections::HashMap, sync::Arc};
use tokio::time::Instant;

/// How a client settles a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Ack,
    Reject { requeue: bool },
}

/// The arguments of a `basic.consume`.
pub(super) struct Subscription {
    pub(super) tag: String,
    pub(super) no_ack: bool,
    pub(super) exclusive: bool,
}

/// The result of a `basic.get`.
pub(super) struct Fetched {
    pub(super) tag: u64,
    pub(super) message: Arc<Message>,
    /// How many messages still wait.
    pub(super) left: usize,
}

impl State {
    pub(super) fn channel(&mut self, connection: u64, channel: u16) -> Option<&mut Channel> {
        self.connections
            .get_mut(&connection)?
            .channels
            .get_mut(&channel)
    }

    /// Adds a consumer. Deliveries begin with the next [`dispatch`](Self::dispatch), so that the client gets its tag first.
    pub(super) fn consume(
        &mut self,
        connection: u64,
        channel: u16,
        queue: &str,
        wanted: Subscription,
    ) -> Outcome<Arc<str>> {
        let label = self.queue_label(queue);
        let known = self.queue(connection, queue)?;
        let name = known.name.clone();
        let exclusive = known.consumers.iter().any(|consumer| consumer.exclusive);
        if exclusive || (wanted.exclusive && !known.consumers.is_empty()) {
            return Err(AmqpError::access_refused(format!(
                "{label} in exclusive use"
            )));
        }
        let tag: Arc<str> = match wanted.tag {
            tag if tag.is_empty() => format!("amq.ctag-{}", uuid::Uuid::new_v4().simple()).into(),
            tag => tag.into(),
        };
        let Some(subscriber) = self.channel(connection, channel) else {
            return Err(AmqpError::channel("the channel is not open"));
        };
        if subscriber.consumers.contains_key(&tag) {
            return Err(AmqpError::not_allowed(format!(
                "attempt to reuse consumer tag '{tag}'"
            )));
        }
        subscriber.consumers.insert(tag.clone(), name);
        let prefetch = subscriber.prefetch;
        let consumer = Consumer {
            connection,
            channel,
            tag: tag.clone(),
            no_ack: wanted.no_ack,
            exclusive: wanted.exclusive,
            prefetch,
            unacked: 0,
        };
        self.queue(connection, queue)?.consumers.push_back(consumer);
        Ok(tag)
    }

    /// Removes a consumer. Its unsettled messages stay with the channel.
    pub(super) fn cancel(&mut self, connection: u64, channel: u16, tag: &str) {
        let Some(queue) = self
            .channel(connection, channel)
            .and_then(|channel| channel.consumers.remove(tag))
        else {
            return;
        };
        let is_it =
            |c: &Consumer| c.connection == connection && c.channel == channel && &*c.tag == tag;
        self.drop_consumers(&queue, is_it);
    }

    /// Removes all consumers of a queue, and notifies the clients that understand it.
    pub(super) fn cancel_consumers(&mut self, name: &str) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        for consumer in std::mem::take(&mut queue.consumers) {
            let Some(connection) = self.connections.get_mut(&consumer.connection) else {
                continue;
            };
            if let Some(channel) = connection.channels.get_mut(&consumer.channel) {
                channel.consumers.remove(&consumer.tag);
            }
            if connection.understands_cancel {
                let cancel = basic::Cancel {
                    consumer_tag: short(&consumer.tag),
                    nowait: true,
                };
                connection.writer.method(
                    consumer.channel,
                    &AMQPClass::Basic(basic::AMQPMethod::Cancel(cancel)),
                );
            }
        }
    }

    /// Fetches one message; none when the queue is empty.
    pub(super) fn get(
        &mut self,
        connection: u64,
        channel: u16,
        queue: &str,
        no_ack: bool,
    ) -> Outcome<Option<Fetched>> {
        self.queue(connection, queue)?;
        let now = Instant::now();
        self.expire(queue, now);
        let known = self.queue(connection, queue)?;
        let Some(entry) = known.pop() else {
            return Ok(None);
        };
        let (name, queue_id) = (known.name.clone(), known.id);
        if !no_ack {
            known.unacked += 1;
        }
        let Some(holder) = self.channel(connection, channel) else {
            return Ok(None);
        };
        holder.last_tag += 1;
        let tag = holder.last_tag;
        if !no_ack {
            let unacked = Unacked {
                queue: name.clone(),
                queue_id,
                consumer: None,
                entry: entry.clone(),
            };
            holder.unacked.insert(tag, unacked);
        }
        self.emit(|| Event::Delivered {
            queue: name.to_string(),
            consumer_tag: None,
            delivery_tag: tag,
            message: entry.message.clone(),
        });
        // The message that is first now may have expired, and must not be counted then.
        self.expire(queue, now);
        self.timer.notify_one();
        self.notice_idle(queue);
        let left = self.queues.get(queue).map_or(0, Queue::len);
        Ok(Some(Fetched {
            tag,
            message: entry.message,
            left,
        }))
    }

    /// Sends the waiting messages of a queue to consumers with room.
    pub(super) fn dispatch(&mut self, name: &str) {
        let now = Instant::now();
        while let Some(queue) = self.queues.get_mut(name).filter(|queue| queue.len() > 0) {
            let has_room = |consumer: &Consumer| consumer.has_room(&self.connections);
            let Some(index) = queue.consumers.iter().position(has_room) else {
                break;
            };
            // A message that expires at this instant may still go to a consumer that waits for it.
            if queue.next_expiry().is_some_and(|expires| expires < now) {
                self.expire(name, now);
                continue;
            }
            let (Some(mut consumer), Some(entry)) = (queue.consumers.remove(index), queue.pop())
            else {
                break;
            };
            let delivery_tag = deliver(&mut self.connections, queue, &mut consumer, &entry);
            let (no_ack, consumer_tag) = (consumer.no_ack, consumer.tag.clone());
            queue.consumers.push_back(consumer);
            self.emit(|| Event::Delivered {
                queue: name.to_owned(),
                consumer_tag: Some(consumer_tag.to_string()),
                delivery_tag,
                message: entry.message,
            });
            if no_ack {
                self.notice_idle(name);
            }
        }
        self.expire(name, now);
        if self
            .queues
            .get(name)
            .is_some_and(|queue| queue.next_expiry().is_some())
        {
            self.timer.notify_one();
        }
    }

    /// Dispatches every queue that a connection consumes from.
    pub(super) fn dispatch_connection(&mut self, connection: u64) {
        let channels = self
            .connections
            .get(&connection)
            .into_iter()
            .flat_map(|connection| connection.channels.values());
        let queues: Vec<_> = channels
            .flat_map(|channel| channel.consumers.values().cloned())
            .collect();
        queues.iter().for_each(|queue| self.dispatch(queue));
    }

    /// Settles one message, or all up to it.
    pub(super) fn settle(
        &mut self,
        connection: u64,
        channel: u16,
        tag: u64,
        multiple: bool,
        verdict: Verdict,
    ) -> Outcome {
        let Some(holder) = self.channel(connection, channel) else {
            return Ok(());
        };
        let settled = match (multiple, tag) {
            (true, 0) => std::mem::take(&mut holder.unacked),
            (_, tag) if !holder.unacked.contains_key(&tag) => {
                return Err(AmqpError::precondition(format!(
                    "unknown delivery tag {tag}"
                )));
            }
            (true, tag) => {
                let later = holder.unacked.split_off(&(tag + 1));
                std::mem::replace(&mut holder.unacked, later)
            }
            (false, tag) => holder.unacked.remove_entry(&tag).into_iter().collect(),
        };
        holder.held -= settled
            .values()
            .filter(|unacked| unacked.consumer.is_some())
            .count();
        let mut queues: Vec<Arc<str>> = if holder.limit > 0 {
            holder.consumers.values().cloned().collect()
        } else {
            Vec::new()
        };
        for unacked in settled.into_values() {
            if !queues.contains(&unacked.queue) {
                queues.push(unacked.queue.clone());
            }
            self.settle_one(connection, channel, unacked, verdict);
        }
        queues.iter().for_each(|queue| self.dispatch(queue));
        Ok(())
    }

    /// Requeues everything that a channel holds.
    pub(super) fn recover(&mut self, connection: u64, channel: u16) {
        let Some(holder) = self.channel(connection, channel) else {
            return;
        };
        holder.held = 0;
        let unacked = std::mem::take(&mut holder.unacked);
        self.requeue(connection, channel, unacked.into_values());
    }

    /// Closes a channel: removes its consumers and requeues its unsettled messages.
    pub(super) fn close_channel(&mut self, connection: u64, number: u16) {
        let channels = self
            .connections
            .get_mut(&connection)
            .map(|connection| &mut connection.channels);
        if let Some(channel) = channels.and_then(|channels| channels.remove(&number)) {
            self.release(connection, number, channel);
        }
    }

    /// Closes all channels of a connection and deletes its exclusive queues.
    pub(super) fn release_connection(&mut self, id: u64) {
        let channels = self
            .connections
            .get_mut(&id)
            .map(|connection| std::mem::take(&mut connection.channels));
        for (number, channel) in channels.into_iter().flatten() {
            self.release(id, number, channel);
        }
        let own = self.queues.values().filter(|queue| queue.owner == Some(id));
        for name in own.map(|queue| queue.name.clone()).collect::<Vec<_>>() {
            self.remove_queue(&name);
        }
    }

    fn release(&mut self, connection: u64, number: u16, channel: Channel) {
        let is_it =
            |consumer: &Consumer| consumer.connection == connection && consumer.channel == number;
        let queues: Vec<_> = channel.consumers.values().cloned().collect();
        // Before the consumers, so that an auto-delete queue is deleted with its messages.
        self.requeue(connection, number, channel.unacked.into_values());
        queues
            .iter()
            .for_each(|queue| self.drop_consumers(queue, is_it));
    }

    fn requeue(&mut self, connection: u64, channel: u16, entries: impl Iterator<Item = Unacked>) {
        let mut queues: Vec<Arc<str>> = Vec::new();
        for unacked in entries {
            if !queues.contains(&unacked.queue) {
                queues.push(unacked.queue.clone());
            }
            let (queue, message) = (unacked.queue.to_string(), unacked.entry.message.clone());
            self.uncount(connection, channel, &unacked);
            if let Some(known) = self
                .queues
                .get_mut(&queue)
                .filter(|known| known.id == unacked.queue_id)
            {
                known.requeue(unacked.entry);
                self.emit(|| Event::Requeued { queue, message });
            }
        }
        queues.iter().for_each(|queue| self.dispatch(queue));
    }

    fn settle_one(&mut self, connection: u64, channel: u16, unacked: Unacked, verdict: Verdict) {
        let (name, message) = (unacked.queue.clone(), unacked.entry.message.clone());
        self.uncount(connection, channel, &unacked);
        let queue = name.to_string();
        match verdict {
            Verdict::Ack => {
                self.emit(|| Event::Acked { queue, message });
                self.notice_idle(&name);
            }
            Verdict::Reject { requeue } => {
                self.emit(|| Event::Rejected {
                    queue,
                    requeue,
                    message,
                });
                let Some(queue) = self
                    .queues
                    .get_mut(&*name)
                    .filter(|queue| queue.id == unacked.queue_id)
                else {
                    return;
                };
                if requeue {
                    queue.requeue(unacked.entry);
                } else {
                    self.dead_letter(&name, &unacked.entry, DeathReason::Rejected);
                }
            }
        }
    }

    /// Removes a message from the counts of its queue and consumer.
    fn uncount(&mut self, connection: u64, channel: u16, unacked: &Unacked) {
        let Some(queue) = self
            .queues
            .get_mut(&*unacked.queue)
            .filter(|queue| queue.id == unacked.queue_id)
        else {
            return;
        };
        queue.unacked -= 1;
        let is_it = |c: &&mut Consumer| {
            c.connection == connection
                && c.channel == channel
                && Some(&c.tag) == unacked.consumer.as_ref()
        };
        if let Some(consumer) = queue.consumers.iter_mut().find(is_it) {
            consumer.unacked = consumer.unacked.saturating_sub(1);
        }
    }

    /// Removes consumers, and an auto-delete queue with its last one.
    fn drop_consumers(&mut self, name: &str, gone: impl Fn(&Consumer) -> bool) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        let before = queue.consumers.len();
        queue.consumers.retain(|consumer| !gone(consumer));
        if queue.auto_delete && queue.consumers.is_empty() && before > 0 {
            self.remove_queue(name);
        }
    }
}

impl Consumer {
    fn has_room(&self, connections: &HashMap<u64, Connection>) -> bool {
        let Some(connection) = connections.get(&self.connection) else {
            return false;
        };
        let Some(channel) = connection.channels.get(&self.channel) else {
            return false;
        };
        let within = self.no_ack
            || ((self.prefetch == 0 || self.unacked < self.prefetch)
                && (channel.limit == 0 || channel.held < channel.limit));
        within && !connection.writer.is_full()
    }
}

/// Sends one message to one consumer and counts it.
fn deliver(
    connections: &mut HashMap<u64, Connection>,
    queue: &mut Queue,
    consumer: &mut Consumer,
    entry: &QueuedMessage,
) -> u64 {
    let connection = connections
        .get_mut(&consumer.connection)
        .expect("only open channels have room");
    let channel = connection
        .channels
        .get_mut(&consumer.channel)
        .expect("only open channels have room");
    let delivery_tag = channel.last_tag + 1;
    let method = AMQPClass::Basic(basic::AMQPMethod::Deliver(basic::Deliver {
        consumer_tag: short(&consumer.tag),
        delivery_tag,
        redelivered: entry.message.redelivered,
        exchange: short(&entry.message.exchange),
        routing_key: short(&entry.message.routing_key),
    }));
    connection.writer.content(
        consumer.channel,
        &method,
        &entry.message,
        connection.frame_max,
    );
    channel.last_tag = delivery_tag;
    if !consumer.no_ack {
        queue.unacked += 1;
        consumer.unacked += 1;
        channel.held += 1;
        let unacked = Unacked {
            queue: queue.name.clone(),
            queue_id: queue.id,
            consumer: Some(consumer.tag.clone()),
            entry: entry.clone(),
        };
        channel.unacked.insert(delivery_tag, unacked);
    }
    delivery_tag
}
