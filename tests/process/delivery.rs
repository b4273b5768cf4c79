//! One message: what is published, its verdict, and what is logged.

use super::*;
use std::time::Duration;

#[tokio::test]
async fn an_unawaited_emit_delays_the_acknowledgement() {
    let rig = scripted(1).await;
    let delay = Duration::from_millis(300);
    rig.emulator.broker().delay_confirms(delay);
    let _component = rig.start();
    rig.send(json!([["spawn", { "n": 1 }]]));
    let acked = rig.events(EventKind::Acked, 1).await[0].at;
    let data = rig.so_far(EventKind::Data);
    assert_eq!(bodies(&data), [&json!({ "n": 1 })]);
    assert!(
        acked >= data[0].at + delay,
        "acknowledged {:?} after the data",
        acked - data[0].at
    );
}

#[tokio::test]
async fn a_rate_limited_unawaited_emit_delays_the_acknowledgement() {
    let rig = scripted(1).await;
    let rig = rig
        .variable("ELASTICIO_DATA_RATE_LIMIT", "1")
        .variable("ELASTICIO_RATE_INTERVAL", "400");
    let delay = Duration::from_millis(300);
    rig.emulator.broker().delay_confirms(delay);
    let _component = rig.start();
    rig.send(json!([["spawn", { "n": 1 }], ["spawn", { "n": 2 }]]));
    let acked = rig.events(EventKind::Acked, 1).await[0].at;
    let data = rig.so_far(EventKind::Data);
    assert_eq!(bodies(&data), [&json!({ "n": 1 }), &json!({ "n": 2 })]);
    assert!(
        acked >= data[1].at + delay,
        "acknowledged {:?} after the data",
        acked - data[1].at
    );
}

#[tokio::test]
async fn a_panic_becomes_an_error_event() {
    let rig = scripted(1).await;
    let component = rig.start();
    rig.send(json!([["panic", "out of its mind"]]));
    rig.send(json!([["data", { "body": {} }]]));
    rig.settled().await;
    let errors = rig.events(EventKind::Error, 1).await;
    assert_eq!(
        errors[0].body["error"]["message"],
        "the module panicked: out of its mind"
    );
    assert_eq!(
        (
            rig.so_far(EventKind::Rejected).len(),
            rig.so_far(EventKind::Acked).len()
        ),
        (1, 1)
    );
    let (status, log) = component.stop().await;
    assert_eq!(status, 0);
    assert!(
        !log.iter()
            .any(|line| line.to_string().contains("out of its mind")),
        "a panic's text may contain message contents"
    );
}

#[tokio::test]
async fn messages_without_an_id_are_acknowledged() {
    let rig = scripted(2).await;
    let _component = rig.start();
    for _ in 0..3 {
        rig.send_with(
            json!([["data", { "body": {} }]]),
            json!({ "messageId": null }),
        );
    }
    rig.settled().await;
    let data = rig.events(EventKind::Data, 3).await;
    assert!(
        data.iter()
            .all(|event| event.headers.get("parentMessageId").is_none())
    );
}

#[tokio::test]
async fn fanned_out_messages_have_ids_of_their_own() {
    let rig = scripted(1).await;
    let _component = rig.start();
    rig.send(json!([["many", 12]]));
    rig.settled().await;
    let data = rig.events(EventKind::Data, 12).await;
    let ids: std::collections::HashSet<_> = data.iter().map(|event| event.message_id()).collect();
    assert_eq!(ids.len(), 12);
}

#[tokio::test]
async fn the_next_message_sees_new_keys() {
    let step = Step {
        config: json!({ "_account": "acc", "oauth": { "access_token": "old" } }),
        ..Step::default()
    };
    let rig = scripted_with(EmulatorConfig {
        step,
        update_keys_over_broker: true,
        ..EmulatorConfig::default()
    })
    .await;
    let _component = rig.start();
    rig.send(json!([["updateKeys", { "oauth": { "access_token": "new" } }]]));
    rig.settled().await;
    rig.send(json!([["echo"]]));
    let data = rig.events(EventKind::Data, 1).await;
    assert_eq!(
        data[0].body["body"]["cfg"]["oauth"],
        json!({ "access_token": "new" })
    );
    assert_eq!(
        rig.so_far(EventKind::UpdateKeys).len(),
        2,
        "once over REST, once over the broker"
    );
    let account = rig.emulator.platform().account("acc").unwrap();
    assert_eq!(account["oauth"], json!({ "access_token": "new" }));
}

#[tokio::test]
async fn keys_without_an_account_are_an_error() {
    let rig = scripted(1).await;
    let _component = rig.start();
    rig.send(json!([["updateKeys", { "oauth": {} }]]));
    let errors = rig.events(EventKind::Error, 1).await;
    let message = errors[0].body["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("_account") && message.contains("ELASTICIO_UPDATE_KEYS_ROUTING_KEY"),
        "{message}"
    );
    rig.settled().await;
    assert_eq!(rig.so_far(EventKind::Error).len(), 1, "reported once");
}

