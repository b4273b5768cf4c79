//! Faults of the broker: nothing is lost, and no message is worked on twice.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

type Watch = tokio::sync::broadcast::Receiver<emulator::broker::Event>;

/// How often each `n` was emitted, repeats of one publish left out.
fn emitted(rig: &Rig) -> BTreeMap<u64, usize> {
    let mut count = BTreeMap::new();
    let data = rig.so_far(EventKind::Data);
    for event in data
        .iter()
        .filter(|event| event.headers.get("retry").is_none())
    {
        *count
            .entry(event.body["body"]["n"].as_u64().unwrap())
            .or_default() += 1;
    }
    count
}

#[tokio::test]
async fn broken_connections_process_each_message_once() {
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
async fn a_cancelled_consumer_consumes_again() {
    let rig = Rig::with_prefetch(1).await;
    let mut component = rig.start();
    component.says("Fully initialized").await;
    rig.emulator
        .broker()
        .cancel_consumers(&rig.emulator.topology().input);
    rig.send(json!([["data", { "body": { "n": 1 } }]]));
    rig.events(EventKind::Acked, 1).await;
}

#[tokio::test]
async fn a_publish_to_a_full_queue_is_retried_with_a_retry_header() {
    let rig = Rig::with_prefetch(1)
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
async fn a_routing_key_that_leads_nowhere_can_be_made_an_error() {
    let rig = Rig::with_prefetch(1)
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
    assert_eq!(rig.so_far(EventKind::Data).len(), 1, "told once");
    assert_eq!(
        (
            rig.so_far(EventKind::Acked).len(),
            rig.so_far(EventKind::Rejected).len()
        ),
        (0, 1)
    );
}

/// How often a message came back to its publisher since the watch began.
fn returns(broker: &mut Watch) -> usize {
    let events = std::iter::from_fn(|| broker.try_recv().ok());
    events
        .filter(|event| matches!(event, emulator::broker::Event::Returned { .. }))
        .count()
}

/// A last step has done its work when its data has gone nowhere: nothing is bound to its data key on the platform.
#[tokio::test]
async fn a_last_step_acknowledges_each_message() {
    let rig = Rig::alone(EmulatorConfig {
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
        "told once, however often it is tried"
    );
    assert!(data.iter().all(|event| event.end_of_flow.is_some()));
    assert_eq!(data.len(), 11);
    assert_eq!(
        (
            rig.so_far(EventKind::Acked).len(),
            rig.so_far(EventKind::Rejected).len()
        ),
        (11, 0)
    );
    assert_eq!(
        (
            rig.so_far(EventKind::Error).len(),
            rig.so_far(EventKind::Returned).len()
        ),
        (0, 0)
    );
    assert!(
        returns(&mut broker) >= 11,
        "each is published so that it could be returned"
    );
}

#[tokio::test]
async fn custom_keys_and_snapshots_without_a_queue_end_the_flow() {
    let rig = Rig::alone(EmulatorConfig {
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
    assert_eq!(
        (
            rig.so_far(EventKind::Acked).len(),
            rig.so_far(EventKind::Rejected).len()
        ),
        (3, 0)
    );
    assert_eq!(rig.so_far(EventKind::Returned).len(), 0);
}

#[tokio::test]
async fn a_routing_key_that_leads_nowhere_is_the_end_of_the_flow() {
    let rig = Rig::with_prefetch(5).await;
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
async fn an_unroutable_error_event_is_logged_and_its_message_rejected() {
    let rig = Rig::with_prefetch(5)
        .await
        .variable("ELASTICIO_BINDING_TIMEOUT", "1");
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
async fn a_message_too_large_for_the_broker_fails_alone() {
    const MESSAGES: u64 = 60;
    let rig = Rig::with_prefetch(10).await;
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
    // A publish that was under way when the channel closed arrives as its repeat.
    let data = rig.so_far(EventKind::Data);
    let arrived: BTreeSet<_> = data
        .iter()
        .map(|event| event.body["body"]["n"].as_u64().unwrap())
        .collect();
    assert_eq!(arrived.len(), 57);
    assert_eq!(
        rig.so_far(EventKind::Connected).len(),
        2,
        "only channels are opened anew"
    );
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn an_error_event_too_large_for_the_broker_goes_out_with_less() {
    let rig = Rig::with_prefetch(1).await;
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
async fn good_messages_wait_while_their_bindings_are_away() {
    let rig = Rig::with_prefetch(5)
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
    timeout(PATIENCE, returned)
        .await
        .expect("what leads nowhere is tried again and again");
    assert_eq!(
        (
            rig.so_far(EventKind::Acked).len(),
            rig.so_far(EventKind::Rejected).len()
        ),
        (1, 1)
    );
    for (queue, exchange, key) in bindings {
        broker.bind_queue(queue, exchange, key);
    }
    rig.settled().await;
    assert_eq!(
        (
            rig.so_far(EventKind::Acked).len(),
            rig.so_far(EventKind::Rejected).len()
        ),
        (20, 2)
    );
}

#[tokio::test]
async fn a_deleted_queue_ends_the_process_with_the_reason() {
    let rig = Rig::with_prefetch(1).await;
    let mut component = rig.start();
    component.says("Fully initialized").await;
    let connection = lapin::Connection::connect(&rig.emulator.broker().uri(), Default::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let input = rig.emulator.topology().input.as_str();
    channel
        .queue_delete(input.into(), Default::default())
        .await
        .unwrap();
    let (status, log) = component.end().await;
    assert_eq!(status, 1);
    assert!(
        log.iter()
            .any(|line| line["level"] == json!(60) && line.to_string().contains(input))
    );
}

#[tokio::test]
async fn a_missing_exchange_ends_the_process_and_keeps_the_message() {
    let rig = Rig::with_prefetch(5)
        .await
        .variable("ELASTICIO_PUBLISH_MESSAGES_TO", "no-such-exchange");
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
        "nobody was told of them"
    );
}

#[tokio::test]
async fn blocking_modules_process_each_message_once() {
    const MESSAGES: u64 = 24;
    let rig = Rig::with_prefetch(12)
        .await
        .variable("TOKIO_WORKER_THREADS", "2");
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
    let rig = Rig::with_prefetch(1).await;
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

/// Works on a message, loses the connection, and gets an equal one that another consumer has had in the meantime.
async fn work_on_twins(headers: Value, emits: bool) {
    let rig = Rig::with_prefetch(1).await.variable("LOG_LEVEL", "trace");
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
    // A message that cannot end keeps the component from taking the next one.
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
        .expect("the twin");
    assert!(!taken.redelivered);
    drop(taken);
    other.close(200, "".into()).await.unwrap();
    rig.emulator.broker().block_connections(false);
    rig.settled().await;
    if emits {
        assert_eq!(emitted(&rig), BTreeMap::from([(0, 1), (1, 2)]))
    } else {
        assert_eq!(
            (emitted(&rig), rig.so_far(EventKind::Error).len()),
            (BTreeMap::from([(0, 1)]), 2)
        );
    }
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn equal_messages_without_an_id_are_both_worked_on() {
    work_on_twins(
        json!({ "messageId": null, "threadId": "t", "parentMessageId": null }),
        true,
    )
    .await;
}

#[tokio::test]
async fn equal_messages_that_share_an_id_are_both_worked_on() {
    work_on_twins(
        json!({ "messageId": "m", "threadId": "t", "parentMessageId": "p" }),
        true,
    )
    .await;
}

#[tokio::test]
async fn equal_messages_of_a_retry_that_fail_are_both_worked_on() {
    work_on_twins(
        json!({ "messageId": "m", "threadId": "t", "parentMessageId": "p", "retry": true }),
        false,
    )
    .await;
}

#[tokio::test]
async fn equal_messages_are_all_worked_on_while_connections_break() {
    const MESSAGES: usize = 60;
    for id in [Value::Null, json!("m")] {
        let rig = Rig::with_prefetch(5).await;
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
        // A repeat of a publish has the id of the first try.
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
