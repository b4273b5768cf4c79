//! What an API, a message or a neighbour may do to the component.

use super::{Rig, snapshot, told};
use emulator::provider::Fault;
use sailor::testing::{Emitted, Event, Verdict};
use serde_json::{Value, json};

fn ids(emitted: &Emitted) -> Vec<u64> {
    emitted
        .data::<Value>()
        .iter()
        .map(|item| item["id"].as_u64().unwrap())
        .collect()
}

/// A page of items, which changed at the hour of their id.
fn page(ids: &[u32]) -> Fault {
    let items: Vec<_> = ids
        .iter()
        .map(|id| json!({ "id": id, "updated_at": hour(*id) }))
        .collect();
    Fault::Json(200, json!(items))
}

fn hour(id: u32) -> String {
    format!("2026-01-31T{id:02}:00:00Z")
}

#[tokio::test]
async fn an_item_moved_to_the_front_does_not_fail_the_last_page() {
    for paging in [json!({ "paging": "page" }), json!({ "paging": "offset" })] {
        let rig = Rig::new().await;
        // The latest change first; 5 comes between the pages and moves 1 to a page of its own.
        rig.provider
            .script_api([page(&[4, 3]), page(&[2, 1]), page(&[1])]);
        let mut fields = json!({ "path": "/list", "itemsPointer": "#", "pageSize": 2 });
        fields
            .as_object_mut()
            .unwrap()
            .extend(paging.as_object().unwrap().clone());
        let emitted = rig.poll(fields, json!({})).await;
        assert_eq!(
            (ids(&emitted), emitted.verdict),
            (vec![3, 4, 1, 2], Verdict::Acknowledged)
        );
        assert_eq!(snapshot(&emitted)["since"], hour(4));
    }
}

#[tokio::test]
async fn a_sorted_poll_misses_nothing_when_items_are_deleted() {
    for paging in ["offset", "page"] {
        let rig = Rig::new().await;
        // 1 is deleted after the first page: 3 moves up to where that page was.
        rig.provider.script_api([
            page(&[1, 2]),
            page(&[2, 3]),
            page(&[3, 4]),
            page(&[4, 5]),
            page(&[5]),
            page(&[]),
        ]);
        let fields = json!({
            "path": "/list", "itemsPointer": "#", "pageSize": 2, "paging": paging, "isSorted": "on",
            "sinceParameter": "since",
        });
        let emitted = rig.poll(fields, json!({})).await;
        assert_eq!(
            (ids(&emitted), emitted.verdict),
            (vec![1, 2, 3, 4, 5], Verdict::Acknowledged)
        );
        assert_eq!(snapshot(&emitted)["since"], hour(5));
        let queries: Vec<_> = rig
            .provider
            .api_calls()
            .into_iter()
            .map(|call| call.query)
            .collect();
        let since: Vec<_> = queries
            .iter()
            .map(|query| query.split("since=").nth(1).map(|at| &at[11..13]))
            .collect();
        assert_eq!(
            since,
            [
                None,
                Some("01"),
                Some("02"),
                Some("03"),
                Some("04"),
                Some("04")
            ],
            "{queries:?}"
        );
    }
}

/// The step wants pages of 500, and the API gives two at once.
#[tokio::test]
async fn a_short_page_is_not_taken_for_the_last() {
    for end in [
        page(&[]),
        Fault::Json(404, json!({ "error": "no such page" })),
    ] {
        for paging in ["offset", "page"] {
            let rig = Rig::new().await;
            rig.provider
                .script_api([page(&[5, 4]), page(&[3, 2]), page(&[1]), end.clone()]);
            let fields =
                json!({ "path": "/list", "itemsPointer": "#", "pageSize": 500, "paging": paging });
            let mut emitted = ids(&rig.poll(fields, json!({})).await);
            emitted.sort_unstable();
            assert_eq!(emitted, [1, 2, 3, 4, 5]);
        }
    }
    // What is no page after a short one is no end.
    let rig = Rig::new().await;
    rig.provider
        .script_api([page(&[2, 1]), Fault::Json(404, json!({}))]);
    let fields = json!({ "path": "/list", "itemsPointer": "#", "pageSize": 2, "paging": "page" });
    let emitted = rig.poll(fields, json!({})).await;
    assert!(
        emitted
            .error
            .is_some_and(|error| error.to_string().contains("404")),
        "{:?}",
        emitted.events
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

#[tokio::test]
async fn transport_headers_in_a_message_are_rejected() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Upgrade",
    ] {
        let rig = Rig::new().await;
        let body = json!({ "path": "/me", "method": "POST", "headers": { name: "5" }, "body": { "a": 1 } });
        let emitted = rig.request(json!({}), body).await;
        assert!(
            told(&emitted).contains(&format!("`headers.{name}`")),
            "{emitted:?}"
        );
        assert!(rig.provider.api_calls().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn splitting_an_empty_response_emits_nothing() {
    for status in [204, 304] {
        let rig = Rig::new().await;
        rig.provider.script_api([Fault::Response {
            status,
            headers: vec![],
            body: String::new(),
        }]);
        let emitted = rig
            .request(
                json!({ "splitPointer": "/items" }),
                json!({ "path": "/list" }),
            )
            .await;
        assert_eq!(
            (emitted.verdict, emitted.events.len()),
            (Verdict::Acknowledged, 0),
            "{:?}",
            emitted.events
        );
    }
}

#[tokio::test]
async fn null_members_count_as_missing() {
    let rig = Rig::new().await;
    let body =
        json!({ "path": "/me", "method": null, "query": null, "headers": null, "body": null });
    let emitted = rig.request(json!({}), body).await;
    assert_eq!(
        emitted.verdict,
        Verdict::Acknowledged,
        "{:?}",
        emitted.events
    );
}

#[tokio::test]
async fn a_path_traversal_in_a_subscription_id_deletes_nothing_else() {
    for id in [".", ".."] {
        let rig = Rig::new().await;
        rig.provider
            .script_api([Fault::Json(200, json!({ "id": id }))]);
        let fields = json!({ "subscribePath": "/webhooks/all" });
        let flow = || {
            rig.harness("receiveWebhooks", fields.clone())
                .webhook_uri("https://example.com/hook")
        };
        let state = flow().startup().await.unwrap();
        let _ = flow().shutdown(state).await;
        assert!(
            rig.provider
                .api_calls()
                .iter()
                .all(|call| call.method != "DELETE"),
            "{id}"
        );
    }
}

#[tokio::test]
async fn the_token_is_not_sent_to_other_hosts() {
    let thief = Rig::new().await;
    let there = thief.provider.api_url();
    let host = there.split_once("://").unwrap().1;
    for path in [
        there.clone(),
        format!("//{host}"),
        format!("/\\{host}"),
        format!("@{host}"),
        format!("http:\\\\{host}/me"),
    ] {
        let rig = Rig::new().await;
        let emitted = rig.request(json!({}), json!({ "path": path })).await;
        assert!(thief.provider.api_calls().is_empty(), "{path}");
        assert!(
            matches!(emitted.events[..], [Event::Error(_)]),
            "{path}: {emitted:?}"
        );
    }
}
