//! Triggers: each snapshot stays within the platform's 5 KB, this process knows what it has no room for, and after a restart
//! nothing is missed.

use crate::{
    poll_trouble::{QUERY, UPDATED, failing, fields, names, poll, reports},
    rig::{Org, snapshot_of},
};
use sailor::testing::Emitted;
use salesforce::component;
use salesforce_standin::{Fault, Trouble};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const COUNT: usize = 3_000;
const TIME: &str = "2024-05-01T00:00:00.000+0000";

fn page(records: &[Value]) -> Fault {
    let page = json!({ "totalSize": records.len(), "done": true, "records": records });
    Fault::Json(200, page)
}

/// A list of records that cannot be emitted as changes.
fn bad(n: usize) -> Value {
    let id = format!("001{n}");
    let long = "x".repeat(500);
    match n % 4 {
        0 => json!({ "Id": id, "LastModifiedDate": null }),
        1 => json!({ "Id": id, "LastModifiedDate": format!("{long}{n}") }),
        2 => json!({ "Id": format!("{id}{long}"), "LastModifiedDate": TIME }),
        _ => json!({ "Name": n, "LastModifiedDate": format!("{}{TIME}", " ".repeat(200)) }),
    }
}

/// Polls with a page of all records.
async fn poll_page(org: &Org, records: &[Value], since: &Value) -> Emitted {
    org.api.inject_faults("/query", [page(records)]);
    let fields = fields(UPDATED, json!({ "pageSize": 10_000 }));
    poll(org, UPDATED, &fields, since).await
}

/// [`poll`] checks the size of each snapshot.
#[tokio::test]
async fn many_bad_records_fit_a_snapshot() {
    let mut org = Org::new().await;
    let mut records: Vec<Value> = (0..COUNT).map(bad).collect();
    let first = poll_page(&org, &records, &json!({})).await;
    assert_eq!((reports(&first).len(), names(&first).len()), (COUNT, 0));
    let since = snapshot_of(&first).unwrap();
    let quiet = poll_page(&org, &records, &since).await;
    assert!(quiet.events.is_empty(), "{:?}", quiet.events.len());
    records.push(json!({ "Id": "001new", "Name": "new", "LastModifiedDate": TIME }));
    let next = poll_page(&org, &records, &since).await;
    assert_eq!(
        (names(&next), reports(&next).len()),
        (vec!["new".to_owned()], 0)
    );
    org.component = component().unwrap().into();
    let restarted = poll_page(&org, &records, &since).await;
    assert_eq!(names(&restarted), ["new"]);
    assert!((1..COUNT).contains(&reports(&restarted).len()));
}

#[tokio::test]
async fn what_a_failed_run_has_emitted_is_known_to_its_process() {
    for (restarts, output) in [
        (false, "emitIndividually"),
        (true, "emitIndividually"),
        (false, "emitAll"),
    ] {
        let mut org = Org::new().await;
        let ids: Vec<String> = (0..COUNT)
            .map(|n| {
                org.api
                    .insert("Account", json!({ "Name": format!("{n:04}") }))
            })
            .collect();
        org.api.pass(1);
        org.api.set_page_size(500);
        org.api.set_trouble(failing(&[&ids[COUNT - 1]]));
        let query = "SELECT Id, Name FROM Account ORDER BY Name LIMIT 3000";
        let fields = json!({ "query": query, "outputMethod": output });
        let failed = poll(&org, QUERY, &fields, &json!({})).await;
        assert!(failed.error.is_some());
        org.api.set_trouble(Trouble::default());
        if output == "emitAll" {
            assert_eq!(snapshot_of(&failed), None);
            continue;
        }
        assert_eq!(names(&failed).len(), 2_500);
        if restarts {
            org.component = component().unwrap().into();
        }
        let next = poll(&org, QUERY, &fields, &snapshot_of(&failed).unwrap()).await;
        let all: BTreeSet<String> = names(&failed).into_iter().chain(names(&next)).collect();
        assert_eq!(all.len(), COUNT);
        let count = names(&next).len();
        assert!(
            if restarts {
                (501..COUNT).contains(&count)
            } else {
                count == 500
            },
            "{count}"
        );
        assert_eq!(snapshot_of(&next), Some(json!({})));
    }
}

#[tokio::test]
async fn long_ids_of_a_query_fit_a_snapshot() {
    let org = Org::new().await;
    let long = "x".repeat(2_000);
    let record = |n: usize| json!({ "Id": format!("001{n}{long}"), "Name": n.to_string() });
    let records: Vec<Value> = (0..1_000).map(record).collect();
    let page = json!({
        "totalSize": 2_000, "done": false, "records": records, "nextRecordsUrl": "/services/data/v60.0/query/01gx-1000",
    });
    org.api
        .inject_faults("/query", [Fault::Json(200, page.clone())]);
    let fields = fields(QUERY, json!({}));
    let failed = poll(&org, QUERY, &fields, &json!({})).await;
    assert_eq!(
        (names(&failed).len(), failed.error.is_some()),
        (1_000, true)
    );
    let since = snapshot_of(&failed).unwrap();
    org.api.inject_faults("/query", [Fault::Json(200, page)]);
    let next = poll(&org, QUERY, &fields, &since).await;
    assert_eq!((names(&next).len(), next.error.is_some()), (0, true));
}

#[tokio::test]
async fn snapshots_of_an_earlier_version_are_understood() {
    let org = Org::new().await;
    let records = [
        json!({ "Id": "001a", "LastModifiedDate": null }),
        json!({ "Name": "nameless" }),
        json!({ "Id": "001c", "LastModifiedDate": null }),
    ];
    let since = json!({
        "lastModificationTime": TIME, "lastSeenId": "0010", "done": ["001a", "59f0024b896c41bc", "0 behind 001a"],
    });
    let emitted = poll_page(&org, &records, &since).await;
    let [report] = &reports(&emitted)[..] else {
        panic!("{emitted:?}")
    };
    assert!(report.contains("record 001c"), "{report}");

    let ids: Vec<String> = ["a", "b", "c"]
        .iter()
        .map(|name| org.api.insert("Account", json!({ "Name": name })))
        .collect();
    org.api.pass(1);
    org.api.set_trouble(failing(&[&ids[2]]));
    // Not even its id is returned.
    let behind = format!("0 behind {}", ids[1]);
    let since = json!({ "emitted": [ids[0]], "reported": [behind] });
    let emitted = poll(&org, QUERY, &fields(QUERY, json!({})), &since).await;
    assert_eq!(names(&emitted), ["b"], "{emitted:?}");
    assert!(emitted.error.is_none(), "{emitted:?}");
    assert!(reports(&emitted).is_empty(), "{emitted:?}");
}
