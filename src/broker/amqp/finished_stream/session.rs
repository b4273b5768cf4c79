//! One connection to the stream, while it lasts.

use super::{
    super::{
        client::{Channel, Connection, Consumer, Delivery},
        error::{BrokerError, describe, reply_code},
        properties::{self, Properties},
        table,
    },
    Append, PREFIX, Record,
};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Confirmation, Error,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};
use tokio::{
    select,
    time::{sleep, timeout},
};

/// The broker keeps a record for this long at least, unless the stream is full. It deletes whole segments.
const MAX_AGE: &str = "1D";
/// Room for more than 100 000 records, each of which is written by itself when messages are slow.
const MAX_BYTES: i64 = 32 << 20;
const SEGMENT_BYTES: i64 = 1 << 20;
/// How many records the broker sends before the first of them is acknowledged.
const PREFETCH: u16 = 1024;
/// The time limit for opening the stream. A broker that declares one chooses nodes for it and starts processes on them:
/// under load that takes longer than other requests.
pub(in crate::broker::amqp) const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// How often a quiet connection is looked at.
const LIVENESS_INTERVAL: Duration = Duration::from_secs(1);
/// How many records are acknowledged together at most.
const BATCH: usize = 256;

/// Something that the broker has sent.
pub(super) enum Event {
    Confirm(u64, lapin::Result<Confirmation>),
    Delivery(Option<lapin::Result<Delivery>>),
    /// The connection or a channel is gone.
    Lost,
}

/// What has come of it.
pub(super) enum Progress {
    /// The stream has this record.
    Confirmed(Append),
    /// These records were read. Each has its offset; one of a later version is none.
    Read(Vec<(i64, Option<Record>)>),
}

/// An open stream: a channel to read it and one to write it.
pub(in crate::broker::amqp) struct Session {
    pub(super) connection: Connection,
    consumer: Consumer,
    publishing: Channel,
    /// Records that are sent, and those that could not be.
    unconfirmed: HashMap<u64, Append>,
    confirms: FuturesUnordered<BoxFuture<'static, (u64, lapin::Result<Confirmation>)>>,
    sent: u64,
}

impl Session {
    /// Opens the stream, and reads it from this offset, or from its beginning.
    ///
    /// # Errors
    /// An error that is not transient says which permissions are needed.
    pub(in crate::broker::amqp) async fn open(
        connection: Connection,
        name: &ShortString,
        offset: Option<i64>,
    ) -> Result<Self, BrokerError> {
        let opening = async {
            declare(&connection, name).await?;
            let consumer = consume(&connection, name, offset).await?;
            let publishing = connection.create_channel().await?;
            let options = ConfirmSelectOptions::default();
            publishing.confirm_select(options).await?;
            Ok((consumer, publishing))
        };
        match timeout(OPEN_LIMIT, opening).await {
            Ok(Ok((consumer, publishing))) => Ok(Self {
                connection,
                consumer,
                publishing,
                unconfirmed: HashMap::new(),
                confirms: FuturesUnordered::new(),
                sent: 0,
            }),
            Ok(Err(error)) => Err(classify(name, &error)),
            Err(_) => Err(BrokerError::no_response_within(
                OPEN_LIMIT,
                &operation(name),
            )),
        }
    }

