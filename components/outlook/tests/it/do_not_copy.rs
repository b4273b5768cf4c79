//! What the Node component does wrong, one test each. Those that need a platform are at the end, as processes.

use crate::{
    process::Step,
    rig::{Rig, each, error, one, with},
};
use emulator::{
    EventKind,
    platform::Fault as PlatformFault,
    provider::Provider,
    standins::graph::{AttachmentKind, Fault},
};
use sailor::testing::Emitted;
use serde_json::{Value, json};

fn contact(name: &str, changed: &str) -> Value {
    json!({ "displayName": name, "lastModifiedDateTime": changed })
}

fn mail(subject: &str, changed: &str) -> Value {
    json!({ "subject": subject, "lastModifiedDateTime": changed, "isRead": false })
}

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
async fn save_to_sent_items_false_is_sent_as_false() {
    for (flag, kept) in [
        (json!(false), false),
        (json!("false"), false),
        (json!("off"), false),
        (json!(true), true),
        (json!("true"), true),
        (json!("on"), true),
        (json!(""), true),
        (Value::Null, true),
    ] {
        let rig = Rig::new().await;
        let body = json!({
            "subject": "Hello",
            "toRecipients": [{ "emailAddress": { "address": "ada@example.com" } }],
            "body": { "content": "x" },
            "saveToSentItems": flag,
        });
        one(&rig.run("sendMail", json!({}), body).await);
        assert_eq!(
            rig.graph.sent()[0]["saveToSentItems"],
            json!(kept),
            "{flag}"
        );
        assert_eq!(
            rig.graph.messages("sentitems").len(),
            usize::from(kept),
            "{flag}"
        );
    }
}

#[tokio::test]
async fn all_day_accepts_every_form_of_a_check_box() {
    let sent = async |all_day: &Value| {
        let rig = Rig::new().await;
        let fields = json!({ "calendarId": "calendar-id=", "timeZone": "Europe/Berlin", "isAllDay": all_day });
        let body = json!({
            "start": { "dateTime": "2024-07-21T15:00:00" }, "end": { "dateTime": "2024-07-22T23:30:00Z" },
        });
        one(&rig.run("createEvent", fields, body).await);
        rig.graph.calls("POST .*/events").remove(0).body
    };
    for checked in [json!("on"), json!("true"), json!(true)] {
        let sent = sent(&checked).await;
        assert_eq!(sent["isAllDay"], json!(true), "{checked}");
        assert_eq!(sent["start"]["dateTime"], "2024-07-21T00:00:00");
        assert_eq!(
            sent["end"]["dateTime"], "2024-07-24T00:00:00",
            "the 23rd in Berlin, and that day as well"
        );
    }
    for unchecked in [json!(null), json!(""), json!(false), json!("false")] {
        let sent = sent(&unchecked).await;
        assert_eq!(
            (sent.get("isAllDay"), &sent["end"]["dateTime"]),
            (None, &json!("2024-07-23T01:30:00"))
        );
    }
}

#[tokio::test]
async fn two_credentials_in_one_process_are_not_mixed() {
    let rig = Rig::new().await;
    let (first, second) = (rig.provider.issue(), rig.provider.issue());
    for tokens in [&first, &second, &first] {
        let before = rig.graph.calls(".").len();
        rig.connected("checkAvailability", json!({}), json!(tokens))
            .run(json!({}))
            .await
            .unwrap();
        let calls = rig.graph.calls(".").split_off(before);
        assert!(!calls.is_empty());
        assert!(
            calls
                .iter()
                .all(|call| call.token.as_deref() == tokens["access_token"].as_str())
        );
    }
}

#[tokio::test]
async fn a_permanent_401_costs_one_refresh() {
    for fault in [
        Fault::Unauthorized,
        Fault::Refused(401, "InvalidAuthenticationToken", "Access token is empty."),
    ] {
        let rig = Rig::new().await;
        rig.graph.fail(".", vec![fault; 10]);
        let emitted = rig.run("getContacts", json!({}), json!({})).await;
        assert!(
            error(&emitted).contains("InvalidAuthenticationToken"),
            "{emitted:?}"
        );
        assert_eq!(
            (rig.provider.refreshes(), rig.graph.calls(".").len()),
            (1, 2)
        );
    }
}

