//! Health and metrics: each metric is moved by what it counts.

use super::*;
use sailor::protocol::Encoding;
use std::{env, process::Stdio};
use test_rig::Health;
use tokio::io::AsyncWriteExt;

/// What these tests do not move: the labels of the step, and the lock, which has a test of the AMQP adapter
/// (`only_waits_for_another_replica_are_counted`).
const ELSEWHERE: [&str; 4] = [
    "elasticio_sailor_step_info{",
    "elasticio_sailor_waits_total{reason=\"lock\"}",
    "elasticio_sailor_wait_seconds_total{reason=\"lock\"}",
    "elasticio_sailor_waiting{reason=\"lock\"}",
];

/// A step whose process tells how it is. It has little memory, so that some messages wait for it.
pub(super) struct Monitored {
    rig: Rig,
    pub(super) health: Health,
    pub(super) component: Running,
}

impl Monitored {
    pub(super) async fn start(prefetch: u16) -> Self {
        let health = Health::new();
        let rig = scripted(prefetch)
            .await
            .variable("ELASTICIO_HEALTH_PORT", health.port())
            .variable("ELASTICIO_MEMORY_LIMIT", "40")
            .variable("ELASTICIO_DEDUPLICATE", "true")
            .variable("ELASTICIO_AMQP_PUBLISH_RETRY_DELAY", "1");
        let component = rig.start();
        let mut monitored = Self {
            rig,
            health,
            component,
        };
        monitored.health.until_status("/readyz", 200).await;
        monitored.health.scrape().await;
        monitored
    }

    async fn until(&mut self, series: &str, wanted: impl Fn(f64) -> bool) {
        self.health.until(series, wanted).await;
    }

    /// Waits until a counter or gauge is above zero.
    async fn counted(&mut self, series: &str) {
        self.until(series, |value| value > 0.0).await;
    }

    /// Waits until something waits for this reason, and then until nothing does.
    async fn waited(&mut self, reason: &str) {
        self.counted(&format!("waiting{{reason=\"{reason}\"}}"))
            .await;
        self.counted(&format!("waits_total{{reason=\"{reason}\"}}"))
            .await;
        self.counted(&format!("wait_seconds_total{{reason=\"{reason}\"}}"))
            .await;
    }

    async fn idle(&mut self) {
        self.rig.settled().await;
        self.until("messages_in_flight", |count| count == 0.0).await;
    }

    async fn move_messages_and_events(&mut self) {
        for script in [
            json!([["data", { "body": { "n": 1 } }]]),
            json!([["rebound", "later"]]),
            json!([["snapshot", { "a": 1 }]]),
            json!([["throw", "trouble"]]),
            json!([["sleep", 200]]),
        ] {
            self.rig.send(script);
        }
        self.counted("messages_in_flight").await;
        self.counted("oldest_message_age_seconds").await;
        for series in [
            "messages_received_total",
            "messages_total{outcome=\"acknowledged\"}",
            "messages_total{outcome=\"rejected\"}",
            "events_total{kind=\"data\"}",
            "events_total{kind=\"error\"}",
            "events_total{kind=\"rebound\"}",
            "events_total{kind=\"snapshot\"}",
            "module_duration_seconds_count",
            "confirm_duration_seconds_sum",
        ] {
            self.counted(series).await;
        }
    }

    /// A message is sent a second time, with the same unique id.
    async fn move_duplicates(&mut self) {
        let same = json!({ "deduplicationId": "same" });
        let message = json!({ "headers": {}, "body": { "script": [["end"]] } });
        for _ in 0..2 {
            self.rig.emulator.send(&message, same.as_object().unwrap());
            self.rig.settled().await;
        }
        self.counted("messages_skipped_total{reason=\"duplicate\"}")
            .await;
    }

    async fn move_rate_limits(&mut self) {
        self.rig.send(json!([["many", 60]]));
        self.waited("data_rate_limit").await;
        for (operation, reason) in [
            ("throw", "error_rate_limit"),
            ("snapshot", "snapshot_rate_limit"),
        ] {
            for _ in 0..15 {
                self.rig.send(json!([[operation, "x"]]));
            }
            self.waited(reason).await;
        }
        self.idle().await;
    }

