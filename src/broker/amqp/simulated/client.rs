//! The types of lapin that the adapter uses, each of which is lapin's own or a simulated one.

pub(in crate::broker::amqp) use super::deliveries::{Acker, Consumer, Delivery, PublisherConfirm};

use super::{
    super::{
        guard::{self, Around},
        properties,
    },
    SimulatedBroker,
    frames::{Answer, Binding, Publish, QueueLimits, Request, Settlement},
    network::lost,
};
use bytes::Bytes;
use futures_util::{Stream, future::Either, stream};
use lapin::{
    BasicProperties, Error, Event, ExchangeKind,
    message::{BasicGetMessage, BasicReturnMessage},
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions,
        BasicNackOptions, BasicPublishOptions, BasicQosOptions, BasicRejectOptions,
        ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeUnbindOptions, QueueBindOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{FieldTable, ShortString},
    uri::AMQPUri,
};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Connects to the broker that this thread simulates. If it simulates none, connects over the network.
pub(in crate::broker::amqp) async fn connect(
    uri: AMQPUri,
    name: String,
    handle: Handle,
    around: Around,
) -> Result<Connection, Error> {
    let Some(broker) = super::current() else {
        let connecting = guard::connect(uri, name, handle, around);
        return connecting.await.map(Box::new).map(Connection::Real);
    };
    let user = uri.authority.userinfo.username;
    let id = broker.connect(user, name).await?;
    if let Some(outbox) = &around.outbox {
        outbox.set_frame_max(131_072);
    }
    Ok(Connection::Simulated(Arc::new(Held { broker, id, around })))
}

/// A simulated connection. When nobody holds it any more, it is closed.
pub(in crate::broker::amqp) struct Held {
    broker: SimulatedBroker,
    id: u64,
    around: Around,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.broker.abandon(self.id);
    }
}

/// The state of a connection or a channel.
pub(in crate::broker::amqp) struct Status {
    is_connected: bool,
    is_blocked: bool,
}

impl Status {
    pub(in crate::broker::amqp) fn connected(&self) -> bool {
        self.is_connected
    }

    pub(in crate::broker::amqp) fn blocked(&self) -> bool {
        self.is_blocked
    }
}

pub(in crate::broker::amqp) enum Connection {
    Real(Box<lapin::Connection>),
    Simulated(Arc<Held>),
}

impl Connection {
    pub(in crate::broker::amqp) fn status(&self) -> Status {
        match self {
            Self::Real(connection) => Status {
                is_connected: connection.status().connected(),
                is_blocked: connection.status().blocked(),
            },
            // No simulated broker blocks publishers.
            Self::Simulated(held) => Status {
                is_connected: held.broker.is_open(held.id),
                is_blocked: false,
            },
        }
    }

    pub(in crate::broker::amqp) fn events_listener(
        &self,
    ) -> impl Stream<Item = Event> + Send + 'static {
        match self {
            Self::Real(connection) => Either::Left(connection.events_listener()),
            Self::Simulated(held) => {
                let events = held.broker.listen(held.id);
                Either::Right(stream::unfold(events, async |mut events| {
                    events.recv().await.map(|event| (event, events))
                }))
            }
        }
    }

    pub(in crate::broker::amqp) async fn create_channel(&self) -> Result<Channel, Error> {
        match self {
            Self::Real(connection) => connection.create_channel().await.map(Channel::Real),
            Self::Simulated(held) => {
                let number = held.broker.open_channel(held.id).await?;
                Ok(Channel::Simulated(held.clone(), number))
            }
        }
    }

    pub(in crate::broker::amqp) async fn close(
        &self,
        code: u16,
        text: ShortString,
    ) -> Result<(), Error> {
        match self {
            Self::Real(connection) => connection.close(code, text).await,
            Self::Simulated(held) => held.broker.close(held.id).await,
        }
    }
}

#[derive(Clone)]
pub(in crate::broker::amqp) enum Channel {
    Real(lapin::Channel),
    Simulated(Arc<Held>, u16),
}

/// Calls the method of lapin's channel, or sends the request to the simulated broker.
macro_rules! ask {
    ($channel:expr, $real:ident => $call:expr, $request:expr) => {
        match $channel {
            Channel::Real($real) => $call.await.map(|_| ()),
            Channel::Simulated(held, number) => {
                let id = (held.id, *number);
                held.broker.ask(id, $request).await.map(|_| ())
            }
        }
    };
}

impl Channel {
    pub(in crate::broker::amqp) fn status(&self) -> Status {
        Status {
            is_connected: match self {
                Self::Real(channel) => channel.status().connected(),
                Self::Simulated(held, number) => held.broker.is_channel_open((held.id, *number)),
            },
            is_blocked: false,
        }
    }

    pub(in crate::broker::amqp) async fn close(
        &self,
        code: u16,
        text: ShortString,
    ) -> Result<(), Error> {
        ask!(self, real => real.close(code, text), Request::CloseChannel)
    }

