//! Bodies that are kept in object storage, and answers without an end: what is fetched, when, and how much of it.

use super::*;
use emulator::platform::Fault;
use sailor::protocol::Encoding;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

const ID: &str = "x-ipaas-object-storage-id";

impl Rig {
    async fn passing_through(config: EmulatorConfig) -> Self {
        let step = Step {
            is_passthrough: true,
            ..Step::default()
        };
        Self::new(EmulatorConfig { step, ..config }).await
    }

    /// Keeps a body as a step before this one does.
    fn keep(&self, id: &str, body: &Value) {
        let sealed = self
            .emulator
            .cipher()
            .encrypt(body.to_string().into(), Encoding::Raw);
        self.emulator.platform().set_object(id, sealed);
    }

    /// A message with this script, and with so many earlier steps whose bodies are kept elsewhere.
    fn send_with_references(&self, script: Value, count: usize) {
        let steps = (0..count).map(|n| {
            let entry = json!({ "headers": { ID: format!("kept-{n}"), "own": "h" }, "body": {} });
            (format!("earlier_{n}"), entry)
        });
        let passthrough: serde_json::Map<String, Value> = steps.collect();
        let message =
            json!({ "headers": {}, "body": { "script": script }, "passthrough": passthrough });
        self.emulator.send(&message, &Headers::new());
    }

    fn fetched(&self) -> usize {
        let calls = self.emulator.platform().calls();
        calls
            .iter()
            .filter(|call| call.line().starts_with("GET /objects/"))
            .count()
    }
}