#[tokio::test]
async fn a_rebound_message_comes_back_unchanged() {
    let config = EmulatorConfig {
        rebound_speed_up: 1_000,
        ..EmulatorConfig::default()
    };
    let rig = scripted_with(config)
        .await
        .variable("ELASTICIO_REBOUND_LIMIT", "2");
    let _component = rig.start();
    rig.send(json!([["rebound", "x".repeat(64 * 1024)]]));
    let errors = rig.events(EventKind::Error, 1).await;
    assert_eq!(errors[0].body["error"]["message"], "Rebound limit exceeded");
    rig.settled().await;
    let rebounds = rig.so_far(EventKind::Rebound);
    let iterations: Vec<_> = rebounds
        .iter()
        .map(|event| event.headers["reboundIteration"].clone())
        .collect();
    assert_eq!(iterations, [json!(1), json!(2)]);
    assert!(
        rebounds
            .iter()
            .all(|event| event.headers["reboundReason"].as_str().unwrap().len() <= 1024)
    );
    assert_eq!(acked_and_rejected(&rig), (3, 0));
}

#[tokio::test]
async fn an_unroutable_rebound_is_reported_once_and_rejected() {
    let rig = scripted(1).await;
    let rig = rig
        .variable("ELASTICIO_REBOUND_ROUTING_KEY", "no.where")
        .variable("ELASTICIO_BINDING_TIMEOUT", "1");
    let _component = rig.start();
    rig.send(json!([["rebound", "later"]]));
    let errors = rig.events(EventKind::Error, 1).await;
    assert!(
        errors[0].body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no.where")
    );
    rig.settled().await;
    assert_eq!(
        (
            rig.so_far(EventKind::Error).len(),
            rig.so_far(EventKind::Rejected).len()
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn an_unreported_rebound_limit_does_not_acknowledge() {
    let rig = scripted(1).await;
    let rig = rig
        .variable("ELASTICIO_REBOUND_LIMIT", "1")
        .variable("ELASTICIO_ERROR_ROUTING_KEY", "no.where")
        .variable("ELASTICIO_BINDING_TIMEOUT", "1");
    let _component = rig.start();
    rig.send_with(
        json!([["rebound", "later"]]),
        json!({ "reboundIteration": 1 }),
    );
    rig.settled().await;
    assert_eq!(acked_and_rejected(&rig), (0, 1));
}

#[tokio::test]
async fn the_platforms_rejection_of_keys_is_not_logged() {
    let step = Step {
        config: json!({ "_account": "acc" }),
        ..Step::default()
    };
    let rig = scripted_with(EmulatorConfig {
        step,
        ..EmulatorConfig::default()
    })
    .await;
    rig.emulator
        .platform()
        .inject_faults("PUT .*accounts", [emulator::platform::Fault::Status(400)]);
    let component = rig.start();
    rig.send(json!([["updateKeys", { "oauth": { "access_token": "tok-NEW" } }]]));
    let said = rig.events(EventKind::Error, 1).await[0].body["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    rig.settled().await;
    let (_, log) = component.stop().await;
    assert!(
        !log.iter().any(|line| line.to_string().contains(&said)),
        "{said}"
    );
}

#[tokio::test]
async fn lightweight_bodies_go_through_object_storage() {
    let config = EmulatorConfig {
        lightweight: true,
        ..EmulatorConfig::default()
    };
    let rig = scripted_with(config)
        .await
        .variable("ELASTICIO_OBJECT_STORAGE_SIZE_THRESHOLD", "100");
    let script = json!({ "script": [["big", 200]] });
    let sealed = rig
        .emulator
        .cipher()
        .encrypt(script.to_string().into(), sailor::protocol::Encoding::Raw);
    rig.emulator.platform().set_object("kept", sealed);
    let _component = rig.start();
    rig.emulator.send(
        &json!({ "headers": { "x-ipaas-object-storage-id": "kept" }, "body": {} }),
        &Headers::new(),
    );
    let data = rig.events(EventKind::Data, 1).await;
    let id = data[0].body["headers"]["x-ipaas-object-storage-id"]
        .as_str()
        .unwrap();
    assert_eq!(data[0].body["body"], json!({}));
    let kept = rig.emulator.platform().object(id).unwrap();
    let kept = rig
        .emulator
        .cipher()
        .decrypt(&kept, sailor::protocol::Encoding::Raw)
        .unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&kept).unwrap(),
        json!({ "pad": "x".repeat(200) })
    );
}

#[tokio::test]
async fn trace_logs_contain_no_secrets_and_no_contents() {
    let step = Step {
        config: json!({ "_account": "acc", "oauth": { "access_token": "tok-ACCESS" }, "password": "cfg-PASSWORD" }),
        ..Step::default()
    };
    let rig = scripted_with(EmulatorConfig {
        step,
        ..EmulatorConfig::default()
    })
    .await
    .variable("LOG_LEVEL", "trace");
    let component = rig.start();
    let keys = json!({ "oauth": { "access_token": "tok-NEW", "refresh_token": "tok-REFRESH" } });
    rig.send(
        json!([["updateKeys", keys], ["data", { "body": { "secret": "body-CONTENT" } }], ["throw", "error-TEXT"]]),
    );
    rig.send(json!([["panic", "panic-TEXT"]]));
    rig.emulator
        .send_raw(b"garbage-CONTENT".to_vec(), "m", &Headers::new());
    rig.settled().await;
    let (_, log) = component.stop().await;
    assert!(log.len() > 3);
    let key = rig.emulator.env().into_iter().filter(|(name, _)| {
        name.ends_with("API_KEY")
            || name.ends_with("CRYPTO_PASSWORD")
            || name.ends_with("STORAGE_TOKEN")
    });
    let secrets = ["tok-", "cfg-PASSWORD", "-CONTENT", "-TEXT", "guest:guest"].map(str::to_owned);
    for secret in secrets.into_iter().chain(key.map(|(_, secret)| secret)) {
        for line in &log {
            assert!(!line.to_string().contains(&secret), "{secret} is in {line}");
        }
    }
}

#[tokio::test]
async fn log_lines_carry_the_message_ids() {
    let rig = scripted(1).await;
    let component = rig.start();
    let id = rig.send_with(json!([["throw", "no"]]), json!({ "threadId": "thread-7" }));
    rig.settled().await;
    let (_, log) = component.stop().await;
    let line = log
        .iter()
        .find(|line| line["msg"] == "The module failed; its error event says why")
        .unwrap();
    assert_eq!(
        (&line["threadId"], &line["messageId"]),
        (&json!("thread-7"), &json!(id))
    );
    assert_eq!(
        (&line["level"], &line["name"], &line["v"]),
        (&json!(50), &json!("sailor"), &json!(0))
    );
    assert_eq!(line["tag"], json!("emulated-flow"));
}

#[tokio::test]
async fn an_invalid_configuration_is_not_logged() {
    let step = Step {
        config: json!({ "panic": "cfg-SECRET" }),
        ..Step::default()
    };
    let rig = scripted_with(EmulatorConfig {
        step,
        ..EmulatorConfig::default()
    })
    .await;
    let output = rig.variable("ELASTICIO_FUNCTION", "init_fails").run().await;
    let said = output.output();
    assert!(!said.contains("cfg-SECRET"), "{said}");
}

/// The one error event of a message that fails with these headers.
async fn error_of(rig: &Rig, headers: Value) -> Arc<Event> {
    let _component = rig.start();
    rig.send_with(json!([["throw", "no"]]), headers);
    rig.settled().await;
    assert_eq!(rig.so_far(EventKind::Rejected).len(), 1);
    let mut errors = rig.so_far(EventKind::Error);
    assert_eq!(errors.len(), 1);
    errors.remove(0)
}

#[tokio::test]
async fn headers_that_fill_a_frame_are_left_out_of_the_error_event() {
    let long = |len: usize| "x".repeat(len);
    for (headers, additional, lacks, keeps_thread) in [
        (
            json!({ "x-eio-meta-trace-id": long(65_500), "threadId": null }),
            String::new(),
            "the x-eio-meta headers",
            true,
        ),
        (
            json!({ "threadId": long(130_700) }),
            String::new(),
            "its threadId (it has a new one)",
            false,
        ),
        (
            json!({ "x-eio-meta-a": "short" }),
            long(130_750),
            "reply_to and additional headers",
            true,
        ),
    ] {
        let rig = scripted(1).await;
        let rig = rig
            .variable("ELASTICIO_ADDITIONAL_VARS_FOR_HEADERS", "LONG")
            .variable("LONG", additional);
        let thread = ["threadId", "x-eio-meta-trace-id"]
            .into_iter()
            .find_map(|name| headers.get(name).filter(|id| !id.is_null()).cloned());
        let error = error_of(&rig, headers).await;
        let message = error.body["error"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("no (") && message.contains(lacks),
            "{message}"
        );
        assert!(error.body.get("errorInput").is_some(), "the input fits");
        for name in [
            "stepId",
            "execId",
            "parentMessageId",
            "threadId",
            "messageId",
        ] {
            assert!(error.headers.get(name).is_some(), "{name}");
        }
        if let Some(thread) = thread {
            assert_eq!(error.headers["threadId"] == thread, keeps_thread);
        }
    }
}

#[tokio::test]
async fn an_id_that_fills_a_frame_is_left_out_of_the_error_event() {
    let rig = scripted(1).await;
    let error = error_of(&rig, json!({ "messageId": "x".repeat(130_700) })).await;
    assert!(
        error.body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("parentMessageId")
    );
    assert_eq!(error.headers.get("parentMessageId"), None);
    assert!(error.headers.get("stepId").is_some() && error.headers.get("execId").is_some());
}
