//! The trigger of a list in numbered pages, while the list changes.

use super::{component, harness};
use emulator::provider::{PreparedResponse, Provider};
use sailor::testing::Event;
use serde_json::json;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

// A block of the page.
include!("changed_issues.rs");

/// The issues in the order of the list: by time, and those of one time by id.
type Issues = Arc<Mutex<Vec<(String, u64)>>>;

/// An API that lists `issues` in pages. After each of the first `changes` requests, an issue of the first page changes.
async fn api(issues: Issues, changes: u64) -> Provider {
    let provider = super::provider().await;
    let left = Mutex::new(changes);
    provider.handle("GET /api/issues", move |call| {
        let query = call.decoded_query();
        let parameter = |name: &str| {
            let mut parameters = query.split('&').filter_map(|pair| pair.split_once('='));
            parameters.find(|(key, _)| *key == name).unwrap().1
        };
        let number = |name: &str| parameter(name).parse::<usize>().unwrap();
        let (page, size) = (number("page"), number("per_page"));
        let mut issues = issues.lock().unwrap();
        let from = issues.partition_point(|(time, _)| time.as_str() < parameter("updated_from"));
        let listed = issues[from..].iter().skip((page - 1) * size).take(size);
        let listed = listed.map(|(time, id)| json!({ "id": id, "updated_at": time }));
        let response = PreparedResponse::json(200, &listed.collect());
        let mut left = left.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            let (_, id) = issues.remove(from);
            issues.push((format!("2026-01-02T{:02}", changes - *left), id));
        }
        response
    });
    provider
}

/// What is emitted by poll after poll, until one has nothing to emit.
async fn emitted_by_all_polls(issues: &Issues, changes: u64) -> Vec<(u64, String)> {
    let provider = api(issues.clone(), changes).await;
    let component = component().trigger("poll", ChangedIssues::default());
    let poll = async |snapshot: Value| {
        let harness = harness(&component, "poll", &provider);
        harness.snapshot(snapshot).run(json!({})).await.unwrap()
    };
    let (mut emitted, mut snapshot) = (Vec::new(), json!({}));
    loop {
        let run = poll(snapshot).await;
        let before = emitted.len();
        emitted.extend(
            run.data::<Issue>()
                .into_iter()
                .map(|it| (it.id, it.updated_at)),
        );
        let Some(Event::Snapshot(last)) = run.events.last() else {
            panic!("{run:?}")
        };
        if emitted.len() == before {
            return emitted;
        }
        snapshot = last.clone();
    }
}

fn issues(counts: [(&str, u64); 2]) -> Issues {
    let times = counts
        .into_iter()
        .flat_map(|(time, count)| (0..count).map(move |_| time.to_owned()));
    Arc::new(Mutex::new(times.zip(1..).collect()))
}

#[tokio::test]
async fn no_issue_is_missed_or_repeated_while_the_list_changes() {
    for counts in [
        // Many at one time, before many others at another one.
        [("2026-01-01T01", 250), ("2026-01-01T02", 450)],
        // Exactly as many as a page has.
        [("2026-01-01T01", 100), ("2026-01-01T02", 200)],
        // None.
        [("2026-01-01T01", 0), ("2026-01-01T02", 0)],
    ] {
        for changes in [0, 1, 7, 30] {
            let changes = changes.min(counts[0].1 + counts[1].1);
            let issues = issues(counts);
            let emitted = emitted_by_all_polls(&issues, changes).await;
            let distinct: HashSet<_> = emitted.iter().cloned().collect();
            assert_eq!(
                distinct.len(),
                emitted.len(),
                "repeated: {counts:?}, {changes} changes"
            );
            for (time, id) in issues.lock().unwrap().iter() {
                let is_there = distinct.contains(&(*id, time.clone()));
                assert!(
                    is_there,
                    "issue {id} of {time} is missed: {counts:?}, {changes} changes"
                );
            }
        }
    }
}
