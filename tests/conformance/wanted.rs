//! Where our sailor differs from the Node sailor on purpose. `tests/conformance/README.md` says why.

use super::{
    compare,
    record::{Published, Record},
};
use serde_json::Value;

/// The expected result, in place of the recorded one.
pub(super) struct Wanted {
    /// The routing keys of published messages, in any order.
    keys: &'static [&'static str],
    dead_lettered: u32,
    /// Further rules for the record.
    also: Option<Rule>,
}

/// A rule for a record, and what to call it.
type Rule = (&'static str, fn(&Record) -> bool);

/// None if the scenario must end as it did for the Node sailor.
pub(super) fn instead(scenario: &str) -> Option<Wanted> {
    let (keys, dead_lettered): (&'static [_], _) = match scenario {
        "payload that cannot be decrypted" | "lightweight object is missing" => (&["error.key"], 1),
        "bad message, then a good one" => (&["data.key", "error.key"], 1),
        "error with reply_to" => (&["error.key", "reply.key"], 1),
        "same message id delivered twice" => (&["data.key", "data.key"], 0),
        "lightweight message is fetched" => (&["data.key"], 0),
        _ => return None,
    };
    let also: Option<Rule> = match scenario {
        "lightweight message is fetched" => Some((
            "the object's id is gone from the message",
            object_id_is_gone,
        )),
        "bad message, then a good one" => Some(("the error comes first", |ours| {
            ours.keys()[0] == "error.key"
        })),
        "same message id delivered twice" => {
            Some(("both messages were processed", both_were_processed))
        }
        _ => None,
    };
    Some(Wanted {
        keys,
        dead_lettered,
        also,
    })
}

impl Wanted {
    /// The record to wait for. It has no bodies, since they are not compared.
    pub(super) fn goal(&self, peer: &Record) -> Record {
        let published = |key: &&str| Published {
            key: (*key).to_owned(),
            props: Value::Null,
            headers: Value::Null,
            body: Value::Null,
        };
        Record {
            published: self.keys.iter().map(published).collect(),
            dead_lettered: self.dead_lettered,
            left_in_queue: 0,
            exited_by_itself: false,
            exit_ok: true,
            api: peer.api.clone(),
        }
    }

    pub(super) fn differences(&self, goal: &Record, ours: &Record) -> Vec<String> {
        let mut keys = ours.keys();
        keys.sort_unstable();
        if keys != self.keys {
            return vec![format!("published: wanted {:?}, ours {keys:?}", self.keys)];
        }
        let mut found = compare::endings(goal, ours);
        if let Some((what, holds)) = self.also
            && !holds(ours)
        {
            found.push(format!("does not hold: {what}"));
        }
        found
    }
}

fn object_id_is_gone(ours: &Record) -> bool {
    let headers = &ours.published[0].body["body"]["msg"]["headers"];
    headers.is_object() && headers.get("x-ipaas-object-storage-id").is_none()
}

fn both_were_processed(ours: &Record) -> bool {
    let of = |n: u8| {
        ours.published
            .iter()
            .any(|published| published.body["body"]["n"] == n)
    };
    of(1) && of(2)
}
