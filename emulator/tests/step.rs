//! The emulated step as a whole, used from Rust.

use emulator::{
    Emulator, EmulatorConfig, Event, EventKind,
    broker::{AMQPValue, BasicProperties, BrokerConfig, FieldTable, QueueOptions},
    platform::{PlatformConfig, Step},
};
use plain_component::Component;
use sailor::protocol::{Encoding, Headers};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::timeout};

struct Rig {
    emulator: Emulator,
    component: JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.component.abort();
    }
}

impl Rig {
    async fn start(config: EmulatorConfig) -> Self {
        let emulator = Emulator::start(config).await.unwrap();
        let variables: HashMap<String, String> = emulator.env().into_iter().collect();
        let env = move |name: &str| variables[&format!("ELASTICIO_{name}")].clone();
        let component =
            tokio::spawn(async { Component::connect(Box::new(env)).await.work().await });
        Self {
            emulator,
            component,
        }
    }

    fn send(&self, op: &str) -> String {
        self.emulator
            .send(&json!({"body": {"op": op}}), &Headers::new())
    }

    /// What has happened so far of this kind.
    fn so_far(&self, kind: EventKind) -> Vec<Arc<Event>> {
        let mut events = self.emulator.events();
        std::iter::from_fn(|| events.try_next())
            .filter(|event| event.kind == kind)
            .collect()
    }

    async fn find(&self, kind: EventKind) -> Arc<Event> {
        let mut events = self.emulator.events();
        let found = timeout(
            Duration::from_secs(10),
            events.find(|event| event.kind == kind),
        )
        .await;
        found.unwrap_or_else(|_| panic!("no {kind:?}")).unwrap()
    }
}

async fn rig() -> Rig {
    let step = Step {
        config: json!({"_account": "acc"}),
        ..Step::default()
    };
    Rig::start(EmulatorConfig {
        step,
        update_keys_over_broker: true,
        ..EmulatorConfig::default()
    })
    .await
}

#[tokio::test]
async fn both_protocol_versions_are_decrypted() {
    for protocol_version in [1, 2] {
        let rig = Rig::start(EmulatorConfig {
            protocol_version,
            ..EmulatorConfig::default()
        })
        .await;
        let id = rig
            .emulator
            .send(&json!({"id": "m1", "body": {"a": "ü"}}), &Headers::new());
        assert_eq!(id, "m1");
        assert_eq!(
            rig.find(EventKind::Data).await.body["body"],
            json!({"a": "ü"})
        );
        assert_eq!(rig.find(EventKind::Acked).await.message_id(), "m1");
        rig.emulator.settled().await;
    }
}

#[tokio::test]
async fn a_sent_message_has_the_platforms_headers() {
    let rig = rig().await;
    let given = json!({"x-eio-meta-a": "1", "threadId": "t", "userId": null, "n": 7});
    rig.emulator
        .send(&json!({"body": {}}), given.as_object().unwrap());
    let headers = &rig.find(EventKind::Delivered).await.headers;
    for (name, value) in [
        ("execId", json!("emulated-exec")),
        ("taskId", json!("emulated-flow")),
        ("stepId", json!("step_0")),
        ("threadId", json!("t")),
        ("x-eio-meta-a", json!("1")),
        ("n", json!(7)),
    ] {
        assert_eq!(headers[name], value);
    }
    assert!(headers["messageId"].is_string() && headers["parentMessageId"].is_string());
    assert!(!headers.contains_key("userId"));
}

#[tokio::test]
async fn a_rejected_message_is_dead_lettered_with_its_error() {
    let rig = rig().await;
    let id = rig.send("fail");
    let error = rig.find(EventKind::Error).await;
    assert_eq!(error.body["error"]["message"], "as told");
    assert_eq!(error.body["errorInput"]["body"]["op"], "fail");
    assert_eq!(rig.find(EventKind::Rejected).await.message_id(), id);
    let dead = rig.find(EventKind::DeadLettered).await;
    assert_eq!(
        (dead.message_id(), &dead.routing_key),
        (id.as_str(), &rig.emulator.topology().dead_key)
    );
}

