//! Action createEvent.

use crate::rig::{Rig, error, one};
use graph_standin::Fault;
use sailor::testing::{Event, Verdict};
use serde_json::{Value, json};

const CALENDAR: &str = "calendar-id=";

fn step(more: Value) -> Value {
    let mut fields = json!({ "calendarId": CALENDAR, "timeZone": "Europe/Berlin" });
    fields
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    fields
}

fn from_to(start: impl Into<Value>, end: impl Into<Value>) -> Value {
    json!({ "subject": "Talk", "start": { "dateTime": start.into() }, "end": { "dateTime": end.into() } })
}

/// The body that Graph received.
async fn sent(fields: Value, body: Value) -> Value {
    let rig = Rig::new().await;
    let emitted = rig.run("createEvent", fields, body).await;
    assert_eq!(emitted.verdict, Verdict::Acknowledged, "{emitted:?}");
    rig.graph
        .calls_matching("POST .*/events")
        .remove(0)
        .content()
}

#[tokio::test]
async fn an_event_is_created_with_all_fields_and_its_calendar() {
    let rig = Rig::new().await;
    let calendar = rig.graph.add_calendar("Team");
    let fields = step(json!({
        "calendarId": calendar, "importance": "High", "showAs": "WorkingElsewhere", "sensitivity": "Private",
        "bodyContentType": "HTML", "isAllDay": "",
    }));
    let mut body = from_to("2024-07-01T09:30:00", "2024-07-01T10:00:00");
    body["body"] = json!({ "content": "<b>Hello</b>" });
    body["location"] =
        json!({ "displayName": "Room 1", "address": { "city": "Bonn", "countryOrRegion": "DE" } });
    body["reminderMinutesBeforeStart"] = json!(15);
    body["attendees"] = json!([{ "emailAddress": { "address": "a@example.com" } }]);
    let created = one(&rig.run("createEvent", fields, body).await);
    let stored = rig.graph.events(&calendar).remove(0);
    assert_eq!(
        (&created["id"], &created["calendarId"]),
        (&stored["id"], &json!(calendar))
    );
    assert!(
        created
            .as_object()
            .unwrap()
            .keys()
            .all(|name| !name.starts_with("@odata.")),
        "{created}"
    );
    let sent = rig.graph.calls_matching("POST").remove(0).content();
    assert_eq!(
        sent,
        json!({
            "subject": "Talk",
            "body": { "contentType": "html", "content": "<b>Hello</b>" },
            "start": { "dateTime": "2024-07-01T09:30:00", "timeZone": "Europe/Berlin" },
            "end": { "dateTime": "2024-07-01T10:00:00", "timeZone": "Europe/Berlin" },
            "location": { "displayName": "Room 1", "address": { "city": "Bonn", "countryOrRegion": "DE" } },
            "reminderMinutesBeforeStart": 15,
            "attendees": [{ "emailAddress": { "address": "a@example.com" } }],
            "importance": "high",
            "showAs": "workingElsewhere",
            "sensitivity": "private",
        })
    );
}

#[tokio::test]
async fn times_are_converted_to_the_steps_time_zone() {
    for (zone, given, local) in [
        (
            "Europe/Berlin",
            json!("2024-07-01T07:30:00Z"),
            "2024-07-01T09:30:00",
        ),
        (
            "Europe/Berlin",
            json!("2024-01-01T07:30:00Z"),
            "2024-01-01T08:30:00",
        ),
        (
            "Europe/Berlin",
            json!("2024-07-01T09:30:00.250+02:00"),
            "2024-07-01T09:30:00",
        ),
        (
            "America/New_York",
            json!("2024-07-01T09:30:00+02:00"),
            "2024-07-01T03:30:00",
        ),
        (
            "Asia/Kolkata",
            json!("1719819000000"),
            "2024-07-01T13:00:00",
        ),
        (
            "Asia/Kolkata",
            json!(1_719_819_000_000_i64),
            "2024-07-01T13:00:00",
        ),
        (
            "Etc/GMT+12",
            json!("2024-07-01T07:30:00Z"),
            "2024-06-30T19:30:00",
        ),
        // Without an offset: local.
        (
            "Asia/Tokyo",
            json!("2024-07-01T09:30"),
            "2024-07-01T09:30:00",
        ),
        ("Asia/Tokyo", json!(" 2024-07-01 "), "2024-07-01T00:00:00"),
    ] {
        let sent = sent(
            step(json!({ "timeZone": zone })),
            from_to(given.clone(), "2024-12-31T00:00:00"),
        )
        .await;
        assert_eq!(
            sent["start"],
            json!({ "dateTime": local, "timeZone": zone }),
            "{given}"
        );
    }
}

