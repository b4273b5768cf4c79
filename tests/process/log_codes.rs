//! The codes of log lines and error events, and the levels of single targets.

use super::*;

#[tokio::test]
async fn a_code_is_in_the_log_line_and_in_the_error_event() {
    let rig = scripted(1).await;
    let rig = rig.variable("ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT", "1000");
    rig.send(json!([["big", 5_000]]));
    let component = rig.start();
    let error = rig.events(EventKind::Error, 1).await[0].body["error"].clone();
    let text = error["message"].as_str().unwrap();
    assert!(text.starts_with("Outgoing message size"), "{error}");
    let stack = format!("Error [event-too-large]: {text}");
    assert_eq!(
        (&error["name"], &error["stack"]),
        (&json!("Error"), &json!(stack))
    );
    let (_, log) = component.stop().await;
    let lines = log.iter().filter(|line| line["level"].as_u64() >= Some(40));
    let lines: Vec<_> = lines.map(|line| (&line["level"], &line["code"])).collect();
    assert_eq!(lines, [(&json!(50), &json!("module-failed"))]);
}

#[tokio::test]
async fn a_message_that_cannot_be_read_has_one_code_everywhere() {
    let rig = scripted(1).await;
    rig.emulator
        .send_raw(b"AAAA".to_vec(), "m", &Headers::new());
    let component = rig.start();
    let error = rig.events(EventKind::Error, 1).await[0].body["error"].clone();
    let stack = error["stack"].as_str().unwrap();
    assert!(stack.starts_with("Error [decryption-failed]: "), "{error}");
    let (_, log) = component.stop().await;
    let codes = log.iter().filter_map(|line| line["code"].as_str());
    assert_eq!(codes.collect::<Vec<_>>(), ["decryption-failed"]);
}

#[tokio::test]
async fn an_error_of_the_module_has_the_code_for_that() {
    let rig = scripted(1).await;
    rig.send(json!([["throw", "no"]]));
    let component = rig.start();
    let error = rig.events(EventKind::Error, 1).await[0].body["error"].clone();
    let stack = error["stack"].as_str().unwrap();
    assert!(stack.starts_with("Error [module-failed]: no"), "{error}");
    component.stop().await;
}

#[tokio::test]
async fn a_start_that_fails_has_one_code_everywhere() {
    let rig = scripted(1).await;
    let rig = rig.variable("ELASTICIO_LISTEN_MESSAGES_ON", "no-such-queue");
    let (status, log) = rig.start().end().await;
    assert_eq!(status, 1);
    let last = log.last().unwrap();
    assert_eq!(
        (&last["level"], &last["code"]),
        (&json!(60), &json!("broker-failed"))
    );
    let error = rig.events(EventKind::Error, 1).await[0].body["error"].clone();
    let stack = error["stack"].as_str().unwrap();
    assert!(stack.starts_with("Error [broker-failed]: "), "{error}");
}

#[tokio::test]
async fn the_level_can_be_raised_for_one_target_and_not_for_others() {
    let rig = scripted(1).await;
    let rig = rig.variable(
        "LOG_LEVEL",
        "warn,sailor::engine=info,hyper=trace,nonsense,lapin=trace",
    );
    rig.send(json!([["throw", "no"]]));
    let component = rig.start();
    rig.settled().await;
    let (_, log) = component.stop().await;
    let warnings: Vec<_> = log.iter().filter(|line| line["level"] == 40).collect();
    let codes: Vec<_> = warnings.iter().map(|line| &line["code"]).collect();
    assert_eq!(
        codes,
        [
            "doubtful-setting",
            "log-target-refused",
            "log-target-refused"
        ]
    );
    let texts = warnings.iter().map(|line| line["msg"].as_str().unwrap());
    for (text, part) in texts.zip(["\"nonsense\"", "hyper to trace", "lapin to trace"]) {
        assert!(
            text.starts_with("LOG_LEVEL ") && text.contains(part),
            "{text}"
        );
    }
    let said = |text: &str| log.iter().any(|line| line["msg"] == text);
    assert!(
        said("Fully initialized and waiting for messages"),
        "{log:?}"
    );
    assert!(
        !said("What the connections to the broker went through"),
        "{log:?}"
    );
}
