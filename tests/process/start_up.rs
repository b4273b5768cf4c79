//! A component that cannot start: exit status 1, and a reason that says what to do.

use super::*;
use emulator::platform::Fault;
use test_rig::command;

async fn fails(rig: &Rig) -> String {
    let output = rig.run().await;
    let reason = output.stderr;
    assert_eq!(output.status, 1, "{reason}");
    reason
}

#[tokio::test]
async fn all_invalid_settings_are_reported_at_once() {
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_EXEC_ID", "")
        .variable("ELASTICIO_AMQP_URI", "")
        .variable("ELASTICIO_MESSAGE_CRYPTO_IV", "too short");
    let reason = fails(&rig).await;
    for variable in [
        "ELASTICIO_EXEC_ID",
        "ELASTICIO_AMQP_URI",
        "ELASTICIO_MESSAGE_CRYPTO_IV",
    ] {
        assert!(reason.contains(variable), "{variable} is not in: {reason}");
    }
    assert!(!reason.contains("too short"), "{reason}");
}

#[tokio::test]
async fn an_unreachable_broker_is_named_without_its_password() {
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_AMQP_URI", "amqp://guest:s3cret@127.0.0.1:1/%2f");
    let reason = fails(&rig).await;
    assert!(
        reason.contains("127.0.0.1:1")
            && reason.contains("4 attempts in ")
            && reason.contains("raise ELASTICIO_AMQP_RECONNECT_ATTEMPTS")
            && !reason.contains("s3cret"),
        "{reason}"
    );
}

#[tokio::test]
async fn wrong_broker_credentials_are_reported() {
    let rig = scripted(1).await;
    let uri = rig
        .emulator
        .broker()
        .uri()
        .replace("guest:guest", "guest:s3cret");
    let reason = fails(&rig.variable("ELASTICIO_AMQP_URI", uri)).await;
    assert!(
        reason.contains("ACCESS_REFUSED") && !reason.contains("s3cret"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_missing_queue_is_reported_to_the_platform() {
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_LISTEN_MESSAGES_ON", "no-such-queue");
    let reason = fails(&rig).await;
    assert!(reason.contains("no-such-queue"), "{reason}");
    let errors = rig.events(EventKind::Error, 1).await;
    assert!(
        errors[0].body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no-such-queue")
    );
}

#[tokio::test]
async fn a_step_that_the_platform_refuses_is_reported_to_it() {
    let rig = scripted(1).await;
    rig.emulator
        .platform()
        .inject_faults("GET .*/steps/", [Fault::Status(404)]);
    let output = rig.run().await;
    let (reason, log) = (output.stderr, output.stdout);
    assert_eq!(output.status, 1, "{reason}");
    let reported = &rig.events(EventKind::Error, 1).await[0].body["error"]["message"];
    // The platform's text is for the user. The log gets its status and the address.
    let (_, text_of_platform) = reported.as_str().unwrap().rsplit_once("failed: ").unwrap();
    for text in [reason, log] {
        let known = ["asking the platform for the step", "404", "/steps/"];
        assert!(
            known.iter().all(|part| text.contains(part)) && !text.contains(text_of_platform),
            "{text}"
        );
    }
}

#[tokio::test]
async fn an_unknown_function_is_reported_and_the_message_stays() {
    let rig = scripted(1).await.variable("ELASTICIO_FUNCTION", "no_such");
    rig.send(json!([]));
    let reason = fails(&rig).await;
    assert!(
        reason.contains("Trigger or action \"no_such\" is not found")
            && reason.contains("There are: ")
            && reason.contains("\"init_fails\""),
        "{reason}"
    );
    let errors = rig.events(EventKind::Error, 1).await;
    assert!(
        errors[0].body.get("errorInput").is_none(),
        "no message caused this"
    );
    assert_eq!(rig.left_in_queue(), 1);
}

#[tokio::test]
async fn a_failing_init_hook_ends_the_process() {
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_FUNCTION", "init_fails");
    assert!(fails(&rig).await.contains("cannot initialise"));
    let errors = rig.events(EventKind::Error, 1).await;
    assert_eq!(errors[0].body["error"]["message"], "cannot initialise");
}

#[tokio::test]
async fn a_panicking_init_hook_ends_the_process_with_an_error_event() {
    let step = Step {
        config: json!({ "panic": true }),
        ..Step::default()
    };
    let rig = scripted_with(EmulatorConfig {
        step,
        ..EmulatorConfig::default()
    })
    .await;
    let rig = rig.variable("ELASTICIO_FUNCTION", "init_fails");
    assert!(fails(&rig).await.contains("panicked"));
    let errors = rig.events(EventKind::Error, 1).await;
    assert!(
        errors[0].body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("a panic while initialising")
    );
}

#[tokio::test]
async fn a_startup_state_that_the_platform_refuses_ends_the_process() {
    let rig = scripted_with(EmulatorConfig {
        startup: true,
        ..EmulatorConfig::default()
    })
    .await;
    rig.emulator
        .platform()
        .inject_faults("POST .*startup/data", [Fault::Status(400)]);
    assert!(
        fails(&rig)
            .await
            .contains("storing what the startup hook returned")
    );
}

#[tokio::test]
async fn an_unpublished_start_error_does_not_block_the_exit() {
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_FUNCTION", "init_fails");
    rig.emulator.broker().nack_publishes(usize::MAX);
    assert!(fails(&rig).await.contains("cannot initialise"));
}

#[tokio::test]
async fn without_a_platform_the_component_says_how_to_run_it() {
    let output = Process::run(command(SCRIPTED)).await;
    let text = output.stderr;
    assert_eq!(output.status, 2, "{text}");
    assert!(text.contains("emulator run --function"), "{text}");
}

#[tokio::test]
async fn a_shutdown_hook_that_fails_keeps_the_stored_state() {
    let step = Step {
        config: json!({ "failShutdown": true }),
        ..Step::default()
    };
    let rig = scripted_with(EmulatorConfig {
        step,
        ..EmulatorConfig::default()
    })
    .await;
    let rig = rig
        .variable("ELASTICIO_HOOK_SHUTDOWN", "true")
        .variable("ELASTICIO_AMQP_URI", "");
    rig.emulator
        .platform()
        .set_startup_data("emulated-flow", Some(json!({ "subscription": "sub-1" })));
    assert!(fails(&rig).await.contains("shutdown failed"));
    assert!(
        rig.emulator
            .platform()
            .startup_data("emulated-flow")
            .is_some()
    );
}

#[tokio::test]
async fn the_platforms_node_command_line_starts_the_step() {
    let rig = scripted(1).await;
    rig.send(json!([["data", { "body": { "n": 1 } }]]));
    let mut child = rig
        .command()
        .args(["node", "./node_modules/elasticio-sailor-nodejs/run.js"])
        .spawn()
        .unwrap();
    rig.events(EventKind::Acked, 1).await;
    child.kill().await.unwrap();
}
