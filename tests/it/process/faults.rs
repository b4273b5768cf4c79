//! Faults of the broker: nothing is lost, and no message is worked on twice.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// How often each `n` was emitted, repeats of one publish left out.
fn emitted(rig: &Rig) -> BTreeMap<u64, usize> {
    let mut count = BTreeMap::new();
    let data = rig.so_far(EventKind::Data);
    for event in data.iter().filter(|event| event.headers.get("retry").is_none()) {
        *count.entry(event.body["body"]["n"].as_u64().unwrap()).or_default() += 1;
    }
    count
}

#[tokio::test]
async fn given_connections_that_break_again_and_again_then_every_message_is_worked_on_once() {
    const MESSAGES: u64 = 60;
    let rig = Rig::with_prefetch(5).await;
    let component = rig.start();
    for n in 0..MESSAGES {
        rig.send(json!([["sleep", 40], ["data", { "body": { "n": n } }]]));
    }
    for acknowledged in [5, 15, 25, 40] {
        rig.events(EventKind::Acked, acknowledged).await;
        rig.emulator.broker().drop_connections();
    }
    rig.settled().await;
    let counts = emitted(&rig);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), (0..MESSAGES).collect::<Vec<_>>());
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    assert_eq!(rig.so_far(EventKind::Error).len(), 0);
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn given_a_broker_that_goes_and_comes_back_then_the_work_goes_on() {
    let rig = Rig::with_prefetch(1).await;
    let mut component = rig.start();
    component.says("Fully initialized").await;
    rig.emulator.broker().refuse_connections(true);
    rig.emulator.broker().close_connections();
    rig.send(json!([["data", { "body": { "n": 1 } }]]));
    rig.events(EventKind::Disconnected, 2).await;
    rig.emulator.broker().refuse_connections(false);
    rig.settled().await;
    assert_eq!(emitted(&rig), BTreeMap::from([(1, 1)]));
}

#[tokio::test]
async fn given_a_consumer_that_the_broker_cancels_then_it_consumes_again() {
    let rig = Rig::with_prefetch(1).await;
    let mut component = rig.start();
    component.says("Fully initialized").await;
    rig.emulator.broker().cancel_consumers(&rig.emulator.topology().input);
    rig.send(json!([["data", { "body": { "n": 1 } }]]));
    rig.events(EventKind::Acked, 1).await;
}

#[tokio::test]
async fn given_a_full_queue_then_the_publish_is_tried_again_with_a_retry_header() {
    let rig = Rig::with_prefetch(1).await.variable("ELASTICIO_AMQP_PUBLISH_RETRY_DELAY", "1");
    rig.emulator.broker().nack_publishes(3);
    let _component = rig.start();
    rig.send(json!([["data", { "body": {} }]]));
    let data = rig.events(EventKind::Data, 1).await;
    assert_eq!(data.last().unwrap().headers["retry"], json!(3));
    rig.settled().await;
    assert_eq!(rig.so_far(EventKind::Error).len(), 0);
}

#[tokio::test]
async fn given_a_routing_key_that_leads_nowhere_then_it_is_tried_again_and_then_reported() {
    let rig = Rig::with_prefetch(1).await.variable("ELASTICIO_AMQP_PUBLISH_RETRY_DELAY", "1");
    let _component = rig.start();
    rig.send(json!([["data", { "headers": { "X-Eio-Routing-Key": "no.where" }, "body": {} }]]));
    let errors = rig.events(EventKind::Error, 1).await;
    let message = errors[0].body["error"]["message"].as_str().unwrap();
    assert!(message.contains("no.where"), "{message}");
    rig.settled().await;
    assert!(rig.so_far(EventKind::Returned).len() > 1);
    assert_eq!((rig.so_far(EventKind::Acked).len(), rig.so_far(EventKind::Rejected).len()), (0, 1));
}