    /// Messages that were small have raised the prefetch; then come some of which only one fits.
    async fn move_memory(&mut self) {
        let pad = "x".repeat(600_000);
        for _ in 0..5 {
            let body = json!({ "script": [["sleep", 300]], "pad": pad });
            let message = json!({ "headers": {}, "body": body });
            self.rig.emulator.send(&message, &Headers::new());
        }
        self.waited("message_memory").await;
        self.idle().await;
        for _ in 0..40 {
            self.rig.send(json!([["end"]]));
        }
        self.idle().await;
        for _ in 0..5 {
            let list = vec![json!({ "a": 1 }); 3_500];
            let body = json!({ "script": [["sleep", 300]], "list": list });
            let message = json!({ "headers": {}, "body": body });
            self.rig.emulator.send(&message, &Headers::new());
        }
        self.waited("value_memory").await;
        self.idle().await;
        for n in 0..3 {
            let emulator = &self.rig.emulator;
            let body = json!({ "script": [["sleep", 300]], "pad": pad }).to_string();
            let body = emulator.cipher().encrypt(body.into(), Encoding::Raw);
            emulator.platform().set_object(&format!("body-{n}"), body);
            let headers = json!({ "x-ipaas-object-storage-id": format!("body-{n}") });
            let message = json!({ "headers": headers, "body": {} });
            emulator.send(&message, &Headers::new());
        }
        self.waited("body_memory").await;
        self.idle().await;
        // Three events, of which two fill the room, wait for their confirms.
        self.rig.emulator.broker().nack_publishes(usize::MAX);
        for _ in 0..4 {
            self.rig.send(json!([["big", 700_000]]));
        }
        self.waited("event_memory").await;
        self.counted("publish_retries_total").await;
        self.rig.emulator.broker().nack_publishes(0);
        self.idle().await;
    }

    /// Each key loses its binding, and gets it back.
    async fn move_unroutable(&mut self) {
        let topology = self.rig.emulator.topology().clone();
        let keys = &topology.keys;
        for (queue, exchange, key, script, label) in [
            (
                &topology.next,
                &topology.exchange,
                &*keys.data,
                json!([["data", { "body": {} }]]),
                "data",
            ),
            (
                &topology.errors,
                &topology.collector,
                "#.error",
                json!([["throw", "x"]]),
                "error",
            ),
            (
                &topology.snapshots,
                &topology.collector,
                "#.snapshot",
                json!([["snapshot", {}]]),
                "snapshot",
            ),
            (
                &topology.rebounds,
                &topology.exchange,
                &*keys.rebound,
                json!([["rebound", "x"]]),
                "rebound",
            ),
        ] {
            self.rig
                .emulator
                .broker()
                .unbind_queue(queue, exchange, key);
            self.rig.send(script);
            self.counted(&format!("unroutable_publishes_total{{key=\"{label}\"}}"))
                .await;
            self.rig.emulator.broker().bind_queue(queue, exchange, key);
        }
        let elsewhere = json!({ "headers": { "X-Eio-Routing-Key": "no.where" }, "body": {} });
        self.rig.send(json!([["data", elsewhere]]));
        self.counted("unroutable_publishes_total{key=\"other\"}")
            .await;
        self.idle().await;
    }

    async fn move_blocked(&mut self) {
        self.rig.emulator.broker().block_connections(true);
        self.rig.send(json!([["data", { "body": {} }]]));
        self.waited("broker_blocked").await;
        assert_eq!(
            self.health.get("/readyz").await.unwrap().0,
            200,
            "it is not away"
        );
        self.rig.emulator.broker().block_connections(false);
        self.until("waiting{reason=\"broker_blocked\"}", |count| count == 0.0)
            .await;
        self.idle().await;
    }

    /// The broker is away while a message ends: its verdict cannot be sent.
    async fn move_connections(&mut self) {
        self.rig.send(json!([["sleep", 300]]));
        self.counted("messages_in_flight").await;
        let broker = self.rig.emulator.broker().clone();
        broker.refuse_connections(true);
        broker.drop_connections();
        for link in ["consume", "publish"] {
            self.until(&format!("connected{{connection=\"{link}\"}}"), |up| {
                up == 0.0
            })
            .await;
            self.counted(&format!("reconnects_total{{connection=\"{link}\"}}"))
                .await;
        }
        self.until("ready", |ready| ready == 0.0).await;
        let reason = self.health.until_status("/readyz", 503).await;
        assert!(reason.contains("the broker is away"), "{reason}");
        self.counted("messages_total{outcome=\"unsettled\"}").await;
        broker.refuse_connections(false);
        self.counted("ready").await;
        self.counted("messages_skipped_total{reason=\"repeat\"}")
            .await;
        self.idle().await;
    }
}