    pub(in crate::broker::amqp) async fn basic_qos(
        &self,
        prefetch: u16,
        options: BasicQosOptions,
    ) -> Result<(), Error> {
        ask!(self, real => real.basic_qos(prefetch, options), Request::Qos(prefetch))
    }

    pub(in crate::broker::amqp) async fn basic_consume(
        &self,
        queue: ShortString,
        tag: ShortString,
        options: BasicConsumeOptions,
        arguments: FieldTable,
    ) -> Result<Consumer, Error> {
        match self {
            Self::Real(channel) => {
                let consumer = channel.basic_consume(queue, tag, options, arguments);
                consumer.await.map(Consumer::Real)
            }
            Self::Simulated(held, number) => {
                let id = (held.id, *number);
                let (queue, tag) = (queue.to_string(), format!("consumer-{number}"));
                let deliveries = held.broker.add_consumer(id, tag.clone());
                let request = Request::Consume {
                    queue,
                    tag: tag.clone(),
                };
                held.broker.ask(id, request).await?;
                Ok(Consumer::Simulated {
                    broker: held.broker.clone(),
                    around: held.around.clone(),
                    id,
                    tag,
                    deliveries,
                })
            }
        }
    }

    pub(in crate::broker::amqp) async fn basic_cancel(
        &self,
        tag: ShortString,
        options: BasicCancelOptions,
    ) -> Result<(), Error> {
        match self {
            Self::Real(channel) => channel.basic_cancel(tag, options).await,
            Self::Simulated(held, number) => {
                let (id, tag) = ((held.id, *number), tag.to_string());
                held.broker.ask(id, Request::Cancel(tag.clone())).await?;
                held.broker.remove_consumer(id, &tag);
                Ok(())
            }
        }
    }

    pub(in crate::broker::amqp) async fn basic_ack(
        &self,
        delivery: u64,
        options: BasicAckOptions,
    ) -> Result<(), Error> {
        match self {
            Self::Real(channel) => channel.basic_ack(delivery, options).await,
            Self::Simulated(held, number) => {
                let id = (held.id, *number);
                sent(held.broker.settle(id, delivery, Settlement::Ack).await)
            }
        }
    }

    pub(in crate::broker::amqp) async fn basic_reject(
        &self,
        delivery: u64,
        options: BasicRejectOptions,
    ) -> Result<(), Error> {
        match self {
            Self::Real(channel) => channel.basic_reject(delivery, options).await,
            Self::Simulated(held, number) => {
                let (id, settlement) = ((held.id, *number), Settlement::of(options));
                sent(held.broker.settle(id, delivery, settlement).await)
            }
        }
    }

    pub(in crate::broker::amqp) async fn confirm_select(
        &self,
        options: ConfirmSelectOptions,
    ) -> Result<(), Error> {
        ask!(self, real => real.confirm_select(options), Request::ConfirmSelect)
    }

