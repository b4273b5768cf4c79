//! pollItems: every style of paging.

use super::{Rig, error_text, ids, seen, snapshot};
use emulator::provider::Fault;
use serde_json::{Value, json};

/// The step's fields for each style of paging, and the queries of its pages of two records. With numbered pages, a page
/// after the last one is requested: a short page need not be the last.
fn ways() -> [(Value, Vec<&'static str>); 5] {
    [
        (
            json!({ "path": "/records/pages", "paging": "page", "pageSize": 2 }),
            vec![
                "limit=2&page=1",
                "limit=2&page=2",
                "limit=2&page=3",
                "limit=2&page=4",
            ],
        ),
        (
            json!({ "path": "/records/offsets", "paging": "offset", "pageSize": "2" }),
            vec![
                "limit=2&offset=0",
                "limit=2&offset=2",
                "limit=2&offset=4",
                "limit=2&offset=5",
            ],
        ),
        (
            json!({ "path": "/records/cursors", "paging": "cursor", "nextPointer": "/next_cursor" }),
            vec!["", "cursor=2", "cursor=4"],
        ),
        (
            json!({ "path": "/records/links", "paging": "nextLink", "nextPointer": "/next" }),
            vec!["", "at=2", "at=4"],
        ),
        (
            json!({ "path": "/records/headers", "paging": "linkHeader" }),
            vec!["", "at=2", "at=4"],
        ),
    ]
}

fn with(mut fields: Value, more: Value) -> Value {
    fields["itemsPointer"] = "/records".into();
    fields
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    fields
}

impl Rig {
    /// The queries so far.
    fn queries(&self) -> Vec<String> {
        self.provider
            .api_calls()
            .into_iter()
            .filter(|call| call.status == Some(200))
            .map(|call| call.query)
            .collect()
    }
}

#[tokio::test]
async fn each_paging_style_reads_all_pages() {
    for (fields, queries) in ways() {
        let rig = Rig::new().await;
        let emitted = rig.poll(with(fields.clone(), json!({})), json!({})).await;
        assert_eq!(ids(&emitted), [1, 2, 3, 4, 5], "{fields}");
        assert_eq!(rig.queries(), queries, "{fields}");
    }
}

#[tokio::test]
async fn every_page_is_requested_from_the_position() {
    for (fields, _) in ways() {
        let rig = Rig::new().await;
        let since = with(fields.clone(), json!({ "sinceParameter": "updated_since" }));
        let position = json!({ "before": "2026-01-31T08:00:00Z", "since": "2026-01-31T09:00:00Z", "seen": [2] });
        let emitted = rig.poll(since, position).await;
        assert_eq!(ids(&emitted), [3, 4, 5], "{fields}");
        let queries = rig.queries();
        let asked = queries
            .iter()
            .filter(|query| query.contains("updated_since=2026-01-31T08%3A00%3A00Z"))
            .count();
        assert!(asked == queries.len() && asked >= 2, "{queries:?}");
    }
}

#[tokio::test]
async fn a_token_that_expires_between_pages_is_refreshed() {
    for (fields, queries) in ways() {
        let rig = Rig::new().await;
        let refused = json!({ "error": "expired" });
        rig.provider
            .script_api([Fault::Normal, Fault::Json(401, refused)]);
        let emitted = rig.poll(with(fields.clone(), json!({})), json!({})).await;
        assert_eq!(emitted.data::<Value>().len(), 5, "{fields}");
        assert_eq!(
            (rig.queries(), rig.provider.refreshes()),
            (queries.iter().map(|query| (*query).to_owned()).collect(), 1),
            "{fields}"
        );
    }
}

#[tokio::test]
async fn custom_parameter_names_are_used() {
    let rig = Rig::new().await;
    let page = json!({ "items": [{ "id": 1, "updated_at": 1 }] }).to_string();
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    rig.provider.script_api([Fault::Response {
        status: 200,
        headers,
        body: page,
    }]);
    let fields = json!({
        "path": "/records?kind=a", "itemsPointer": "/items", "paging": "page", "pageParameter": "p", "firstPage": 0,
        "pageSize": 100, "pageSizeParameter": "per_page",
    });
    let emitted = rig.poll(fields, json!({})).await;
    assert_eq!(emitted.data::<Value>().len(), 1, "{emitted:?}");
    assert_eq!(rig.queries(), ["kind=a&per_page=100&p=0"]);
}

#[tokio::test]
async fn without_a_page_size_an_empty_page_is_the_last() {
    let rig = Rig::new().await;
    let fields = with(
        json!({ "path": "/records/offsets", "paging": "offset" }),
        json!({}),
    );
    assert_eq!(rig.poll(fields, json!({})).await.data::<Value>().len(), 5);
    assert_eq!(
        rig.queries(),
        ["offset=0", "offset=2", "offset=4", "offset=5"]
    );
}

#[tokio::test]
async fn an_item_that_moves_between_pages_is_emitted_once() {
    let rig = Rig::new().await;
    let page = |ids: [u32; 2]| {
        let items = ids.map(|id| json!({ "id": id, "updated_at": 1 }));
        Fault::Json(200, json!({ "records": items }))
    };
    rig.provider.script_api([
        page([1, 2]),
        page([2, 3]),
        Fault::Json(200, json!({ "records": [] })),
    ]);
    let fields = with(json!({ "path": "/records", "paging": "page" }), json!({}));
    let emitted = rig.poll(fields, json!({})).await;
    assert_eq!(ids(&emitted), [1, 2, 3]);
    assert_eq!(snapshot(&emitted)["seen"], seen([1, 2, 3]));
}

#[tokio::test]
async fn a_page_that_is_named_again_is_the_end() {
    let page = |ids: [u32; 2], next: &str| {
        let items = ids.map(|id| json!({ "id": id, "updated_at": id }));
        Fault::Json(200, json!({ "records": items, "next": next }))
    };
    // The last page names itself, names the first one, or the pages go round in a circle.
    for nexts in [["2", "2"], ["2", "1"], ["1", "1"]] {
        for paging in ["cursor", "nextLink"] {
            let rig = Rig::new().await;
            rig.provider.script_api([
                page([1, 2], &format!("/api/records?at={}", nexts[0])),
                page([3, 4], &format!("/api/records?at={}", nexts[1])),
                page([3, 4], &format!("/api/records?at={}", nexts[0])),
                // A repeated page is requested a second time.
                page([3, 4], &format!("/api/records?at={}", nexts[0])),
            ]);
            let fields = with(
                json!({ "path": "/records", "paging": paging, "nextPointer": "/next" }),
                json!({}),
            );
            let emitted = rig.poll(fields, json!({})).await;
            assert_eq!(ids(&emitted), [1, 2, 3, 4], "{nexts:?} {paging}");
            assert_eq!(snapshot(&emitted)["since"], 4);
            assert_eq!(emitted.verdict, sailor::testing::Verdict::Acknowledged);
        }
    }
}

#[tokio::test]
async fn numbered_pages_that_repeat_are_reported_once() {
    let rig = Rig::new().await;
    let response = json!({ "records": [{ "id": 1, "updated_at": 1 }] });
    // One repeated page is normal: items may have moved to the front. It is requested a second time.
    let mut position = json!({});
    for is_reported in [true, false] {
        rig.provider
            .script_api((0..4).map(|_| Fault::Json(200, response.clone())));
        let fields = with(json!({ "path": "/records", "paging": "page" }), json!({}));
        let emitted = rig.poll(fields, position.clone()).await;
        let reports = emitted
            .events
            .iter()
            .filter(|event| matches!(event, sailor::testing::Event::Error(text) if text.contains("items of earlier pages")));
        assert_eq!(reports.count() == 1, is_reported, "{emitted:?}");
        assert_eq!(emitted.data::<Value>().len() == 1, is_reported);
        position = snapshot(&emitted);
    }
}

#[tokio::test]
async fn a_next_page_on_another_host_gets_no_token() {
    let rig = Rig::new().await;
    let response = json!({ "records": [], "next": "https://example.com/records" });
    rig.provider.script_api([Fault::Json(200, response)]);
    let fields = with(
        json!({ "path": "/records", "paging": "nextLink", "nextPointer": "/next" }),
        json!({}),
    );
    let emitted = rig.poll(fields, json!({})).await;
    assert!(
        error_text(&emitted).contains("may not receive the token"),
        "{emitted:?}"
    );
}
