//! Items and lists that are too large for a message: one error event each, which names the item.

use super::{Rig, error_text, ids, snapshot};
use sailor::testing::{Event, Verdict};
use serde_json::{Value, json};

const LIMIT: usize = 5_000;

fn record(id: u32, size: usize) -> Value {
    let updated_at = format!("2026-01-31T10:00:{id:02}Z");
    json!({ "id": id, "updated_at": updated_at, "text": "x".repeat(size) })
}

#[tokio::test]
async fn an_item_too_large_has_one_error_event_with_its_id() {
    for emit in ["each", "page", "all"] {
        let rig = Rig::new().await;
        let records = [record(1, 10), record(2, 10_000), record(3, 1_500)];
        rig.provider.set_records(records.to_vec());
        let fields = json!({ "path": "/records", "itemsPointer": "/records", "emit": emit });
        let poll = rig.harness("pollItems", fields.clone());
        let emitted = poll.message_size_limit(LIMIT).run(json!({})).await.unwrap();
        let bodies = emitted.data::<Value>();
        let found: Vec<&Value> = match emit {
            "each" => bodies.iter().map(|body| &body["id"]).collect(),
            _ => bodies.iter().map(|body| &body["items"][0]["id"]).collect(),
        };
        assert_eq!(found, [1, 3], "{emit}");
        let errors = emitted.events.iter().filter_map(|event| match event {
            Event::Error(error) => Some(error.as_str()),
            _ => None,
        });
        let [error] = errors.collect::<Vec<_>>()[..] else {
            panic!("{emit}: {emitted:?}")
        };
        assert!(
            error.starts_with("item 2 is passed over") && error.contains("limit of 5000"),
            "{error}"
        );
        // The next poll neither emits nor reports anything again.
        let again = rig.poll(fields, snapshot(&emitted)).await;
        assert_eq!(
            (again.events.len(), again.verdict),
            (1, Verdict::Acknowledged)
        );
    }
}

#[tokio::test]
async fn a_response_too_large_to_emit_is_one_error() {
    let rig = Rig::new().await;
    rig.provider.set_records(vec![record(1, 10_000)]);
    let request = rig.harness("makeRequest", json!({}));
    let emitted = request
        .message_size_limit(LIMIT)
        .run(json!({ "path": "/records" }))
        .await
        .unwrap();
    assert!(
        error_text(&emitted).contains("limit of 5000"),
        "{emitted:?}"
    );
    assert_eq!(ids(&emitted), [0_u64; 0]);
}
