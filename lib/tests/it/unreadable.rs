//! pollItems: what the API cannot return, and what has no time, is reported once and passed over.

use super::{Rig, error_text, ids, snapshot};
use emulator::provider::{BrokenBody, Fault, Trouble};
use sailor::testing::{Emitted, Event, Verdict};
use serde_json::{Value, json};
use std::num::NonZeroU32;

/// Items of the API, each changed at the minute that its id says.
fn records(ids: impl IntoIterator<Item = u32>) -> Vec<Value> {
    let time = |id| format!("2026-01-31T10:{id:02}:00Z");
    ids.into_iter()
        .map(|id| json!({ "id": id, "updated_at": time(id) }))
        .collect()
}

/// An API that cannot return these items. It says so with a status that is not sent again, to save time.
fn failing(ids: &[u32]) -> Trouble {
    Trouble {
        failing_ids: ids.iter().map(ToString::to_string).collect(),
        failing_status: Some(501),
        ..Trouble::default()
    }
}

fn fields(more: Value) -> Value {
    let mut fields = json!({ "path": "/records/pages", "itemsPointer": "/records", "paging": "page", "pageSize": 4 });
    fields
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    fields
}

/// What was reported: the texts up to their reason.
fn reports(emitted: &Emitted) -> Vec<String> {
    let texts = emitted.events.iter().filter_map(|event| match event {
        Event::Error(text) => Some(text.split(" is passed over").next().unwrap().to_owned()),
        _ => None,
    });
    texts.collect()
}

#[tokio::test]
async fn an_unreadable_item_is_reported_with_its_neighbours() {
    for paging in [
        json!({}),
        json!({ "path": "/records/offsets", "paging": "offset" }),
    ] {
        let rig = Rig::new().await;
        rig.provider.set_records(records(1..=6));
        rig.provider.set_trouble(failing(&[3]));
        let emitted = rig.poll(fields(paging), json!({})).await;
        assert_eq!(ids(&emitted), [1, 2, 4, 5, 6]);
        assert_eq!(
            reports(&emitted),
            ["the item after 2 others, between item 2 and item 4,"]
        );
        assert!(emitted.error.is_none(), "{:?}", emitted.error);
    }
}

/// Its place is no identity: new items move it, and another one may come to its place.
#[tokio::test]
async fn unreadable_items_are_told_apart_by_their_neighbours() {
    let rig = Rig::new().await;
    let mut position = json!({});
    for (list, bad, new, reported) in [
        (vec![2, 1], vec![2], vec![1], vec![", before item 1,"]),
        // 2 moves, and 4 comes to its place.
        (
            vec![4, 3, 2, 1],
            vec![2, 4],
            vec![3],
            vec![", before item 3,"],
        ),
        // 5 is beside 4.
        (
            vec![6, 5, 4, 3, 2, 1],
            vec![2, 4, 5],
            vec![6],
            vec![", between item 6 and item 3,"],
        ),
        (vec![6, 5, 4, 3, 2, 1], vec![2, 4, 5], vec![], vec![]),
    ] {
        rig.provider.set_records(records(list));
        rig.provider.set_trouble(failing(&bad));
        let emitted = rig.poll(fields(json!({})), position).await;
        assert_eq!(ids(&emitted), new);
        let texts = reports(&emitted);
        assert_eq!(texts.len(), reported.len(), "{texts:?}");
        assert!(
            texts
                .iter()
                .zip(&reported)
                .all(|(text, end)| text.ends_with(end)),
            "{texts:?}"
        );
        position = snapshot(&emitted);
    }
}

#[tokio::test]
async fn unreadable_items_on_both_sides_of_a_page_are_passed_over() {
    let rig = Rig::new().await;
    rig.provider.set_records(records(1..=8));
    rig.provider.set_trouble(failing(&[4, 5]));
    let emitted = rig.poll(fields(json!({})), json!({})).await;
    assert_eq!(ids(&emitted), [1, 2, 3, 6, 7, 8]);
    assert_eq!(
        reports(&emitted),
        [
            "the item after 3 others, between item 3 and item 6,",
            "the item after 4 others, between item 3 and item 6,"
        ]
    );
}

