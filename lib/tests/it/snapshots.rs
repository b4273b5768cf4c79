//! pollItems: each snapshot stays within the platform's 5 KB, this process knows what it has no room for, and after a
//! restart nothing is missed.

use super::{Rig, ids, snapshot};
use emulator::provider::Fault;
use reference_component::component;
use sailor::testing::{Emitted, Event, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const TIME: &str = "2026-01-31T10:00:00Z";
const COUNT: u64 = 3_000;

fn fields() -> Value {
    json!({ "path": "/records", "itemsPointer": "/records" })
}

fn item(id: impl Into<Value>, time: impl Into<Value>) -> Value {
    json!({ "id": id.into(), "updated_at": time.into() })
}

/// Lists of many items, with the number of those that can be emitted.
fn lists() -> Vec<(&'static str, Vec<Value>, u64)> {
    let list = |make: fn(u64) -> Value| {
        let mut list: Vec<Value> = (0..COUNT).map(make).collect();
        list.push(item(COUNT, TIME));
        list
    };
    let long_id = |id: u64| json!(format!("{id}{}", "\u{1}é".repeat(200)));
    let ids = (0..COUNT / 4).map(|id| item(long_id(id), TIME));
    let long_times = (0..COUNT / 4).map(|id| item(id, format!("{id} {}", "x".repeat(3_000))));
    vec![
        ("one time", list(|id| item(id, TIME)), COUNT + 1),
        ("long ids", ids.collect(), COUNT / 4),
        ("no time", list(|id| item(id, Value::Null)), 1),
        (
            "no id",
            list(|id| json!({ "updated_at": TIME, "name": id })),
            1,
        ),
        (
            "another kind",
            list(|id| item(id, if id == 0 { json!(TIME) } else { json!(id) })),
            2,
        ),
        (
            "long times",
            [item(COUNT, TIME)].into_iter().chain(long_times).collect(),
            1,
        ),
    ]
}

fn emitted_count(emitted: &Emitted) -> u64 {
    emitted.data::<Value>().len() as u64
}

fn reports(emitted: &Emitted) -> usize {
    let reports = emitted.events.iter();
    reports
        .filter(|event| matches!(event, Event::Error(_)))
        .count()
}

/// [`Rig::poll`] checks the size of each snapshot.
#[tokio::test]
async fn a_snapshot_is_small_whatever_the_list_has() {
    for (name, mut list, count) in lists() {
        let mut rig = Rig::new().await;
        rig.provider.set_records(list.clone());
        let first = rig.poll(fields(), json!({})).await;
        assert_eq!(emitted_count(&first), count, "{name}");
        let second = rig.poll(fields(), snapshot(&first)).await;
        assert_eq!((emitted_count(&second), reports(&second)), (0, 0), "{name}");
        let before = snapshot(&second);
        // One more with the same time, for this process and for one that starts now.
        list.push(item(1_000_000, TIME));
        rig.provider.set_records(list);
        let third = rig.poll(fields(), before.clone()).await;
        assert_eq!(
            (ids(&third), reports(&third)),
            (vec![1_000_000], 0),
            "{name}"
        );
        rig.component = component().unwrap();
        let restarted = rig.poll(fields(), before).await;
        let last = restarted.data::<Value>().pop().unwrap();
        assert_eq!(last["id"], 1_000_000, "{name}");
        assert!(emitted_count(&restarted) <= count + 1, "{name}");
        let again = rig.poll(fields(), snapshot(&restarted)).await;
        assert_eq!((emitted_count(&again), reports(&again)), (0, 0), "{name}");
    }
}

#[tokio::test]
async fn what_a_failed_poll_has_emitted_is_known_to_its_process() {
    for restarts in [false, true] {
        let mut rig = Rig::new().await;
        rig.provider
            .set_records((0..COUNT).map(|id| item(id, id + 1)));
        let pages = [Fault::Normal, Fault::Normal, Fault::Normal, Fault::Normal];
        rig.provider
            .script_api(pages.into_iter().chain([Fault::Json(403, json!({}))]));
        let paged = json!({
            "path": "/records/pages", "itemsPointer": "/records", "paging": "page", "pageSize": 500,
        });
        let failed = rig.poll(paged.clone(), json!({})).await;
        assert_eq!(
            (ids(&failed).len(), failed.verdict),
            (2_000, Verdict::Rejected)
        );
        if restarts {
            rig.component = component().unwrap();
        }
        let next = rig.poll(paged.clone(), snapshot(&failed)).await;
        let emitted = ids(&next);
        let all: BTreeSet<u64> = ids(&failed).into_iter().chain(emitted.clone()).collect();
        assert_eq!(all, (0..COUNT).collect());
        if restarts {
            assert!((1_000..3_000).contains(&emitted.len()), "{}", emitted.len());
        } else {
            assert_eq!(emitted, (2_000..COUNT).collect::<Vec<_>>());
        }
        assert!(ids(&rig.poll(paged, snapshot(&next)).await).is_empty());
    }
}

#[tokio::test]
async fn a_start_value_that_has_no_room_is_named() {
    let rig = Rig::new().await;
    let mut long = fields();
    long["startValue"] = "x".repeat(600).into();
    let emitted = rig.poll(long, json!({})).await;
    assert!(super::error_text(&emitted).contains("`startValue` has more than 500 bytes"));
}