    /// Sends a record. A failure of the broker is the result of its confirm.
    ///
    /// # Errors
    /// The connection is gone. The record is among the unconfirmed ones.
    pub(super) async fn publish(
        &mut self,
        name: &ShortString,
        append: Append,
    ) -> Result<(), BrokerError> {
        let number = self.sent;
        self.sent += 1;
        let record = append.record.to_bytes();
        self.unconfirmed.insert(number, append);
        let sending = self.publishing.basic_publish(
            ShortString::default(),
            name.clone(),
            BasicPublishOptions::default(),
            &record,
            BasicProperties::default(),
        );
        let sent = while_open(&self.connection, &self.publishing, sending).await;
        let confirm: BoxFuture<'static, _> = match sent.ok_or_else(|| connection_lost(WRITING))? {
            Ok(confirm) => Box::pin(async move { (number, confirm.await) }),
            Err(error) => Box::pin(std::future::ready((number, Err(error)))),
        };
        self.confirms.push(confirm);
        Ok(())
    }

    /// Waits for the next confirm or delivery, to be given to [`handle`](Self::handle). Cancel safe.
    pub(super) async fn next_event(&mut self) -> Event {
        select! {
            biased;
            Some((number, confirmation)) = self.confirms.next() => {
                Event::Confirm(number, confirmation)
            }
            delivery = self.consumer.next() => Event::Delivery(delivery),
            () = lost(&self.connection, &self.publishing) => Event::Lost,
        }
    }

    /// Handles a confirm, or a delivery with those that have arrived after it. If it is cancelled, they are lost: only the
    /// end of the process may do so.
    pub(super) async fn handle(&mut self, event: Event) -> Result<Progress, BrokerError> {
        match event {
            Event::Confirm(number, confirmation) => self
                .confirmed(number, confirmation)
                .map(Progress::Confirmed),
            Event::Delivery(delivery) => self.read_from(delivery).await.map(Progress::Read),
            Event::Lost => Err(connection_lost(READING)),
        }
    }

    fn confirmed(
        &mut self,
        number: u64,
        confirmation: lapin::Result<Confirmation>,
    ) -> Result<Append, BrokerError> {
        match confirmation {
            Ok(Confirmation::Ack(_)) => {}
            Ok(_) => {
                let text = format!("{WRITING}: the broker did not take a record");
                return Err(BrokerError::Transient(text));
            }
            Err(error) => return Err(with_permissions(BrokerError::new(WRITING, &error))),
        }
        let unknown = || BrokerError::Transient(format!("{WRITING}: an unexpected confirm"));
        self.unconfirmed.remove(&number).ok_or_else(unknown)
    }

    async fn read_from(
        &mut self,
        mut next: Option<lapin::Result<Delivery>>,
    ) -> Result<Vec<(i64, Option<Record>)>, BrokerError> {
        let mut records = Vec::new();
        let last = loop {
            let delivery = match next {
                Some(Ok(delivery)) => delivery,
                Some(Err(error)) => {
                    return Err(with_permissions(BrokerError::new(READING, &error)));
                }
                None => {
                    let text = format!("{READING}: the broker cancelled the consumer");
                    return Err(BrokerError::Transient(text));
                }
            };
            records.push((offset_of(&delivery)?, Record::read(&delivery.data)));
            let more = (records.len() < BATCH).then(|| self.consumer.next().now_or_never());
            match more.flatten() {
                Some(following) => next = following,
                None => break delivery,
            }
        };
        // Only lets the broker send more. If the connection is gone, the next event says so.
        let acknowledging = last.acker.ack(BasicAckOptions { multiple: true });
        let _ = while_open(&self.connection, &self.publishing, acknowledging).await;
        Ok(records)
    }

    /// Returns the records without a confirm, in the order in which they were sent.
    pub(super) fn take_unconfirmed(&mut self) -> VecDeque<Append> {
        let mut unconfirmed: Vec<_> = self.unconfirmed.drain().collect();
        unconfirmed.sort_unstable_by_key(|(number, _)| *number);
        unconfirmed.into_iter().map(|(_, append)| append).collect()
    }
}

/// Waits until the connection or the channel is gone. lapin does not tell a consumer or a request that begins at that
/// moment.
async fn lost(connection: &Connection, channel: &Channel) {
    while connection.status().connected() && channel.status().connected() {
        sleep(LIVENESS_INTERVAL).await;
    }
}

/// Returns the result of a request, or none if the connection or the channel goes away.
async fn while_open<T>(
    connection: &Connection,
    channel: &Channel,
    request: impl Future<Output = T>,
) -> Option<T> {
    select! {
        biased;
        result = request => Some(result),
        () = lost(connection, channel) => None,
    }
}