    pub(in crate::broker::amqp) async fn basic_publish(
        &self,
        exchange: ShortString,
        key: ShortString,
        options: BasicPublishOptions,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<PublisherConfirm, Error> {
        match self {
            Self::Real(channel) => {
                let confirm = channel.basic_publish(exchange, key, options, body, properties);
                confirm.await.map(PublisherConfirm::Real)
            }
            Self::Simulated(held, number) => {
                let (properties, body) = match &held.around.outbox {
                    Some(outbox) => {
                        let contents = outbox.withdraw(body).expect("the body is a ticket");
                        (properties::for_client(&contents.properties), contents.body)
                    }
                    None => (properties, Bytes::copy_from_slice(body)),
                };
                let publish = Publish {
                    exchange: exchange.to_string(),
                    key: key.to_string(),
                    mandatory: options.mandatory,
                    properties,
                    body,
                };
                let confirm = held.broker.publish((held.id, *number), publish);
                confirm.await.map(PublisherConfirm::Simulated)
            }
        }
    }

    /// In the simulation, all confirms of a frame are resolved at once, so there is nothing to wait for.
    pub(in crate::broker::amqp) async fn wait_for_confirms(
        &self,
    ) -> Result<Vec<BasicReturnMessage>, Error> {
        match self {
            Self::Real(channel) => channel.wait_for_confirms().await,
            Self::Simulated(..) => Ok(Vec::new()),
        }
    }

    /// Takes a message out of a queue: its body, its properties, and whether it was delivered before.
    pub(in crate::broker::amqp) async fn take(
        &self,
        queue: ShortString,
    ) -> Result<Option<(Vec<u8>, BasicProperties, bool)>, Error> {
        match self {
            Self::Real(channel) => {
                let taken = channel.basic_get(queue, BasicGetOptions { no_ack: true });
                let taken = taken.await?;
                Ok(taken.map(|taken| {
                    let delivery = taken.delivery;
                    (delivery.data, delivery.properties, delivery.redelivered)
                }))
            }
            Self::Simulated(held, number) => {
                let request = Request::Get(queue.to_string());
                match held.broker.ask((held.id, *number), request).await? {
                    Answer::Message(Some(taken)) => Ok(Some((
                        taken.body.to_vec(),
                        taken.properties,
                        taken.redelivered,
                    ))),
                    _ => Ok(None),
                }
            }
        }
    }

    pub(in crate::broker::amqp) async fn exchange_declare(
        &self,
        name: ShortString,
        kind: ExchangeKind,
        options: ExchangeDeclareOptions,
        arguments: FieldTable,
    ) -> Result<(), Error> {
        let exchange = name.to_string();
        ask!(self, real => real.exchange_declare(name, kind, options, arguments),
            Request::DeclareExchange(exchange))
    }

    pub(in crate::broker::amqp) async fn queue_declare(
        &self,
        name: ShortString,
        options: QueueDeclareOptions,
        arguments: FieldTable,
    ) -> Result<Queue, Error> {
        match self {
            Self::Real(channel) => {
                let declared = channel.queue_declare(name, options, arguments);
                declared.await.map(Queue::Real)
            }
            Self::Simulated(held, number) => {
                let queue = Request::DeclareQueue {
                    name: name.to_string(),
                    limits: QueueLimits::from(&arguments),
                };
                held.broker.ask((held.id, *number), queue).await?;
                Ok(Queue::Simulated)
            }
        }
    }

    /// No simulated process looks into a queue.
    pub(in crate::broker::amqp) async fn basic_get(
        &self,
        queue: ShortString,
        options: BasicGetOptions,
    ) -> Result<Option<BasicGetMessage>, Error> {
        self.real().basic_get(queue, options).await
    }

    /// No simulated process looks into a queue.
    pub(in crate::broker::amqp) async fn basic_nack(
        &self,
        delivery: u64,
        options: BasicNackOptions,
    ) -> Result<(), Error> {
        self.real().basic_nack(delivery, options).await
    }

    /// No simulated process asks for its rights.
    pub(in crate::broker::amqp) async fn exchange_unbind(
        &self,
        destination: ShortString,
        source: ShortString,
        key: ShortString,
        options: ExchangeUnbindOptions,
        arguments: FieldTable,
    ) -> Result<(), Error> {
        let unbound = self
            .real()
            .exchange_unbind(destination, source, key, options, arguments);
        unbound.await
    }

    fn real(&self) -> &lapin::Channel {
        match self {
            Self::Real(channel) => channel,
            Self::Simulated(..) => panic!("only a diagnosis uses this, and none is simulated"),
        }
    }

    pub(in crate::broker::amqp) async fn queue_bind(
        &self,
        queue: ShortString,
        exchange: ShortString,
        key: ShortString,
        options: QueueBindOptions,
        arguments: FieldTable,
    ) -> Result<(), Error> {
        let binding = Binding::new(&exchange, &key, &queue);
        ask!(self, real => real.queue_bind(queue, exchange, key, options, arguments),
            Request::Bind(binding))
    }

    pub(in crate::broker::amqp) async fn queue_unbind(
        &self,
        queue: ShortString,
        exchange: ShortString,
        key: ShortString,
        arguments: FieldTable,
    ) -> Result<(), Error> {
        let binding = Binding::new(&exchange, &key, &queue);
        ask!(self, real => real.queue_unbind(queue, exchange, key, arguments),
            Request::Unbind(binding))
    }

    /// Returns how many messages were in the queue. The simulation does not count them.
    pub(in crate::broker::amqp) async fn queue_delete(
        &self,
        name: ShortString,
        options: QueueDeleteOptions,
    ) -> Result<u32, Error> {
        match self {
            Self::Real(channel) => channel.queue_delete(name, options).await,
            Self::Simulated(held, number) => {
                let request = Request::DeleteQueue(name.to_string());
                held.broker.ask((held.id, *number), request).await?;
                Ok(0)
            }
        }
    }
}

/// A channel reports the loss of a verdict as an error.
fn sent(settled: Result<bool, Error>) -> Result<(), Error> {
    if settled? { Ok(()) } else { Err(lost()) }
}

/// What the broker says about a declared queue.
pub(in crate::broker::amqp) enum Queue {
    Real(lapin::Queue),
    /// The simulation counts neither messages nor consumers.
    Simulated,
}

impl Queue {
    pub(in crate::broker::amqp) fn message_count(&self) -> u32 {
        match self {
            Self::Real(queue) => queue.message_count(),
            Self::Simulated => 0,
        }
    }

    pub(in crate::broker::amqp) fn consumer_count(&self) -> u32 {
        match self {
            Self::Real(queue) => queue.consumer_count(),
            Self::Simulated => 0,
        }
    }
}
