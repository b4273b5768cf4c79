//! Actions checkAvailability and findNextAvailableTime.

use crate::rig::{Rig, error, one};
use serde_json::{Value, json};

async fn at(rig: &Rig, action: &'static str, time: Value) -> Value {
    one(&rig.run(action, json!({}), json!({ "time": time })).await)
}

#[tokio::test]
async fn the_user_is_free_before_and_from_the_end_of_an_event() {
    let rig = Rig::new().await;
    rig.graph.add_event(
        "2024-06-03T10:00:00",
        "2024-06-03T11:00:00",
        json!({ "showAs": "busy" }),
    );
    for (time, available) in [
        (json!("2024-06-03T09:59:59Z"), true),
        (json!("2024-06-03T10:00:00Z"), false),
        (json!("2024-06-03T12:30:00+02:00"), false),
        (json!("2024-06-03T10:30:00"), false),
        (json!("1717410600000"), false),
        (json!(1_717_410_600_000_i64), false),
        (json!("2024-06-03T11:00:00Z"), true),
    ] {
        assert_eq!(
            at(&rig, "checkAvailability", time.clone()).await,
            json!({ "available": available }),
            "{time}"
        );
    }
}

#[tokio::test]
async fn a_missing_time_means_now() {
    let rig = Rig::new().await;
    assert_eq!(
        one(&rig.run("checkAvailability", json!({}), json!({})).await),
        json!({ "available": true })
    );
    rig.graph
        .add_event("2020-01-01T00:00:00", "2099-01-01T00:00:00", json!({}));
    assert_eq!(
        one(&rig
            .run("checkAvailability", json!({}), json!({ "time": "" }))
            .await),
        json!({ "available": false })
    );
}

#[tokio::test]
async fn free_and_cancelled_events_do_not_block_time() {
    let rig = Rig::new().await;
    for fields in [
        json!({ "showAs": "free" }),
        json!({ "showAs": "busy", "isCancelled": true }),
    ] {
        rig.graph
            .add_event("2024-06-03T10:00:00", "2024-06-03T11:00:00", fields);
    }
    assert_eq!(
        at(&rig, "checkAvailability", json!("2024-06-03T10:30:00Z")).await,
        json!({ "available": true })
    );
    rig.graph.add_event(
        "2024-06-03T10:00:00",
        "2024-06-03T11:00:00",
        json!({ "showAs": "tentative" }),
    );
    assert_eq!(
        at(&rig, "checkAvailability", json!("2024-06-03T10:30:00Z")).await,
        json!({ "available": false })
    );
}

#[tokio::test]
async fn the_search_for_free_time_ends_after_a_year() {
    let rig = Rig::new().await;
    rig.graph.add_event(
        "2024-06-01T00:00:00",
        "2024-09-01T08:00:00",
        json!({ "showAs": "oof" }),
    );
    let found = at(&rig, "findNextAvailableTime", json!("2024-06-03T10:15:00Z")).await;
    assert_eq!(found, json!({ "time": "2024-09-01T08:00:00Z" }));
    for month in 0..20 {
        let (year, month) = (2025 + month / 12, month % 12 + 1);
        let (next_year, next) = if month == 12 {
            (year + 1, 1)
        } else {
            (year, month + 1)
        };
        let (start, end) = (
            format!("{year}-{month:02}-01T00:00:00"),
            format!("{next_year}-{next:02}-01T00:00:00"),
        );
        rig.graph
            .add_event(&start, &end, json!({ "showAs": "busy" }));
    }
    let emitted = rig
        .run(
            "findNextAvailableTime",
            json!({}),
            json!({ "time": "2025-01-01T00:00:00Z" }),
        )
        .await;
    assert!(error(&emitted).contains("no free time"), "{emitted:?}");
}

#[tokio::test]
async fn the_next_free_time_does_not_depend_on_event_order() {
    let spans = [
        ("2024-06-03T11:00:00", "2024-06-03T12:00:00"),
        ("2024-06-03T10:00:00", "2024-06-03T11:30:00"),
        ("2024-06-03T12:00:00", "2024-06-03T12:15:00"),
        ("2024-06-03T14:00:00", "2024-06-03T15:00:00"),
        // It ends before events that started earlier.
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
            // The time is free: it is emitted as given.
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
