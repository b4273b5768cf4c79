//! Trigger readMail: the files of mails that have inline pictures, and files that cannot be fetched.

use crate::rig::{Rig, each, errors, mail, one, with};
use emulator::provider::Fault;
use graph_standin::AttachmentKind;
use sailor::testing::{Emitted, Event, Verdict};
use serde_json::{Value, json};

fn step() -> Value {
    json!({ "folderId": "inbox", "getAttachment": "on" })
}

async fn poll(rig: &Rig, since: &mut Value) -> Emitted {
    rig.poll("readMail", step(), since).await
}

/// A mail with this text. Graph says that it has no attachments.
fn with_text(kind: &str, text: &str) -> Value {
    let body = json!({ "body": { "contentType": kind, "content": text } });
    with(mail("a", "2024-05-01T10:00:01Z"), body)
}

/// A failure after which the client tries again immediately.
fn failure(status: u16) -> Fault {
    Fault::retry_after(status, "0")
}

/// As many mails, one second apart, each with a file. Returns the ids of mails and files.
async fn mails_with_files(count: usize) -> (Rig, Vec<[String; 2]>) {
    let rig = Rig::new().await;
    let ids = (1..=count).map(|n| {
        let name = format!("{n}");
        let fields = mail(&name, &format!("2024-05-01T10:00:{n:02}Z"));
        let id = rig.graph.add_message("inbox", fields);
        let file = format!("{n}.csv");
        let file = rig.graph.attach(
            &id,
            AttachmentKind::File,
            &file,
            "text/csv",
            "x;".repeat(500),
        );
        [id, file]
    });
    let ids = ids.collect();
    (rig, ids)
}