fn connection_lost(operation: &str) -> BrokerError {
    BrokerError::Transient(format!("{operation}: the connection is lost"))
}

const WRITING: &str = "writing to the log of finished messages";
const READING: &str = "reading the log of finished messages";

/// Declares the stream. If the user may not do that, or the stream has other limits, an existing one is used.
async fn declare(connection: &Connection, name: &ShortString) -> lapin::Result<()> {
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let mut arguments = FieldTable::default();
    for (argument, value) in [
        ("x-queue-type", AMQPValue::LongString("stream".into())),
        ("x-max-age", AMQPValue::LongString(MAX_AGE.into())),
        ("x-max-length-bytes", AMQPValue::LongLongInt(MAX_BYTES)),
        (
            "x-stream-max-segment-size-bytes",
            AMQPValue::LongLongInt(SEGMENT_BYTES),
        ),
    ] {
        arguments.insert(argument.into(), value);
    }
    let channel = connection.create_channel().await?;
    let Err(refusal) = channel
        .queue_declare(name.clone(), options, arguments)
        .await
    else {
        return Ok(());
    };
    if !matches!(reply_code(&refusal), Some(403 | 406)) {
        return Err(refusal);
    }
    let passive = QueueDeclareOptions {
        passive: true,
        ..Default::default()
    };
    let channel = connection.create_channel().await?;
    let existing = channel.queue_declare(name.clone(), passive, FieldTable::default());
    match existing.await {
        Ok(_) => Ok(()),
        // That the stream does not exist says less than why it could not be declared.
        Err(error) if reply_code(&error) == Some(404) => Err(refusal),
        Err(error) => Err(error),
    }
}

async fn consume(
    connection: &Connection,
    name: &ShortString,
    offset: Option<i64>,
) -> lapin::Result<Consumer> {
    let channel = connection.create_channel().await?;
    let options = BasicQosOptions { global: false };
    channel.basic_qos(PREFETCH, options).await?;
    let from = match offset {
        Some(offset) => AMQPValue::LongLongInt(offset),
        None => AMQPValue::LongString("first".into()),
    };
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), from);
    let (tag, options) = (ShortString::default(), BasicConsumeOptions::default());
    channel
        .basic_consume(name.clone(), tag, options, arguments)
        .await
}

/// Returns the place of a record in the stream. A queue of another kind has no such places.
fn offset_of(delivery: &Delivery) -> Result<i64, BrokerError> {
    let properties = properties::of_client(&delivery.properties);
    let headers = Properties::read(&properties).headers();
    table::get_number(headers, "x-stream-offset").ok_or_else(|| {
        BrokerError::Permanent(format!(
            "{READING}: the queue is not a stream; delete it, or declare it with `x-queue-type` `stream`"
        ))
    })
}

fn operation(name: &ShortString) -> String {
    format!("opening the stream \"{name}\"")
}

fn classify(name: &ShortString, error: &Error) -> BrokerError {
    let operation = operation(name);
    match reply_code(error) {
        // Brokers without streams, by version.
        Some(402 | 406 | 540) => BrokerError::Permanent(format!(
            "{operation}: {}; streams need RabbitMQ 3.9 or later, with its feature flags enabled",
            describe(error)
        )),
        _ => with_permissions(BrokerError::new(&operation, error)),
    }
}

/// Adds to a refusal what the user needs.
fn with_permissions(error: BrokerError) -> BrokerError {
    match error {
        BrokerError::Transient(text) => BrokerError::Transient(text),
        BrokerError::LimitReached(text) => BrokerError::LimitReached(text),
        BrokerError::Refused(text) | BrokerError::Permanent(text) => {
            BrokerError::Permanent(format!(
                "{text}; allow the user in ELASTICIO_AMQP_URI to configure, read and write queues named `{PREFIX}.*`, and to write \
             to the default exchange (`amq.default`)"
            ))
        }
    }
}
