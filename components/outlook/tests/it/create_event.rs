//! Action createEvent.

use crate::rig::{Rig, error, one};
use emulator::standins::graph::Fault;
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

/// What Graph was sent.
async fn sent(fields: Value, body: Value) -> Value {
    let rig = Rig::new().await;
    let emitted = rig.run("createEvent", fields, body).await;
    assert_eq!(emitted.verdict, Verdict::Acknowledged, "{emitted:?}");
    rig.graph.calls("POST .*/events").remove(0).body
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
    let sent = rig.graph.calls("POST").remove(0).body;
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
        // Local already.
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
async fn invalid_fields_are_named_and_nothing_is_sent() {
    let rig = Rig::new().await;
    let good = || from_to("2024-07-01T09:30:00", "2024-07-01T10:00:00");
    let without = |name: &str| {
        let mut fields = step(json!({}));
        fields.as_object_mut().unwrap().remove(name);
        fields
    };
    for (fields, body, told) in [
        (without("calendarId"), good(), "calendarId"),
        (
            step(json!({ "calendarId": "" })),
            good(),
            "`calendarId` is empty",
        ),
        (without("timeZone"), good(), "timeZone"),
        (
            step(json!({ "timeZone": " " })),
            good(),
            "`timeZone` is empty",
        ),
        (
            step(json!({ "timeZone": "Mars/Olympus" })),
            good(),
            "no IANA time zone",
        ),
        (
            step(json!({ "importance": "Urgent" })),
            good(),
            "importance: expected one of `low`, `normal`, `high`",
        ),
        (
            step(json!({ "isAllDay": "perhaps" })),
            good(),
            "isAllDay: expected true or false",
        ),
        (
            step(json!({ "bodyContentType": "HTML" })),
            good(),
            "`body.content` is empty",
        ),
        (
            step(json!({})),
            json!({ "end": { "dateTime": "2024-07-01" } }),
            "start",
        ),
        (
            step(json!({})),
            json!({ "start": { "dateTime": "2024-07-01" } }),
            "end",
        ),
        (
            step(json!({})),
            from_to("soon", "2024-07-01"),
            "`start.dateTime` is no time",
        ),
        (
            step(json!({})),
            from_to("2024-07-01", ""),
            "`end.dateTime` is no time",
        ),
        (
            step(json!({})),
            from_to("2024-07-02", "2024-07-01"),
            "`end.dateTime` (2024-07-01T00:00:00) is before",
        ),
    ] {
        let emitted = rig.run("createEvent", fields, body).await;
        assert!(error(&emitted).contains(told), "{told}: {emitted:?}");
    }
    assert!(rig.graph.calls(".").is_empty());
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
        rig.graph.calls("POST")[0].path,
        "/v1.0/me/calendars/none%2Fsuch/events"
    );
}

#[tokio::test]
async fn a_lost_response_does_not_create_the_event_twice() {
    let rig = Rig::new().await;
    rig.graph.fail("POST", [Fault::Drop]);
    let body = from_to("2024-07-01T09:30:00", "2024-07-01T10:00:00");
    let emitted = rig.run("createEvent", step(json!({})), body).await;
    assert!(
        error(&emitted).contains("failed without a response"),
        "{emitted:?}"
    );
    assert_eq!(rig.graph.calls("POST").len(), 1);
}

#[tokio::test]
async fn an_expired_token_or_a_429_creates_the_event_once() {
    let rig = Rig::new().await;
    let body = from_to("2024-07-01T09:30:00", "2024-07-01T10:00:00");
    rig.given_trouble_that_passes_it_works("createEvent", step(json!({})), body)
        .await;
    assert_eq!(rig.graph.events(CALENDAR).len(), 2, "one for each run");
}

#[tokio::test]
async fn endless_throttling_rebounds_the_message() {
    let rig = Rig::new().await;
    rig.graph.fail("POST", [const { Fault::Throttled(0) }; 4]);
    let body = from_to("2024-07-01T09:30:00", "2024-07-01T10:00:00");
    let emitted = rig.run("createEvent", step(json!({})), body).await;
    assert!(
        matches!(&emitted.events[..], [Event::Rebound(reason)] if reason.contains("429")),
        "{emitted:?}"
    );
    assert!(rig.graph.events(CALENDAR).is_empty());
}