#[tokio::test]
async fn a_page_of_unknown_size_is_reported_as_a_whole() {
    let rig = Rig::new().await;
    rig.provider.set_records(records(1..=6));
    rig.provider.set_trouble(failing(&[3]));
    let without_size = fields(json!({ "pageSize": null }));
    let emitted = rig.poll(without_size.clone(), json!({})).await;
    assert_eq!(ids(&emitted), [1, 2, 5, 6]);
    assert_eq!(reports(&emitted), ["page 2, between item 2 and item 5,"]);
    let again = rig.poll(without_size, snapshot(&emitted)).await;
    assert_eq!((ids(&again), reports(&again)), (vec![], vec![]));
}

#[tokio::test]
async fn a_page_too_large_is_read_in_smaller_ones() {
    for paging in [
        json!({}),
        json!({ "path": "/records/offsets", "paging": "offset" }),
        json!({ "path": "/records/cursors", "paging": "cursor", "nextPointer": "/next_cursor" }),
        json!({ "path": "/records/links", "paging": "nextLink", "nextPointer": "/next" }),
        json!({ "path": "/records/headers", "paging": "linkHeader" }),
    ] {
        let rig = Rig::new().await;
        rig.provider.set_records(records(1..=9));
        rig.provider.set_trouble(Trouble {
            max_items: Some(1),
            ..failing(&[])
        });
        let emitted = rig.poll(fields(paging.clone()), json!({})).await;
        assert_eq!(ids(&emitted), (1..=9).collect::<Vec<_>>(), "{paging}");
        assert_eq!(reports(&emitted), [""; 0]);
    }
}

/// No request names what comes after it.
#[tokio::test]
async fn a_cursor_stops_at_an_unreadable_item_until_it_is_mended() {
    let rig = Rig::new().await;
    rig.provider.set_records(records(1..=6));
    rig.provider.set_trouble(failing(&[3]));
    let cursor = fields(
        json!({ "path": "/records/cursors", "paging": "cursor", "nextPointer": "/next_cursor" }),
    );
    let first = rig.poll(cursor.clone(), json!({})).await;
    assert_eq!(
        (ids(&first), first.verdict),
        (vec![1, 2], Verdict::Rejected)
    );
    let second = rig.poll(cursor.clone(), snapshot(&first)).await;
    assert_eq!((ids(&second), second.verdict), (vec![], Verdict::Rejected));
    rig.provider.set_trouble(failing(&[]));
    let third = rig.poll(cursor, snapshot(&first)).await;
    assert_eq!(ids(&third), [3, 4, 5, 6]);
}

/// A smaller page would be the whole list, and the position would move past the rest.
#[tokio::test]
async fn a_list_without_pages_is_not_shortened() {
    let rig = Rig::new().await;
    rig.provider.set_records(records([4, 3, 2, 1]));
    rig.provider.set_trouble(failing(&[1]));
    let single = fields(json!({ "path": "/records/cursors", "paging": "none" }));
    let emitted = rig.poll(single, json!({})).await;
    assert!(error_text(&emitted).contains("501"), "{emitted:?}");
    // The next poll of a sorted list requests the rest.
    rig.provider.set_records(records([1, 2, 3, 4]));
    rig.provider.set_trouble(failing(&[4]));
    let sorted = fields(json!({
        "path": "/records/cursors", "paging": "none", "isSorted": true, "sinceHeader": "X-Updated-Since",
    }));
    let emitted = rig.poll(sorted, json!({})).await;
    assert_eq!(
        (ids(&emitted), emitted.verdict),
        (vec![1, 2], Verdict::Acknowledged)
    );
}

#[tokio::test]
async fn a_response_that_breaks_off_is_requested_again() {
    let rig = Rig::new().await;
    rig.provider.set_records(records(1..=3));
    rig.provider.set_trouble(Trouble {
        broken_body: Some(BrokenBody {
            after: 20,
            every: NonZeroU32::new(2).unwrap(),
        }),
        ..Trouble::default()
    });
    let emitted = rig.poll(fields(json!({ "pageSize": 1 })), json!({})).await;
    assert_eq!((ids(&emitted), reports(&emitted)), (vec![1, 2, 3], vec![]));
}

