//! Trigger "Get new and updated objects": nothing is lost or repeated, and the snapshot never moves past
//! unconfirmed records.

use crate::rig::{Org, snapshot_of};
use sailor::testing::{Emitted, Event, Verdict};
use salesforce_standin::Fault;
use serde_json::{Value, json};

const FUNCTION: &str = "getUpdatedObjectsPolling";

async fn poll(org: &Org, more: Value, since: Value) -> Emitted {
    let mut fields = json!({ "sobject": "Account" });
    fields
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    org.harness(FUNCTION, fields, org.provider.issue())
        .snapshot(since)
        .run(json!({}))
        .await
        .unwrap()
}

fn names(emitted: &Emitted) -> Vec<String> {
    emitted
        .data::<Value>()
        .iter()
        .map(|record| record["Name"].as_str().unwrap().to_owned())
        .collect()
}

/// Polls until there are no new records, and returns the emitted names.
async fn until_quiet(org: &Org, fields: Value) -> Vec<String> {
    let (mut all, mut snapshot) = (vec![], json!({}));
    loop {
        let emitted = poll(org, fields.clone(), snapshot.clone()).await;
        assert_eq!(emitted.verdict, Verdict::Acknowledged, "{emitted:?}");
        let Some(next) = snapshot_of(&emitted) else {
            return all;
        };
        all.extend(names(&emitted));
        snapshot = next;
    }
}

#[tokio::test]
async fn each_change_is_emitted_once_in_order() {
    let org = Org::new().await;
    let first = org.api.insert("Account", json!({ "Name": "first" }));
    org.api.pass(1);
    org.api.insert("Account", json!({ "Name": "second" }));
    org.api.pass(1);
    org.api
        .update("Account", &first, json!({ "Name": "first, changed" }));
    org.api.pass(1);
    let emitted = poll(&org, json!({}), json!({})).await;
    assert_eq!(names(&emitted), ["second", "first, changed"]);
    let snapshot = snapshot_of(&emitted).unwrap();
    assert_eq!(
        snapshot,
        json!({ "lastModificationTime": "2024-06-01T00:00:02.000+0000", "lastSeenId": first })
    );
    let again = poll(&org, json!({}), snapshot).await;
    assert!(again.events.is_empty(), "{again:?}");
}

#[tokio::test]
async fn records_of_one_second_are_emitted_exactly_once() {
    let org = Org::new().await;
    let wanted: Vec<String> = (0..7).map(|n| n.to_string()).collect();
    for name in &wanted {
        org.api.insert("Account", json!({ "Name": name }));
    }
    org.api.pass(1);
    for single_page in ["", "on"] {
        let fields = json!({ "pageSize": "3", "singlePagePerInterval": single_page });
        assert_eq!(until_quiet(&org, fields).await, wanted, "{single_page:?}");
    }
}

#[tokio::test]
async fn records_of_the_current_second_wait_for_the_next_poll() {
    let org = Org::new().await;
    org.api
        .insert("Account", json!({ "Name": "early in this second" }));
    assert!(poll(&org, json!({}), json!({})).await.events.is_empty());
    org.api
        .insert("Account", json!({ "Name": "late in this second" }));
    org.api.pass(1);
    assert_eq!(
        names(&poll(&org, json!({}), json!({})).await),
        ["early in this second", "late in this second"]
    );
}

#[tokio::test]
async fn each_page_is_followed_by_its_snapshot() {
    let org = Org::new().await;
    for n in 0..4 {
        org.api.insert("Account", json!({ "Name": n.to_string() }));
    }
    org.api.pass(1);
    let emitted = poll(&org, json!({ "pageSize": 2 }), json!({})).await;
    let kinds: Vec<&str> = emitted
        .events
        .iter()
        .map(|event| match event {
            Event::Data(_) => "record",
            Event::Snapshot(_) => "snapshot",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "record", "record", "snapshot", "record", "record", "snapshot"
        ]
    );
}

#[tokio::test]
async fn a_failed_page_keeps_the_snapshot_of_the_page_before() {
    let org = Org::new().await;
    for n in 0..4 {
        org.api.insert("Account", json!({ "Name": n.to_string() }));
    }
    org.api.pass(1);
    org.api.inject_faults(
        "Id > ",
        [Fault::Error(
            400,
            "QUERY_TIMEOUT",
            "Your query request was running for too long.",
        )],
    );
    let failed = poll(&org, json!({ "pageSize": 2 }), json!({})).await;
    assert_eq!(
        (failed.verdict, names(&failed)),
        (Verdict::Rejected, vec!["0".to_owned(), "1".into()])
    );
    let snapshot = snapshot_of(&failed).unwrap();
    assert_eq!(
        names(&poll(&org, json!({ "pageSize": 2 }), snapshot).await),
        ["2", "3"]
    );
}

