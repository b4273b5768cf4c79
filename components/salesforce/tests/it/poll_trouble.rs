//! Polling an API that behaves badly: nothing stops it for good, and each record is emitted or reported exactly once.
//!
//! A failed test shows its random seed; `SAILOR_TEST_SEED` repeats it. `SAILOR_PROMISE_SEEDS` is the number of seeds, which
//! is 50 without it. For more than 200, use `cargo test`, which has no time limit.

use crate::rig::{Org, process::Deployed, snapshot_of};
use emulator::{EventKind, provider::Provider};
use sailor::{
    snapshot::MAX_BYTES,
    testing::{Emitted, Event},
};
use salesforce_standin::{Fault, RandomTrouble, Trouble};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use test_rig::bodies;

pub const UPDATED: &str = "getUpdatedObjectsPolling";
pub const QUERY: &str = "queryTrigger";

pub fn fields(function: &str, more: Value) -> Value {
    let mut fields = match function {
        UPDATED => json!({ "sobject": "Account", "selectedFields": ["Name"] }),
        _ => json!({ "query": "SELECT Id, Name, LastModifiedDate FROM Account ORDER BY Name" }),
    };
    let more = more.as_object().unwrap().clone();
    fields.as_object_mut().unwrap().extend(more);
    fields
}

/// Every snapshot must be within the platform's limit.
pub async fn poll(org: &Org, function: &str, fields: &Value, since: &Value) -> Emitted {
    let emitted = org
        .harness(function, fields.clone(), org.provider.issue())
        .snapshot(since.clone())
        .run(json!({}))
        .await
        .unwrap();
    for event in &emitted.events {
        if let Event::Snapshot(snapshot) = event {
            let size = snapshot.to_string().len();
            assert!(size <= MAX_BYTES, "{size} bytes: {snapshot}");
        }
    }
    emitted
}