/// The names of files with a URL, and with an error, in each mail.
fn files(emitted: &Emitted) -> Vec<(Vec<String>, Vec<String>)> {
    let names = |body: &Value, member: &str| {
        let files = body["attachments"].as_array().into_iter().flatten();
        let files = files.filter(|file| file[member].is_string());
        files
            .map(|file| file["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let bodies: Vec<Value> = emitted.data();
    bodies
        .iter()
        .map(|body| (names(body, "url"), names(body, "error")))
        .collect()
}

#[tokio::test]
async fn inline_pictures_are_emitted_with_their_content_id() {
    for (kind, text) in [
        ("html", "<p><img src=\"cid:logo@1\"></p>"),
        ("html", "<IMG SRC='CID:logo@1'>"),
        ("html", "<img src=cid:logo@1 width=1>"),
        ("html", "<img src=\"&#99;id&#58;logo@1\">"),
        ("html", "<td style=\"background: url(cid%3Alogo@1)\">"),
        ("text", "Regards\r\n[cid:logo@1]"),
    ] {
        let rig = Rig::new().await;
        let id = rig.graph.add_message("inbox", with_text(kind, text));
        rig.graph
            .attach_inline(&id, "logo@1", "logo.png", "image/png", "PNG");
        let body = one(&poll(&rig, &mut json!({})).await);
        assert_eq!(body["hasAttachments"], false);
        let [file] = &body["attachments"].as_array().expect(text)[..] else {
            panic!("{text}: {body}")
        };
        assert_eq!(
            (&file["contentId"], &file["isInline"], &file["name"]),
            (&json!("logo@1"), &json!(true), &json!("logo.png")),
            "{text}"
        );
        assert_eq!(file["size"], 3);
        assert_eq!(rig.platform.object_ids().len(), 1);
    }
}

#[tokio::test]
async fn inline_files_come_beside_the_others() {
    let rig = Rig::new().await;
    let text = "<img src=\"cid:1\"><img src=\"cid:2\">";
    let id = rig.graph.add_message("inbox", with_text("html", text));
    rig.graph
        .attach_inline(&id, "1", "1.png", "image/png", "PNG");
    rig.graph
        .attach(&id, AttachmentKind::File, "a.csv", "text/csv", "x");
    rig.graph
        .attach_inline(&id, "2", "2.png", "image/png", "PNG");
    let body = one(&poll(&rig, &mut json!({})).await);
    let ids = ["0", "1", "2"].map(|at| &body["attachments"][at.parse::<usize>().unwrap()]);
    assert_eq!(
        ids.map(|file| (&file["contentId"], &file["isInline"])),
        [
            (&json!("1"), &json!(true)),
            (&json!(null), &json!(false)),
            (&json!("2"), &json!(true))
        ]
    );
}

#[tokio::test]
async fn mails_without_files_cost_no_request() {
    for (kind, text, requests) in [
        ("html", "<img src=\"https://example.com/logo.png\">", 0),
        ("text", "Placid: calm", 0),
        // It refers to a file that it does not have.
        ("html", "<img src=\"cid:gone\">", 1),
    ] {
        let rig = Rig::new().await;
        rig.graph.add_message("inbox", with_text(kind, text));
        let body = one(&poll(&rig, &mut json!({})).await);
        assert!(body.get("attachments").is_none(), "{body}");
        assert_eq!(rig.graph.calls_matching("attachments").len(), requests);
    }
}

#[tokio::test]
async fn a_list_without_content_ids_is_still_read() {
    let (rig, _) = mails_with_files(1).await;
    rig.graph.inject_faults(
        "contentId",
        [Fault::Error(400, "RequestBroker--ParseUri", "no cast here")],
    );
    let emitted = poll(&rig, &mut json!({})).await;
    assert_eq!(files(&emitted), [(vec!["1.csv".to_owned()], vec![])]);
    assert_eq!(emitted.verdict, Verdict::Acknowledged);
}

#[tokio::test]
async fn a_file_that_fails_alone_is_noted_in_its_mail() {
    for (status, kind) in [
        (504, AttachmentKind::File),
        (500, AttachmentKind::Item),
        (501, AttachmentKind::File),
        (404, AttachmentKind::File),
        (403, AttachmentKind::Item),
    ] {
        let (rig, ids) = mails_with_files(3).await;
        let bad = rig
            .graph
            .attach(&ids[1][0], kind, "bad.bin", "application/x-bad", "x");
        rig.graph.break_content(&bad, status);
        let mut since = json!({});
        let emitted = poll(&rig, &mut since).await;
        let name = |name: &str| vec![name.to_owned()];
        assert_eq!(
            files(&emitted),
            [
                (name("1.csv"), vec![]),
                (name("2.csv"), name("bad.bin")),
                (name("3.csv"), vec![])
            ]
        );
        let file = emitted.data::<Value>()[1]["attachments"][1].clone();
        assert!(
            file["url"].is_null()
                && file["error"]
                    .as_str()
                    .unwrap()
                    .contains(&status.to_string())
        );
        let [error] = &errors(&emitted)[..] else {
            panic!("{emitted:?}")
        };
        assert!(
            error.contains("bad.bin") && error.contains(&ids[1][0]),
            "{error}"
        );
        assert!(poll(&rig, &mut since).await.events.is_empty());
    }
}

#[tokio::test]
async fn a_passing_failure_of_a_file_is_not_noted() {
    for faults in [
        vec![failure(500); 4],
        vec![failure(502), Fault::DropBefore],
        vec![Fault::DropMidBody],
        vec![Fault::DropMidBody, failure(504), failure(504)],
    ] {
        let (rig, _) = mails_with_files(1).await;
        rig.graph.inject_faults("value", faults.clone());
        let emitted = poll(&rig, &mut json!({})).await;
        assert_eq!(
            files(&emitted),
            [(vec!["1.csv".to_owned()], vec![])],
            "{faults:?}"
        );
        assert_eq!(emitted.verdict, Verdict::Acknowledged, "{emitted:?}");
    }
}

#[tokio::test]
async fn a_list_of_files_that_fails_is_noted() {
    for faults in [
        vec![failure(504); 8],
        vec![Fault::Error(404, "ErrorItemNotFound", "gone")],
        vec![Fault::Json(200, json!({ "value": "none" })); 2],
    ] {
        let (rig, ids) = mails_with_files(2).await;
        rig.graph.inject_faults("attachments\\?", faults.clone());
        // One after the other: the faults are for the first mail.
        rig.graph.limit_pages(1);
        let emitted = poll(&rig, &mut json!({})).await;
        assert_eq!(
            files(&emitted),
            [
                (vec![], vec![String::new()]),
                (vec!["2.csv".to_owned()], vec![])
            ],
            "{faults:?}"
        );
        let [error] = &errors(&emitted)[..] else {
            panic!("{emitted:?}")
        };
        assert!(
            error.contains("list of attachments") && error.contains(&ids[0][0]),
            "{error}"
        );
    }
}

/// A long file breaks off after its start has arrived.
#[tokio::test]
async fn a_file_that_breaks_off_each_time_is_noted() {
    for (times, is_noted) in [(1, false), (2, true)] {
        let rig = Rig::new().await;
        let id = rig
            .graph
            .add_message("inbox", mail("a", "2024-05-01T10:00:01Z"));
        let content = vec![1; 4 << 20];
        rig.graph.attach(
            &id,
            AttachmentKind::File,
            "long.bin",
            "application/x-long",
            content,
        );
        rig.graph
            .inject_faults("value", vec![Fault::DropMidBody; times]);
        let emitted = poll(&rig, &mut json!({})).await;
        let (mut with_url, mut with_error) = (vec!["long.bin".to_owned()], vec![]);
        if is_noted {
            std::mem::swap(&mut with_url, &mut with_error);
        }
        assert_eq!(files(&emitted), [(with_url, with_error)]);
        let errors = errors(&emitted);
        assert_eq!(errors.len(), usize::from(is_noted), "{errors:?}");
        assert!(
            errors.iter().all(|error| error.contains("did not arrive")),
            "{errors:?}"
        );
    }
}

#[tokio::test]
async fn an_attachment_without_an_id_is_noted() {
    let (rig, _) = mails_with_files(1).await;
    let listed =
        json!({ "value": [{ "name": "x.csv" }, { "id": "", "name": "y.csv", "size": -1 }] });
    rig.graph
        .inject_faults("attachments\\?", [Fault::Json(200, listed)]);
    let emitted = poll(&rig, &mut json!({})).await;
    let names = ["x.csv", "y.csv"].map(str::to_owned).to_vec();
    assert_eq!(files(&emitted), [(vec![], names)]);
    assert_eq!(errors(&emitted).len(), 2);
}

#[tokio::test]
async fn a_failure_of_graph_is_not_noted_as_one_of_files() {
    for behavior in ["emitIndividually", "emitAll"] {
        for faults in [
            ("value|top=1&", vec![failure(500); 8]),
            ("value", vec![Fault::Throttled(120)]),
            ("value", vec![Fault::retry_after(503, "120")]),
            ("attachments\\?|top=1&", vec![failure(504); 8]),
        ] {
            let (rig, _) = mails_with_files(1).await;
            let fields = with(step(), json!({ "emitBehavior": behavior }));
            rig.graph.inject_faults(faults.0, faults.1);
            let mut since = json!({});
            let emitted = rig.poll("readMail", fields.clone(), &mut since).await;
            assert!(
                matches!(&emitted.events[..], [Event::Rebound(_)]),
                "{emitted:?}"
            );
            let emitted = rig.poll("readMail", fields, &mut since).await;
            assert_eq!(emitted.data::<Value>().len(), 1);
            assert_eq!(emitted.verdict, Verdict::Acknowledged);
        }
    }
}

#[tokio::test]
async fn a_failure_of_the_storage_is_not_noted_as_one_of_files() {
    let (rig, _) = mails_with_files(1).await;
    rig.platform
        .inject_faults("POST /objects", vec![Fault::Status(500); 9]);
    let mut since = json!({});
    let emitted = poll(&rig, &mut since).await;
    assert!(emitted.data::<Value>().is_empty() && since == json!({}));
    assert!(
        errors(&emitted)[0].contains("storing an attachment"),
        "{emitted:?}"
    );
}

#[tokio::test]
async fn a_file_that_the_storage_refuses_is_noted() {
    let (rig, _) = mails_with_files(2).await;
    rig.graph.limit_pages(1);
    let refused = || Fault::Status(413);
    rig.platform
        .inject_faults("POST /objects", [refused(), Fault::Normal, refused()]);
    let emitted = poll(&rig, &mut json!({})).await;
    let name = |name: &str| vec![name.to_owned()];
    assert_eq!(
        files(&emitted),
        [(vec![], name("1.csv")), (name("2.csv"), vec![])]
    );
    assert!(errors(&emitted)[0].contains("413"), "{emitted:?}");
}

/// The part of Graph that returns files is down: most of the files come later.
#[tokio::test]
async fn files_that_fail_in_a_row_are_waited_for() {
    for behavior in ["emitIndividually", "emitAll"] {
        let (rig, ids) = mails_with_files(7).await;
        for [_, file] in &ids {
            rig.graph.break_content(file, 500);
        }
        let fields = with(step(), json!({ "emitBehavior": behavior }));
        let mut since = json!({});
        let first = rig.poll("readMail", fields.clone(), &mut since).await;
        assert!(
            matches!(first.events.last(), Some(Event::Rebound(_))),
            "{first:?}"
        );
        let noted = errors(&first).len();
        assert!((1..5).contains(&noted), "{first:?}");
        for [_, file] in &ids {
            rig.graph.repair(file);
        }
        let second = rig.poll("readMail", fields, &mut since).await;
        assert_eq!(second.verdict, Verdict::Acknowledged);
        let count = |emitted: &Emitted| match behavior {
            "emitAll" => emitted.data::<Value>()[0]["results"]
                .as_array()
                .unwrap()
                .len(),
            _ => each(emitted, "subject").len(),
        };
        assert_eq!((count(&first), count(&second)), (noted, 7 - noted));
    }
}