#[tokio::test]
async fn fetch_page_emits_one_message_per_page() {
    let org = Org::new().await;
    for n in 0..3 {
        org.api.insert("Account", json!({ "Name": n.to_string() }));
    }
    org.api.pass(1);
    let emitted = poll(
        &org,
        json!({ "emitBehavior": "fetchPage", "pageSize": "2" }),
        json!({}),
    )
    .await;
    let sizes: Vec<usize> = emitted
        .data::<Value>()
        .iter()
        .map(|page| page["results"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [2, 1]);
}

#[tokio::test]
async fn a_large_page_is_joined_from_salesforces_pages() {
    let org = Org::new().await;
    for n in 0..5 {
        org.api.insert("Account", json!({ "Name": n.to_string() }));
    }
    org.api.pass(1);
    org.api.set_page_size(2);
    let emitted = poll(&org, json!({ "emitBehavior": "fetchPage" }), json!({})).await;
    assert_eq!(
        emitted.data::<Value>()[0]["results"]
            .as_array()
            .unwrap()
            .len(),
        5
    );
    assert_eq!(org.api.calls_matching("/query/01g").len(), 2);
}

#[tokio::test]
async fn records_have_the_selected_fields_and_links() {
    let org = Org::new().await;
    let id = org.api.insert(
        "Account",
        json!({ "Name": "Acme", "Website": "acme.example" }),
    );
    org.api
        .insert("Contact", json!({ "LastName": "Ada", "AccountId": id }));
    org.api.pass(1);
    let fields = json!({ "selectedFields": ["Name"], "linkedObjects": ["!Contacts"] });
    let record: Value = poll(&org, fields, json!({})).await.data().remove(0);
    let mut names: Vec<&String> = record.as_object().unwrap().keys().collect();
    names.sort_unstable();
    assert_eq!(names, ["Contacts", "Id", "LastModifiedDate", "Name"]);
    assert_eq!(record["Contacts"][0]["LastName"], "Ada");
}

#[tokio::test]
async fn changes_outside_start_and_end_are_skipped() {
    let org = Org::new().await;
    for n in 0..4 {
        org.api.insert("Account", json!({ "Name": n.to_string() }));
        org.api.pass(1);
    }
    let within = json!({ "startTime": "2024-06-01T00:00:01Z", "endTime": "2024-06-01T00:00:03Z" });
    assert_eq!(names(&poll(&org, within, json!({})).await), ["1", "2"]);
    assert_eq!(
        names(&poll(&org, json!({ "startTime": "2024-06-01" }), json!({})).await).len(),
        4
    );
    assert!(
        poll(&org, json!({ "startTime": "2024-06-02" }), json!({}))
            .await
            .events
            .is_empty()
    );
}

#[tokio::test]
async fn snapshots_of_earlier_components_are_understood() {
    let org = Org::new().await;
    for n in 0..3 {
        org.api.insert("Account", json!({ "Name": n.to_string() }));
        org.api.pass(1);
    }
    let id = org.api.records("Account")[1]["Id"].clone();
    for (snapshot, expected) in [
        (
            json!({ "nextStartTime": "2024-06-01T00:00:01.000Z" }),
            &["1", "2"][..],
        ),
        (
            json!({ "previousLastModified": "2024-06-01T00:00:01.000Z" }),
            &["2"],
        ),
        (json!("2024-06-01T00:00:01.000+0000"), &["2"]),
        (
            json!({ "lastModificationTime": "2024-06-01T00:00:01.000Z", "lastSeenId": id }),
            &["2"],
        ),
        (
            json!({ "lastModificationTime": "2024-06-01T00:00:01.000Z" }),
            &["1", "2"],
        ),
    ] {
        let emitted = poll(&org, json!({}), snapshot.clone()).await;
        assert_eq!(names(&emitted), expected, "{snapshot}");
        let now = snapshot_of(&emitted).unwrap();
        assert!(
            now["lastSeenId"].is_string() && now["lastModificationTime"].is_string(),
            "{now}"
        );
    }
}

#[tokio::test]
async fn the_snapshot_wins_over_the_start_time() {
    let org = Org::new().await;
    org.api.insert("Account", json!({ "Name": "0" }));
    org.api.pass(1);
    let emitted = poll(
        &org,
        json!({ "startTime": "2030-01-01" }),
        json!({ "nextStartTime": "2024-06-01T00:00:00Z" }),
    )
    .await;
    assert_eq!(names(&emitted), ["0"]);
}
