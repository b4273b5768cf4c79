//! The functions in a process.

use crate::rig::{contact, process::Step, sample_body};
use emulator::{EventKind, provider::Provider};
use graph_standin::{AttachmentKind, Fault};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use test_rig::Process;

#[tokio::test]
async fn a_poll_refreshes_an_expired_token_once() {
    let step = Step::new("getContacts", json!({}), Provider::issue_expired).await;
    step.graph.limit_pages(2);
    for n in 0..5 {
        step.graph
            .add_contact(contact(&n.to_string(), "2024-05-01T10:00:00Z"));
    }
    let component = step.start();
    step.send(json!({}));
    step.settled().await;
    assert_eq!(step.data().len(), 5);
    assert_eq!(step.emulator.provider().refreshes(), 1);
    assert!(step.has_spendable_token());
    assert_eq!(
        step.step().snapshot["lastModifiedDateTime"],
        "2024-05-01T10:00:00Z"
    );
    step.graph.add_contact(contact("5", "2024-05-01T10:00:00Z"));
    step.send(json!({}));
    step.settled().await;
    step.stop(component).await;
    let names: Vec<Value> = step
        .data()
        .into_iter()
        .map(|body| body["displayName"].clone())
        .collect();
    assert_eq!(names, ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(
        (step.emulator.provider().refreshes(), step.errors()),
        (1, vec![])
    );
}

#[tokio::test]
async fn a_429_during_a_poll_loses_and_repeats_nothing() {
    let step = Step::new("getContacts", json!({}), Provider::issue).await;
    step.graph.limit_pages(2);
    for n in 0..5 {
        step.graph
            .add_contact(contact(&n.to_string(), &format!("2024-05-01T10:00:0{n}Z")));
    }
    step.graph
        .inject_faults("10:00:01Z", [Fault::Throttled(120)]);
    let component = step.start();
    step.send(json!({}));
    step.events(EventKind::CameBack, 1).await;
    step.events(EventKind::Data, 5).await;
    step.settled().await;
    step.stop(component).await;
    let names: Vec<Value> = step
        .data()
        .into_iter()
        .map(|body| body["displayName"].clone())
        .collect();
    assert_eq!(
        (names, step.errors()),
        (["0", "1", "2", "3", "4"].map(Value::from).into(), vec![])
    );
}

#[tokio::test]
async fn a_stop_within_a_page_loses_and_repeats_nothing() {
    const COUNT: usize = 60;
    let step = Step::new("getContacts", json!({}), Provider::issue).await;
    for n in 0..COUNT {
        step.graph.add_contact(contact(
            &n.to_string(),
            &format!("2024-05-01T10:00:{:02}Z", n / 3),
        ));
    }
    step.emulator
        .broker()
        .delay_confirms(Duration::from_millis(100));
    let component = step.start();
    step.send(json!({}));
    step.events(EventKind::Data, 2).await;
    component.signal("TERM");
    step.settled().await;
    drop(component);
    let before = step.data().len();
    assert!(
        before < COUNT,
        "the process stopped after all messages were processed"
    );
    step.emulator.broker().delay_confirms(Duration::ZERO);
    step.run(json!({})).await;
    let names: Vec<String> = step
        .data()
        .into_iter()
        .map(|body| body["displayName"].to_string())
        .collect();
    assert_eq!(
        (names.len(), names.iter().collect::<BTreeSet<_>>().len()),
        (COUNT, COUNT)
    );
}

#[tokio::test]
async fn files_of_a_mail_can_be_sent_with_another() {
    let fields = json!({ "folderId": "inbox", "getAttachment": "on" });
    let reading = Step::new("readMail", fields, Provider::issue_expired).await;
    let contents: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mail = reading
        .graph
        .add_message("inbox", json!({ "subject": "Figures of the quarter" }));
    reading.graph.attach(
        &mail,
        AttachmentKind::File,
        "report.bin",
        "application/x-report",
        contents.clone(),
    );
    let mut logs = reading.run(json!({})).await.to_string();
    let received = reading.data().remove(0);
    assert_eq!(received["attachments"][0]["size"], json!(contents.len()));

    let sending = Step::new("sendMail", json!({}), Provider::issue).await;
    let sending = sending.variable(
        "ELASTICIO_OBJECT_STORAGE_URI",
        reading.emulator.platform().url(),
    );
    let file = &received["attachments"][0];
    let body = json!({
        "subject": received["subject"],
        "toRecipients": [{ "emailAddress": { "address": "ada@example.com" } }],
        "body": { "content": "See the file." },
        "attachments": [{ "name": file["name"], "url": file["url"] }],
    });
    logs += &sending.run(body).await.to_string();
    assert_eq!(sending.errors(), [""; 0]);
    let sent = sending.graph.sent().remove(0)["message"]["attachments"][0].clone();
    assert_eq!(
        (&sent["name"], &sent["contentType"]),
        (&json!("report.bin"), &json!("application/x-report"))
    );
    let bytes = base64_simd::STANDARD
        .decode_to_vec(sent["contentBytes"].as_str().unwrap())
        .unwrap();
    assert!(bytes == contents);
    // Not even the most verbose log has message contents.
    for content in [
        "Figures",
        "report.bin",
        "ada@example.com",
        "See the file",
        &mail,
    ] {
        assert!(!logs.contains(content), "{content}");
    }
}

#[tokio::test]
async fn a_long_429_rebounds_and_creates_the_event_once() {
    let fields = json!({ "calendarId": "calendar-id=", "timeZone": "Europe/Berlin" });
    let step = Step::new("createEvent", fields, Provider::issue).await;
    step.graph.inject_faults("POST", [Fault::Throttled(120)]);
    let component = step.start();
    step.send(sample_body("create-event.json", step.emulator.platform()));
    step.events(EventKind::Rebound, 1).await;
    step.events(EventKind::Data, 1).await;
    step.settled().await;
    step.stop(component).await;
    assert_eq!(
        (step.graph.events("calendar-id=").len(), step.errors()),
        (1, vec![])
    );
}

#[tokio::test]
async fn environment_numbers_are_used_or_named_in_the_error() {
    let step = Step::new("readMail", json!({ "folderId": "inbox" }), Provider::issue).await;
    let step = step
        .variable("MAIL_RETRIEVE_MAX_COUNT", "7")
        .variable("TOP_LIST_MAIL_FOLDER", "8");
    step.run(json!({})).await;
    let variables = [
        ("ELASTICIO_ACTION_OR_TRIGGER", "readMail"),
        ("ELASTICIO_GET_MODEL_METHOD", "getFolders"),
    ];
    step.service("selectModel", &variables).await;
    assert_eq!(
        step.graph.calls_matching(r"messages\?.*top=7(&|$)").len(),
        1
    );
    assert_eq!(
        step.graph
            .calls_matching(r"mailFolders\?.*top=8(&|$)")
            .len(),
        1
    );
    for name in ["MAIL_RETRIEVE_MAX_COUNT", "TOP_LIST_MAIL_FOLDER"] {
        for value in ["0", "1001", "many"] {
            let mut command = step.command();
            command.env(name, value);
            let ended = Process::run(command).await;
            let text = ended.output();
            assert!(
                ended.status != 0 && text.contains(name) && text.contains("from 1 to 1000"),
                "{text}"
            );
        }
    }
}
