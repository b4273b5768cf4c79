//! Bodies in object storage, and responses that are too large: what is fetched, when, and how much of it.

use super::*;
use emulator::platform::Fault;
use http_double::{PreparedResponse, ScriptedDouble};
use sailor::protocol::Encoding;

const ID: &str = "x-ipaas-object-storage-id";

/// A step whose messages pass on what earlier steps emitted.
async fn passing_through(config: EmulatorConfig) -> Rig {
    let step = Step {
        is_passthrough: true,
        ..Step::default()
    };
    scripted_with(EmulatorConfig { step, ..config }).await
}

/// Stores a body as an earlier step does.
fn store(rig: &Rig, id: &str, body: &Value) {
    let sealed = rig
        .emulator
        .cipher()
        .encrypt(body.to_string().into(), Encoding::Raw);
    rig.emulator.platform().set_object(id, sealed);
}

/// Sends a message whose body is in object storage.
fn send_stored(rig: &Rig, id: &str) {
    let message = json!({ "headers": { ID: id }, "body": {} });
    rig.emulator.send(&message, &Headers::new());
}

/// Sends a message with this script, and with `count` earlier steps whose bodies are in object storage.
fn send_with_references(rig: &Rig, script: Value, count: usize) {
    let steps = (0..count).map(|n| {
        let entry = json!({ "headers": { ID: format!("kept-{n}"), "own": "h" }, "body": {} });
        (format!("earlier_{n}"), entry)
    });
    let passthrough: serde_json::Map<String, Value> = steps.collect();
    let message =
        json!({ "headers": {}, "body": { "script": script }, "passthrough": passthrough });
    rig.emulator.send(&message, &Headers::new());
}

/// How many bodies were fetched from object storage.
fn fetched(rig: &Rig) -> usize {
    let calls = rig.emulator.platform().calls();
    calls
        .iter()
        .filter(|call| call.line().starts_with("GET /objects/"))
        .count()
}

/// Waits until the only message is rejected, and returns the text of its error event.
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
async fn unread_bodies_of_earlier_steps_are_not_fetched() {
    let rig = scripted(1).await;
    let component = rig.start();
    send_with_references(&rig, json!([["data", { "body": { "n": 1 } }]]), 500);
    let data = rig.events(EventKind::Data, 1).await;
    assert!(data[0].body.get("passthrough").is_none());
    component.stop().await;
    assert_eq!(fetched(&rig), 0);
}

#[tokio::test]
async fn references_are_passed_on_with_lightweight_messages() {
    let config = EmulatorConfig {
        lightweight: true,
        ..EmulatorConfig::default()
    };
    let rig = passing_through(config)
        .await
        .variable("ELASTICIO_OBJECT_STORAGE_SIZE_THRESHOLD", "100");
    let component = rig.start();
    // Below the threshold and above it.
    send_with_references(
        &rig,
        json!([["data", { "body": { "n": 1 } }], ["big", 200]]),
        40,
    );
    for event in rig.events(EventKind::Data, 2).await {
        let entry = &event.body["passthrough"]["earlier_39"];
        assert_eq!(
            entry,
            &json!({ "headers": { ID: "kept-39", "own": "h" }, "body": {} })
        );
    }
    component.stop().await;
    assert_eq!(fetched(&rig), 0);
}

#[tokio::test]
async fn referenced_bodies_are_fetched_once_to_be_sent_inline() {
    let rig = passing_through(EmulatorConfig::default()).await;
    (0..20).for_each(|n| store(&rig, &format!("kept-{n}"), &json!({ "kept": n })));
    let component = rig.start();
    send_with_references(&rig, json!([["many", 3]]), 20);
    for event in rig.events(EventKind::Data, 3).await {
        let entry = &event.body["passthrough"]["earlier_19"];
        assert_eq!(
            entry,
            &json!({ "headers": { "own": "h" }, "body": { "kept": 19 } })
        );
    }
    component.stop().await;
    assert_eq!(fetched(&rig), 20);
}