#[tokio::test]
async fn a_rebound_comes_back_after_the_shortened_delay() {
    let rig = Rig::start(EmulatorConfig {
        rebound_speed_up: 300,
        ..EmulatorConfig::default()
    })
    .await;
    let id = rig.send("rebound");
    let rebound = rig.find(EventKind::Rebound).await;
    assert_eq!(
        (rebound.message_id(), &rebound.body["body"]["op"]),
        (id.as_str(), &json!("rebound"))
    );
    let back = rig.find(EventKind::CameBack).await;
    assert_eq!(back.message_id(), id);
    let waited = back.at - rebound.at;
    assert!(
        (Duration::from_millis(45)..Duration::from_secs(5)).contains(&waited),
        "50 ms wanted, {waited:?} waited"
    );
    assert_eq!(rig.find(EventKind::Data).await.body["body"], "again");
}

#[tokio::test]
async fn snapshot_events_update_the_step() {
    let rig = rig().await;
    let snapshot = || {
        rig.emulator
            .platform()
            .step("emulated-flow", "step_1")
            .unwrap()
            .snapshot
    };
    rig.send("snapshot");
    assert_eq!(
        rig.find(EventKind::Snapshot).await.body,
        json!({"a": 1, "b": 1})
    );
    assert_eq!(snapshot(), json!({"a": 1, "b": 1}));
    rig.send("update snapshot");
    assert_eq!(
        rig.find(EventKind::SnapshotUpdate).await.body,
        json!({"b": 2})
    );
    assert_eq!(snapshot(), json!({"a": 1, "b": 2}));
}

#[tokio::test]
async fn keys_published_to_the_broker_reach_the_account() {
    let rig = rig().await;
    rig.send("keys");
    assert_eq!(
        rig.find(EventKind::UpdateKeys).await.body["keys"],
        json!({"token": "fresh"})
    );
    assert_eq!(
        Value::Object(rig.emulator.platform().account("acc").unwrap()),
        json!({"token": "fresh"})
    );
}

#[tokio::test]
async fn keys_for_an_unknown_account_are_reported() {
    let rig = Rig::start(EmulatorConfig {
        update_keys_over_broker: true,
        ..EmulatorConfig::default()
    })
    .await;
    rig.send("keys");
    assert_eq!(
        rig.find(EventKind::UpdateKeys).await.problem.as_deref(),
        Some("there is no account \"acc\"")
    );
}

#[tokio::test]
async fn keys_saved_over_rest_are_an_event() {
    let rig = rig().await;
    let client = reqwest::Client::new();
    let put = client
        .put(rig.emulator.platform().url() + "/v1/accounts/acc")
        .json(&json!({"keys": {"token": "new"}}));
    put.basic_auth("emulator-user", Some("emulator-key"))
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap();
    let body = &rig.find(EventKind::UpdateKeys).await.body;
    assert_eq!(body, &json!({"accountId": "acc", "keys": {"token": "new"}}));
}

#[tokio::test]
async fn a_reply_with_a_waiting_caller_is_not_returned() {
    let rig = rig().await;
    let headers = json!({"reply_to": "waiting.for.it"});
    rig.emulator.send(
        &json!({"body": {"op": "reply"}}),
        headers.as_object().unwrap(),
    );
    let reply = rig.find(EventKind::HttpReply).await;
    assert_eq!(
        (reply.routing_key.as_str(), &reply.body),
        ("waiting.for.it", &json!({"statusCode": 201, "body": {}}))
    );
}

#[tokio::test]
async fn a_webhook_caller_gets_the_components_reply() {
    let rig = rig().await;
    let env: HashMap<String, String> = rig.emulator.env().into_iter().collect();
    let post = |op: &str| {
        reqwest::Client::new()
            .post(format!("{}?a=1", env["ELASTICIO_FLOW_WEBHOOK_URI"]))
            .json(&json!({"op": op}))
            .send()
    };
    assert_eq!(post("reply").await.unwrap().status(), 201);
    assert_eq!(post("echo").await.unwrap().status(), 200);
    assert_eq!(post("fail").await.unwrap().status(), 500);
    let message = &rig.find(EventKind::Sent).await.body;
    assert_eq!(
        (&message["method"], &message["query"]),
        (&json!("POST"), &json!({"a": "1"}))
    );
    assert_eq!(message["body"], json!({"op": "reply"}));
    let elsewhere = reqwest::get(rig.emulator.platform().url() + "/hook/other-flow")
        .await
        .unwrap();
    assert_eq!(elsewhere.status(), 404);
}

