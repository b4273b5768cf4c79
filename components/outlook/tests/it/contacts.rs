//! Trigger getContacts.

use crate::rig::{Rig, contact, each, error, snapshots};
use graph_standin::Fault;
use sailor::testing::Verdict;
use serde_json::{Value, json};

async fn poll(rig: &Rig, since: &mut Value) -> Vec<Value> {
    each(
        &rig.poll("getContacts", json!({}), since).await,
        "displayName",
    )
}

#[tokio::test]
async fn contacts_are_emitted_oldest_first_and_once() {
    let rig = Rig::new().await;
    rig.graph
        .add_contact(contact("second", "2024-05-02T10:00:00Z"));
    rig.graph
        .add_contact(contact("first", "2024-05-01T10:00:00Z"));
    let mut since = json!({});
    let emitted = rig.poll("getContacts", json!({}), &mut since).await;
    assert_eq!(each(&emitted, "displayName"), ["first", "second"]);
    let first: Value = emitted.data().remove(0);
    assert_eq!(first["emailAddresses"][0]["address"], "a@example.com");
    assert!(
        first
            .as_object()
            .unwrap()
            .keys()
            .all(|name| !name.starts_with("@odata.")),
        "{first}"
    );
    assert!(first.get("calendarId").is_none());
    assert_eq!(poll(&rig, &mut since).await, [""; 0]);
}

#[tokio::test]
async fn an_item_changed_twice_in_one_second_is_emitted_again() {
    let rig = Rig::new().await;
    let id = rig
        .graph
        .add_contact(contact("before", "2024-05-01T10:00:00.100Z"));
    let mut since = json!({});
    assert_eq!(poll(&rig, &mut since).await, ["before"]);
    let change = contact("after", "2024-05-01T10:00:00.900Z");
    assert!(rig.graph.change(&id, change.as_object().unwrap().clone()));
    assert_eq!(poll(&rig, &mut since).await, ["after"]);
}

#[tokio::test]
async fn a_contact_that_moves_while_paging_hides_no_other() {
    let rig = Rig::new().await;
    rig.graph.limit_pages(2);
    let ids: Vec<String> = (0..5)
        .map(|n| {
            rig.graph
                .add_contact(contact(&format!("{n}"), &format!("2024-05-01T10:00:0{n}Z")))
        })
        .collect();
    // The second page fails; meanwhile the first contact changes, and all others move up by one.
    rig.graph.inject_faults(
        "GET .*/contacts.*10:00:01Z",
        [Fault::Error(400, "ErrorInternal", "not now")],
    );
    let mut since = json!({});
    let first = rig.poll("getContacts", json!({}), &mut since).await;
    assert_eq!(each(&first, "displayName"), ["0", "1"]);
    let change = contact("0 again", "2024-05-01T10:00:09Z");
    assert!(
        rig.graph
            .change(&ids[0], change.as_object().unwrap().clone())
    );
    assert_eq!(poll(&rig, &mut since).await, ["2", "3", "4", "0 again"]);
}

#[tokio::test]
async fn a_snapshot_of_the_node_component_is_understood() {
    let rig = Rig::new().await;
    rig.graph
        .add_contact(contact("old", "2024-05-01T10:00:00.500Z"));
    rig.graph
        .add_contact(contact("new", "2024-05-01T10:00:01Z"));
    let mut since = json!({ "lastModifiedDateTime": "2024-05-01T10:00:00.999Z" });
    assert_eq!(poll(&rig, &mut since).await, ["new"]);
    assert_eq!(since["lastModifiedDateTime"], "2024-05-01T10:00:01Z");
}

#[tokio::test]
async fn an_invalid_snapshot_says_what_to_do() {
    let rig = Rig::new().await;
    let emitted = rig
        .poll(
            "getContacts",
            json!({}),
            &mut json!({ "lastModifiedDateTime": "yesterday" }),
        )
        .await;
    assert!(
        error(&emitted).contains("reset it on the platform"),
        "{emitted:?}"
    );
    assert!(rig.graph.calls_matching(".").is_empty());
}

#[tokio::test]
async fn after_a_failed_page_emitted_items_are_not_repeated() {
    let rig = Rig::new().await;
    rig.graph.limit_pages(2);
    for n in 0..4 {
        rig.graph
            .add_contact(contact(&format!("{n}"), &format!("2024-05-01T10:00:0{n}Z")));
    }
    rig.graph.inject_faults(
        "GET .*/contacts.*10:00:01Z",
        [Fault::Error(403, "ErrorAccessDenied", "Access is denied.")],
    );
    let mut since = json!({});
    let broken = rig.poll("getContacts", json!({}), &mut since).await;
    assert_eq!(
        (each(&broken, "displayName").len(), snapshots(&broken).len()),
        (2, 1)
    );
    assert_eq!(broken.verdict, Verdict::Rejected);
    assert!(error(&broken).contains("ErrorAccessDenied"));
    assert_eq!(poll(&rig, &mut since).await, ["2", "3"]);
}

/// Graph's links count items: if an item before a page moves to the end, a later page skips one item.
#[tokio::test]
async fn changes_within_one_second_while_paging_lose_nothing() {
    for changed_at_once in 1..=3 {
        let rig = Rig::new().await;
        rig.graph.limit_pages(2);
        let ids: Vec<String> = (0..7)
            .map(|n| {
                rig.graph
                    .add_contact(contact(&n.to_string(), "2024-05-01T10:00:00Z"))
            })
            .collect();
        rig.graph
            .add_contact(contact("later", "2024-05-01T10:00:05Z"));
        rig.graph.before_response("skip=4", move |graph| {
            for (n, id) in ids.iter().enumerate().take(changed_at_once) {
                let change = contact(&format!("{n} again"), "2024-05-01T10:00:09Z");
                assert!(graph.change(id, change.as_object().unwrap().clone()));
            }
        });
        let mut since = json!({});
        let mut emitted: Vec<String> = poll(&rig, &mut since)
            .await
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(poll(&rig, &mut since).await, [""; 0]);
        let again = (0..changed_at_once).map(|n| format!("{n} again"));
        let mut expected: Vec<String> = (0..7)
            .map(|n| n.to_string())
            .chain(["later".to_owned()])
            .chain(again)
            .collect();
        emitted.sort();
        expected.sort();
        assert_eq!(emitted, expected);
    }
}
