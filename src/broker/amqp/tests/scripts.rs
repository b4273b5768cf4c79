//! The same short scripts on a real broker and on the simulated one. Both have to answer in the same way, so what a
//! simulation shows is true for the real one.

mod stage;

use super::{
    super::{
        error::describe,
        simulated::{SimulatedBroker, Simulation},
    },
    full_after_one, soon,
};
use futures_util::{StreamExt, future::BoxFuture};
use lapin::{
    BasicProperties,
    options::{BasicCancelOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use stage::{Stage, ack, consume, publish, reject, text};
use std::time::Duration;
use tokio::time::sleep;

/// What is settled is gone, and what is not comes back in its old place.
async fn settling(stage: &mut Stage) {
    stage.put(&["a", "b", "c", "d", "e"]).await;
    let (connection, channel) = stage.channel().await;
    let mut consumer = consume(&channel, &stage.queue, 4).await.unwrap();
    let first = stage.next("it", &mut consumer).await;
    let second = stage.next("it", &mut consumer).await;
    for _ in 0..2 {
        stage.next("it", &mut consumer).await;
    }
    reject(&second, false).await;
    // The prefetch allows one more.
    stage.next("it", &mut consumer).await;
    ack(&first).await;
    stage.put(&["f"]).await;
    stage.next("it", &mut consumer).await;
    stage.close(connection).await;
    stage.take_when_there().await;
    stage.take_all().await;
}

/// A message that is put back comes first, and says so.
async fn requeueing(stage: &mut Stage) {
    stage.put(&["a", "b", "c"]).await;
    let (connection, channel) = stage.channel().await;
    let mut consumer = consume(&channel, &stage.queue, 2).await.unwrap();
    let first = stage.next("it", &mut consumer).await;
    let second = stage.next("it", &mut consumer).await;
    reject(&first, true).await;
    let again = stage.next("it", &mut consumer).await;
    ack(&second).await;
    stage.next("it", &mut consumer).await;
    ack(&again).await;
    stage.close(connection).await;
    stage.take_when_there().await;
    stage.take_all().await;
}

/// Two consumers take turns, and each has its own prefetch.
async fn taking_turns(stage: &mut Stage) {
    let (_, left) = stage.channel().await;
    let (connection, right) = stage.channel().await;
    let mut left = consume(&left, &stage.queue, 2).await.unwrap();
    let mut right = consume(&right, &stage.queue, 2).await.unwrap();
    stage.put(&["a", "b", "c", "d", "e"]).await;
    let first = stage.next("left", &mut left).await;
    stage.next("left", &mut left).await;
    stage.next("right", &mut right).await;
    stage.next("right", &mut right).await;
    ack(&first).await;
    let last = stage.next("left", &mut left).await;
    ack(&last).await;
    // The messages of one go to the other.
    stage.close(connection).await;
    stage.next("left", &mut left).await;
    stage.take_when_there().await;
    stage.take_all().await;
}

/// Equal messages are two messages.
async fn equal_messages(stage: &mut Stage) {
    stage.put(&["a", "a", "b"]).await;
    let (connection, channel) = stage.channel().await;
    let mut consumer = consume(&channel, &stage.queue, 2).await.unwrap();
    let first = stage.next("it", &mut consumer).await;
    stage.next("it", &mut consumer).await;
    ack(&first).await;
    stage.next("it", &mut consumer).await;
    stage.close(connection).await;
    stage.take_when_there().await;
    stage.take_all().await;
}

/// After a cancel, what was delivered can still be settled.
async fn cancelling(stage: &mut Stage) {
    stage.put(&["a"]).await;
    let (_, channel) = stage.channel().await;
    let mut consumer = consume(&channel, &stage.queue, 2).await.unwrap();
    let first = stage.next("it", &mut consumer).await;
    let options = BasicCancelOptions::default();
    channel.basic_cancel(consumer.tag(), options).await.unwrap();
    stage.put(&["b"]).await;
    ack(&first).await;
    let is_over = soon("the end", consumer.next()).await.is_none();
    stage.note(format!("the consumer is over: {is_over}"));
    stage.take_all().await;
}

/// A queue that is deleted ends its consumers; one that is missing closes the channel of who consumes it.
async fn missing_queues(stage: &mut Stage) {
    let (connection, channel) = stage.channel().await;
    let mut consumer = consume(&channel, &stage.queue, 2).await.unwrap();
    let options = QueueDeleteOptions::default();
    let deleting = stage
        .control
        .queue_delete(stage.queue.as_str().into(), options);
    deleting.await.unwrap();
    let is_over = soon("the end", consumer.next()).await.is_none();
    stage.note(format!("the consumer is over: {is_over}"));
    let Err(error) = consume(&channel, &stage.queue, 2).await else {
        panic!("the queue is there")
    };
    stage.note(describe(&error).replace(&stage.queue, "q"));
    stage.note(format!(
        "the channel is open: {}",
        channel.status().connected()
    ));
    let is_open = stage.connections[connection].status().connected();
    stage.note(format!("the connection is open: {is_open}"));
}

/// A publish without a binding is returned, and confirmed.
async fn bindings(stage: &mut Stage) {
    stage.publish("key", "a").await;
    stage.bind("key").await;
    stage.publish("key", "b").await;
    stage.publish("other", "c").await;
    let (queue, exchange) = (stage.queue.as_str().into(), stage.exchange.as_str().into());
    stage.bind("third").await;
    let none = FieldTable::default();
    let unbound = stage
        .control
        .queue_unbind(queue, exchange, "key".into(), none);
    unbound.await.unwrap();
    stage.publish("key", "d").await;
    stage.publish("third", "e").await;
    stage.take_all().await;
}

/// Many publishes at once: each is confirmed, and each that has no binding is returned.
async fn many_publishes(stage: &mut Stage) {
    stage.bind("key").await;
    let mut confirms = Vec::new();
    for n in 0..12 {
        let key = if n % 3 == 1 { "other" } else { "key" };
        let confirm = publish(&stage.control, &stage.exchange, key, &n.to_string()).await;
        confirms.push(confirm.unwrap());
    }
    let mut returned = Vec::new();
    for confirm in confirms {
        let confirmation = soon("the confirm", confirm).await.unwrap();
        assert!(confirmation.is_ack());
        returned.extend(confirmation.take_message().map(|m| text(&m.data, false)));
    }
    // The client hands a return to any confirm.
    returned.sort();
    stage.note(format!("returned: {returned:?}"));
    stage.take_all().await;
}

/// A full queue refuses publishes until a message is taken.
async fn full_queues(stage: &mut Stage) {
    stage.bind("key").await;
    for body in ["a", "b"] {
        stage.publish("key", body).await;
    }
    stage.take_all().await;
    stage.publish("key", "c").await;
    stage.take_all().await;
}

/// A publish that the broker refuses closes the channel, not the connection.
async fn refused_publishes(stage: &mut Stage) {
    let (connection, channel) = stage.channel().await;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .unwrap();
    let confirm = publish(&channel, "missing", "key", "a").await.unwrap();
    let error = soon("the error", confirm).await.unwrap_err();
    stage.note(describe(&error));
    let closing = async {
        while channel.status().connected() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the close", closing).await;
    let next = publish(&channel, "", &stage.queue, "b").await;
    stage.note(format!("the next publish is sent: {}", next.is_ok()));
    let again = stage.connections[connection]
        .create_channel()
        .await
        .unwrap();
    let next = publish(&again, "", &stage.queue, "c").await.unwrap();
    next.await.unwrap();
    stage.take_when_there().await;
    stage.take_all().await;
}

/// A message whose time is over moves to another queue, without its expiration.
async fn expirations(stage: &mut Stage) {
    let mut arguments = FieldTable::default();
    let target = AMQPValue::LongString(stage.queue.as_str().into());
    arguments.insert(
        "x-dead-letter-exchange".into(),
        AMQPValue::LongString("".into()),
    );
    arguments.insert("x-dead-letter-routing-key".into(), target);
    let waiting = format!("{}-waiting", stage.queue);
    stage.declare(&waiting, arguments).await;
    for (body, millis) in [("a", "30"), ("b", "60")] {
        let properties = BasicProperties::default().with_expiration(millis.into());
        let options = BasicPublishOptions::default();
        let key = waiting.as_str().into();
        let confirm = stage
            .control
            .basic_publish("".into(), key, options, body.as_bytes(), properties)
            .await;
        confirm.unwrap().await.unwrap();
    }
    for _ in 0..2 {
        stage.take_when_there().await;
    }
    let options = QueueDeleteOptions::default();
    let deleting = stage.control.queue_delete(waiting.as_str().into(), options);
    deleting.await.unwrap();
}

type Script = for<'a> fn(&'a mut Stage) -> BoxFuture<'a, ()>;

/// The scripts, and whether their queue is full after one message.
const SCRIPTS: [(&str, bool, Script); 11] = [
    ("settling", false, |stage| Box::pin(settling(stage))),
    ("requeueing", false, |stage| Box::pin(requeueing(stage))),
    ("taking turns", false, |stage| Box::pin(taking_turns(stage))),
    ("equal messages", false, |stage| {
        Box::pin(equal_messages(stage))
    }),
    ("cancelling", false, |stage| Box::pin(cancelling(stage))),
    ("missing queues", false, |stage| {
        Box::pin(missing_queues(stage))
    }),
    ("bindings", false, |stage| Box::pin(bindings(stage))),
    ("many publishes", false, |stage| {
        Box::pin(many_publishes(stage))
    }),
    ("full queues", true, |stage| Box::pin(full_queues(stage))),
    ("refused publishes", false, |stage| {
        Box::pin(refused_publishes(stage))
    }),
    ("expirations", false, |stage| Box::pin(expirations(stage))),
];

/// Runs all scripts, and returns what the broker did in each.
async fn traces(uri: &lapin::uri::AMQPUri, is_lasting: bool) -> Vec<(&'static str, Vec<String>)> {
    let mut traces = Vec::new();
    for (name, is_limited, script) in SCRIPTS {
        let arguments = if is_limited {
            full_after_one()
        } else {
            FieldTable::default()
        };
        let mut stage = Stage::new(uri, arguments, is_lasting).await;
        script(&mut stage).await;
        let options = QueueDeleteOptions::default();
        let deleting = stage
            .control
            .queue_delete(stage.queue.as_str().into(), options);
        deleting.await.unwrap();
        for connection in &stage.connections {
            let _ = connection.close(200, "OK".into()).await;
        }
        traces.push((name, stage.trace));
    }
    traces
}

/// Runs all scripts on a simulated broker.
fn simulated(seed: u64) -> Vec<(&'static str, Vec<String>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let broker = SimulatedBroker::new(seed, usize::MAX, None, |_| {});
        let _simulation = Simulation::of(broker);
        traces(&"amqp://simulated".parse().unwrap(), false).await
    })
}

#[tokio::test]
async fn the_simulated_broker_answers_as_a_real_one() {
    let (uri, broker) = super::broker().await;
    let real = traces(&uri, broker.is_none()).await;
    for seed in 0..20 {
        let simulated = tokio::task::spawn_blocking(move || simulated(seed))
            .await
            .unwrap();
        for (real, simulated) in real.iter().zip(&simulated) {
            assert_eq!(simulated, real, "seed {seed}");
        }
        assert_eq!(simulated.len(), real.len());
    }
    assert!(real.iter().all(|(_, trace)| trace.len() > 1), "{real:?}");
}
