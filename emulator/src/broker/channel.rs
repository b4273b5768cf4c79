//! Channels: the classes `channel`, `exchange`, `queue`, `confirm` and `tx`.

use super::{
    codec::{Frame, short},
    connection::{ClientConnection, Input, MethodId},
    error::{AmqpError, Outcome},
    exchange::{Binding, Destination, Exchange, ExchangeKind},
    queue::QueueOptions,
    state::{Channel, QueueSpec, State},
};
use amq_protocol::{
    protocol::{AMQPClass, access, channel as wire, confirm, exchange, queue, tx},
    types::{AMQPValue, FieldTable},
};

impl ClientConnection {
    pub(super) fn channel_frame(
        &mut self,
        state: &mut State,
        number: u16,
        frame: Frame,
    ) -> Outcome {
        let open = self.inputs.contains_key(&number);
        if let Frame::Method(_, AMQPClass::Channel(wire::AMQPMethod::Open(_))) = frame {
            if open {
                return Err(AmqpError::channel("second 'channel.open' seen"));
            }
            return self.open_channel(state, number);
        }
        let Some(input) = self.inputs.get_mut(&number) else {
            return Err(AmqpError::channel("expected 'channel.open'"));
        };
        if input.closing {
            self.await_channel_close_ok(number, &frame);
            return Ok(());
        }
        match frame {
            Frame::Method(..) if input.content.is_some() => Err(AmqpError::unexpected_frame(
                "expected content of basic.publish, got a method frame instead",
            )),
            Frame::Method(_, method) => self.method(state, number, method),
            Frame::Header(_, header) => self.content_header(state, number, header),
            Frame::Body(_, body) => self.content_body(state, number, &body),
            Frame::Heartbeat => Ok(()),
        }
    }

    /// Closes a client's channel; its unsettled messages are requeued at once.
    pub(super) fn close_channel(
        &mut self,
        state: &mut State,
        number: u16,
        error: &AmqpError,
        (class_id, method_id): MethodId,
    ) {
        state.close_channel(self.id, number);
        self.inputs.insert(
            number,
            Input {
                content: None,
                closing: true,
            },
        );
        let close = wire::Close {
            reply_code: error.code,
            reply_text: short(&error.text),
            class_id,
            method_id,
        };
        self.reply(number, &AMQPClass::Channel(wire::AMQPMethod::Close(close)));
    }

    pub(super) fn reply(&self, channel: u16, method: &AMQPClass) {
        self.writer.method(channel, method);
    }