/// The one error that the message becomes.
async fn error(rig: &Rig) -> String {
    let errors = rig.events(EventKind::Error, 1).await;
    rig.settled().await;
    assert_eq!(
        (
            rig.so_far(EventKind::Data).len(),
            rig.so_far(EventKind::Rejected).len()
        ),
        (0, 1)
    );
    errors[0].body["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn bodies_of_earlier_steps_that_nothing_reads_are_not_fetched() {
    let rig = Rig::with_prefetch(1).await;
    let component = rig.start();
    rig.send_with_references(json!([["data", { "body": { "n": 1 } }]]), 500);
    let data = rig.events(EventKind::Data, 1).await;
    assert!(data[0].body.get("passthrough").is_none());
    component.stop().await;
    assert_eq!(rig.fetched(), 0);
}

#[tokio::test]
async fn references_are_passed_on_with_lightweight_messages() {
    let config = EmulatorConfig {
        lightweight: true,
        ..EmulatorConfig::default()
    };
    let rig = Rig::passing_through(config)
        .await
        .variable("ELASTICIO_OBJECT_STORAGE_SIZE_THRESHOLD", "100");
    let component = rig.start();
    // Below the threshold and above it.
    rig.send_with_references(json!([["data", { "body": { "n": 1 } }], ["big", 200]]), 40);
    for event in rig.events(EventKind::Data, 2).await {
        let entry = &event.body["passthrough"]["earlier_39"];
        assert_eq!(
            entry,
            &json!({ "headers": { ID: "kept-39", "own": "h" }, "body": {} })
        );
    }
    component.stop().await;
    assert_eq!(rig.fetched(), 0);
}

#[tokio::test]
async fn referenced_bodies_are_fetched_once_to_be_sent_inline() {
    let rig = Rig::passing_through(EmulatorConfig::default()).await;
    (0..20).for_each(|n| rig.keep(&format!("kept-{n}"), &json!({ "kept": n })));
    let component = rig.start();
    rig.send_with_references(json!([["many", 3]]), 20);
    for event in rig.events(EventKind::Data, 3).await {
        let entry = &event.body["passthrough"]["earlier_19"];
        assert_eq!(
            entry,
            &json!({ "headers": { "own": "h" }, "body": { "kept": 19 } })
        );
    }
    component.stop().await;
    assert_eq!(rig.fetched(), 20);
}

#[tokio::test]
async fn references_that_a_module_hands_on_itself_are_fetched_as_well() {
    let rig = Rig::with_prefetch(1).await;
    rig.keep("kept-0", &json!({ "kept": 0 }));
    let _component = rig.start();
    let passthrough = json!({ "earlier": { "headers": { ID: "kept-0" }, "body": {} } });
    rig.send(json!([["data", { "body": {}, "passthrough": passthrough }]]));
    let data = rig.events(EventKind::Data, 1).await;
    assert_eq!(
        data[0].body["passthrough"]["earlier"],
        json!({ "headers": {}, "body": { "kept": 0 } })
    );
}

#[tokio::test]
async fn no_more_is_fetched_than_may_go_out() {
    let rig = Rig::passing_through(EmulatorConfig::default()).await;
    let rig = rig.variable("ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT", "100000");
    (0..100).for_each(|n| rig.keep(&format!("kept-{n}"), &json!({ "pad": "x".repeat(30_000) })));
    let component = rig.start();
    rig.send_with_references(json!([["data", { "body": {} }]]), 100);
    let message = error(&rig).await;
    let size = message
        .strip_prefix("Outgoing message size ")
        .and_then(|rest| rest.split(' ').next())
        .unwrap();
    assert!(size.parse::<usize>().unwrap() > 100_000, "{message}");
    assert!(message.ends_with("exceeds limit of 100000."), "{message}");
    component.stop().await;
    // Four fit at most, and four more may have been on their way.
    assert!(rig.fetched() <= 8, "{}", rig.fetched());
}

#[tokio::test]
async fn an_earlier_body_too_large_to_send_is_not_read_further() {
    let rig = Rig::passing_through(EmulatorConfig::default()).await;
    let rig = rig.variable("ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT", "100000");
    rig.keep("kept-0", &json!({ "pad": "x".repeat(200_000) }));
    let _component = rig.start();
    rig.send_with_references(json!([["data", { "body": {} }]]), 1);
    let message = error(&rig).await;
    assert!(
        message.starts_with("Failed to get message body with id=kept-0: the response is larger"),
        "{message}"
    );
    assert!(
        message.contains("100016 bytes (raise ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT"),
        "{message}"
    );
}

#[tokio::test]
async fn a_storage_that_is_away_for_seconds_makes_no_errors() {
    let rig = Rig::with_prefetch(5).await;
    for n in 0..5 {
        rig.keep(
            &format!("kept-{n}"),
            &json!({ "script": [["data", { "body": { "n": n } }]] }),
        );
    }
    // More than were tried before, of every kind that passes.
    let faults = [
        Fault::Status(503),
        Fault::Drop,
        Fault::Status(429),
        Fault::Status(500),
        Fault::Status(408),
    ];
    rig.emulator
        .platform()
        .fail("GET /objects/", faults.into_iter().cycle().take(15));
    let component = rig.start();
    for n in 0..5 {
        rig.emulator.send(
            &json!({ "headers": { ID: format!("kept-{n}") }, "body": {} }),
            &Headers::new(),
        );
    }
    rig.settled().await;
    assert_eq!(
        (
            rig.so_far(EventKind::Data).len(),
            rig.so_far(EventKind::Error).len()
        ),
        (5, 0)
    );
    component.stop().await;
    assert_eq!(rig.fetched(), 20);
}

#[tokio::test]
async fn with_a_retry_variable_unavailable_storage_is_an_error() {
    let rig = Rig::with_prefetch(1)
        .await
        .variable("REQUEST_MAX_RETRY", "1");
    rig.emulator
        .platform()
        .fail("GET /objects/", [const { Fault::Status(503) }; 2]);
    rig.keep("kept", &json!({ "script": [["data", { "body": {} }]] }));
    let _component = rig.start();
    rig.emulator.send(
        &json!({ "headers": { ID: "kept" }, "body": {} }),
        &Headers::new(),
    );
    assert_eq!(error(&rig).await, "Failed to get message body with id=kept");
    assert_eq!(rig.fetched(), 2);
}

#[tokio::test]
async fn a_body_over_the_limit_is_an_error_that_names_the_setting() {
    let rig = Rig::with_prefetch(1)
        .await
        .variable("ELASTICIO_OBJECT_STORAGE_SIZE_LIMIT", "100000");
    rig.keep("kept", &json!({ "pad": "x".repeat(200_000) }));
    let component = rig.start();
    rig.emulator.send(
        &json!({ "headers": { ID: "kept" }, "body": {} }),
        &Headers::new(),
    );
    let message = error(&rig).await;
    assert!(
        message.starts_with("Failed to get message body with id=kept: "),
        "{message}"
    );
    assert!(
        message.contains("100000 bytes (raise ELASTICIO_OBJECT_STORAGE_SIZE_LIMIT"),
        "{message}"
    );
    component.stop().await;
    assert_eq!(rig.fetched(), 1);
}

#[tokio::test]
async fn a_compressed_body_that_is_larger_than_it_looks_is_an_error() {
    use std::io::Write;
    let mut bomb = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
    bomb.write_all(&vec![b'0'; 20 << 20]).unwrap();
    let answer = ResponseTemplate::new(200).insert_header("content-encoding", "gzip");
    let storage = MockServer::start().await;
    Mock::given(any())
        .respond_with(answer.set_body_bytes(bomb.finish().unwrap()))
        .mount(&storage)
        .await;
    let rig = Rig::with_prefetch(1)
        .await
        .variable("ELASTICIO_OBJECT_STORAGE_SIZE_LIMIT", "10000000");
    let rig = rig.variable("ELASTICIO_OBJECT_STORAGE_URI", storage.uri());
    let rig = rig.variable("ELASTICIO_OBJECT_STORAGE_TOKEN", "t");
    let _component = rig.start();
    rig.emulator.send(
        &json!({ "headers": { ID: "kept" }, "body": {} }),
        &Headers::new(),
    );
    let message = error(&rig).await;
    assert!(
        message.contains("10000000 bytes (raise ELASTICIO_OBJECT_STORAGE_SIZE_LIMIT"),
        "{message}"
    );
    assert_eq!(storage.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_configuration_over_the_limit_fails_the_start() {
    let step = Step {
        config: json!({ "a": "x".repeat(200_000) }),
        ..Step::default()
    };
    let rig = Rig::new(EmulatorConfig {
        step,
        ..EmulatorConfig::default()
    })
    .await;
    let rig = rig.variable("ELASTICIO_CONFIGURATION_SIZE_LIMIT", "100000");
    let output = rig.run().await;
    assert_eq!(output.status.code(), Some(1));
    let told = "100000 bytes (raise ELASTICIO_CONFIGURATION_SIZE_LIMIT";
    let reason = String::from_utf8(output.stderr).unwrap();
    assert!(reason.contains(told), "{reason}");
    let errors = rig.events(EventKind::Error, 1).await;
    assert!(
        errors[0].body["error"]["message"]
            .as_str()
            .unwrap()
            .contains(told)
    );
    assert_eq!(rig.emulator.platform().calls().len(), 1, "asked again");
}

#[tokio::test]
async fn a_platform_that_is_away_at_the_start_is_waited_for() {
    let rig = Rig::with_prefetch(1).await;
    let faults = [
        Fault::Status(503),
        Fault::Drop,
        Fault::Status(502),
        Fault::Status(429),
    ];
    rig.emulator.platform().fail("GET .*/steps/", faults);
    let component = rig.start();
    rig.send(json!([["data", { "body": { "n": 1 } }]]));
    rig.events(EventKind::Data, 1).await;
    rig.settled().await;
    assert_eq!(rig.so_far(EventKind::Error).len(), 0);
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn stopping_while_the_platform_is_unavailable_is_no_error() {
    let rig = Rig::with_prefetch(1).await;
    rig.emulator
        .platform()
        .fail("GET .*/steps/", [const { Fault::Status(503) }; 1000]);
    let component = rig.start();
    timeout(PATIENCE, rig.emulator.platform().called("GET .*/steps/", 2))
        .await
        .unwrap();
    let (status, _) = component.stop().await;
    assert_eq!(status, 0);
    assert_eq!(rig.so_far(EventKind::Error).len(), 0);
    // Well before half a minute of tries is over: those after the signal are counted.
    assert!(
        rig.emulator.platform().calls().len() <= 7,
        "{}",
        rig.emulator.platform().calls().len()
    );
}

#[tokio::test]
async fn attachments_pass_through_unchanged() {
    let rig = Rig::with_prefetch(1).await;
    let component = rig.start();
    let odd = [
        json!([]),
        json!(null),
        json!({ "a": { "url": "http://files/a", "size": "9", "content-type": "text/csv" }, "b": null, "c": 7 }),
        json!({ "a": { "url": "u", "size": 9.0 } }),
        json!({ "a": { "url": "u", "size": "" } }),
    ];
    for attachments in &odd {
        let body = json!({ "script": [["echo"]] });
        rig.emulator.send(
            &json!({ "headers": {}, "body": body, "attachments": attachments }),
            &Headers::new(),
        );
    }
    let data = rig.events(EventKind::Data, odd.len()).await;
    let echoed: Vec<_> = data
        .iter()
        .map(|event| &event.body["body"]["msg"]["attachments"])
        .collect();
    assert_eq!(echoed, odd.iter().collect::<Vec<_>>());
    assert_eq!(component.stop().await.0, 0);
    assert_eq!(rig.so_far(EventKind::Error).len(), 0);
}
