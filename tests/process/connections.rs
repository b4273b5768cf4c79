//! Broken connections: nothing is lost, and no message is processed twice.

use super::*;
use std::collections::BTreeSet;

#[tokio::test]
async fn broken_connections_process_each_message_once() {
    const MESSAGES: u64 = 60;
    let rig = scripted(5).await;
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
    assert_eq!(
        counts.keys().copied().collect::<Vec<_>>(),
        (0..MESSAGES).collect::<Vec<_>>()
    );
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    assert_eq!(rig.so_far(EventKind::Error).len(), 0);
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn processing_continues_after_a_broker_restart() {
    let rig = scripted(1).await;
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
async fn a_cancelled_consumer_consumes_again() {
    let rig = scripted(1).await;
    let mut component = rig.start();
    component.says("Fully initialized").await;
    rig.emulator
        .broker()
        .cancel_consumers(&rig.emulator.topology().input);
    rig.send(json!([["data", { "body": { "n": 1 } }]]));
    rig.events(EventKind::Acked, 1).await;
}

#[tokio::test]
async fn blocking_modules_process_each_message_once() {
    const MESSAGES: u64 = 24;
    let rig = scripted(12).await.variable("TOKIO_WORKER_THREADS", "2");
    let component = rig.start();
    for n in 0..MESSAGES {
        rig.send(json!([["block", 50], ["data", { "body": { "n": n } }]]));
    }
    for delivered in [12, 26] {
        rig.events(EventKind::Delivered, delivered).await;
        rig.emulator.broker().drop_connections();
    }
    rig.settled().await;
    // A publish that is retried keeps its id. A message that is processed a second time emits another id.
    let mut ids = BTreeMap::<_, BTreeSet<_>>::new();
    for event in rig.so_far(EventKind::Data) {
        ids.entry(event.body["body"]["n"].as_u64().unwrap())
            .or_default()
            .insert(event.message_id().to_owned());
    }
    assert_eq!(
        ids.keys().copied().collect::<Vec<_>>(),
        (0..MESSAGES).collect::<Vec<_>>()
    );
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn a_blocked_publisher_waits() {
    let rig = scripted(1).await;
    let mut component = rig.start();
    component.says("Fully initialized").await;
    rig.emulator.broker().block_connections(true);
    rig.send(json!([["data", { "body": { "n": 1 } }]]));
    component.says("blocks publishing").await;
    assert_eq!(rig.so_far(EventKind::Acked).len(), 0);
    rig.emulator.broker().block_connections(false);
    rig.settled().await;
    assert_eq!(emitted(&rig), BTreeMap::from([(1, 1)]));
}
