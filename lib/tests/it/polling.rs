//! pollItems: each new item is emitted once, whatever the API means by "since", and the snapshot moves only when its
//! data is confirmed.

use super::{Rig, error_text, ids, rebound, snapshot};
use emulator::provider::Fault;
use sailor::testing::{Event, Verdict};
use serde_json::{Value, json};

const TEN: &str = "2026-01-31T10:00:00Z";
const ELEVEN: &str = "2026-01-31T11:00:00Z";

/// Returns the step's fields for the list of records, and `more` fields.
fn fields(more: Value) -> Value {
    let mut fields = json!({ "path": "/records", "itemsPointer": "/records" });
    fields
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    fields
}

fn record(id: u32, updated_at: &str) -> Value {
    json!({ "id": id, "updated_at": updated_at })
}

/// The ways to request later changes: none, a parameter that means "later", one that means "not earlier", a header.
fn ways() -> [Value; 4] {
    [
        json!({}),
        json!({ "sinceParameter": "updated_since" }),
        json!({ "sinceParameter": "updated_from" }),
        json!({ "sinceHeader": "X-Updated-Since" }),
    ]
}

#[tokio::test]
async fn items_of_the_same_instant_are_emitted_exactly_once() {
    for way in ways() {
        let rig = Rig::new().await;
        let mut records = vec![record(1, TEN)];
        let mut position = json!({});
        for (added, wanted) in [
            (vec![], vec![1]),
            (vec![], vec![]),
            // The same time again, after the first change of it was emitted.
            (vec![record(2, TEN)], vec![2]),
            (vec![record(3, ELEVEN), record(4, ELEVEN)], vec![3, 4]),
            (vec![record(5, ELEVEN)], vec![5]),
            (vec![], vec![]),
            // An emitted item changes.
            (vec![record(1, "2026-01-31T12:00:00+00:00")], vec![1]),
        ] {
            records.extend(added);
            rig.provider.set_records(records.clone());
            let emitted = rig.poll(fields(way.clone()), position.clone()).await;
            assert_eq!(ids(&emitted), wanted, "{way} since {position}");
            position = snapshot(&emitted);
        }
    }
}

#[tokio::test]
async fn polling_asks_only_for_changes_since_the_position() {
    let rig = Rig::new().await;
    for (way, asked) in
        ways()
            .into_iter()
            .zip(["", "updated_since", "updated_from", "x-updated-since"])
    {
        let first = rig.poll(fields(way.clone()), json!({})).await;
        assert_eq!(rig.provider.api_calls().last().unwrap().query, "");
        rig.poll(fields(way), snapshot(&first)).await;
        let call = rig.provider.api_calls().pop().unwrap();
        let header = call
            .headers
            .get("x-updated-since")
            .map(|value| value.to_str().unwrap());
        let wanted = match asked {
            "" => (String::new(), None),
            "x-updated-since" => (String::new(), Some(TEN)),
            parameter => (format!("{parameter}={}", TEN.replace(':', "%3A")), None),
        };
        assert_eq!((call.query, header), wanted);
    }
}

#[tokio::test]
async fn if_modified_since_is_an_http_date_and_304_is_no_change() {
    let rig = Rig::new().await;
    let way = fields(json!({ "sinceHeader": "If-Modified-Since" }));
    let first = rig.poll(way.clone(), json!({})).await;
    rig.provider.script_api([Fault::Json(304, Value::Null)]);
    let second = rig.poll(way, snapshot(&first)).await;
    assert_eq!(
        rig.provider.api_calls()[1].headers["if-modified-since"],
        "Sat, 31 Jan 2026 09:59:59 GMT"
    );
    assert_eq!(second.events, [Event::Snapshot(snapshot(&first))]);
}

#[tokio::test]
async fn polling_starts_at_the_start_value() {
    for way in ways() {
        let rig = Rig::new().await;
        let mut with_start = fields(way.clone());
        with_start["startValue"] = TEN.into();
        let emitted = rig.poll(with_start.clone(), json!({})).await;
        // An API to which it means "later" leaves out that time.
        let from_api = if way["sinceParameter"] == "updated_since" || way["sinceHeader"].is_string()
        {
            vec![5]
        } else {
            vec![4, 5]
        };
        assert_eq!(ids(&emitted), from_api, "{way}");
        with_start["startValue"] = "2020-01-01".into();
        assert!(
            ids(&rig.poll(with_start, snapshot(&emitted)).await).is_empty(),
            "the snapshot wins over the start time"
        );
    }
}