#[tokio::test]
async fn references_that_a_module_emits_itself_are_fetched() {
    let rig = scripted(1).await;
    store(&rig, "kept-0", &json!({ "kept": 0 }));
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
async fn fetching_stops_at_the_outgoing_size_limit() {
    let rig = passing_through(EmulatorConfig::default()).await;
    let rig = rig.variable("ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT", "100000");
    for n in 0..100 {
        let body = json!({ "pad": "x".repeat(30_000) });
        store(&rig, &format!("kept-{n}"), &body);
    }
    let component = rig.start();
    send_with_references(&rig, json!([["data", { "body": {} }]]), 100);
    let message = error(&rig).await;
    let size = message
        .strip_prefix("Outgoing message size ")
        .and_then(|rest| rest.split(' ').next())
        .unwrap();
    assert!(size.parse::<usize>().unwrap() > 100_000, "{message}");
    assert!(message.ends_with("exceeds limit of 100000."), "{message}");
    component.stop().await;
    // At most four fit, and up to four more are fetched at the same time.
    assert!(fetched(&rig) <= 8, "{}", fetched(&rig));
}

#[tokio::test]
async fn an_earlier_body_too_large_to_send_is_not_read_further() {
    let rig = passing_through(EmulatorConfig::default()).await;
    let rig = rig.variable("ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT", "100000");
    store(&rig, "kept-0", &json!({ "pad": "x".repeat(200_000) }));
    let _component = rig.start();
    send_with_references(&rig, json!([["data", { "body": {} }]]), 1);
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
async fn storage_unavailable_for_seconds_causes_no_errors() {
    let rig = scripted(5).await;
    for n in 0..5 {
        store(
            &rig,
            &format!("kept-{n}"),
            &json!({ "script": [["data", { "body": { "n": n } }]] }),
        );
    }
    // Transient failures of every kind; more of them than the Node sailor makes attempts.
    let faults = [
        Fault::Status(503),
        Fault::DropBefore,
        Fault::Status(429),
        Fault::Status(500),
        Fault::Status(408),
    ];
    rig.emulator
        .platform()
        .inject_faults("GET /objects/", faults.into_iter().cycle().take(15));
    let component = rig.start();
    for n in 0..5 {
        send_stored(&rig, &format!("kept-{n}"));
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
    assert_eq!(fetched(&rig), 20);
}

#[tokio::test]
async fn with_a_retry_variable_unavailable_storage_is_an_error() {
    let rig = scripted(1).await.variable("REQUEST_MAX_RETRY", "1");
    rig.emulator
        .platform()
        .inject_faults("GET /objects/", [const { Fault::Status(503) }; 2]);
    store(
        &rig,
        "kept",
        &json!({ "script": [["data", { "body": {} }]] }),
    );
    let _component = rig.start();
    send_stored(&rig, "kept");
    assert_eq!(error(&rig).await, "Failed to get message body with id=kept");
    assert_eq!(fetched(&rig), 2);
}

#[tokio::test]
async fn a_body_over_the_limit_is_an_error_that_names_the_setting() {
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_OBJECT_STORAGE_SIZE_LIMIT", "100000");
    store(&rig, "kept", &json!({ "pad": "x".repeat(200_000) }));
    let component = rig.start();
    send_stored(&rig, "kept");
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
    assert_eq!(fetched(&rig), 1);
}

#[tokio::test]
async fn a_compressed_body_that_is_larger_than_it_looks_is_an_error() {
    use std::io::Write;
    let mut bomb = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
    bomb.write_all(&vec![b'0'; 20 << 20]).unwrap();
    let response = PreparedResponse::status(200).header("content-encoding", "gzip");
    let storage = ScriptedDouble::start().await.unwrap();
    storage.respond("", [response.body(bomb.finish().unwrap())]);
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_OBJECT_STORAGE_SIZE_LIMIT", "10000000");
    let rig = rig.variable("ELASTICIO_OBJECT_STORAGE_URI", storage.url());
    let rig = rig.variable("ELASTICIO_OBJECT_STORAGE_TOKEN", "t");
    let _component = rig.start();
    send_stored(&rig, "kept");
    let message = error(&rig).await;
    assert!(
        message.contains("10000000 bytes (raise ELASTICIO_OBJECT_STORAGE_SIZE_LIMIT"),
        "{message}"
    );
    assert_eq!(storage.calls().all().len(), 1);
}

#[tokio::test]
async fn a_configuration_over_the_limit_fails_the_start() {
    let step = Step {
        config: json!({ "a": "x".repeat(200_000) }),
        ..Step::default()
    };
    let rig = scripted_with(EmulatorConfig {
        step,
        ..EmulatorConfig::default()
    })
    .await;
    let rig = rig.variable("ELASTICIO_CONFIGURATION_SIZE_LIMIT", "100000");
    let output = rig.run().await;
    assert_eq!(output.status, 1);
    let expected = "100000 bytes (raise ELASTICIO_CONFIGURATION_SIZE_LIMIT";
    let reason = output.stderr;
    assert!(reason.contains(expected), "{reason}");
    let errors = rig.events(EventKind::Error, 1).await;
    assert!(
        errors[0].body["error"]["message"]
            .as_str()
            .unwrap()
            .contains(expected)
    );
    assert_eq!(
        rig.emulator.platform().calls().len(),
        1,
        "the request is not repeated"
    );
}

#[tokio::test]
async fn the_start_waits_for_an_unavailable_platform() {
    let rig = scripted(1).await;
    let faults = [
        Fault::Status(503),
        Fault::DropBefore,
        Fault::Status(502),
        Fault::Status(429),
    ];
    rig.emulator
        .platform()
        .inject_faults("GET .*/steps/", faults);
    let component = rig.start();
    rig.send(json!([["data", { "body": { "n": 1 } }]]));
    rig.events(EventKind::Data, 1).await;
    rig.settled().await;
    assert_eq!(rig.so_far(EventKind::Error).len(), 0);
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn stopping_while_the_platform_is_unavailable_is_no_error() {
    let rig = scripted(1).await;
    rig.emulator
        .platform()
        .inject_faults("GET .*/steps/", [const { Fault::Status(503) }; 1000]);
    let component = rig.start();
    let asked_twice = rig.emulator.platform().called("GET .*/steps/", 2);
    soon("a second request for the step", asked_twice).await;
    let (status, _) = component.stop().await;
    assert_eq!(status, 0);
    assert_eq!(rig.so_far(EventKind::Error).len(), 0);
    // Without the signal, the fetch would be retried for half a minute.
    assert!(
        rig.emulator.platform().calls().len() <= 7,
        "{}",
        rig.emulator.platform().calls().len()
    );
}

#[tokio::test]
async fn attachments_pass_through_unchanged() {
    let rig = scripted(1).await;
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
