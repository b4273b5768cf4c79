//! The class `basic`: publishing, consuming, settling.

use super::{
    channel::{count, not_a_request},
    codec::short,
    connection::{ClientConnection, PartialMessage},
    delivery::{Subscription, Verdict},
    error::{AmqpError, Outcome},
    message::{Event, Message},
    routing::RouteResult,
    state::{Channel, State},
};
use amq_protocol::{
    frame::AMQPContentHeader,
    protocol::{AMQPClass, BasicProperties, basic, basic::AMQPMethod as Method},
};
use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// RabbitMQ's size limit of a message.
const MESSAGE_MAX: u64 = 134_217_728;
/// Memory for a body is reserved up to this size; a larger body grows as it arrives.
const ROOM_AHEAD: u64 = 1 << 20;

impl ClientConnection {
    pub(super) fn basic_method(
        &mut self,
        state: &mut State,
        number: u16,
        method: Method,
    ) -> Outcome {
        match method {
            Method::Publish(publish) => self.begin_publish(state, number, publish),
            Method::Ack(ack) => state.settle(
                self.id,
                number,
                ack.delivery_tag,
                ack.multiple,
                Verdict::Ack,
            ),
            Method::Nack(nack) => {
                let verdict = Verdict::Reject {
                    requeue: nack.requeue,
                };
                state.settle(self.id, number, nack.delivery_tag, nack.multiple, verdict)
            }
            Method::Reject(reject) => {
                let verdict = Verdict::Reject {
                    requeue: reject.requeue,
                };
                state.settle(self.id, number, reject.delivery_tag, false, verdict)
            }
            Method::Get(get) => self.get(state, number, &get),
            Method::Consume(consume) => self.consume(state, number, &consume),
            Method::Cancel(cancel) => self.cancel(state, number, cancel),
            // This frame only confirms a cancel that the broker has sent.
            Method::CancelOk(_) => Ok(()),
            Method::Qos(qos) => self.qos(state, number, &qos),
            Method::Recover(basic::Recover { requeue: true }) => {
                self.reply_basic(number, Method::RecoverOk(basic::RecoverOk {}));
                state.recover(self.id, number);
                Ok(())
            }
            Method::RecoverAsync(basic::RecoverAsync { requeue: true }) => {
                state.recover(self.id, number);
                Ok(())
            }
            Method::Recover(_) | Method::RecoverAsync(_) => {
                Err(AmqpError::not_implemented("requeue=false"))
            }
            other => Err(not_a_request(&AMQPClass::Basic(other))),
        }
    }

    pub(super) fn content_header(
        &mut self,
        state: &mut State,
        number: u16,
        header: AMQPContentHeader,
    ) -> Outcome {
        let content = self
            .inputs
            .get_mut(&number)
            .and_then(|input| input.content.as_mut());
        let Some(content) = content.filter(|content| content.size.is_none()) else {
            return Err(AmqpError::unexpected_frame(
                "expected method frame, got content header frame instead",
            ));
        };
        let (size, limit) = (
            header.body_size,
            state.faults.message_size.unwrap_or(MESSAGE_MAX),
        );
        if size > limit {
            return Err(AmqpError::precondition(format!(
                "message size {size} is larger than configured max size {limit}"
            )));
        }
        content.properties = header.properties;
        content.size = Some(header.body_size);
        content
            .body
            .reserve(header.body_size.min(ROOM_AHEAD) as usize);
        self.content_complete(state, number)
    }

    pub(super) fn content_body(&mut self, state: &mut State, number: u16, body: &Bytes) -> Outcome {
        let content = self
            .inputs
            .get_mut(&number)
            .and_then(|input| input.content.as_mut());
        let Some((content, size)) =
            content.and_then(|content| content.size.map(|size| (content, size)))
        else {
            return Err(AmqpError::unexpected_frame(
                "expected method frame, got content body frame instead",
            ));
        };
        content.body.extend_from_slice(body);
        if content.body.len() as u64 > size {
            return Err(AmqpError::frame(format!(
                "more content than the {size} bytes that its header announced"
            )));
        }
        self.content_complete(state, number)
    }

