//! Consumers, deliveries and confirms, each of which is lapin's own or a simulated one.

use super::{
    super::{
        guard::{Around, Contents},
        properties,
    },
    SimulatedBroker,
    frames::{Delivered, Settlement},
    network::lost,
    rules::ChannelId,
    session::ConfirmationReceiver,
};
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use lapin::{
    BasicProperties, Confirmation, Error,
    options::{BasicAckOptions, BasicRejectOptions},
    types::ShortString,
};
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{sync::mpsc, task::unconstrained};

/// Resolves with the broker's confirm.
pub(in crate::broker::amqp) enum PublisherConfirm {
    Real(lapin::PublisherConfirm),
    Simulated(ConfirmationReceiver),
}

impl Future for PublisherConfirm {
    type Output = Result<Confirmation, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Real(confirm) => confirm.poll_unpin(cx),
            // As lapin's, it takes no part in tokio's budget: all confirms of a frame are seen together.
            Self::Simulated(confirm) => unconstrained(confirm)
                .poll_unpin(cx)
                .map(|confirmation| confirmation.unwrap_or_else(|_| Err(lost()))),
        }
    }
}

/// A delivery as the adapter reads it.
pub(in crate::broker::amqp) struct Delivery {
    pub(in crate::broker::amqp) delivery_tag: u64,
    pub(in crate::broker::amqp) redelivered: bool,
    pub(in crate::broker::amqp) properties: BasicProperties,
    pub(in crate::broker::amqp) data: Vec<u8>,
    pub(in crate::broker::amqp) acker: Acker,
}

/// The deliveries of one consumer.
pub(in crate::broker::amqp) enum Consumer {
    Real(lapin::Consumer),
    Simulated {
        broker: SimulatedBroker,
        around: Around,
        id: ChannelId,
        tag: String,
        deliveries: mpsc::UnboundedReceiver<Result<Delivered, Error>>,
    },
}

impl Consumer {
    pub(in crate::broker::amqp) fn tag(&self) -> ShortString {
        match self {
            Self::Real(consumer) => consumer.tag(),
            Self::Simulated { tag, .. } => tag.as_str().into(),
        }
    }
}

impl Stream for Consumer {
    type Item = Result<Delivery, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.get_mut() {
            Self::Real(consumer) => consumer
                .poll_next_unpin(cx)
                .map(|next| next.map(|delivery| delivery.map(Delivery::real))),
            Self::Simulated {
                broker,
                around,
                id,
                deliveries,
                ..
            } => deliveries.poll_recv(cx).map(|next| {
                let next = next?.map(|mut delivery| {
                    take_contents(&mut delivery, around);
                    Delivery::simulated(delivery, broker, *id)
                });
                Some(next)
            }),
        }
    }
}

impl Delivery {
    fn real(delivery: lapin::message::Delivery) -> Self {
        Self {
            delivery_tag: delivery.delivery_tag,
            redelivered: delivery.redelivered,
            properties: delivery.properties,
            data: delivery.data,
            acker: Acker::Real(delivery.acker),
        }
    }

    fn simulated(delivery: Delivered, broker: &SimulatedBroker, channel: ChannelId) -> Self {
        Self {
            delivery_tag: delivery.number,
            redelivered: delivery.redelivered,
            properties: delivery.properties,
            data: delivery.body.to_vec(),
            acker: Acker::Simulated {
                broker: broker.clone(),
                channel,
                delivery: delivery.number,
            },
        }
    }
}

/// Settles one delivery.
pub(in crate::broker::amqp) enum Acker {
    Real(lapin::Acker),
    Simulated {
        broker: SimulatedBroker,
        channel: ChannelId,
        delivery: u64,
    },
}

impl Acker {
    pub(in crate::broker::amqp) async fn ack(
        &self,
        options: BasicAckOptions,
    ) -> Result<bool, Error> {
        match self {
            Self::Real(acker) => acker.ack(options).await,
            Self::Simulated {
                broker,
                channel,
                delivery,
            } => broker.settle(*channel, *delivery, Settlement::Ack).await,
        }
    }

    pub(in crate::broker::amqp) async fn reject(
        &self,
        options: BasicRejectOptions,
    ) -> Result<bool, Error> {
        let settlement = Settlement::of(options);
        match self {
            Self::Real(acker) => acker.reject(options).await,
            Self::Simulated {
                broker,
                channel,
                delivery,
            } => broker.settle(*channel, *delivery, settlement).await,
        }
    }
}

/// Takes the contents of a delivery out of it, as the guard does.
fn take_contents(delivery: &mut Delivered, around: &Around) {
    let Some(deliveries) = &around.deliveries else {
        return;
    };
    let body = std::mem::take(&mut delivery.body);
    let is_admitted = deliveries.admit(delivery.number, body.len() as u64);
    let contents = Contents {
        properties: properties::of_client(&std::mem::take(&mut delivery.properties)).into(),
        body: if is_admitted { body } else { Bytes::new() },
    };
    deliveries.take(delivery.number, contents);
}
