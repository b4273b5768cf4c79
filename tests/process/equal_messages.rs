//! Equal messages are processed each, even if they have the same id.

use super::*;
use std::collections::BTreeSet;

/// The component processes a message and loses its connection. Then it gets an equal message, marked as redelivered,
/// because another consumer received it before.
async fn process_equal_messages(headers: Value, emits: bool) {
    let rig = scripted(1).await.variable("LOG_LEVEL", "trace");
    let mut component = rig.start();
    component.says("Fully initialized").await;
    let script = if emits {
        json!([["data", { "body": { "n": 1 } }]])
    } else {
        json!([["throw", "no"]])
    };
    rig.send_with(script.clone(), headers.clone());
    rig.settled().await;
    if !headers["messageId"].is_null() {
        component
            .says("The broker has received all earlier settlements")
            .await;
    }
    rig.emulator.broker().drop_connections();
    // A message that cannot be finished keeps the component from taking the next one.
    rig.emulator.broker().block_connections(true);
    rig.send(json!([["data", { "body": { "n": 0 } }]]));
    rig.events(EventKind::Delivered, 2).await;
    rig.send_with(script, headers);
    let other = lapin::Connection::connect(&rig.emulator.broker().uri(), Default::default())
        .await
        .unwrap();
    let channel = other.create_channel().await.unwrap();
    let input = rig.emulator.topology().input.as_str();
    let taken = channel
        .basic_get(input.into(), Default::default())
        .await
        .unwrap()
        .expect("the equal message");
    assert!(!taken.redelivered);
    drop(taken);
    other.close(200, "".into()).await.unwrap();
    rig.emulator.broker().block_connections(false);
    rig.settled().await;
    if emits {
        assert_eq!(emitted(&rig), BTreeMap::from([(0, 1), (1, 2)]));
    } else {
        assert_eq!(
            (emitted(&rig), rig.so_far(EventKind::Error).len()),
            (BTreeMap::from([(0, 1)]), 2)
        );
    }
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn equal_messages_without_an_id_are_both_processed() {
    process_equal_messages(
        json!({ "messageId": null, "threadId": "t", "parentMessageId": null }),
        true,
    )
    .await;
}

#[tokio::test]
async fn equal_messages_that_share_an_id_are_both_processed() {
    process_equal_messages(
        json!({ "messageId": "m", "threadId": "t", "parentMessageId": "p" }),
        true,
    )
    .await;
}

#[tokio::test]
async fn equal_messages_of_a_retry_that_fail_are_both_processed() {
    process_equal_messages(
        json!({ "messageId": "m", "threadId": "t", "parentMessageId": "p", "retry": true }),
        false,
    )
    .await;
}

#[tokio::test]
async fn equal_messages_are_all_processed_while_connections_break() {
    const MESSAGES: usize = 60;
    for id in [Value::Null, json!("m")] {
        let rig = scripted(5).await;
        let component = rig.start();
        for _ in 0..MESSAGES {
            let headers = json!({ "messageId": id, "threadId": "t", "parentMessageId": null });
            rig.send_with(
                json!([["sleep", 20], ["data", { "body": { "n": 1 } }]]),
                headers,
            );
        }
        for acknowledged in [5, 15, 25, 40] {
            rig.events(EventKind::Acked, acknowledged).await;
            rig.emulator.broker().drop_connections();
        }
        rig.settled().await;
        // A publish that is retried keeps its id.
        let ids: BTreeSet<_> = rig
            .so_far(EventKind::Data)
            .iter()
            .map(|event| event.message_id().to_owned())
            .collect();
        assert!(
            ids.len() >= MESSAGES,
            "only {} of {MESSAGES} with the id {id}",
            ids.len()
        );
        assert_eq!(component.stop().await.0, 0);
    }
}
