//! Reads what the step publishes, all the time and over any fault of the broker.

use crate::{
    queues::{self, COPIES, ERRORS, OUTPUT, SNAPSHOTS, header_number, header_text},
    tally::{Arrival, Tally},
};
use futures_util::{StreamExt as _, future::join_all};
use lapin::{
    Connection,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use sailor::protocol::Encoding;
use sailor_bench::sample;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the broker may take to answer.
const RESPONSE: Duration = Duration::from_secs(3);
/// Of how many events of a kind the contents are kept.
const KEPT: usize = 5;
/// How many events the broker sends ahead.
const AHEAD: u16 = 1000;

/// The events so far. Reading ends with the handle.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    reads_output: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What has arrived.
#[derive(Default)]
pub struct Seen {
    /// What became of each message.
    pub tally: Tally,
    /// What the first snapshot events hold.
    pub snapshots: Vec<Value>,
    /// What the first data events hold.
    pub data: Vec<Value>,
    /// The texts of the first error events.
    pub errors: Vec<String>,
    /// How often each iteration of a rebound was published.
    pub rebounds: BTreeMap<i64, usize>,
    /// How many events came out of each container, by its id.
    pub by_container: BTreeMap<String, usize>,
}

impl Watch {
    /// Reads the queues for data, errors and snapshots of the node at one of these ports. With `reads_output` false, the
    /// queue for data is left alone at first.
    pub fn start(ports: Vec<u16>, reads_output: bool) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let (sender, receiver) = watch::channel(reads_output);
        let all = seen.clone();
        // Each queue by itself: a quorum queue may not answer after its node was killed.
        let task = tokio::spawn(async move {
            let read = |queue| read_always(queue, &ports, &all, receiver.clone());
            join_all([OUTPUT, ERRORS, SNAPSHOTS, COPIES].map(read)).await;
        });
        Self {
            seen,
            reads_output: sender,
            task,
        }
    }

    /// What has arrived so far. Reading waits while the guard lives.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// Reads the queue for data from now on.
    pub fn read_output(&self) {
        self.reads_output.send_replace(true);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node that is stopped or killed breaks the connection, so each failure only means to connect again.
async fn read_always(
    queue: &str,
    ports: &[u16],
    seen: &Mutex<Seen>,
    mut reads_output: watch::Receiver<bool>,
) {
    loop {
        let may_read = *reads_output.borrow_and_update() || queue != OUTPUT;
        tokio::select! {
            _ = read(queue, ports, seen), if may_read => {}
            _ = reads_output.changed(), if !may_read => {}
        }
        sleep(PAUSE).await;
    }
}

async fn read(queue: &str, ports: &[u16], seen: &Mutex<Seen>) -> anyhow::Result<()> {
    let connection = queues::connect(ports).await?;
    let end = read_from(&connection, queue, seen).await;
    // An open one would keep what was delivered to it.
    let _ = timeout(RESPONSE, connection.close(200, "".into())).await;
    end
}

async fn read_from(connection: &Connection, queue: &str, seen: &Mutex<Seen>) -> anyhow::Result<()> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(AHEAD, BasicQosOptions::default()).await?;
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let consuming = channel.basic_consume(queue.into(), "".into(), options, none);
    let mut deliveries = timeout(RESPONSE, consuming).await??;
    while let Some(delivery) = deliveries.next().await {
        let delivery = delivery?;
        add(&mut lock(seen), queue, &delivery);
        delivery.acker.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

fn add(seen: &mut Seen, queue: &str, delivery: &Delivery) {
    let payload = &delivery.data;
    match queue {
        // They are not encrypted.
        SNAPSHOTS if seen.snapshots.len() < KEPT => {
            seen.snapshots
                .extend(serde_json::from_slice::<Value>(payload));
        }
        OUTPUT if seen.data.len() < KEPT => seen.data.extend(decrypted(payload)),
        ERRORS if seen.errors.len() < KEPT => seen.errors.push(error_text(payload)),
        _ => {}
    }
    if queue == COPIES {
        let headers = delivery.properties.headers().as_ref();
        let iteration = headers.and_then(|headers| header_number(headers, "reboundIteration"));
        *seen
            .rebounds
            .entry(iteration.unwrap_or_default())
            .or_default() += 1;
    } else if queue != SNAPSHOTS
        && let Some(arrival) = arrival(queue, delivery)
    {
        *seen.by_container.entry(arrival.work.1.clone()).or_default() += 1;
        seen.tally.add(&arrival, Instant::now());
    }
}

/// An event without `threadId` comes from no message: the start has failed.
fn arrival(queue: &str, delivery: &Delivery) -> Option<Arrival> {
    let headers = delivery.properties.headers().as_ref()?;
    let text = |name| header_text(headers, name).unwrap_or_default();
    let number = |name| header_number(headers, name).unwrap_or_default();
    Some(Arrival {
        message: text("threadId").strip_prefix("thread-")?.parse().ok()?,
        failed: queue == ERRORS,
        work: (number("start"), text("containerId")),
        copy: (text("messageId"), number("retry")),
        redelivered: delivery.redelivered,
    })
}

fn decrypted(payload: &[u8]) -> Option<Value> {
    let plain = sample::cipher()
        .decrypt(payload, Encoding::of(queues::PROTOCOL))
        .ok()?;
    serde_json::from_slice(&plain).ok()
}

/// The name and the text of an error event, for a reader who wonders why messages failed.
fn error_text(payload: &[u8]) -> String {
    let error = || {
        let event: Value = serde_json::from_slice(payload).ok()?;
        let sealed = event["error"].as_str()?.as_bytes();
        let plain = sample::cipher().decrypt(sealed, Encoding::of(1)).ok()?;
        let error: Value = serde_json::from_slice(&plain).ok()?;
        let text = error["message"]
            .as_str()?
            .chars()
            .take(200)
            .collect::<String>();
        Some(format!("{}: {text}", error["name"].as_str()?))
    };
    error().unwrap_or_else(|| "an error event that cannot be read".into())
}