#[tokio::test]
async fn given_a_queue_that_is_deleted_then_the_process_ends_with_the_reason() {
    let rig = Rig::with_prefetch(1).await;
    let mut component = rig.start();
    component.says("Fully initialized").await;
    let connection = lapin::Connection::connect(&rig.emulator.broker().uri(), Default::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let input = rig.emulator.topology().input.as_str();
    channel.queue_delete(input.into(), Default::default()).await.unwrap();
    let (status, log) = component.end().await;
    assert_eq!(status, 1);
    assert!(log.iter().any(|line| line["level"] == json!(60) && line.to_string().contains(input)));
}

#[tokio::test]
async fn given_an_exchange_that_does_not_exist_when_a_message_emits_then_the_process_ends_and_the_message_stays() {
    let rig = Rig::with_prefetch(5).await.variable("ELASTICIO_PUBLISH_MESSAGES_TO", "no-such-exchange");
    for n in 0..5 {
        rig.send(json!([["data", { "body": { "n": n } }]]));
    }
    let (status, log) = rig.start().end().await;
    assert_eq!(status, 1);
    assert!(log.iter().any(|line| line["level"] == json!(60) && line.to_string().contains("no-such-exchange")));
    rig.events(EventKind::Requeued, 5).await;
    assert_eq!((rig.so_far(EventKind::Rejected).len(), rig.left_in_queue()), (0, 5), "nobody was told of them");
}

#[tokio::test]
async fn given_modules_that_block_their_threads_when_the_connection_breaks_then_every_message_is_worked_on_once() {
    const MESSAGES: u64 = 24;
    let rig = Rig::with_prefetch(12).await.variable("TOKIO_WORKER_THREADS", "2");
    let component = rig.start();
    for n in 0..MESSAGES {
        rig.send(json!([["block", 50], ["data", { "body": { "n": n } }]]));
    }
    for delivered in [12, 26] {
        rig.events(EventKind::Delivered, delivered).await;
        rig.emulator.broker().drop_connections();
    }
    rig.settled().await;
    // A repeat of a publish has the id of the first try, which may not have arrived; work that is begun again has not.
    let mut ids = BTreeMap::<_, BTreeSet<_>>::new();
    for event in rig.so_far(EventKind::Data) {
        ids.entry(event.body["body"]["n"].as_u64().unwrap()).or_default().insert(event.message_id().to_owned());
    }
    assert_eq!(ids.keys().copied().collect::<Vec<_>>(), (0..MESSAGES).collect::<Vec<_>>());
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn given_a_broker_that_blocks_publishers_then_the_message_waits_and_is_done_when_it_is_over() {
    let rig = Rig::with_prefetch(1).await;
    let mut component = rig.start();
    component.says("Fully initialized").await;
    rig.emulator.broker().block_connections(true);
    rig.send(json!([["data", { "body": { "n": 1 } }]]));
    component.says("takes no messages").await;
    assert_eq!(rig.so_far(EventKind::Acked).len(), 0);
    rig.emulator.broker().block_connections(false);
    rig.settled().await;
    assert_eq!(emitted(&rig), BTreeMap::from([(1, 1)]));
}

/// Works on a message, loses the connection, and gets an equal one that another consumer has had in the meantime.
async fn work_on_twins(headers: Value, emits: bool) {
    let rig = Rig::with_prefetch(1).await.variable("LOG_LEVEL", "trace");
    let mut component = rig.start();
    component.says("Fully initialized").await;
    let script = if emits { json!([["data", { "body": { "n": 1 } }]]) } else { json!([["throw", "no"]]) };
    rig.send_with(script.clone(), headers.clone());
    rig.settled().await;
    if !headers["messageId"].is_null() {
        component.says("The broker has what was settled").await;
    }
    rig.emulator.broker().drop_connections();
    // A message that cannot end keeps the component from taking the next one.
    rig.emulator.broker().block_connections(true);
    rig.send(json!([["data", { "body": { "n": 0 } }]]));
    rig.events(EventKind::Delivered, 2).await;
    rig.send_with(script, headers);
    let other = lapin::Connection::connect(&rig.emulator.broker().uri(), Default::default()).await.unwrap();
    let channel = other.create_channel().await.unwrap();
    let input = rig.emulator.topology().input.as_str();
    let taken = channel.basic_get(input.into(), Default::default()).await.unwrap().expect("the twin");
    assert!(!taken.redelivered);
    drop(taken);
    other.close(200, "".into()).await.unwrap();
    rig.emulator.broker().block_connections(false);
    rig.settled().await;
    match emits {
        true => assert_eq!(emitted(&rig), BTreeMap::from([(0, 1), (1, 2)])),
        false => assert_eq!((emitted(&rig), rig.so_far(EventKind::Error).len()), (BTreeMap::from([(0, 1)]), 2)),
    }
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn equal_messages_without_an_id_are_both_worked_on() {
    work_on_twins(json!({ "messageId": null, "threadId": "t", "parentMessageId": null }), true).await;
}

#[tokio::test]
async fn equal_messages_that_share_an_id_are_both_worked_on() {
    work_on_twins(json!({ "messageId": "m", "threadId": "t", "parentMessageId": "p" }), true).await;
}

#[tokio::test]
async fn equal_messages_of_a_retry_that_fail_are_both_worked_on() {
    work_on_twins(json!({ "messageId": "m", "threadId": "t", "parentMessageId": "p", "retry": true }), false).await;
}

#[tokio::test]
async fn equal_messages_are_all_worked_on_while_connections_break() {
    const MESSAGES: usize = 60;
    for id in [Value::Null, json!("m")] {
        let rig = Rig::with_prefetch(5).await;
        let component = rig.start();
        for _ in 0..MESSAGES {
            let headers = json!({ "messageId": id, "threadId": "t", "parentMessageId": null });
            rig.send_with(json!([["sleep", 20], ["data", { "body": { "n": 1 } }]]), headers);
        }
        for acknowledged in [5, 15, 25, 40] {
            rig.events(EventKind::Acked, acknowledged).await;
            rig.emulator.broker().drop_connections();
        }
        rig.settled().await;
        // A repeat of a publish has the id of the first try.
        let ids: BTreeSet<_> = rig.so_far(EventKind::Data).iter().map(|event| event.message_id().to_owned()).collect();
        assert!(ids.len() >= MESSAGES, "only {} of {MESSAGES} with the id {id}", ids.len());
        assert_eq!(component.stop().await.0, 0);
    }
}