#[tokio::test]
async fn a_page_that_the_api_repeats_by_mistake_hides_nothing() {
    for paging in [
        json!({}),
        json!({ "path": "/records/offsets", "paging": "offset" }),
        json!({ "path": "/records/cursors", "paging": "cursor", "nextPointer": "/next_cursor" }),
        json!({ "path": "/records/links", "paging": "nextLink", "nextPointer": "/next" }),
        json!({ "path": "/records/headers", "paging": "linkHeader" }),
    ] {
        let rig = Rig::new().await;
        rig.provider.set_records(records((1..=9).rev()));
        rig.provider.set_trouble(Trouble {
            repeat_pages: 1,
            last_page_names_itself: true,
            ..Trouble::default()
        });
        let emitted = rig.poll(fields(paging.clone()), json!({})).await;
        let mut all = ids(&emitted);
        all.sort_unstable();
        assert_eq!(all, (1..=9).collect::<Vec<_>>(), "{paging}");
        assert_eq!(reports(&emitted), [""; 0]);
    }
}

/// The position is saved after each page of a sorted list, and the API does not return such an item again.
#[tokio::test]
async fn an_item_without_a_time_is_reported_before_the_next_page() {
    let rig = Rig::new().await;
    let mut list = records(1..=6);
    list.insert(1, json!({ "id": 70, "updated_at": null }));
    list.insert(2, json!({ "id": 71, "updated_at": "31/01/2026 10:01" }));
    rig.provider.set_records(list);
    rig.provider
        .script_api([Fault::Normal, Fault::Json(404, json!({}))]);
    let sorted = fields(json!({ "isSorted": true, "sinceParameter": "updated_since" }));
    let first = rig.poll(sorted.clone(), json!({})).await;
    assert_eq!(
        (ids(&first), first.verdict),
        (vec![1, 2], Verdict::Rejected)
    );
    assert_eq!(reports(&first)[..2], ["item 70", "item 71"]);
    let second = rig.poll(sorted, snapshot(&first)).await;
    assert_eq!((ids(&second), reports(&second)), (vec![3, 4, 5, 6], vec![]));
}

/// Offsets and page numbers of smaller parts would be those of other items.
#[tokio::test]
async fn parts_of_an_api_with_a_limit_of_its_own_are_an_error() {
    let page = |ids: &[u32]| Fault::Json(200, json!({ "records": records(ids.iter().copied()) }));
    let rig = Rig::new().await;
    let failed = || Fault::Json(501, json!({}));
    // Eight are requested, and the API returns no more than one.
    rig.provider.script_api([
        failed(),
        failed(),
        page(&[1]),
        failed(),
        page(&[7]),
        page(&[8]),
    ]);
    let emitted = rig.poll(fields(json!({ "pageSize": 8 })), json!({})).await;
    assert!(
        error_text(&emitted).contains("set `pageSize` to 1"),
        "{emitted:?}"
    );
}

/// A failed poll does not know what follows the item, which the next one does.
#[tokio::test]
async fn a_failed_poll_leaves_the_report_to_the_next_one() {
    let rig = Rig::new().await;
    rig.provider.set_records(records(1..=3));
    rig.provider.set_trouble(failing(&[1]));
    // The page, the item after it, and the next page.
    let refused = Fault::Json(403, json!({}));
    rig.provider
        .script_api([Fault::Normal, Fault::Normal, refused]);
    let single = fields(json!({ "path": "/records/offsets", "paging": "offset", "pageSize": 1 }));
    let first = rig.poll(single.clone(), json!({})).await;
    assert!(error_text(&first).contains("403"), "{first:?}");
    let second = rig.poll(single.clone(), json!({})).await;
    assert_eq!(ids(&second), [2, 3]);
    assert_eq!(
        reports(&second),
        ["the item after 0 others, before item 2,"]
    );
    let third = rig.poll(single, snapshot(&second)).await;
    assert_eq!((ids(&third), reports(&third)), (vec![], vec![]));
}
