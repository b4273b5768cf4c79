//! A step without a sailor: a loop on the AMQP client that consumes, decrypts, parses, encrypts, publishes with a confirm,
//! and acknowledges. It measures the cost of the client and the broker alone.
//!
//! It has none of the sailor's guarantees: no header table of its own, no retries, no reconnects, no error events.

use crate::{
    broker::{self, EXCHANGE, INPUT, OUTPUT_KEY, taken},
    sample,
};
use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Channel, Consumer, PublisherConfirm,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions,
    },
    types::FieldTable,
};
use sailor::protocol::{Cipher, Encoding};
use serde_json::Value;
use std::sync::Arc;
use tokio::{sync::mpsc, task::JoinSet};

/// How messages are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// Each message is acknowledged by its own task.
    Each,
    /// Many at once: one task publishes in order, another acknowledges up to half of the prefetch at a time.
    Batches,
}

/// Works on [`INPUT`] until the connection ends.
///
/// # Errors
/// When the broker refuses something, or a message cannot be read.
pub async fn run(
    uri: &str,
    prefetch: u16,
    protocol: i64,
    acknowledge: Acknowledge,
) -> anyhow::Result<()> {
    // Two connections, as a sailor has them: publishing must not hold up deliveries.
    let (incoming, outgoing) = (broker::connect(uri).await?, broker::connect(uri).await?);
    let input = incoming.create_channel().await?;
    let channel = outgoing.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    input
        .basic_qos(prefetch, BasicQosOptions::default())
        .await?;
    let options = BasicConsumeOptions::default();
    let deliveries = input
        .basic_consume(INPUT.into(), "".into(), options, FieldTable::default())
        .await?;
    let output = Output {
        channel,
        cipher: sample::cipher(),
        encoding: Encoding::of(protocol),
    };
    match acknowledge {
        Acknowledge::Each => each(deliveries, Arc::new(output)).await,
        Acknowledge::Batches => batches(deliveries, &output, input, prefetch).await,
    }
}

struct Output {
    channel: Channel,
    cipher: Cipher,
    encoding: Encoding,
}

impl Output {
    /// Decrypts, parses, encrypts and publishes one message.
    async fn publish(&self, delivery: &Delivery) -> anyhow::Result<PublisherConfirm> {
        let plain = self.cipher.decrypt(&delivery.data, self.encoding)?;
        let message: Value = serde_json::from_slice(&plain)?;
        let payload = self
            .cipher
            .encrypt(serde_json::to_vec(&message)?, self.encoding);
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_headers(delivery.properties.headers().clone().unwrap_or_default());
        let options = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let (exchange, key) = (EXCHANGE.into(), OUTPUT_KEY.into());
        Ok(self
            .channel
            .basic_publish(exchange, key, options, &payload, properties)
            .await?)
    }
}

async fn each(mut deliveries: Consumer, output: Arc<Output>) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    while let Some(delivery) = deliveries.next().await {
        tasks.spawn(one(delivery?, output.clone()));
        while let Some(done) = tasks.try_join_next() {
            done??;
        }
    }
    Ok(())
}

async fn one(delivery: Delivery, output: Arc<Output>) -> anyhow::Result<()> {
    let confirm = output.publish(&delivery).await?;
    taken(&confirm.await?)?;
    delivery.acker.ack(BasicAckOptions::default()).await?;
    Ok(())
}

async fn batches(
    mut deliveries: Consumer,
    output: &Output,
    input: Channel,
    prefetch: u16,
) -> anyhow::Result<()> {
    let (sender, receiver) = mpsc::channel(usize::from(prefetch).max(1));
    let acknowledging = tokio::spawn(acknowledge(receiver, input, usize::from(prefetch / 2)));
    while let Some(delivery) = deliveries.next().await {
        let delivery = delivery?;
        let confirm = output.publish(&delivery).await?;
        if sender.send((delivery.delivery_tag, confirm)).await.is_err() {
            break; // The other task has failed, and reports why.
        }
    }
    drop(sender);
    acknowledging.await?
}

/// Awaits confirms in the order of publishing. Acknowledges when `batch` of them have come, or no more are on their way.
async fn acknowledge(
    mut published: mpsc::Receiver<(u64, PublisherConfirm)>,
    input: Channel,
    batch: usize,
) -> anyhow::Result<()> {
    let mut confirmed = 0;
    while let Some((tag, confirm)) = published.recv().await {
        taken(&confirm.await?)?;
        confirmed += 1;
        if confirmed >= batch || published.is_empty() {
            input
                .basic_ack(tag, BasicAckOptions { multiple: true })
                .await?;
            confirmed = 0;
        }
    }
    Ok(())
}
