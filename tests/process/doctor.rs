//! `component doctor`: each finding, by making its cause real; and that it changes nothing.

use super::*;
use emulator::{broker::Broker, platform::Fault};
use std::collections::BTreeSet;

/// What was found.
struct Findings(Value);

impl Findings {
    /// Level, text and remedy of the one finding of a probe.
    #[track_caller]
    fn of(&self, probe: &str) -> (&str, &str, &str) {
        let found = self.0["findings"].as_array().unwrap();
        let mut of_probe = found.iter().filter(|finding| finding["probe"] == probe);
        let (one, other) = (of_probe.next(), of_probe.next());
        let (Some(finding), None) = (one, other) else {
            panic!("not one finding {probe}: {}", self.0);
        };
        let text = |name: &str| finding[name].as_str().unwrap_or_default();
        (text("level"), text("found"), text("remedy"))
    }

    /// Asserts that a probe has an error with these texts in what was found and in the remedy.
    #[track_caller]
    fn assert_error(&self, probe: &str, found: &str, remedy: &str) {
        let (level, is_found, is_remedy) = self.of(probe);
        assert!(
            level == "error" && is_found.contains(found) && is_remedy.contains(remedy),
            "{probe}: {}",
            self.0
        );
    }

    /// The probes of a level.
    fn at(&self, level: &str) -> BTreeSet<&str> {
        let found = self.0["findings"].as_array().unwrap();
        let of_level = found.iter().filter(|finding| finding["level"] == level);
        of_level
            .map(|finding| finding["probe"].as_str().unwrap())
            .collect()
    }
}

/// Runs the doctor. Its status is 1 exactly if there is an error.
async fn examined(rig: &Rig) -> Findings {
    let ended = run_command(rig, &["doctor", "--json"]).await;
    let findings = Findings(printed(&ended));
    let has_errors = !findings.at("error").is_empty();
    assert_eq!(ended.status, i32::from(has_errors), "{ended:?}");
    findings
}

/// What can be told about a step without a message.
const UNTOLD: [&str; 4] = ["data key", "error key", "rebound key", "snapshot key"];

#[tokio::test]
async fn a_healthy_step_has_no_error() {
    let rig = scripted(1).await;
    let mut component = rig.start();
    component.says("Fully initialized").await;
    let findings = examined(&rig).await;
    assert_eq!(findings.at("error"), BTreeSet::new());
    assert_eq!(findings.at("unknown"), BTreeSet::from(UNTOLD));
    for probe in [
        "settings",
        "component",
        "broker",
        "queue",
        "exchange",
        "rights",
        "platform API",
        "clock",
        "object storage",
        "credential",
        "open files",
    ] {
        assert_eq!(findings.of(probe).0, "ok", "{probe}: {}", findings.0);
    }
    assert!(findings.of("queue").1.contains("1 consumers"));
    assert!(findings.of("rebound key").1.contains("is there: "));
    let settings = &findings.0["settings"];
    assert_eq!(settings["ELASTICIO_FLOW_ID"], "emulated-flow");
    assert_eq!(settings["ELASTICIO_MESSAGE_CRYPTO_PASSWORD"], "set");
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn certificates_that_cannot_be_read_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.pem");
    std::fs::write(&garbage, "not a certificate").unwrap();
    for file in [folder.path().join("missing.pem"), garbage] {
        let file = file.to_str().unwrap();
        let rig = scripted(1).await.variable("ELASTICIO_CA_CERTS", file);
        let findings = examined(&rig).await;
        for probe in ["platform API", "object storage"] {
            findings.assert_error(probe, file, "PEM file");
        }
        assert_eq!(findings.of("clock").2, "see platform API");
    }
}

#[tokio::test]
async fn the_report_for_people_has_the_same_findings() {
    let rig = scripted(1).await.variable("ELASTICIO_FUNCTION", "none");
    let ended = run_command(&rig, &["doctor"]).await;
    let lines: Vec<&str> = ended.stdout.lines().map(str::trim).collect();
    assert_eq!(ended.status, 1, "{ended:?}");
    for line in [
        "Settings, without secrets:",
        "ELASTICIO_FUNCTION=none",
        "Findings:",
    ] {
        assert!(lines.contains(&line), "{line}: {ended:?}");
    }
    let place = lines
        .iter()
        .position(|line| line.starts_with("error    component:"));
    assert!(lines[place.unwrap() + 1].starts_with("remedy: check ELASTICIO_FUNCTION"));
    assert!(lines.last().unwrap().starts_with("1 error, "));
    assert_eq!(ended.stderr, "errors found: 1\n");
}