    fn begin_publish(
        &mut self,
        state: &mut State,
        number: u16,
        publish: basic::Publish,
    ) -> Outcome {
        let content = PartialMessage {
            publish,
            properties: BasicProperties::default(),
            size: None,
            body: Vec::new(),
        };
        self.inputs.entry(number).or_default().content = Some(content);
        let blocked = state.faults.blocked;
        if let Some(connection) = state.connections.get_mut(&self.id) {
            connection.publishes = true;
            connection.set_blocked(blocked);
        }
        Ok(())
    }

    fn content_complete(&mut self, state: &mut State, number: u16) -> Outcome {
        let complete =
            |content: &mut PartialMessage| content.size == Some(content.body.len() as u64);
        let Some(input) = self.inputs.get_mut(&number) else {
            return Ok(());
        };
        match input.content.take_if(complete) {
            Some(content) => self.publish(state, number, content),
            None => Ok(()),
        }
    }

    fn publish(&mut self, state: &mut State, number: u16, content: PartialMessage) -> Outcome {
        self.check_publish(&content)?;
        state.may_use(&self.shared.config.user, |state| {
            state.exchange_label(content.publish.exchange.as_str())
        })?;
        let publish = content.publish;
        let message = Arc::new(Message {
            exchange: publish.exchange.to_string(),
            routing_key: publish.routing_key.to_string(),
            properties: content.properties,
            body: content.body.into(),
            redelivered: false,
        });
        let published = self.state_of(state, number)?.published.as_mut();
        let confirm = published.map(|published| {
            *published += 1;
            *published
        });
        if let Some(tag) = confirm.filter(|_| state.faults.nacks > 0) {
            state.faults.nacks -= 1;
            state.emit(|| Event::Refused { message });
            self.confirm(state, number, tag, false);
            return Ok(());
        }
        let routed = state.publish(&message)?;
        if routed == RouteResult::Nowhere && publish.mandatory {
            self.return_message(state, number, publish, message);
        } else if routed == RouteResult::Refused {
            state.emit(|| Event::Refused { message });
        }
        if let Some(tag) = confirm {
            self.confirm(state, number, tag, routed != RouteResult::Refused);
        }
        Ok(())
    }

    /// Refuses features that this broker does not have, and a forged user id.
    fn check_publish(&self, content: &PartialMessage) -> Outcome {
        if content.publish.immediate {
            return Err(AmqpError::not_implemented("immediate=true"));
        }
        let headers = content.properties.headers().as_ref();
        let has_header = |name: &&str| headers.is_some_and(|table| table.contains_key(name));
        if let Some(name) = ["CC", "BCC"].into_iter().find(has_header) {
            return Err(AmqpError::not_implemented(format!(
                "message header '{name}': this broker has no such feature"
            )));
        }
        let user = &self.shared.config.user;
        match content.properties.user_id() {
            Some(claimed) if claimed.as_str() != user => Err(AmqpError::precondition(format!(
                "user_id property set to '{claimed}' but authenticated user was '{user}'"
            ))),
            _ => Ok(()),
        }
    }

    fn return_message(
        &self,
        state: &State,
        number: u16,
        publish: basic::Publish,
        message: Arc<Message>,
    ) {
        let method = AMQPClass::Basic(Method::Return(basic::Return {
            reply_code: 312,
            reply_text: short("NO_ROUTE"),
            exchange: publish.exchange,
            routing_key: publish.routing_key,
        }));
        self.writer
            .content(number, &method, &message, self.frame_max);
        state.emit(|| Event::Returned { message });
    }

    fn confirm(&self, state: &mut State, number: u16, delivery_tag: u64, taken: bool) {
        if !taken {
            let nack = basic::Nack {
                delivery_tag,
                multiple: false,
                requeue: false,
            };
            return self.reply_basic(number, Method::Nack(nack));
        }
        if state.faults.confirm_delay.is_zero() {
            return self.reply_basic(
                number,
                Method::Ack(basic::Ack {
                    delivery_tag,
                    multiple: false,
                }),
            );
        }
        let due = Instant::now() + state.faults.confirm_delay;
        let order = state.next_id();
        state
            .held_confirms
            .insert((due, order), (self.id, number, delivery_tag));
        state.timer.notify_one();
    }

