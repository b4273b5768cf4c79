//! The end of the flow, and returned messages.

use crate::Rig;
use emulator::{
    Emulator, EmulatorConfig, EventKind,
    broker::{AMQPValue, BasicProperties, FieldTable, QueueOptions},
};
use sailor::protocol::Encoding;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn the_flow_ends_at_unbound_keys_reported_once() {
    let (next, other) = (
        || EmulatorConfig {
            next_step: true,
            ..EmulatorConfig::default()
        },
        "some.other.key",
    );
    let with_key = EmulatorConfig {
        routing_keys: vec![other.into()],
        ..EmulatorConfig::default()
    };
    for (config, op, hint) in [
        (
            EmulatorConfig::default(),
            "echo",
            Some("step_1.message, because no step follows"),
        ),
        (next(), "echo", None),
        (
            EmulatorConfig::default(),
            "elsewhere",
            Some("some.other.key (--routing-key "),
        ),
        (next(), "elsewhere", Some("some.other.key (--routing-key ")),
        (with_key, "elsewhere", None),
    ] {
        let rig = Rig::start(config).await;
        rig.send(op);
        rig.find(EventKind::Acked).await;
        let data = rig.so_far(EventKind::Data);
        assert_eq!(data.len(), 1, "{op}");
        assert!(
            data[0].problem.is_none() && data[0].body["body"] != Value::Null,
            "{op}: it is read all the same"
        );
        match (&data[0].end_of_flow, hint) {
            (Some(why), Some(hint)) => assert!(
                why.starts_with("nothing is bound to ") && why.contains(hint),
                "{why}"
            ),
            (why, hint) => assert_eq!((why, hint), (&None, None), "{op}"),
        }
        assert_eq!(
            rig.so_far(EventKind::Returned).len(),
            0,
            "{op}: nobody misses it"
        );
        rig.emulator.settled().await;
    }
}

#[tokio::test]
async fn a_repeatedly_returned_publish_is_reported_once() {
    let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let topology = emulator.topology();
    let body = |n: u64| {
        emulator
            .cipher()
            .encrypt(json!({"body": n}).to_string().into(), Encoding::Base64)
    };
    let publish = |key: &str, id: &str, retry: Option<AMQPValue>, n: u64| {
        let mut headers = FieldTable::default();
        headers.insert("messageId".into(), AMQPValue::LongString(id.into()));
        if let Some(retry) = retry {
            headers.insert("retry".into(), retry);
        }
        let properties = BasicProperties::default().with_headers(headers);
        emulator
            .broker()
            .publish(&topology.exchange, key, properties, body(n))
    };
    let (data, number) = (topology.keys.data.as_str(), |n| Some(AMQPValue::LongInt(n)));
    publish(data, "a", None, 1);
    publish(data, "a", number(1), 2);
    publish(data, "a", number(2), 3);
    // A separate message: another id, another key, and no count of attempts.
    publish(data, "b", number(1), 4);
    publish("custom", "a", number(1), 5);
    publish("custom", "a", number(2), 6);
    publish(data, "a", None, 7);
    publish(data, "a", Some(AMQPValue::Boolean(true)), 8);
    emulator
        .broker()
        .declare_queue("late", QueueOptions::default());
    emulator
        .broker()
        .bind_queue("late", &topology.exchange, data);
    assert!(
        publish(data, "a", number(3), 9),
        "the queue takes the last attempt"
    );
    let mut events = emulator.events();
    let last = timeout(
        Duration::from_secs(10),
        events.find(|event| event.body["body"] == 9),
    )
    .await
    .unwrap()
    .unwrap();
    assert!(last.end_of_flow.is_none());
    let mut events = emulator.events();
    let numbers: Vec<Value> = std::iter::from_fn(|| events.try_next())
        .map(|event| event.body["body"].clone())
        .collect();
    assert_eq!(numbers, [1, 4, 5, 7, 8, 9]);
}

#[tokio::test]
async fn without_a_collector_errors_are_returned() {
    let rig = Rig::start(EmulatorConfig {
        collector: false,
        ..EmulatorConfig::default()
    })
    .await;
    let topology = rig.emulator.topology().clone();
    rig.send("snapshot");
    rig.send("update snapshot");
    rig.send("fail");
    let returned = rig.find(EventKind::Returned).await;
    assert_eq!(returned.routing_key, topology.keys.error);
    assert!(
        returned
            .problem
            .as_ref()
            .unwrap()
            .contains("no queue is bound")
    );
    for (kind, body) in [
        (EventKind::Snapshot, json!({"a": 1, "b": 1})),
        (EventKind::SnapshotUpdate, json!({"b": 2})),
    ] {
        let snapshot = rig.find(kind).await;
        assert!(
            snapshot
                .end_of_flow
                .as_ref()
                .unwrap()
                .contains("does not keep it")
        );
        assert_eq!(snapshot.body, body);
    }
    assert_eq!(
        rig.emulator
            .platform()
            .step("emulated-flow", "step_1")
            .unwrap()
            .snapshot,
        json!({})
    );
    assert_eq!(
        (
            rig.so_far(EventKind::Error).len(),
            rig.so_far(EventKind::Returned).len()
        ),
        (0, 1)
    );
}