#[tokio::test]
async fn every_metric_is_moved_by_what_it_counts() {
    let mut monitored = Monitored::start(5).await;
    monitored.move_messages_and_events().await;
    monitored.move_duplicates().await;
    monitored.move_rate_limits().await;
    monitored.move_memory().await;
    monitored.move_unroutable().await;
    monitored.move_blocked().await;
    monitored.move_connections().await;
    let elsewhere = |name: &str| ELSEWHERE.iter().any(|known| name.starts_with(known));
    let unmoved = monitored.health.unmoved();
    let unmoved: Vec<_> = unmoved
        .into_iter()
        .filter(|name| !elsewhere(name) && !name.contains("_bucket{"))
        .collect();
    assert_eq!(unmoved, [""; 0]);
    let (_, metrics) = monitored.health.get("/metrics").await.unwrap();
    promtool(&["check", "metrics"], &metrics).await;
    assert_eq!(monitored.component.stop().await.0, 0);
}

/// Runs promtool with this input, and asserts that it has nothing to say. `SAILOR_TEST_PROMTOOL` is its path.
pub(super) async fn promtool(arguments: &[&str], input: &str) {
    let Some(path) = env::var_os("SAILOR_TEST_PROMTOOL") else {
        assert!(
            env::var_os("CI").is_none(),
            "SAILOR_TEST_PROMTOOL is not set"
        );
        return eprintln!("not run, because SAILOR_TEST_PROMTOOL is not set: {arguments:?}");
    };
    let mut running = tokio::process::Command::new(path)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = running.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = running.wait_with_output().await.unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}

#[tokio::test]
async fn liveness_answers_while_modules_block_every_thread() {
    let health = Health::new();
    let rig = scripted(2)
        .await
        .variable("ELASTICIO_HEALTH_PORT", health.port())
        .variable("ELASTICIO_SHUTDOWN_TIMEOUT", "1")
        .variable("TOKIO_WORKER_THREADS", "1");
    let mut component = rig.start();
    rig.send(json!([["data", { "body": {} }], ["block", 3_600_000]]));
    rig.events(EventKind::Data, 1).await;
    assert_eq!(health.get("/livez").await, Some((200, "ok\n".to_owned())));
    assert_eq!(health.get("/readyz").await.unwrap().0, 200);
    let (_, metrics) = health.get("/metrics").await.unwrap();
    assert!(
        metrics.contains("\nelasticio_sailor_messages_in_flight 1.0\n"),
        "{metrics}"
    );
    component.signal("TERM");
    component.says("Stopping").await;
    let reason = health.until_status("/readyz", 503).await;
    assert_eq!(reason, "the process is stopping\n");
    assert_eq!(component.end().await.0, 0);
    assert_eq!(health.get("/livez").await, None, "nothing listens any more");
}

#[tokio::test]
async fn a_step_without_a_broker_is_alive_and_not_ready() {
    let health = Health::new();
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_HEALTH_PORT", health.port())
        .variable("ELASTICIO_AMQP_RECONNECT_TIMEOUT", "3600000");
    rig.emulator.broker().refuse_connections(true);
    let component = rig.start();
    health.until_status("/livez", 200).await;
    let reason = health.until_status("/readyz", 503).await;
    assert!(reason.contains("the queue is not consumed"), "{reason}");
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn a_health_port_that_is_taken_ends_the_start() {
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let rig = scripted(1).await.variable("ELASTICIO_HEALTH_PORT", &*port);
    let ended = rig.run().await;
    assert_eq!(ended.status, 1);
    let text = format!("ELASTICIO_HEALTH_PORT: port {port} cannot be bound");
    assert!(ended.stdout.contains(&text), "{}", ended.stdout);
}

#[tokio::test]
async fn no_metric_contains_a_secret_or_a_message() {
    let mut monitored = Monitored::start(1).await;
    monitored
        .rig
        .send(json!([["data", { "body": { "text": "confidential" } }]]));
    monitored.rig.send(json!([["throw", "confidential"]]));
    monitored.idle().await;
    let (_, text) = monitored.health.get("/metrics").await.unwrap();
    let variables: BTreeMap<String, String> = monitored.rig.emulator.env().into_iter().collect();
    for name in super::secrets::SECRETS {
        assert!(!text.contains(&variables[name]), "{name}");
    }
    assert!(!text.contains("confidential"), "{text}");
    assert!(text.contains("elasticio_sailor_step_info{"), "{text}");
    assert_eq!(monitored.component.stop().await.0, 0);
}
