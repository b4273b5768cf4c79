//! Lists of Graph: read to their last page, oldest change first, each change once.

use crate::rig::{Rig, contact, each, mail};
use graph_standin::AttachmentKind;
use sailor::testing::Emitted;
use serde_json::{Value, json};

async fn contacts(rig: &Rig, since: &mut Value) -> Vec<Value> {
    each(
        &rig.poll("getContacts", json!({}), since).await,
        "displayName",
    )
}

async fn subjects(rig: &Rig, since: &mut Value) -> Vec<Value> {
    each(
        &rig.poll("readMail", json!({ "folderId": "inbox" }), since)
            .await,
        "subject",
    )
}

#[tokio::test]
async fn lists_are_read_to_their_last_page() {
    for page in [1, 3] {
        for same_time in [false, true] {
            let rig = Rig::new().await;
            rig.graph.limit_pages(page);
            for n in 0..10 {
                let changed = format!("2024-05-01T10:00:0{}.00{n}Z", if same_time { 0 } else { n });
                rig.graph.add_contact(contact(&format!("{n}"), &changed));
                rig.graph
                    .add_message("inbox", mail(&format!("{n}"), &changed));
                rig.graph.add_calendar(&format!("Calendar {n}"));
                rig.graph.add_folder("", &format!("Folder {n}"));
                rig.graph.add_event(
                    &format!("2024-06-03T1{n}:00:00"),
                    &format!("2024-06-03T1{n}:59:00"),
                    json!({}),
                );
            }
            let (mut contacts_since, mut mail_since) = (json!({}), json!({}));
            let names: Vec<String> = (0..10).map(|n| n.to_string()).collect();
            assert_eq!(contacts(&rig, &mut contacts_since).await, names);
            assert_eq!(contacts(&rig, &mut contacts_since).await, [""; 0]);
            assert_eq!(subjects(&rig, &mut mail_since).await, names);
            assert_eq!(subjects(&rig, &mut mail_since).await, [""; 0]);
            if page > 1 {
                // Within one second the next page is at Graph's link; otherwise it is requested by time.
                assert_eq!(
                    rig.graph
                        .calls_matching("(contacts|messages).*skip")
                        .is_empty(),
                    !same_time
                );
            }
            for (model, count) in [("getCalendars", 11), ("getFolders", 13)] {
                let choices = rig
                    .function("readMail", json!({}))
                    .select_model(model)
                    .await
                    .unwrap();
                assert_eq!(choices.as_object().unwrap().len(), count, "{model}");
            }
        }
    }
}

/// token-failures: Mistakes of other components. The Node component continues after the second of the last item.
#[tokio::test]
async fn later_items_of_the_same_second_are_emitted_once() {
    let rig = Rig::new().await;
    for (name, fraction) in [("a", "100"), ("b", "300")] {
        rig.graph
            .add_contact(contact(name, &format!("2024-05-01T10:00:00.{fraction}Z")));
        rig.graph.add_message(
            "inbox",
            mail(name, &format!("2024-05-01T10:00:00.{fraction}Z")),
        );
    }
    let (mut contacts_since, mut mail_since) = (json!({}), json!({}));
    assert_eq!(contacts(&rig, &mut contacts_since).await, ["a", "b"]);
    assert_eq!(subjects(&rig, &mut mail_since).await, ["a", "b"]);
    for (name, fraction) in [("c", "200"), ("d", "999")] {
        rig.graph
            .add_contact(contact(name, &format!("2024-05-01T10:00:00.{fraction}Z")));
        rig.graph.add_message(
            "inbox",
            mail(name, &format!("2024-05-01T10:00:00.{fraction}Z")),
        );
    }
    assert_eq!(contacts(&rig, &mut contacts_since).await, ["c", "d"]);
    assert_eq!(subjects(&rig, &mut mail_since).await, ["c", "d"]);
    assert_eq!(contacts(&rig, &mut contacts_since).await, [""; 0]);
    assert_eq!(subjects(&rig, &mut mail_since).await, [""; 0]);
}

#[tokio::test]
async fn ids_are_percent_encoded_in_paths() {
    let rig = Rig::new().await;
    let (folder, calendar) = (
        rig.graph.add_folder("inbox", "Done"),
        rig.graph.add_calendar("Team"),
    );
    rig.graph.add_folder(&folder, "Deeper");
    let message = rig
        .graph
        .add_message(&folder, mail("a", "2024-05-01T10:00:00Z"));
    let file = rig
        .graph
        .attach(&message, AttachmentKind::File, "a", "text/plain", "x");
    for id in [&folder, &calendar, &message, &file] {
        assert!(
            id.contains('/') && id.contains('+') && id.contains('='),
            "{id}"
        );
    }
    let works = |emitted: Emitted| assert!(emitted.error.is_none(), "{emitted:?}");
    works(
        rig.run(
            "readMail",
            json!({ "folderId": folder, "getAttachment": "on" }),
            json!({}),
        )
        .await,
    );
    let time = json!({ "dateTime": "2024-07-01" });
    let fields = json!({ "calendarId": calendar, "timeZone": "UTC" });
    works(
        rig.run("createEvent", fields, json!({ "start": time, "end": time }))
            .await,
    );
    let fields = json!({ "originalMailFolders": folder, "destinationFolder": folder });
    works(
        rig.run("moveMail", fields, json!({ "messageId": message }))
            .await,
    );
    rig.function("readMail", json!({}))
        .select_model("getFolders")
        .await
        .unwrap();
    for call in rig.graph.calls_matching(".") {
        assert!(
            !call.path.contains("AAMk/") && !call.path.contains(['+', '=']),
            "{call:?}"
        );
    }
    assert_eq!(
        rig.graph.calls_matching("AAMk%2F").len(),
        7,
        "{:?}",
        rig.graph.calls_matching(".")
    );
}