#[tokio::test]
async fn numbers_and_custom_fields_can_be_the_cursor() {
    let rig = Rig::new().await;
    let item = |key: &str, sequence: u64| json!({ "key": key, "meta": { "sequence": sequence } });
    rig.provider.set_records([item("b", 10), item("a", 9)]);
    let way = fields(json!({ "idField": "key", "changedField": "/meta/sequence" }));
    let emitted = rig.poll(way.clone(), json!({})).await;
    assert_eq!(emitted.data::<Value>(), [item("a", 9), item("b", 10)]);
    rig.provider.set_records([item("b", 10), item("c", 100)]);
    assert_eq!(
        rig.poll(way, snapshot(&emitted)).await.data::<Value>(),
        [item("c", 100)]
    );
}

#[tokio::test]
async fn items_are_emitted_singly_by_page_or_all_at_once() {
    let rig = Rig::new().await;
    let paged = |emit: &str| json!({ "path": "/records/pages", "itemsPointer": "/records", "paging": "page", "pageSize": 2, "emit": emit });
    let numbers = |message: &Value| match message["items"].as_array() {
        Some(items) => items
            .iter()
            .map(|item| item["id"].as_u64().unwrap())
            .collect(),
        None => vec![message["id"].as_u64().unwrap()],
    };
    for (emit, wanted) in [
        ("each", vec![vec![1], vec![2], vec![3], vec![4], vec![5]]),
        ("page", vec![vec![1, 2], vec![3, 4], vec![5]]),
        ("all", vec![vec![1, 2, 3, 4, 5]]),
    ] {
        let emitted = rig.poll(paged(emit), json!({})).await;
        assert_eq!(
            emitted
                .data::<Value>()
                .iter()
                .map(numbers)
                .collect::<Vec<Vec<u64>>>(),
            wanted,
            "{emit}"
        );
        let next = rig.poll(paged(emit), snapshot(&emitted)).await;
        assert_eq!(
            next.events,
            [Event::Snapshot(snapshot(&emitted))],
            "{emit}: nothing new, no message"
        );
    }
}

#[tokio::test]
async fn a_failed_page_causes_no_second_emission() {
    for (is_sorted, kept) in [
        (Value::Null, json!(null)),
        (json!("on"), json!("2026-01-31T09:00:00Z")),
    ] {
        let rig = Rig::new().await;
        rig.provider
            .script_api([Fault::Normal, Fault::Json(404, Value::Null)]);
        let paged = json!({
            "path": "/records/pages", "itemsPointer": "/records", "paging": "page", "isSorted": is_sorted,
        });
        let failed = rig.poll(paged.clone(), json!({})).await;
        assert_eq!(
            (ids(&failed), failed.verdict),
            (vec![1, 2], Verdict::Rejected)
        );
        // In a list that is not sorted, a later page can have earlier changes: only what was emitted is remembered.
        let position = snapshot(&failed);
        assert_eq!(position["since"], kept, "{position}");
        let next = rig.poll(paged, position).await;
        assert_eq!(ids(&next), vec![3, 4, 5]);
        assert_eq!(snapshot(&next)["emitted"], Value::Null);
    }
}

#[tokio::test]
async fn an_unsorted_list_marked_as_sorted_is_an_error() {
    let rig = Rig::new().await;
    let sorted = fields(json!({ "isSorted": "on" }));
    rig.provider
        .set_records([record(1, ELEVEN), record(2, TEN)]);
    assert!(error_text(&rig.poll(sorted, json!({})).await).contains("untick `isSorted`"));
    rig.provider.set_records([
        record(1, TEN),
        record(2, ELEVEN),
        record(3, TEN),
        record(4, ELEVEN),
    ]);
    let paged = json!({
        "path": "/records/pages", "itemsPointer": "/records", "paging": "page", "pageSize": 2, "isSorted": true,
    });
    let emitted = rig.poll(paged, json!({})).await;
    assert!(
        matches!(emitted.events.last(), Some(Event::Error(text)) if text.contains("untick")),
        "{emitted:?}"
    );
}

#[tokio::test]
async fn two_accounts_in_one_process_use_their_own_tokens() {
    let (rig, other) = (Rig::new().await, Rig::new().await);
    let fields = fields(
        json!({ "_account": "other", "baseUrl": other.provider.api_url(), "oauth": other.tokens }),
    );
    rig.poll(fields.clone(), json!({})).await;
    rig.poll(
        json!({ "path": "/records", "itemsPointer": "/records" }),
        json!({}),
    )
    .await;
    rig.poll(fields, json!({})).await;
    assert_eq!(
        (rig.statuses(), other.statuses()),
        (vec![200], vec![200, 200])
    );
}

