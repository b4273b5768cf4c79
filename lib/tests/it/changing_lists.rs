//! pollItems: lists that change while their pages are read, and pages that are shorter than requested.

use super::{Rig, ids, snapshot};
use emulator::provider::Fault;
use sailor::testing::Verdict;
use serde_json::json;

/// A page of items. Each changed at the hour that its id says.
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
        // The latest change comes first. Between the pages, 5 is added, which moves 1 to the next page alone.
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

/// The step requests pages of 500 items, and the API returns two.
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
    // A 404 that follows a full page is not the end of the list.
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
