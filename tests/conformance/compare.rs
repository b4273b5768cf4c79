//! Where two records differ, in words.

use super::record::{Call, Published, Record};
use serde_json::Value;

/// What differs in `ours`. Order does not count among messages that were processed `in_parallel`.
pub(super) fn differences(peer: &Record, ours: &Record, in_parallel: bool) -> Vec<String> {
    let mut found = Vec::new();
    if peer.keys() == ours.keys() {
        let (theirs, ours) = (ordered(peer, in_parallel), ordered(ours, in_parallel));
        for (at, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
            differing(
                &mut found,
                &format!("properties of #{at}"),
                &theirs.props,
                &ours.props,
            );
            differing(
                &mut found,
                &format!("headers of #{at}"),
                &theirs.headers,
                &ours.headers,
            );
            differing(
                &mut found,
                &format!("body of #{at}"),
                &first_lines(&theirs.body),
                &first_lines(&ours.body),
            );
        }
    } else {
        found.push(format!(
            "published: peer {:?}, ours {:?}",
            peer.keys(),
            ours.keys()
        ));
    }
    let same_calls = peer.api.len() == ours.api.len()
        && peer.api.iter().zip(&ours.api).all(|(a, b)| same_call(a, b));
    if !same_calls {
        found.push(format!(
            "calls: peer {:?}\n      ours {:?}",
            peer.api, ours.api
        ));
    }
    found.extend(endings(peer, ours));
    found
}

/// Returns a body without the lines that our errors add to those of the Node sailor, such as the names that there are.
fn first_lines(body: &Value) -> Value {
    match body {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let value = match value {
                    Value::String(text) if name == "message" => text.lines().next().into(),
                    value => first_lines(value),
                };
                (name.clone(), value)
            })
            .collect(),
        body => body.clone(),
    }
}

/// How messages were settled and how the process ended.
pub(super) fn endings(wanted: &Record, ours: &Record) -> Vec<String> {
    let mut found = Vec::new();
    differing(
        &mut found,
        "dead-lettered",
        &wanted.dead_lettered,
        &ours.dead_lettered,
    );
    differing(
        &mut found,
        "left in the queue",
        &wanted.left_in_queue,
        &ours.left_in_queue,
    );
    differing(
        &mut found,
        "exited by itself",
        &wanted.exited_by_itself,
        &ours.exited_by_itself,
    );
    differing(
        &mut found,
        "exited in time with status 0",
        &wanted.exit_ok,
        &ours.exit_ok,
    );
    found
}

fn differing<T: PartialEq + std::fmt::Display>(
    found: &mut Vec<String>,
    what: &str,
    peer: &T,
    ours: &T,
) {
    if peer != ours {
        found.push(format!("{what}: peer {peer}\n      ours {ours}"));
    }
}

fn ordered(record: &Record, in_parallel: bool) -> Vec<&Published> {
    let mut published: Vec<_> = record.published.iter().collect();
    if in_parallel {
        published.sort_by_key(|published| published.body.to_string());
    }
    published
}

/// All 2xx statuses are equal: which one it is depends on the platform.
fn same_call(peer: &Call, ours: &Call) -> bool {
    let class = |status: Option<u16>| status.map(|status| if status < 300 { 200 } else { status });
    let content = |call: &Call| {
        if call.object == Value::Null {
            first_lines(&call.body)
        } else {
            call.object.clone()
        }
    };
    (
        &peer.method,
        &peer.path,
        &peer.auth,
        content(peer),
        class(peer.status),
    ) == (
        &ours.method,
        &ours.path,
        &ours.auth,
        content(ours),
        class(ours.status),
    )
}