#[tokio::test]
async fn the_doctor_changes_nothing() {
    let rig = scripted(1).await;
    let ids: Vec<String> = (0..3)
        .map(|n| rig.send(json!([["data", { "n": n }]])))
        .collect();
    rig.events(EventKind::Sent, 3).await;
    let broker = rig.emulator.broker();
    let before = state_of(broker, &rig);
    let mut events = rig.emulator.events_from_now();
    for _ in 0..2 {
        let findings = examined(&rig).await;
        assert!(
            findings
                .of("queue")
                .1
                .contains("3 messages ready, 0 consumers"),
            "{}",
            findings.0
        );
        assert_eq!(findings.of("queue").0, "warning");
    }
    assert_eq!(state_of(broker, &rig), before);
    let calls = rig.emulator.platform().calls();
    assert!(calls.iter().all(|call| call.method == "GET"), "{calls:?}");
    while let Some(event) = events.try_next() {
        assert!(
            matches!(
                event.kind,
                EventKind::Connected | EventKind::Disconnected | EventKind::Call
            ),
            "{event:?}"
        );
    }
    // Nothing was delivered before.
    let left = broker.take(&rig.emulator.topology().input);
    let of_queue: Vec<_> = left
        .iter()
        .map(|message| message_id(&message.properties))
        .collect();
    assert_eq!(of_queue, ids);
    assert!(left.iter().all(|message| !message.redelivered));
}

fn message_id(properties: &lapin::BasicProperties) -> String {
    let headers = properties.headers().as_ref().unwrap().inner();
    headers["messageId"].as_long_string().unwrap().to_string()
}

/// How many messages each queue of the step has.
fn state_of(broker: &Broker, rig: &Rig) -> Vec<String> {
    let topology = rig.emulator.topology();
    let queues = [
        &topology.input,
        &topology.rebounds,
        &topology.errors,
        &topology.snapshots,
    ];
    queues
        .map(|queue| format!("{queue}: {:?}", broker.depth(queue)))
        .into()
}

#[tokio::test]
async fn invalid_settings_hide_no_other_finding() {
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_EXEC_ID", "")
        .variable("ELASTICIO_DATA_ROUTING_KEY", "")
        .variable("ELASTICIO_API_KEY", "")
        .variable("ELASTICIO_MESSAGE_CRYPTO_IV", "too short");
    let findings = examined(&rig).await;
    let all = findings.0["findings"].to_string();
    for variable in [
        "EXEC_ID",
        "DATA_ROUTING_KEY",
        "API_KEY",
        "MESSAGE_CRYPTO_IV",
    ] {
        assert!(
            all.contains(&format!("set ELASTICIO_{variable}; without it")),
            "{variable}: {all}"
        );
    }
    assert_eq!(findings.of("exchange").0, "ok");
    assert_eq!(findings.of("platform API").0, "unknown");
    assert_eq!(findings.of("object storage").0, "ok");
    assert!(!findings.0.to_string().contains("too short"));
}

#[tokio::test]
async fn each_trouble_with_the_broker_is_found() {
    let uri = scripted(1).await.emulator.broker().uri();
    let port = uri.rsplit(':').next().unwrap().split('/').next().unwrap();
    let gone = uri.clone();
    let rig = scripted(1).await.variable("ELASTICIO_AMQP_URI", gone);
    let findings = examined(&rig).await;
    findings.assert_error("broker", port, "check that the broker runs");
    for probe in ["queue", "exchange", "rights"] {
        assert_eq!(findings.of(probe).0, "unknown", "{}", findings.0);
    }
    // The others are probed all the same.
    assert_eq!(findings.of("platform API").0, "ok");

    let rig = scripted(1).await;
    let wrong = rig
        .emulator
        .broker()
        .uri()
        .replace("guest:guest", "guest:s3cret");
    let findings = examined(&rig.variable("ELASTICIO_AMQP_URI", wrong)).await;
    findings.assert_error("broker", "ACCESS_REFUSED", "check user name and password");
    assert!(!findings.0.to_string().contains("s3cret"));

    let rig = scripted(1)
        .await
        .variable("ELASTICIO_LISTEN_MESSAGES_ON", "no-such-queue");
    let findings = examined(&rig).await;
    findings.assert_error(
        "queue",
        "no-such-queue",
        "check ELASTICIO_LISTEN_MESSAGES_ON",
    );
    assert_eq!(findings.of("exchange").0, "ok");

    let rig = scripted(1)
        .await
        .variable("ELASTICIO_PUBLISH_MESSAGES_TO", "no-such-exchange");
    let findings = examined(&rig).await;
    findings.assert_error(
        "exchange",
        "no-such-exchange",
        "check ELASTICIO_PUBLISH_MESSAGES_TO",
    );
    assert_eq!(
        (findings.of("rights").0, findings.of("queue").0),
        ("unknown", "warning")
    );
}

