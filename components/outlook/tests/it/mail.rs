//! Trigger readMail.

use crate::rig::{Rig, each, error, mail, one, snapshots, with};
use graph_standin::{AttachmentKind, Fault};
use serde_json::{Value, json};

fn step(more: Value) -> Value {
    with(json!({ "folderId": "inbox" }), more)
}

async fn poll(rig: &Rig, fields: Value, since: &mut Value) -> Vec<Value> {
    each(&rig.poll("readMail", fields, since).await, "subject")
}

/// Messages a, b and c, one second apart.
async fn three() -> (Rig, [String; 3]) {
    let rig = Rig::new().await;
    let ids = [("a", 1), ("b", 2), ("c", 3)];
    let ids = ids.map(|(name, n)| {
        rig.graph
            .add_message("inbox", mail(name, &format!("2024-05-01T10:00:0{n}Z")))
    });
    (rig, ids)
}

#[tokio::test]
async fn mail_of_the_folder_is_emitted_oldest_first_and_once() {
    let (rig, _) = three().await;
    rig.graph
        .add_message("inbox", mail("first", "2024-04-01T10:00:00Z"));
    rig.graph
        .add_message("sentitems", mail("other", "2024-05-01T10:00:00Z"));
    let mut since = json!({});
    let emitted = rig.poll("readMail", step(json!({})), &mut since).await;
    assert_eq!(each(&emitted, "subject"), ["first", "a", "b", "c"]);
    let bodies: Vec<Value> = emitted.data();
    assert!(
        bodies
            .iter()
            .all(|body| !body.to_string().contains("@odata") && body.get("attachments").is_none())
    );
    assert_eq!(poll(&rig, step(json!({})), &mut since).await, [""; 0]);
    assert!(
        rig.graph.calls_matching("top=100&").len() + rig.graph.calls_matching("top=100$").len()
            >= 1,
        "{:?}",
        rig.graph.calls_matching(".")
    );
}

#[tokio::test]
async fn only_unread_mail_skips_read_mail() {
    for checked in [json!("on"), json!(true), json!("true")] {
        let (rig, ids) = three().await;
        let read = with(mail("b", "2024-05-01T10:00:02Z"), json!({ "isRead": true }));
        assert!(rig.graph.change(&ids[1], read.as_object().unwrap().clone()));
        let mut since = json!({});
        assert_eq!(
            poll(
                &rig,
                step(json!({ "pollOnlyUnreadMail": checked })),
                &mut since
            )
            .await,
            ["a", "c"]
        );
        assert_eq!(
            poll(
                &rig,
                step(json!({ "pollOnlyUnreadMail": checked })),
                &mut since
            )
            .await,
            [""; 0]
        );
    }
}

#[tokio::test]
async fn the_start_time_counts_until_there_is_a_snapshot() {
    for start in [
        "2024-05-01T10:00:02Z",
        "2024-05-01T12:00:02+02:00",
        " 2024-05-01T10:00:02 ",
        "1714557602000",
    ] {
        let (rig, _) = three().await;
        let mut since = json!({});
        assert_eq!(
            poll(&rig, step(json!({ "startTime": start })), &mut since).await,
            ["b", "c"],
            "{start}"
        );
        rig.graph
            .add_message("inbox", mail("d", "2024-05-01T10:00:04Z"));
        assert_eq!(
            poll(&rig, step(json!({ "startTime": "2000-01-01" })), &mut since).await,
            ["d"]
        );
    }
}

#[tokio::test]
async fn without_new_mail_no_snapshot_is_saved() {
    let (rig, _) = three().await;
    let mut since = json!({});
    let fields = || step(json!({ "startTime": "2024-05-01T10:00:04Z" }));
    assert_eq!(poll(&rig, fields(), &mut since).await, [""; 0]);
    assert_eq!(since, json!({}));
    rig.graph
        .add_message("inbox", mail("d", "2024-05-01T10:00:04Z"));
    assert_eq!(poll(&rig, fields(), &mut since).await, ["d"]);
}

#[tokio::test]
async fn emit_all_saves_after_each_page() {
    let (rig, _) = three().await;
    rig.graph.limit_pages(2);
    let mut since = json!({});
    let emitted = rig
        .poll(
            "readMail",
            step(json!({ "emitBehavior": "emitAll" })),
            &mut since,
        )
        .await;
    let pages: Vec<Vec<Value>> = emitted
        .data::<Value>()
        .iter()
        .map(|body| {
            body["results"]
                .as_array()
                .unwrap()
                .iter()
                .map(|mail| mail["subject"].clone())
                .collect()
        })
        .collect();
    assert_eq!(pages, [vec!["a", "b"], vec!["c"]]);
    assert_eq!(snapshots(&emitted).len(), 2);
    let nothing = rig
        .poll(
            "readMail",
            step(json!({ "emitBehavior": "emitAll" })),
            &mut since,
        )
        .await;
    assert!(nothing.events.is_empty(), "{nothing:?}");
}