    fn cancel(&mut self, state: &mut State, number: u16, cancel: basic::Cancel) -> Outcome {
        state.cancel(self.id, number, cancel.consumer_tag.as_str());
        if !cancel.nowait {
            let consumer_tag = cancel.consumer_tag;
            self.reply_basic(number, Method::CancelOk(basic::CancelOk { consumer_tag }));
        }
        Ok(())
    }

    fn qos(&self, state: &mut State, number: u16, qos: &basic::Qos) -> Outcome {
        let channel = self.state_of(state, number)?;
        let prefetch = qos.prefetch_count.into();
        if qos.global {
            channel.limit = prefetch;
            state.dispatch_connection(self.id);
        } else {
            channel.prefetch = prefetch;
        }
        self.reply_basic(number, Method::QosOk(basic::QosOk {}));
        Ok(())
    }

    fn get(&mut self, state: &mut State, number: u16, get: &basic::Get) -> Outcome {
        let queue = self.queue_name(state, number, get.queue.as_str())?;
        let Some(fetched) = state.get(self.id, number, &queue, get.no_ack)? else {
            self.reply_basic(number, Method::GetEmpty(basic::GetEmpty {}));
            return Ok(());
        };
        let method = AMQPClass::Basic(Method::GetOk(basic::GetOk {
            delivery_tag: fetched.tag,
            redelivered: fetched.message.redelivered,
            exchange: short(&fetched.message.exchange),
            routing_key: short(&fetched.message.routing_key),
            message_count: count(fetched.left),
        }));
        self.writer
            .content(number, &method, &fetched.message, self.frame_max);
        Ok(())
    }

    fn consume(&mut self, state: &mut State, number: u16, consume: &basic::Consume) -> Outcome {
        if consume.arguments.contains_key("x-priority") {
            return Err(AmqpError::not_implemented(
                "argument 'x-priority' of basic.consume: this broker has no such feature",
            ));
        }
        let queue = self.queue_name(state, number, consume.queue.as_str())?;
        state.may_use(&self.shared.config.user, |state| state.queue_label(&queue))?;
        let wanted = Subscription {
            tag: consume.consumer_tag.to_string(),
            no_ack: consume.no_ack,
            exclusive: consume.exclusive,
        };
        let tag = state.consume(self.id, number, &queue, wanted)?;
        if !consume.nowait {
            self.reply_basic(
                number,
                Method::ConsumeOk(basic::ConsumeOk {
                    consumer_tag: short(&tag),
                }),
            );
        }
        state.dispatch(&queue);
        Ok(())
    }

    fn reply_basic(&self, channel: u16, method: Method) {
        self.reply(channel, &AMQPClass::Basic(method));
    }
}

impl State {
    /// Sends the delayed confirms that are due, and returns when the next ones are due. Those of one channel are sent as
    /// one, as a busy broker does.
    pub(super) fn send_held_confirms(&mut self, now: Instant) -> Option<Instant> {
        let later = self
            .held_confirms
            .split_off(&(now + Duration::from_nanos(1), 0));
        let due = std::mem::replace(&mut self.held_confirms, later);
        let mut channels: BTreeMap<(u64, u16), Vec<u64>> = BTreeMap::new();
        for (connection, channel, tag) in due.into_values() {
            channels.entry((connection, channel)).or_default().push(tag);
        }
        for ((id, number), tags) in channels {
            self.send_confirms(id, number, &tags);
        }
        self.held_confirms
            .first_key_value()
            .map(|((due, _), _)| *due)
    }

    fn send_confirms(&mut self, id: u64, number: u16, tags: &[u64]) {
        let Some(last) = tags.iter().copied().max() else {
            return;
        };
        // The channel may be closed, or a new channel without confirms may have its number.
        let is_known = |channel: &Channel| channel.published >= Some(last);
        let Some(connection) = self
            .connections
            .get(&id)
            .filter(|connection| connection.channels.get(&number).is_some_and(is_known))
        else {
            return;
        };
        let multiple = tags.len() > 1;
        let ack = basic::Ack {
            delivery_tag: last,
            multiple,
        };
        connection
            .writer
            .method(number, &AMQPClass::Basic(Method::Ack(ack)));
        if multiple {
            // This also confirms earlier publishes whose confirms were due later.
            self.held_confirms
                .retain(|_, (c, n, tag)| (*c, *n) != (id, number) || *tag > last);
        }
    }
}