/// The reports of records that were passed over.
pub fn reports(emitted: &Emitted) -> Vec<&str> {
    let texts = emitted.events.iter().filter_map(|event| match event {
        Event::Error(text) if text.contains("passed over") => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

pub fn names(emitted: &Emitted) -> Vec<String> {
    let records = emitted.data::<Value>().into_iter();
    let records = records.filter(|record| record != &json!({}));
    records
        .map(|record| record["Name"].as_str().unwrap().to_owned())
        .collect()
}

/// Accounts with these names, one for each second.
async fn org(names: &[&str]) -> (Org, Vec<String>) {
    let org = Org::new().await;
    let mut ids = vec![];
    for name in names {
        ids.push(org.api.insert("Account", json!({ "Name": name })));
        org.api.pass(1);
    }
    (org, ids)
}

pub fn failing(ids: &[&String]) -> Trouble {
    Trouble {
        calls: "/query".into(),
        failing_ids: ids.iter().map(|id| (*id).clone()).collect(),
        // Not retried by the runtime, so that the test is fast.
        failing_status: Some(501),
        ..Trouble::default()
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_returned_is_passed_over() {
    for function in [UPDATED, QUERY] {
        for bad in [&[0][..], &[2], &[4], &[1, 2], &[0, 4]] {
            let (org, ids) = org(&["a", "b", "c", "d", "e"]).await;
            let bad_ids: Vec<&String> = bad.iter().map(|at| &ids[*at]).collect();
            org.api.set_trouble(failing(&bad_ids));
            let fields = fields(function, json!({}));
            let first = poll(&org, function, &fields, &json!({})).await;
            let wanted: Vec<&str> = ["a", "b", "c", "d", "e"]
                .into_iter()
                .enumerate()
                .filter(|(at, _)| !bad.contains(at))
                .map(|(_, name)| name)
                .collect();
            assert_eq!(names(&first), wanted, "{function} {bad:?}");
            assert_eq!(reports(&first).len(), bad.len(), "{function}: {first:?}");
            let since = snapshot_of(&first).unwrap();
            let again = poll(&org, function, &fields, &since).await;
            assert!(reports(&again).is_empty(), "{function} {bad:?}: {again:?}");
            assert_eq!(again.error.map(|error| error.to_string()), None);
        }
    }
}

#[tokio::test]
async fn a_record_too_large_to_read_is_named() {
    for function in [UPDATED, QUERY] {
        let (org, ids) = org(&["a", "b", "c"]).await;
        let large = "x".repeat(17 << 20);
        org.api
            .update("Account", &ids[1], json!({ "Name": "b", "Website": large }));
        org.api.pass(1);
        let fields = match function {
            UPDATED => json!({ "sobject": "Account" }),
            _ => {
                json!({ "query": "SELECT Name, Website FROM Account WHERE (Name != 'z' OR Name = 'y')" })
            }
        };
        let emitted = poll(&org, function, &fields, &json!({})).await;
        assert_eq!(names(&emitted), ["a", "c"], "{function}");
        let [report] = &reports(&emitted)[..] else {
            panic!("{function}: {:?}", reports(&emitted))
        };
        assert!(
            report.contains(&ids[1]) && report.contains("larger than 16 MB"),
            "{report}"
        );
        let since = snapshot_of(&emitted).unwrap();
        let again = poll(&org, function, &fields, &since).await;
        assert!(reports(&again).is_empty(), "{function}: {again:?}");
    }
}

#[tokio::test]
async fn an_outage_passes_no_record_over() {
    for function in [UPDATED, QUERY] {
        let (org, _) = org(&["a", "b", "c"]).await;
        let fields = fields(function, json!({}));
        org.api.set_trouble(Trouble {
            failing_calls: Some("/query".into()),
            failing_status: Some(501),
            ..Trouble::default()
        });
        let failed = poll(&org, function, &fields, &json!({})).await;
        assert!(
            failed.error.is_some() && reports(&failed).is_empty(),
            "{failed:?}"
        );
        assert_eq!((names(&failed).len(), snapshot_of(&failed)), (0, None));
        org.api.set_trouble(Trouble::default());
        let emitted = poll(&org, function, &fields, &json!({})).await;
        assert_eq!(names(&emitted), ["a", "b", "c"], "{function}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_passes_no_record_over() {
    for function in [UPDATED, QUERY] {
        let (org, _) = org(&["a", "b", "c"]).await;
        org.api
            .inject_faults("/query", [const { Fault::DropMidBody }; 2]);
        let fields = fields(function, json!({ "pageSize": 1 }));
        let emitted = poll(&org, function, &fields, &json!({})).await;
        assert_eq!(names(&emitted), ["a", "b", "c"], "{function}: {emitted:?}");
        assert!(reports(&emitted).is_empty(), "{function}: {emitted:?}");
    }
}

#[tokio::test]
async fn a_record_without_a_time_is_reported_once() {
    let record = |id: &str, time: Value| json!({ "Id": id, "Name": id, "LastModifiedDate": time });
    let page = |records: Vec<Value>| {
        let page = json!({ "totalSize": records.len(), "done": true, "records": records });
        Fault::Json(200, page)
    };
    let time = json!("2024-05-01T00:00:00.000+0000");
    for (records, wanted) in [
        (
            vec![record("001a", time.clone()), record("001b", Value::Null)],
            "record 001b",
        ),
        (
            vec![record("001b", json!("soon")), record("001a", time.clone())],
            "record 001b",
        ),
        (
            vec![record("001a", time.clone()), json!({ "Name": "001b" })],
            "a record behind 001a",
        ),
    ] {
        let (org, _) = org(&[]).await;
        let fields = fields(UPDATED, json!({}));
        org.api.inject_faults("/query", [page(records.clone())]);
        let first = poll(&org, UPDATED, &fields, &json!({})).await;
        assert_eq!(names(&first), ["001a"], "{first:?}");
        let [report] = &reports(&first)[..] else {
            panic!("{first:?}")
        };
        assert!(
            report.contains(wanted) && report.contains("LastModifiedDate"),
            "{report}"
        );
        // Salesforce returns it again until the position is past it.
        let since = snapshot_of(&first).unwrap();
        let behind = records.into_iter().filter(|record| record["Id"] != "001a");
        org.api.inject_faults("/query", [page(behind.collect())]);
        let again = poll(&org, UPDATED, &fields, &since).await;
        let is_before = since.get("done").is_none();
        assert_eq!(reports(&again).len(), usize::from(is_before), "{again:?}");
        assert!(names(&again).is_empty(), "{again:?}");
    }
}

#[tokio::test]
async fn a_query_with_a_limit_fails_with_its_bad_page() {
    let (org, ids) = org(&["a", "b", "c"]).await;
    org.api.set_trouble(failing(&[&ids[2]]));
    org.api.set_page_size(1);
    let fields = json!({ "query": "SELECT Id, Name FROM Account ORDER BY Name LIMIT 3" });
    let first = poll(&org, QUERY, &fields, &json!({})).await;
    assert_eq!((names(&first).len(), first.error.is_some()), (2, true));
    // What was emitted is not repeated when the page is well again.
    org.api.set_trouble(Trouble::default());
    let since = snapshot_of(&first).unwrap();
    let second = poll(&org, QUERY, &fields, &since).await;
    assert_eq!(
        (names(&second), snapshot_of(&second)),
        (vec!["c".to_owned()], Some(json!({})))
    );
    // The next run is complete.
    let third = poll(&org, QUERY, &fields, &json!({})).await;
    assert_eq!(names(&third), ["a", "b", "c"]);
}

#[tokio::test]
async fn snapshots_of_other_functions_are_ignored_by_queries() {
    let (org, _) = org(&["a"]).await;
    for since in [
        json!("2024-06-01T00:00:00Z"),
        json!({ "nextStartTime": "x" }),
        json!([1]),
    ] {
        let emitted = poll(&org, QUERY, &fields(QUERY, json!({})), &since).await;
        assert_eq!(names(&emitted), ["a"], "{since}");
    }
}

#[tokio::test]
async fn in_memory_a_record_too_large_is_reported_once() {
    let large = "b".repeat(30_000);
    for (function, more) in [
        (UPDATED, json!({})),
        (UPDATED, json!({ "emitBehavior": "fetchPage" })),
        (QUERY, json!({})),
        (QUERY, json!({ "outputMethod": "emitAll" })),
    ] {
        let (org, ids) = org(&["a", &large, "c"]).await;
        let harness = org.harness(function, fields(function, more), org.provider.issue());
        let harness = harness.message_size_limit(20_000);
        let emitted = harness.run(json!({})).await.unwrap();
        assert_eq!(emitted.data::<Value>().len(), 2, "{function}");
        let errors = emitted.events.iter().filter_map(|event| match event {
            Event::Error(error) => Some(error.as_str()),
            _ => None,
        });
        let [error] = errors.collect::<Vec<_>>()[..] else {
            panic!("{emitted:?}")
        };
        assert!(
            error.contains(&ids[1]) && error.contains("limit of 20000"),
            "{error}"
        );
    }
}

/// A process with a limit for messages, and accounts of which the second is larger.
async fn with_large_record(function: &'static str, more: Value) -> Deployed {
    let deployed = Deployed::new(function, fields(function, more), Provider::issue).await;
    let deployed = deployed.variable("ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT", "20000");
    for (name, size) in [("a", 1), ("b", 30_000), ("c", 1)] {
        let name = format!("{name}{}", " ".repeat(size));
        deployed.api.insert("Account", json!({ "Name": name }));
        deployed.api.pass(1);
    }
    deployed
}

#[tokio::test]
async fn a_record_too_large_to_emit_is_reported() {
    for (function, more, list) in [
        (UPDATED, json!({}), None),
        (
            UPDATED,
            json!({ "emitBehavior": "fetchPage" }),
            Some("results"),
        ),
        (QUERY, json!({}), None),
        (QUERY, json!({ "outputMethod": "emitAll" }), Some("records")),
    ] {
        let deployed = with_large_record(function, more.clone()).await;
        let component = deployed.start();
        deployed.send(json!({}));
        let data = deployed.events(EventKind::Data, 2).await;
        let emitted: Vec<String> = bodies(&data)
            .into_iter()
            .map(|body| {
                list.map_or(body, |list| &body[list][0])["Name"]
                    .as_str()
                    .unwrap()
                    .trim()
                    .to_owned()
            })
            .collect();
        assert_eq!(emitted, ["a", "c"], "{function} {more}");
        let id = deployed.api.records("Account")[1]["Id"]
            .as_str()
            .unwrap()
            .to_owned();
        let reported = deployed.errors();
        assert_eq!(reported.len(), 1, "{function} {more}: {reported:?}");
        assert!(reported[0].contains(&id), "{reported:?}");
        // The next run does not report it again, and the trigger for changes has nothing new.
        let (errors, data) = (deployed.errors().len(), data.len());
        deployed.send(json!({}));
        let more = usize::from(function == QUERY) * if list.is_some() { 1 } else { 2 };
        let data_after = deployed.events(EventKind::Data, data + more).await.len();
        assert_eq!(
            (deployed.errors().len(), data_after),
            (errors, data + more),
            "{function} {more}"
        );
        deployed.stop(component, &[]).await;
    }
}

/// Where a seed leads: records, those that Salesforce cannot return, and sizes of pages.
struct World {
    org: Org,
    function: &'static str,
    fields: Value,
    bad: Vec<String>,
    rng: fastrand::Rng,
    /// How often each record was emitted, by its name.
    emitted: BTreeMap<String, u32>,
    reported: usize,
}

impl World {
    async fn new(function: &'static str, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let org = Org::new().await;
        let mut world = Self {
            function,
            fields: fields(function, json!({ "pageSize": rng.usize(1..8) })),
            bad: vec![],
            org,
            emitted: BTreeMap::new(),
            reported: 0,
            rng,
        };
        world.org.api.set_page_size(world.rng.usize(1..6));
        for _ in 0..world.rng.usize(1..20) {
            let is_bad = world.bad.len() < 4 && world.rng.f64() < 0.2;
            world.insert(is_bad);
        }
        world.org.api.pass(1);
        let random = RandomTrouble {
            seed,
            limit: 0.03,
            broken_body: 0.08,
            ..RandomTrouble::default()
        };
        world.org.api.set_trouble(Trouble {
            random: Some(random),
            ..failing(&world.bad.iter().collect::<Vec<_>>())
        });
        world
    }

    fn insert(&mut self, is_bad: bool) {
        let name = format!("{:03} {}", self.rng.u32(..1000), self.emitted.len());
        let id = self.org.api.insert("Account", json!({ "Name": name }));
        if is_bad {
            self.bad.push(id);
        } else {
            self.emitted.insert(name, 0);
        }
        if self.rng.bool() {
            self.org.api.pass(1);
        }
    }

    /// Polls until a poll succeeds, or twice for changes: the last one has nothing new.
    async fn poll_all(&mut self) {
        let (mut since, mut successes) = (json!({}), 0);
        let needed = if self.function == UPDATED { 2 } else { 1 };
        for _ in 0..60 {
            let emitted = poll(&self.org, self.function, &self.fields, &since).await;
            for name in names(&emitted) {
                *self.emitted.get_mut(&name).unwrap() += 1;
            }
            self.reported += reports(&emitted).len();
            since = snapshot_of(&emitted).unwrap_or(since);
            successes += usize::from(emitted.error.is_none());
            if successes == needed {
                return;
            }
            if successes == 0 && self.rng.f64() < 0.3 {
                self.insert(false);
                self.org.api.pass(1);
            }
        }
        panic!("no poll succeeds: {since}");
    }
}

async fn each_record_once(function: &'static str) {
    let variable = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match variable("SAILOR_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("SAILOR_PROMISE_SEEDS").unwrap_or(50),
    };
    for seed in seeds {
        println!("SAILOR_TEST_SEED={seed}");
        let mut world = World::new(function, seed).await;
        world.poll_all().await;
        let others: Vec<_> = world
            .emitted
            .iter()
            .filter(|(_, count)| **count != 1)
            .collect();
        assert!(others.is_empty(), "not emitted once: {others:?}");
        assert_eq!(world.reported, world.bad.len(), "reports");
    }
}

#[tokio::test]
async fn each_changed_record_is_emitted_or_reported_once() {
    each_record_once(UPDATED).await;
}

#[tokio::test]
async fn each_found_record_is_emitted_or_reported_once() {
    each_record_once(QUERY).await;
}