#[tokio::test]
async fn a_snapshot_of_an_earlier_version_is_understood() {
    let rig = Rig::new().await;
    let emitted = rig
        .poll(fields(json!({})), json!({ "since": TEN, "seen": [4] }))
        .await;
    assert_eq!(ids(&emitted), [5]);
    let emitted = rig
        .poll(fields(json!({})), json!({ "since": "", "seen": [] }))
        .await;
    assert_eq!(ids(&emitted), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn an_expired_token_is_refreshed_and_saved() {
    let rig = Rig::expired().await;
    let emitted = rig.poll(fields(json!({})), json!({})).await;
    rig.assert_refreshed_once(&emitted);
    assert_eq!(ids(&emitted), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_busy_api_is_retried_or_rebounds_the_poll() {
    let rig = Rig::new().await;
    rig.busy_once();
    assert_eq!(
        ids(&rig.poll(fields(json!({})), json!({})).await),
        [1, 2, 3, 4, 5]
    );
    assert_eq!(rig.statuses(), [429, 200]);
    rig.busy_for_long();
    assert!(rebound(&rig.poll(fields(json!({})), json!({})).await).contains("429"));
}

#[tokio::test]
async fn invalid_fields_are_named_in_the_error() {
    let rig = Rig::new().await;
    rig.provider
        .set_records([json!({ "id": 1, "updated_at": null })]);
    for (more, expected) in [
        (json!({ "path": null }), "path: expected a string"),
        (json!({ "path": "/none" }), "GET /none returned 404"),
        (
            json!({ "itemsPointer": "records" }),
            "itemsPointer: expected a JSON pointer",
        ),
        (
            json!({ "itemsPointer": "/items" }),
            "no list at \"/items\": set `itemsPointer`",
        ),
        (
            json!({}),
            "an item has neither text nor number in \"updated_at\": set `changedField`",
        ),
        (
            json!({ "changedField": "id", "idField": "/meta/id" }),
            "in \"/meta/id\": set `idField`",
        ),
        (json!({ "paging": "forever" }), "paging: expected one of"),
        (
            json!({ "paging": "nextLink", "changedField": "id" }),
            "set `nextPointer`",
        ),
        (
            json!({ "pageSize": "many" }),
            "pageSize: expected a number above zero",
        ),
        (
            json!({ "firstPage": "-1" }),
            "firstPage: expected a whole number",
        ),
        (json!({ "emit": "some" }), "emit: expected one of"),
        (
            json!({ "isSorted": "perhaps" }),
            "isSorted: expected true or false",
        ),
    ] {
        let emitted = rig.poll(fields(more), json!({})).await;
        assert!(
            error_text(&emitted).contains(expected),
            "{expected}: {emitted:?}"
        );
    }
    let no_time = fields(json!({ "sinceHeader": "If-Modified-Since" }));
    let emitted = rig
        .poll(no_time, json!({ "before": "soon", "since": "soon" }))
        .await;
    assert!(
        error_text(&emitted).contains("If-Modified-Since needs times"),
        "{emitted:?}"
    );
    let strange = rig.poll(fields(json!({})), json!({ "page": 3 })).await;
    assert!(
        error_text(&strange).contains("reset it on the platform"),
        "{strange:?}"
    );
}

#[tokio::test]
async fn decimal_texts_are_ordered_as_numbers() {
    let rig = Rig::new().await;
    let list = |changed: &[&str]| {
        let items = changed
            .iter()
            .enumerate()
            .map(|(id, changed)| json!({ "id": id, "updated_at": changed }));
        Fault::Json(200, items.collect())
    };
    rig.provider
        .script_api([list(&["9.5"]), list(&["9.5", "10.5"])]);
    let fields = json!({ "path": "/list", "itemsPointer": "#" });
    let first = rig.poll(fields.clone(), json!({})).await;
    assert_eq!(ids(&rig.poll(fields, snapshot(&first)).await), [1]);
}

#[tokio::test]
async fn http_dates_are_ordered_as_times() {
    let rig = Rig::new().await;
    let list = |changed: &[&str]| {
        let items = changed
            .iter()
            .enumerate()
            .map(|(id, changed)| json!({ "id": id, "updated_at": changed }));
        Fault::Json(200, items.collect())
    };
    let (thursday, friday) = (
        "Thu, 29 Jan 2026 10:00:00 GMT",
        "Fri, 30 Jan 2026 10:00:00 GMT",
    );
    rig.provider
        .script_api([list(&[thursday]), list(&[thursday, friday])]);
    let fields = json!({ "path": "/list", "itemsPointer": "#" });
    let first = rig.poll(fields.clone(), json!({})).await;
    assert_eq!(ids(&rig.poll(fields, snapshot(&first)).await), [1]);
}