#[tokio::test]
async fn a_403_costs_no_refresh() {
    let rig = Rig::new().await;
    rig.graph.fail(
        ".",
        [Fault::Refused(
            403,
            "ErrorAccessDenied",
            "Access is denied.",
        )],
    );
    let emitted = rig.run("getContacts", json!({}), json!({})).await;
    assert!(error(&emitted).contains("ErrorAccessDenied"), "{emitted:?}");
    assert_eq!(
        (rig.provider.refreshes(), rig.graph.calls(".").len()),
        (0, 1)
    );
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
                // Within one moment only Graph's link goes on; otherwise the next page is asked for by time.
                assert_eq!(
                    rig.graph.calls("(contacts|messages).*skip").is_empty(),
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
    for call in rig.graph.calls(".") {
        assert!(
            !call.path.contains("AAMk/") && !call.path.contains(['+', '=']),
            "{call:?}"
        );
    }
    assert_eq!(
        rig.graph.calls("AAMk%2F").len(),
        7,
        "{:?}",
        rig.graph.calls(".")
    );
}

/// token-failures: Mistakes of other components. The Node component takes the end of the last item's second for the time up to which all is done.
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
async fn the_next_free_time_does_not_depend_on_event_order() {
    let spans = [
        ("2024-06-03T11:00:00", "2024-06-03T12:00:00"),
        ("2024-06-03T10:00:00", "2024-06-03T11:30:00"),
        ("2024-06-03T12:00:00", "2024-06-03T12:15:00"),
        ("2024-06-03T14:00:00", "2024-06-03T15:00:00"),
        // Ends before others that began earlier.
        ("2024-06-03T10:10:00", "2024-06-03T10:20:00"),
    ];
    for turn in 0..spans.len() {
        let rig = Rig::new().await;
        rig.graph.limit_pages(2);
        for (start, end) in spans.iter().cycle().skip(turn).take(spans.len()) {
            rig.graph.add_event(start, end, json!({ "showAs": "busy" }));
        }
        for (time, free) in [
            ("2024-06-03T10:15:00Z", "2024-06-03T12:15:00Z"),
            ("2024-06-03T10:15:00", "2024-06-03T12:15:00Z"),
            ("2024-06-03T14:30:00+00:00", "2024-06-03T15:00:00Z"),
            // Free already: as it was given.
            ("2024-06-03T15:00:00+02:00", "2024-06-03T15:00:00+02:00"),
        ] {
            let found = one(&rig
                .run("findNextAvailableTime", json!({}), json!({ "time": time }))
                .await);
            assert_eq!(found, json!({ "time": free }), "{time}, turn {turn}");
        }
    }
}

#[tokio::test]
async fn a_reconnected_account_is_used_by_the_process() {
    let step = Step::new("checkAvailability", json!({}), Provider::issue).await;
    let component = step.start();
    step.send(json!({}));
    step.settled().await;
    let old = step.stored()["access_token"].clone();
    step.emulator.provider().revoke_all();
    let new = step.emulator.provider().issue();
    step.connect(new.clone());
    step.send(json!({}));
    step.settled().await;
    component.stop().await;
    let tokens: Vec<Value> = step
        .graph
        .calls(".")
        .into_iter()
        .map(|call| json!(call.token))
        .collect();
    assert_eq!(tokens, [old.clone(), old, new["access_token"].clone()]);
    assert_eq!(
        (step.emulator.provider().refreshes(), step.errors()),
        (0, vec![])
    );
}

#[tokio::test]
async fn an_unreadable_secret_is_named_in_the_error() {
    let removed = Step::new(
        "checkAvailability",
        json!({ "secretId": "secret-1" }),
        |_| Value::Null,
    )
    .await;
    removed.run(json!({})).await;
    let message = removed.errors().remove(0);
    assert!(
        message.contains("its secret was removed") && message.contains("404"),
        "{message}"
    );
    assert!(removed.graph.calls(".").is_empty());
}

#[tokio::test]
async fn an_unreadable_secret_rebounds_the_message() {
    let step = Step::new(
        "checkAvailability",
        json!({ "secretId": "secret-1" }),
        |_| Value::Null,
    )
    .await;
    let provider = step.emulator.provider();
    step.emulator.platform().set_secret(
        "emulated-workspace",
        "secret-1",
        provider.issue().into(),
        vec![],
    );
    step.emulator
        .platform()
        .fail("GET .*/secrets/", [const { PlatformFault::Status(500) }; 3]);
    let component = step.start();
    step.send(json!({}));
    let rebounds = step.events(EventKind::Rebound, 1).await;
    component.stop().await;
    let reason = rebounds[0].headers["reboundReason"].to_string();
    assert!(
        reason.contains("secret") && reason.contains("500"),
        "{reason}"
    );
    assert_eq!((step.errors(), step.graph.calls(".").len()), (vec![], 0));
}

#[tokio::test]
async fn a_permanent_401_refreshes_a_secret_once() {
    let step = Step::new(
        "checkAvailability",
        json!({ "secretId": "secret-1" }),
        |_| Value::Null,
    )
    .await;
    let provider = step.emulator.provider();
    let fresh: Vec<Value> = (0..6).map(|_| provider.issue().into()).collect();
    step.emulator.platform().set_secret(
        "emulated-workspace",
        "secret-1",
        provider.issue().into(),
        fresh,
    );
    step.graph.fail(".", [const { Fault::Unauthorized }; 10]);
    let component = step.start();
    step.send(json!({}));
    step.settled().await;
    component.stop().await;
    assert!(
        step.errors()[0].contains("InvalidAuthenticationToken"),
        "{:?}",
        step.errors()
    );
    assert_eq!(
        (
            step.platform_calls("/secrets/secret-1/refresh"),
            step.graph.calls(".").len()
        ),
        (1, 2)
    );
}

#[tokio::test]
async fn without_a_secret_no_secret_is_refreshed() {
    let step = Step::new("checkAvailability", json!({}), Provider::issue_expired).await;
    let component = step.start();
    step.send(json!({}));
    step.settled().await;
    assert_eq!(
        (
            step.platform_calls("secret"),
            step.emulator.provider().refreshes()
        ),
        (0, 1)
    );
    component.stop().await;
}

#[tokio::test]
async fn without_secret_and_refresh_token_nothing_is_refreshed() {
    let tokens = |provider: &Provider| {
        with(
            json!(provider.issue_expired()),
            json!({ "refresh_token": null }),
        )
    };
    let step = Step::new("checkAvailability", json!({}), tokens).await;
    step.run(json!({})).await;
    assert!(
        step.errors()[0].contains("connect the account again"),
        "{:?}",
        step.errors()
    );
    assert_eq!(
        (
            step.platform_calls("secret"),
            step.platform_calls("undefined")
        ),
        (0, 0)
    );
}