    /// The channel's state. The channel is open: otherwise this frame would have been refused.
    pub(super) fn state_of<'a>(
        &self,
        state: &'a mut State,
        number: u16,
    ) -> Outcome<&'a mut Channel> {
        state
            .channel(self.id, number)
            .ok_or_else(|| AmqpError::channel("the channel is not open"))
    }

    /// The name of the queue; an empty name is the queue that the client declared last.
    pub(super) fn queue_name(&self, state: &mut State, number: u16, name: &str) -> Outcome<String> {
        if !name.is_empty() {
            return Ok(name.to_owned());
        }
        match &self.state_of(state, number)?.last_queue {
            last if last.is_empty() => Err(AmqpError::not_found("no previously declared queue")),
            last => Ok(last.clone()),
        }
    }

    fn open_channel(&mut self, state: &mut State, number: u16) -> Outcome {
        if !self.allows_channel(number) {
            return Err(AmqpError::not_allowed(format!(
                "channel {number} is beyond the negotiated channel_max"
            )));
        }
        let Some(connection) = state.connections.get_mut(&self.id) else {
            return Ok(());
        };
        connection.channels.insert(number, Channel::default());
        self.inputs.insert(number, Input::default());
        self.reply(
            number,
            &AMQPClass::Channel(wire::AMQPMethod::OpenOk(wire::OpenOk {})),
        );
        Ok(())
    }

    fn await_channel_close_ok(&mut self, number: u16, frame: &Frame) {
        match frame {
            Frame::Method(_, AMQPClass::Channel(wire::AMQPMethod::CloseOk(_))) => {
                drop(self.inputs.remove(&number));
            }
            Frame::Method(_, AMQPClass::Channel(wire::AMQPMethod::Close(_))) => {
                self.reply(
                    number,
                    &AMQPClass::Channel(wire::AMQPMethod::CloseOk(wire::CloseOk {})),
                );
            }
            _ => {}
        }
    }

    fn method(&mut self, state: &mut State, number: u16, method: AMQPClass) -> Outcome {
        match method {
            AMQPClass::Basic(method) => self.basic_method(state, number, method),
            AMQPClass::Channel(method) => self.channel_method(state, number, &method),
            AMQPClass::Exchange(method) => self.exchange_method(state, number, method),
            AMQPClass::Queue(method) => self.queue_method(state, number, method),
            AMQPClass::Confirm(confirm::AMQPMethod::Select(select)) => {
                self.state_of(state, number)?.published.get_or_insert(0);
                if !select.nowait {
                    self.reply(
                        number,
                        &AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {})),
                    );
                }
                Ok(())
            }
            // Obsolete; RabbitMQ accepts it too.
            AMQPClass::Access(access::AMQPMethod::Request(_)) => {
                self.reply(
                    number,
                    &AMQPClass::Access(access::AMQPMethod::RequestOk(access::RequestOk {})),
                );
                Ok(())
            }
            AMQPClass::Tx(method) => Err(AmqpError::not_implemented(match method {
                tx::AMQPMethod::Commit(_) => "tx.commit: this broker has no transactions",
                tx::AMQPMethod::Rollback(_) => "tx.rollback: this broker has no transactions",
                _ => "tx.select: this broker has no transactions, use publisher confirms",
            })),
            AMQPClass::Connection(_) => Err(AmqpError::command_invalid(
                "a connection method on a channel",
            )),
            other => Err(not_a_request(&other)),
        }
    }

    fn channel_method(
        &mut self,
        state: &mut State,
        number: u16,
        method: &wire::AMQPMethod,
    ) -> Outcome {
        match method {
            wire::AMQPMethod::Close(_) => {
                state.close_channel(self.id, number);
                self.inputs.remove(&number);
                self.reply(
                    number,
                    &AMQPClass::Channel(wire::AMQPMethod::CloseOk(wire::CloseOk {})),
                );
                Ok(())
            }
            wire::AMQPMethod::Flow(flow) if !flow.active => {
                Err(AmqpError::not_implemented("active=false"))
            }
            wire::AMQPMethod::Flow(_) => {
                self.reply(
                    number,
                    &AMQPClass::Channel(wire::AMQPMethod::FlowOk(wire::FlowOk { active: true })),
                );
                Ok(())
            }
            other => Err(not_a_request(&AMQPClass::Channel(other.clone()))),
        }
    }

    fn exchange_method(
        &mut self,
        state: &mut State,
        number: u16,
        method: exchange::AMQPMethod,
    ) -> Outcome {
        use exchange::AMQPMethod as Method;
        let (reply, nowait) = match method {
            Method::Declare(declare) => {
                self.declare_exchange(state, &declare)?;
                (Method::DeclareOk(exchange::DeclareOk {}), declare.nowait)
            }
            Method::Delete(delete) => {
                state.may_configure(
                    &self.shared.config.user,
                    &state.exchange_label(delete.exchange.as_str()),
                )?;
                state.delete_exchange(delete.exchange.as_str(), delete.if_unused)?;
                (Method::DeleteOk(exchange::DeleteOk {}), delete.nowait)
            }
            Method::Bind(bind) => {
                let destination = Destination::Exchange(bind.destination.to_string());
                let binding = Binding {
                    key: bind.routing_key.to_string(),
                    destination,
                    arguments: bind.arguments,
                };
                state.bind(self.id, bind.source.as_str(), binding)?;
                (Method::BindOk(exchange::BindOk {}), bind.nowait)
            }
            Method::Unbind(unbind) => {
                let destination = Destination::Exchange(unbind.destination.to_string());
                let binding = Binding {
                    key: unbind.routing_key.to_string(),
                    destination,
                    arguments: unbind.arguments,
                };
                state.unbind(self.id, unbind.source.as_str(), &binding)?;
                (Method::UnbindOk(exchange::UnbindOk {}), unbind.nowait)
            }
            other => return Err(not_a_request(&AMQPClass::Exchange(other))),
        };
        if !nowait {
            self.reply(number, &AMQPClass::Exchange(reply));
        }
        Ok(())
    }

    fn declare_exchange(&mut self, state: &mut State, declare: &exchange::Declare) -> Outcome {
        let name = declare.exchange.as_str();
        if declare.passive {
            return state.exchange(name).map(drop);
        }
        state.may_configure(&self.shared.config.user, &state.exchange_label(name))?;
        let kind = declare.kind.as_str();
        let Some(kind) = ExchangeKind::from_name(kind) else {
            return Err(AmqpError::command_invalid(format!(
                "unknown exchange type '{kind}'"
            )));
        };
        let alternate = declare
            .arguments
            .inner()
            .get("alternate-exchange")
            .and_then(AMQPValue::as_long_string);
        let mut spec = Exchange::new(kind);
        spec.durable = declare.durable;
        spec.auto_delete = declare.auto_delete;
        spec.internal = declare.internal;
        spec.alternate = alternate.map(ToString::to_string);
        state.declare_exchange(name, spec)
    }

    fn queue_method(
        &mut self,
        state: &mut State,
        number: u16,
        method: queue::AMQPMethod,
    ) -> Outcome {
        use queue::AMQPMethod as Method;
        let (reply, nowait) = match method {
            Method::Declare(declare) => (
                Method::DeclareOk(self.declare_queue(state, number, &declare)?),
                declare.nowait,
            ),
            Method::Bind(bind) => {
                let (queue, key) = (bind.queue.as_str(), bind.routing_key.as_str());
                let binding = self.queue_binding(state, number, queue, key, bind.arguments)?;
                state.bind(self.id, bind.exchange.as_str(), binding)?;
                (Method::BindOk(queue::BindOk {}), bind.nowait)
            }
            Method::Unbind(unbind) => {
                let (queue, key) = (unbind.queue.as_str(), unbind.routing_key.as_str());
                let binding = self.queue_binding(state, number, queue, key, unbind.arguments)?;
                state.unbind(self.id, unbind.exchange.as_str(), &binding)?;
                (Method::UnbindOk(queue::UnbindOk {}), false)
            }
            Method::Purge(purge) => {
                let name = self.queue_name(state, number, purge.queue.as_str())?;
                let message_count = count(state.purge(self.id, &name)?);
                (
                    Method::PurgeOk(queue::PurgeOk { message_count }),
                    purge.nowait,
                )
            }
            Method::Delete(delete) => {
                let name = self.queue_name(state, number, delete.queue.as_str())?;
                state.may_configure(&self.shared.config.user, &state.queue_label(&name))?;
                let message_count =
                    count(state.delete_queue(self.id, &name, delete.if_unused, delete.if_empty)?);
                (
                    Method::DeleteOk(queue::DeleteOk { message_count }),
                    delete.nowait,
                )
            }
            other => return Err(not_a_request(&AMQPClass::Queue(other))),
        };
        if !nowait {
            self.reply(number, &AMQPClass::Queue(reply));
        }
        Ok(())
    }

    fn declare_queue(
        &mut self,
        state: &mut State,
        number: u16,
        declare: &queue::Declare,
    ) -> Outcome<queue::DeclareOk> {
        let name = if declare.passive {
            self.queue_name(state, number, declare.queue.as_str())?
        } else {
            let name = declare.queue.as_str();
            state.may_configure(&self.shared.config.user, &state.queue_label(name))?;
            let spec = QueueSpec {
                durable: declare.durable,
                exclusive: declare.exclusive,
                auto_delete: declare.auto_delete,
                options: QueueOptions::from_arguments(
                    &declare.arguments,
                    &state.queue_label(name),
                )?,
            };
            state.declare_queue(self.id, name, spec)?
        };
        let queue = state.queue(self.id, &name)?;
        let (message_count, consumer_count) = (count(queue.len()), count(queue.consumers.len()));
        self.state_of(state, number)?.last_queue.clone_from(&name);
        Ok(queue::DeclareOk {
            queue: short(&name),
            message_count,
            consumer_count,
        })
    }

    /// Reads a binding of a queue. If key and queue name are both empty, the key is the name of the queue that the
    /// client declared last (AMQP 0-9-1).
    fn queue_binding(
        &self,
        state: &mut State,
        number: u16,
        queue: &str,
        key: &str,
        arguments: FieldTable,
    ) -> Outcome<Binding> {
        let name = self.queue_name(state, number, queue)?;
        let key = match (queue, key) {
            ("", "") => name.clone(),
            (_, key) => key.to_owned(),
        };
        Ok(Binding {
            key,
            destination: Destination::Queue(name.into()),
            arguments,
        })
    }
}

/// The error for a method that only a broker may send.
pub(super) fn not_a_request(method: &AMQPClass) -> AmqpError {
    let (class, id) = (method.get_amqp_class_id(), method.get_amqp_method_id());
    AmqpError::not_implemented(format!(
        "method {id} of class {class} is not a request of a client"
    ))
}

pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
