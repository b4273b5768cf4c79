//! Inputs that would lead a request elsewhere, or that the platform's UI gives.

use crate::rig::{Rig, error, one};
use serde_json::json;

#[tokio::test]
async fn a_path_traversal_in_an_id_moves_only_a_message() {
    for id in [".", ".."] {
        let rig = Rig::new().await;
        let folder = rig.graph.add_folder("inbox", "Done");
        let fields = json!({ "originalMailFolders": folder });
        let emitted = rig
            .run("moveMail", fields, json!({ "messageId": id }))
            .await;
        assert!(error(&emitted).contains("messageId"), "{emitted:?}");
        let moves: Vec<_> = rig
            .graph
            .calls_matching("POST")
            .iter()
            .map(graph_standin::RecordedCall::line)
            .collect();
        assert!(
            moves.is_empty(),
            "Graph moves a folder by this request: {moves:?}"
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
    // An event of 20 minutes, in the night when clocks are put back.
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

#[tokio::test]
async fn a_date_without_hyphens_is_not_read_as_milliseconds() {
    let rig = Rig::new().await;
    let emitted = rig
        .run(
            "checkAvailability",
            json!({}),
            json!({ "time": "20240701" }),
        )
        .await;
    let calls = rig.graph.calls_matching("calendarView");
    assert!(
        !calls.iter().any(|call| call.line().contains("1970")),
        "{emitted:?} {calls:?}"
    );
}