#[tokio::test]
async fn a_raw_webhook_body_is_passed_on_unchanged() {
    let rig = rig().await;
    let platform = rig.emulator.platform();
    let step = platform.step("emulated-flow", "step_1").unwrap();
    platform.set_step(
        "emulated-flow",
        Step {
            consumes_raw_data: true,
            ..step
        },
    );
    let hook = platform.url() + "/hook/emulated-flow";
    let raw = "{\"op\": \"echo\",  \"no\": JSON";
    let call = tokio::spawn(reqwest::Client::new().post(hook).body(raw).send());
    assert_eq!(
        rig.find(EventKind::Sent).await.body["body"],
        json!({"rawData": raw})
    );
    assert!(call.await.unwrap().unwrap().status().as_u16() < 600);
}

#[tokio::test]
async fn an_unreadable_event_says_what_is_wrong() {
    let rig = rig().await;
    rig.send("garbage");
    let event = rig.find(EventKind::Data).await;
    assert_eq!(event.body, Value::Null);
    assert_eq!(
        event.problem.as_deref(),
        Some(
            "the payload cannot be decrypted with this platform's password: 7 bytes of ciphertext"
        )
    );
}

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
            Some("step_1.message (--next-step "),
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
    // A message of its own: another id, another key, no count of tries.
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
    assert!(publish(data, "a", number(3), 9), "it arrives in the end");
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
    let told: Vec<Value> = std::iter::from_fn(|| events.try_next())
        .map(|event| event.body["body"].clone())
        .collect();
    assert_eq!(told, [1, 4, 5, 7, 8, 9]);
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

