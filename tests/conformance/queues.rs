//! The broker's side of a scenario.

use anyhow::{Context, Result};
use lapin::{
    BasicProperties, Channel, ExchangeKind,
    message::BasicGetMessage,
    options::{
        BasicGetOptions, BasicPublishOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
        QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};
use serde_json::{Map, Value};
use std::time::Duration;
use test_rig::soon;

/// The interval between queries. AMQP has no event for the number of messages in a queue.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// One step's queues and exchange, under names that no other scenario has.
pub(super) struct Queues {
    channel: Channel,
    /// What the component reads. Rejected messages go to `dead`.
    pub(super) input: String,
    /// Everything that the component publishes.
    pub(super) output: String,
    pub(super) dead: String,
    pub(super) exchange: String,
    dead_exchange: String,
}

impl Queues {
    pub(super) async fn declare(channel: Channel) -> Result<Self> {
        let prefix = format!("conformance-{}", uuid::Uuid::new_v4().simple());
        let name = |part: &str| format!("{prefix}:{part}");
        let queues = Self {
            channel,
            input: name("in"),
            output: name("out"),
            dead: name("dead"),
            exchange: name("exchange"),
            dead_exchange: name("dead-exchange"),
        };
        let channel = &queues.channel;
        for (exchange, kind) in [
            (&queues.exchange, ExchangeKind::Topic),
            (&queues.dead_exchange, ExchangeKind::Fanout),
        ] {
            let (options, table) = (ExchangeDeclareOptions::default(), FieldTable::default());
            channel
                .exchange_declare(exchange.as_str().into(), kind, options, table)
                .await?;
        }
        let mut dead_lettering = FieldTable::default();
        dead_lettering.insert(
            "x-dead-letter-exchange".into(),
            AMQPValue::LongString(queues.dead_exchange.as_str().into()),
        );
        for (queue, table) in [
            (&queues.input, dead_lettering),
            (&queues.output, FieldTable::default()),
            (&queues.dead, FieldTable::default()),
        ] {
            channel
                .queue_declare(queue.as_str().into(), QueueDeclareOptions::default(), table)
                .await?;
        }
        for (queue, exchange) in [
            (&queues.output, &queues.exchange),
            (&queues.dead, &queues.dead_exchange),
        ] {
            let (options, table) = (QueueBindOptions::default(), FieldTable::default());
            channel
                .queue_bind(
                    queue.as_str().into(),
                    exchange.as_str().into(),
                    "#".into(),
                    options,
                    table,
                )
                .await?;
        }
        Ok(queues)
    }

    pub(super) async fn delete(&self) -> Result<()> {
        for queue in [&self.input, &self.output, &self.dead] {
            self.channel
                .queue_delete(queue.as_str().into(), QueueDeleteOptions::default())
                .await?;
        }
        for exchange in [&self.exchange, &self.dead_exchange] {
            self.channel
                .exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions::default())
                .await?;
        }
        Ok(())
    }

    pub(super) async fn send(&self, payload: &[u8], headers: Map<String, Value>) -> Result<()> {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            let value = match &value {
                Value::Number(number) => {
                    AMQPValue::LongInt(i32::try_from(number.as_i64().context("an integer")?)?)
                }
                text => AMQPValue::LongString(text.as_str().context("a text")?.into()),
            };
            table.insert(name.as_str().into(), value);
        }
        let properties = BasicProperties::default().with_headers(table);
        let options = BasicPublishOptions::default();
        self.channel
            .basic_publish(
                "".into(),
                self.input.as_str().into(),
                options,
                payload,
                properties,
            )
            .await?
            .await?;
        Ok(())
    }

    /// Messages that wait in a queue, and its consumers.
    pub(super) async fn depth(&self, queue: &str) -> Result<(u32, u32)> {
        let options = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let queue = self
            .channel
            .queue_declare(queue.into(), options, FieldTable::default())
            .await?;
        Ok((queue.message_count(), queue.consumer_count()))
    }

    /// Waits until the broker has noticed the end of the process, and has requeued its unsettled messages.
    pub(super) async fn wait_until_unread(&self) -> Result<()> {
        let unread = async {
            while self.depth(&self.input).await?.1 > 0 {
                tokio::time::sleep(POLL).await;
            }
            Ok(())
        };
        soon("the broker has no consumer", unread).await
    }

    /// Takes everything that the component published, in the order in which the broker took it.
    pub(super) async fn take_published(&self) -> Result<Vec<BasicGetMessage>> {
        let mut taken = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(message) = self
            .channel
            .basic_get(self.output.as_str().into(), options)
            .await?
        {
            taken.push(message);
        }
        Ok(taken)
    }
}
