//! What the broker refuses: full queues, messages that are too large, queues and exchanges that do not exist.

use super::*;
use std::collections::BTreeSet;

#[tokio::test]
async fn a_publish_to_a_full_queue_is_retried_with_a_retry_header() {
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_AMQP_PUBLISH_RETRY_DELAY", "1");
    rig.emulator.broker().nack_publishes(3);
    let _component = rig.start();
    rig.send(json!([["data", { "body": {} }]]));
    let data = rig.events(EventKind::Data, 1).await;
    assert_eq!(data.last().unwrap().headers["retry"], json!(3));
    rig.settled().await;
    assert_eq!(rig.so_far(EventKind::Error).len(), 0);
}

#[tokio::test]
async fn a_message_too_large_for_the_broker_fails_alone() {
    const MESSAGES: u64 = 60;
    let rig = scripted(10).await;
    rig.emulator.broker().limit_message_size(20_000);
    let component = rig.start();
    for n in 0..MESSAGES {
        match n % 20 {
            7 => rig.send(json!([["big", 40_000]])),
            _ => rig.send(json!([["data", { "body": { "n": n } }]])),
        };
    }
    rig.settled().await;
    let errors = rig.so_far(EventKind::Error);
    assert_eq!(
        (errors.len(), rig.so_far(EventKind::Rejected).len()),
        (3, 3)
    );
    assert!(errors.iter().all(|error| {
        error.body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("larger")
    }));
    // A publish that was unconfirmed when the channel closed is retried.
    let data = rig.so_far(EventKind::Data);
    let arrived: BTreeSet<_> = data
        .iter()
        .map(|event| event.body["body"]["n"].as_u64().unwrap())
        .collect();
    assert_eq!(arrived.len(), 57);
    assert_eq!(
        rig.so_far(EventKind::Connected).len(),
        2,
        "only channels are opened again"
    );
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn an_error_event_too_large_for_the_broker_is_shortened() {
    let rig = scripted(1).await;
    for (script, pad, lacks) in [
        (json!([["throw", "x"]]), 40_000, vec!["its input"]),
        (
            json!([["throw", "x".repeat(60_000)]]),
            10,
            vec!["its input", "the end of its texts"],
        ),
    ] {
        rig.emulator.send(
            &json!({ "headers": {}, "body": { "script": script, "pad": "x".repeat(pad) } }),
            &Headers::new(),
        );
        rig.emulator.broker().limit_message_size(20_000);
        let mut component = rig.start();
        component.says("Fully initialized").await;
        rig.settled().await;
        let errors = rig.so_far(EventKind::Error);
        let message = errors.last().unwrap().body["error"]["message"]
            .as_str()
            .unwrap();
        assert!(
            lacks.iter().all(|part| message.contains(part)) && message.len() < 2000,
            "{message}"
        );
        assert_eq!(errors.last().unwrap().body.get("errorInput"), None);
        assert_eq!(component.stop().await.0, 0);
        rig.emulator.broker().limit_message_size(1_000_000);
    }
    assert_eq!(
        (
            rig.so_far(EventKind::Error).len(),
            rig.so_far(EventKind::Rejected).len()
        ),
        (2, 2)
    );
}

#[tokio::test]
async fn a_deleted_queue_ends_the_process_with_the_reason() {
    let rig = scripted(1).await.variable("ELASTICIO_REFUSAL_TIMEOUT", "1");
    let mut component = rig.start();
    component.says("Fully initialized").await;
    // It takes longer than the broker may refuse, and is finished nevertheless.
    rig.send(json!([["sleep", 2500], ["data", { "body": { "n": 1 } }]]));
    rig.events(EventKind::Delivered, 1).await;
    delete_input(&rig).await;
    let (status, log) = component.end().await;
    assert_eq!(status, 1);
    let input = rig.emulator.topology().input.as_str();
    assert!(
        log.iter()
            .any(|line| line["level"] == json!(60) && line.to_string().contains(input))
    );
    assert_eq!(emitted(&rig), BTreeMap::from([(1, 1)]));
}

async fn delete_input(rig: &Rig) {
    let connection = lapin::Connection::connect(&rig.emulator.broker().uri(), Default::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let input = rig.emulator.topology().input.as_str();
    channel
        .queue_delete(input.into(), Default::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_queue_that_comes_back_is_worked_off() {
    let rig = scripted(10).await;
    let mut component = rig.start();
    component.says("Fully initialized").await;
    rig.send(json!([["sleep", 300], ["data", { "body": { "n": 0 } }]]));
    rig.events(EventKind::Delivered, 1).await;
    delete_input(&rig).await;
    component.says("The broker refuses; trying again").await;
    let (broker, topology) = (rig.emulator.broker(), rig.emulator.topology());
    broker.declare_queue(&topology.input, emulator::broker::QueueOptions::default());
    broker.bind_queue(&topology.input, &topology.exchange, &topology.input_key);
    for n in 1..=500 {
        rig.send(json!([["data", { "body": { "n": n } }]]));
    }
    rig.events(EventKind::Acked, 500).await;
    let counts = emitted(&rig);
    assert_eq!(counts.len(), 501);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn a_missing_exchange_ends_the_process_and_keeps_the_message() {
    let rig = scripted(5)
        .await
        .variable("ELASTICIO_PUBLISH_MESSAGES_TO", "no-such-exchange")
        .variable("ELASTICIO_REFUSAL_TIMEOUT", "1");
    for n in 0..5 {
        rig.send(json!([["data", { "body": { "n": n } }]]));
    }
    let (status, log) = rig.start().end().await;
    assert_eq!(status, 1);
    assert!(log.iter().any(|line| line["level"] == json!(60) && line.to_string().contains("no-such-exchange")));
    rig.events(EventKind::Requeued, 5).await;
    assert_eq!(
        (rig.so_far(EventKind::Rejected).len(), rig.left_in_queue()),
        (0, 5),
        "they were not reported as failed"
    );
}