#[tokio::test]
async fn attachments_are_stored_with_name_type_and_size() {
    for (behavior, pointer) in [
        ("emitIndividually", "/attachments"),
        ("emitAll", "/results/0/attachments"),
    ] {
        let rig = Rig::new().await;
        rig.graph.limit_pages(1);
        let id = rig
            .graph
            .add_message("inbox", mail("a", "2024-05-01T10:00:01Z"));
        rig.graph.attach(
            &id,
            AttachmentKind::File,
            "a/b+c.bin",
            "application/x-custom",
            vec![0, 255, 128],
        );
        rig.graph.attach(
            &id,
            AttachmentKind::Item,
            "Forwarded",
            "message/rfc822",
            "Subject: hi\r\n\r\n",
        );
        rig.graph
            .attach(&id, AttachmentKind::Reference, "Elsewhere", "text/html", "");
        let fields = step(json!({ "getAttachment": "on", "emitBehavior": behavior }));
        let body = one(&rig.poll("readMail", fields, &mut json!({})).await);
        let files = body.pointer(pointer).unwrap();
        assert_eq!(
            (&files[0]["name"], &files[0]["contentType"]),
            (&json!("a/b+c.bin"), &json!("application/x-custom"))
        );
        assert_eq!(
            (&files[0]["size"], &files[1]["size"]),
            (&json!(3), &json!(15))
        );
        assert_eq!(files[2]["url"], Value::Null, "a link has no contents");
        let address = files[0]["url"].as_str().unwrap();
        let object = address
            .split("/objects/")
            .nth(1)
            .unwrap()
            .split('?')
            .next()
            .unwrap();
        assert_eq!(rig.platform.object(object).unwrap()[..], [0, 255, 128]);
        assert!(address.ends_with("?storage_type=maester"), "{address}");
        assert_eq!(rig.platform.object_ids().len(), 2);
    }
}

#[tokio::test]
async fn unwanted_attachments_are_not_fetched() {
    let (rig, ids) = three().await;
    rig.graph
        .attach(&ids[0], AttachmentKind::File, "a.csv", "text/csv", "x");
    assert_eq!(
        poll(&rig, step(json!({ "getAttachment": "" })), &mut json!({})).await,
        ["a", "b", "c"]
    );
    assert!(rig.graph.calls_matching("attachments").is_empty());
}

#[tokio::test]
async fn a_token_that_expires_before_an_attachment_is_refreshed_once() {
    let (rig, ids) = three().await;
    for id in &ids {
        rig.graph
            .attach(id, AttachmentKind::File, "x.csv", "text/csv", "x");
    }
    // All of them are requested and refused at the same time.
    rig.graph
        .inject_faults("attachments", [const { Fault::Unauthorized }; 3]);
    let emitted = rig
        .poll(
            "readMail",
            step(json!({ "getAttachment": "on" })),
            &mut json!({}),
        )
        .await;
    assert_eq!(each(&emitted, "subject"), ["a", "b", "c"], "{emitted:?}");
    assert_eq!(rig.provider.refreshes(), 1);
}

#[tokio::test]
async fn a_missing_folder_names_the_field() {
    let rig = Rig::new().await;
    let emitted = rig
        .run("readMail", json!({ "folderId": "none/such" }), json!({}))
        .await;
    let error = error(&emitted);
    assert!(
        error.contains("`folderId` of the step") && error.contains("ErrorItemNotFound"),
        "{error}"
    );
    assert_eq!(
        rig.graph.calls_matching(".")[0].path,
        "/v1.0/me/mailFolders/none%2Fsuch/messages"
    );
}

#[tokio::test]
async fn a_snapshot_of_the_node_component_is_understood() {
    let (rig, _) = three().await;
    let mut since = json!({ "lastModifiedDateTime": "2024-05-01T10:00:01.999Z" });
    assert_eq!(
        poll(&rig, step(json!({ "startTime": "2000-01-01" })), &mut since).await,
        ["b", "c"]
    );
    assert_eq!(since["lastModifiedDateTime"], "2024-05-01T10:00:03Z");
}