#[tokio::test]
async fn an_error_event_contains_graphs_message() {
    let rig = Rig::new().await;
    let body = from_to("2024-07-01T09:30:00", "2024-07-01T10:00:00");
    let emitted = rig
        .run(
            "createEvent",
            step(json!({ "calendarId": "none/such" })),
            body,
        )
        .await;
    assert!(error(&emitted).contains("ErrorItemNotFound"), "{emitted:?}");
    assert_eq!(
        rig.graph.calls_matching("POST")[0].path,
        "/v1.0/me/calendars/none%2Fsuch/events"
    );
}

#[tokio::test]
async fn a_lost_response_does_not_create_the_event_twice() {
    let rig = Rig::new().await;
    rig.graph.inject_faults("POST", [Fault::DropBefore]);
    let body = from_to("2024-07-01T09:30:00", "2024-07-01T10:00:00");
    let emitted = rig.run("createEvent", step(json!({})), body).await;
    assert!(
        error(&emitted).contains("failed without a response"),
        "{emitted:?}"
    );
    assert_eq!(rig.graph.calls_matching("POST").len(), 1);
}

#[tokio::test]
async fn an_expired_token_or_a_429_creates_the_event_once() {
    let rig = Rig::new().await;
    let body = from_to("2024-07-01T09:30:00", "2024-07-01T10:00:00");
    rig.run_after_401_and_after_429("createEvent", step(json!({})), body)
        .await;
    assert_eq!(rig.graph.events(CALENDAR).len(), 2, "one for each run");
}

#[tokio::test]
async fn endless_throttling_rebounds_the_message() {
    let rig = Rig::new().await;
    rig.graph
        .inject_faults("POST", [const { Fault::Throttled(0) }; 4]);
    let body = from_to("2024-07-01T09:30:00", "2024-07-01T10:00:00");
    let emitted = rig.run("createEvent", step(json!({})), body).await;
    assert!(
        matches!(&emitted.events[..], [Event::Rebound(reason)] if reason.contains("429")),
        "{emitted:?}"
    );
    assert!(rig.graph.events(CALENDAR).is_empty());
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
        rig.graph
            .calls_matching("POST .*/events")
            .remove(0)
            .content()
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
async fn a_path_traversal_in_a_field_creates_nothing_elsewhere() {
    let rig = Rig::new().await;
    let time = |hour: &str| json!({ "dateTime": format!("2024-07-01T{hour}:00:00") });
    let body = json!({ "subject": "Talk", "start": time("09"), "end": time("10") });
    let emitted = rig
        .run(
            "createEvent",
            json!({ "calendarId": "..", "timeZone": "UTC" }),
            body,
        )
        .await;
    assert!(error(&emitted).contains("calendar"), "{emitted:?}");
    assert!(rig.graph.calls_matching("POST").is_empty());
}

#[tokio::test]
async fn an_event_in_the_repeated_hour_ends_after_its_start() {
    let rig = Rig::new().await;
    let time = |time: &str| json!({ "dateTime": time });
    // An event of 20 minutes, in the night when clocks go back.
    let body = json!({ "start": time("2024-10-27T02:50:00+02:00"), "end": time("2024-10-27T02:10:00+01:00") });
    let fields = json!({ "calendarId": "calendar-id=", "timeZone": "Europe/Berlin" });
    one(&rig.run("createEvent", fields, body).await);
    let sent = rig.graph.calls_matching("POST").remove(0).content();
    assert_eq!(
        sent["start"],
        json!({ "dateTime": "2024-10-27T00:50:00", "timeZone": "UTC" })
    );
    assert_eq!(
        sent["end"],
        json!({ "dateTime": "2024-10-27T01:10:00", "timeZone": "UTC" })
    );
}

#[tokio::test]
async fn minutes_as_text_are_numbers_and_empty_text_is_none() {
    for (given, sent) in [
        (json!("15"), json!(15)),
        (json!(""), json!(null)),
        (json!(5), json!(5)),
    ] {
        let rig = Rig::new().await;
        let time = |hour: &str| json!({ "dateTime": format!("2024-07-01T{hour}:00:00") });
        let body =
            json!({ "reminderMinutesBeforeStart": given, "start": time("09"), "end": time("10") });
        one(&rig
            .run(
                "createEvent",
                json!({ "calendarId": "calendar-id=", "timeZone": "UTC" }),
                body,
            )
            .await);
        assert_eq!(
            rig.graph.calls_matching("POST").remove(0).content()["reminderMinutesBeforeStart"],
            sent
        );
    }
}
