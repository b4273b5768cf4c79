//! Routing keys that no queue is bound to.

use super::*;

type Watch = tokio::sync::broadcast::Receiver<emulator::broker::Event>;

/// How often a message came back to its publisher since the watch began.
fn returns(broker: &mut Watch) -> usize {
    let events = std::iter::from_fn(|| broker.try_recv().ok());
    events
        .filter(|event| matches!(event, emulator::broker::Event::Returned { .. }))
        .count()
}

/// On the platform, no queue is bound to the data key of a last step.
#[tokio::test]
async fn a_last_step_acknowledges_each_message() {
    let rig = last_step(EmulatorConfig {
        prefetch: 5,
        ..EmulatorConfig::default()
    })
    .await;
    let mut broker = rig.emulator.broker().watch();
    let component = rig.start();
    for n in 0..10 {
        rig.send(json!([["data", { "body": { "n": n } }]]));
    }
    rig.settled().await;
    rig.send(json!([["data", { "body": { "n": 10 } }]]));
    rig.settled().await;
    assert_eq!(component.stop().await.0, 0);
    rig.events(EventKind::Acked, 11).await;
    let data = rig.so_far(EventKind::Data);
    assert_eq!(
        emitted(&rig),
        (0..11).map(|n| (n, 1)).collect(),
        "the emulator counts it once, however often it is attempted"
    );
    assert!(data.iter().all(|event| event.end_of_flow.is_some()));
    assert_eq!(data.len(), 11);
    assert_eq!(acked_and_rejected(&rig), (11, 0));
    assert_eq!(
        (
            rig.so_far(EventKind::Error).len(),
            rig.so_far(EventKind::Returned).len()
        ),
        (0, 0)
    );
    assert!(returns(&mut broker) >= 11, "each is published as mandatory");
}

#[tokio::test]
async fn custom_keys_and_snapshots_without_a_queue_end_the_flow() {
    let rig = last_step(EmulatorConfig {
        collector: false,
        next_step: true,
        ..EmulatorConfig::default()
    })
    .await;
    let component = rig.start();
    rig.send(
        json!([["data", { "headers": { "X-Eio-Routing-Key": "no.where" }, "body": { "n": 1 } }]]),
    );
    rig.send(json!([["snapshot", { "last": 1 }]]));
    rig.send(json!([["data", { "body": { "n": 2 } }]]));
    rig.settled().await;
    assert_eq!(component.stop().await.0, 0);
    rig.events(EventKind::Acked, 3).await;
    let (data, snapshot) = (rig.so_far(EventKind::Data), rig.so_far(EventKind::Snapshot));
    let ends: Vec<_> = data
        .iter()
        .map(|event| (event.routing_key.as_str(), event.end_of_flow.is_some()))
        .collect();
    assert_eq!(
        ends,
        [
            ("no.where", true),
            (rig.emulator.topology().keys.data.as_str(), false)
        ]
    );
    assert_eq!(
        (snapshot.len(), snapshot[0].end_of_flow.is_some()),
        (1, true)
    );
    assert_eq!(acked_and_rejected(&rig), (3, 0));
    assert_eq!(rig.so_far(EventKind::Returned).len(), 0);
}

#[tokio::test]
async fn an_unbound_routing_key_ends_the_flow() {
    let rig = scripted(5).await;
    let component = rig.start();
    for n in 0..10 {
        rig.send(json!([["data", { "headers": { "X-Eio-Routing-Key": "no.where" }, "body": { "n": n } }]]));
    }
    rig.settled().await;
    assert_eq!(
        (
            rig.so_far(EventKind::Acked).len(),
            rig.so_far(EventKind::Error).len()
        ),
        (10, 0)
    );
    let (status, log) = component.stop().await;
    assert_eq!(status, 0);
    let lines = log
        .iter()
        .filter(|line| line.to_string().contains("no.where"))
        .collect::<Vec<_>>();
    assert_eq!(lines.len(), 1, "one line for each key: {lines:?}");
    assert!(
        lines[0]["msg"]
            .as_str()
            .unwrap()
            .contains("ELASTICIO_UNBOUND_ROUTING_KEYS"),
        "{}",
        lines[0]
    );
}

#[tokio::test]
async fn an_unbound_routing_key_can_be_made_an_error() {
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_AMQP_PUBLISH_RETRY_DELAY", "1");
    let rig = rig.variable("ELASTICIO_UNBOUND_ROUTING_KEYS", "error");
    let mut broker = rig.emulator.broker().watch();
    let _component = rig.start();
    rig.send(json!([["data", { "headers": { "X-Eio-Routing-Key": "no.where" }, "body": {} }]]));
    let errors = rig.events(EventKind::Error, 1).await;
    let message = errors[0].body["error"]["message"].as_str().unwrap();
    assert!(message.contains("no.where"), "{message}");
    rig.settled().await;
    assert!(returns(&mut broker) > 1);
    assert_eq!(
        rig.so_far(EventKind::Data).len(),
        1,
        "the emulator counts it once"
    );
    assert_eq!(acked_and_rejected(&rig), (0, 1));
}

#[tokio::test]
async fn an_unroutable_error_event_is_logged_and_its_message_rejected() {
    let rig = scripted(5).await.variable("ELASTICIO_BINDING_TIMEOUT", "1");
    let rig = rig.variable("ELASTICIO_ERROR_ROUTING_KEY", "no.where");
    let component = rig.start();
    for n in 0..3 {
        rig.send(json!([["throw", format!("trouble-{n}")]]));
    }
    rig.settled().await;
    assert_eq!(
        (
            rig.so_far(EventKind::Rejected).len(),
            rig.so_far(EventKind::DeadLettered).len()
        ),
        (3, 3)
    );
    let (_, log) = component.stop().await;
    for n in 0..3 {
        let text = format!("trouble-{n}");
        let line = log
            .iter()
            .find(|line| line["reported_message"] == json!(text))
            .expect("the error in the log");
        assert!(
            line["msg"].as_str().unwrap().contains("rejected") && line["level"] == json!(60),
            "{line}"
        );
        assert!(
            line["reported_stack"].as_str().unwrap().contains(&text),
            "{line}"
        );
    }
}

#[tokio::test]
async fn messages_wait_while_their_bindings_are_missing() {
    let rig = scripted(5)
        .await
        .variable("ELASTICIO_AMQP_PUBLISH_RETRY_DELAY", "1");
    let _component = rig.start();
    rig.send(json!([["data", { "body": { "n": 0 } }]]));
    rig.send(json!([["throw", "x"]]));
    rig.settled().await;
    let (broker, topology) = (rig.emulator.broker(), rig.emulator.topology());
    let bindings = [
        (
            &topology.next,
            &topology.exchange,
            topology.keys.data.as_str(),
        ),
        (&topology.errors, &topology.collector, "#.error"),
    ];
    let mut watch = broker.watch();
    for (queue, exchange, key) in bindings {
        broker.unbind_queue(queue, exchange, key);
    }
    for n in 1..20 {
        rig.send(json!([["data", { "body": { "n": n } }]]));
    }
    rig.send(json!([["throw", "y"]]));
    let returned = async {
        for _ in 0..30 {
            while !matches!(
                watch.recv().await.unwrap(),
                emulator::broker::Event::Returned { .. }
            ) {}
        }
    };
    soon("30 returned publishes", returned).await;
    assert_eq!(acked_and_rejected(&rig), (1, 1));
    for (queue, exchange, key) in bindings {
        broker.bind_queue(queue, exchange, key);
    }
    rig.settled().await;
    assert_eq!(acked_and_rejected(&rig), (20, 2));
}