#[tokio::test]
async fn each_trouble_with_the_platform_is_found() {
    for (fault, found, remedy) in [
        (Fault::Status(401), "401", "ELASTICIO_API_KEY"),
        (Fault::Status(404), "404", "ELASTICIO_FLOW_ID"),
        (Fault::Status(500), "500", "does not know the flow"),
        (
            Fault::Redirect("http://127.0.0.1:1/".into()),
            "307",
            "the API's final address",
        ),
        (Fault::DropBefore, "no response", "ELASTICIO_API_URI"),
    ] {
        let rig = scripted(1).await;
        rig.emulator
            .platform()
            .inject_faults("GET .*/steps/", [fault]);
        let findings = examined(&rig).await;
        findings.assert_error("platform API", found, remedy);
        assert_eq!(findings.of("exchange").0, "ok");
    }
    let rig = scripted(1).await.variable("ELASTICIO_API_KEY", "s3cret");
    let findings = examined(&rig).await;
    findings.assert_error("platform API", "401", "ELASTICIO_API_KEY");
    assert!(!findings.0.to_string().contains("s3cret"));
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_API_URI", "http://127.0.0.1:1");
    let findings = examined(&rig).await;
    findings.assert_error("platform API", "127.0.0.1:1", "the container may reach it");
    assert_eq!(findings.of("clock").0, "unknown");
}

#[tokio::test]
async fn a_platform_that_hangs_is_not_waited_for() {
    let rig = scripted(1).await;
    rig.emulator
        .platform()
        .inject_faults("GET .*/steps/", [Fault::Hang]);
    let findings = examined(&rig).await;
    findings.assert_error(
        "platform API",
        "no response within 10 s",
        "ELASTICIO_API_URI",
    );
    assert_eq!(findings.of("queue").0, "warning");
}

#[tokio::test]
async fn a_clock_that_is_off_is_found() {
    let rig = scripted(1).await;
    rig.emulator.platform().inject_faults(
        "GET .*/steps/",
        [Fault::Response {
            status: 200,
            headers: vec![("date".into(), "Mon, 05 Jan 2015 10:00:00 GMT".into())],
            body: "{}".into(),
        }],
    );
    let findings = examined(&rig).await;
    findings.assert_error(
        "clock",
        "s ahead of the clock of the platform",
        "correct the clock",
    );
    assert_eq!(findings.of("platform API").0, "ok");
}

#[tokio::test]
async fn each_trouble_with_object_storage_is_found() {
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_OBJECT_STORAGE_URI", "http://127.0.0.1:1");
    let findings = examined(&rig).await;
    findings.assert_error("object storage", "127.0.0.1:1", "that it runs");
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_OBJECT_STORAGE_TOKEN", "s3cret");
    let findings = examined(&rig).await;
    findings.assert_error("object storage", "401", "ELASTICIO_OBJECT_STORAGE_TOKEN");
    assert!(!findings.0.to_string().contains("s3cret"));
    let rig = scripted(1).await;
    rig.emulator
        .platform()
        .inject_faults("GET .*/objects/", [Fault::Status(503)]);
    examined(&rig)
        .await
        .assert_error("object storage", "503", "in trouble");
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_OBJECT_STORAGE_URI", "")
        .variable("ELASTICIO_OBJECT_STORAGE_TOKEN", "");
    let findings = examined(&rig).await;
    assert_eq!(findings.of("object storage").0, "ok");
    assert!(findings.of("object storage").1.contains("not used"));
}

#[tokio::test]
async fn unusual_settings_are_warnings() {
    let rig = scripted(1)
        .await
        .variable("ELASTICIO_MEMORY_LIMIT", "48")
        .variable("ELASTICIO_REBOUND_LIMIT", "many");
    let findings = examined(&rig).await;
    assert_eq!(findings.of("settings").0, "warning");
    assert!(
        findings
            .of("settings")
            .1
            .contains("ELASTICIO_REBOUND_LIMIT")
    );
    assert_eq!(findings.of("memory").0, "warning");
    assert_eq!(findings.0["settings"]["ELASTICIO_MEMORY_LIMIT"], "48 MiB");
}

#[tokio::test]
async fn without_a_platform_the_doctor_says_where_to_run_it() {
    let mut command = test_rig::command(SCRIPTED);
    command.arg("doctor");
    let ended = Process::run(command).await;
    assert_eq!(ended.status, 2, "{ended:?}");
    assert!(
        ended.stderr.contains("in the step's container"),
        "{ended:?}"
    );
}