#[tokio::test]
async fn the_queues_are_made_and_bound_as_the_platform_makes_them() {
    let emulator = Emulator::start(EmulatorConfig {
        next_step: true,
        ..EmulatorConfig::default()
    })
    .await
    .unwrap();
    let (broker, names) = (emulator.broker(), emulator.topology());
    let connection = lapin::Connection::connect(&broker.uri(), Default::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let text = |text: &str| AMQPValue::LongString(text.into());
    let dead_letters_to = |key: &str| {
        [
            ("x-dead-letter-exchange", text(&names.exchange)),
            ("x-dead-letter-routing-key", text(key)),
        ]
        .to_vec()
    };
    let ttl = [("x-message-ttl", AMQPValue::LongInt(600_000))].to_vec();
    for (queue, arguments) in [
        (&names.input, dead_letters_to(&names.dead_key)),
        (
            &names.rebounds,
            [dead_letters_to(&names.requeue_key), ttl].concat(),
        ),
    ] {
        let table =
            arguments
                .into_iter()
                .fold(FieldTable::default(), |mut table, (name, value)| {
                    table.insert(name.into(), value);
                    table
                });
        // Declaring it differently would be refused.
        let options = lapin::options::QueueDeclareOptions {
            durable: true,
            ..Default::default()
        };
        channel
            .queue_declare(queue.as_str().into(), options, table)
            .await
            .unwrap();
    }
    let snapshot = names.keys.snapshot.replace("step_1", "step_9");
    for (key, queue) in [
        (&names.input_key, Some(&names.input)),
        (&names.own_key, Some(&names.input)),
        (&names.requeue_key, Some(&names.input)),
        (&names.keys.rebound, Some(&names.rebounds)),
        (&names.keys.data, Some(&names.next)),
        (&names.keys.error, Some(&names.errors)),
        (&snapshot, Some(&names.snapshots)),
        (&names.dead_key, None),
        (&names.keys.update_keys, None),
    ] {
        assert_eq!(
            broker.publish(&names.exchange, key, BasicProperties::default(), vec![]),
            queue.is_some(),
            "{key}"
        );
        for other in [
            &names.input,
            &names.rebounds,
            &names.next,
            &names.errors,
            &names.snapshots,
        ] {
            assert_eq!(
                broker.take(other).len(),
                usize::from(queue == Some(other)),
                "{key} and {other}"
            );
        }
    }
}

#[tokio::test]
async fn a_rebound_waits_no_longer_than_the_queue_allows_sped_up() {
    let config = EmulatorConfig {
        rebound_speed_up: 60_000,
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(config).await.unwrap();
    let (day, names) = ("86400000", emulator.topology());
    let properties = BasicProperties::default().with_expiration(day.into());
    assert!(
        emulator
            .broker()
            .publish(&names.exchange, &names.keys.rebound, properties, vec![])
    );
    let mut events = emulator.events();
    let back = timeout(
        Duration::from_secs(10),
        events.find(|event| event.kind == EventKind::CameBack),
    )
    .await;
    assert_eq!(
        back.expect("it comes back after ten milliseconds")
            .unwrap()
            .routing_key,
        names.requeue_key
    );
    assert_eq!(emulator.broker().take(&names.input).len(), 1);
}

#[tokio::test]
async fn the_environment_has_every_required_variable() {
    let emulator = Emulator::start(EmulatorConfig {
        step: Step {
            function: "f".into(),
            ..Step::default()
        },
        ..Default::default()
    });
    let env: HashMap<String, String> = emulator.await.unwrap().env().into_iter().collect();
    for name in [
        "FLOW_ID",
        "EXEC_ID",
        "STEP_ID",
        "CONTAINER_ID",
        "WORKSPACE_ID",
        "USER_ID",
        "COMP_ID",
        "FUNCTION",
        "API_URI",
        "API_USERNAME",
        "API_KEY",
        "AMQP_URI",
        "LISTEN_MESSAGES_ON",
        "PUBLISH_MESSAGES_TO",
        "DATA_ROUTING_KEY",
        "ERROR_ROUTING_KEY",
        "REBOUND_ROUTING_KEY",
        "SNAPSHOT_ROUTING_KEY",
        "MESSAGE_CRYPTO_IV",
        "MESSAGE_CRYPTO_PASSWORD",
        "FLOW_TYPE",
        "FLOW_WEBHOOK_URI",
        "OBJECT_STORAGE_URI",
        "OBJECT_STORAGE_TOKEN",
        "REBOUND_INITIAL_EXPIRATION",
    ] {
        assert!(!env[&format!("ELASTICIO_{name}")].is_empty(), "{name}");
    }
}

#[tokio::test]
async fn events_end_when_the_emulator_stops() {
    let rig = rig().await;
    rig.send("echo");
    rig.find(EventKind::Acked).await;
    let mut events = rig.emulator.events();
    rig.emulator.shutdown().await;
    let all = async { while events.next().await.is_some() {} };
    timeout(Duration::from_secs(10), all).await.expect("ends");
}

#[tokio::test]
async fn a_taken_port_is_named_in_the_error() {
    let first = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let (broker, platform) = (first.broker().addr().port(), first.platform().addr().port());
    for (broker, platform, port) in [(broker, 0, broker), (0, platform, platform)] {
        let config = EmulatorConfig {
            broker: BrokerConfig {
                port: broker,
                ..BrokerConfig::default()
            },
            platform: PlatformConfig {
                port: platform,
                ..PlatformConfig::default()
            },
            ..EmulatorConfig::default()
        };
        let error = Emulator::start(config).await.unwrap_err().to_string();
        assert!(
            error.contains(&format!("cannot listen on port {port} of 127.0.0.1")),
            "{error}"
        );
    }
}

#[test]
fn debug_output_contains_no_secrets() {
    let step = Step {
        config: json!({"password": "hidden"}),
        ..Step::default()
    };
    let config = EmulatorConfig {
        step,
        crypto_password: "hidden".into(),
        ..EmulatorConfig::default()
    };
    assert!(!format!("{config:?}").contains("hidden"));
}
