//! One flow: a list, an API with its trouble, and polls until everything has been read.

use super::{
    account::Account,
    list::{Item, List, Notation, Order},
};
use crate::Rig;
use emulator::provider::{EmptyList, Encoding, RandomTrouble, Trouble};
use fastrand::Rng;
use sailor::testing::{Event, Verdict};
use serde_json::{Value, json};

/// How often the list grows.
const ROUNDS: u32 = 3;
/// The most polls after the list has grown for the last time.
const MAX_POLLS: u32 = 60;

pub struct Flow {
    rng: Rng,
    rig: Rig,
    list: List,
    fields: Value,
    trouble: Trouble,
    /// The API's paging lets a request pass over an item.
    can_skip: bool,
    account: Account,
    snapshot: Value,
}

impl Flow {
    pub async fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let orders = [Order::Sorted, Order::Shuffled, Order::LatestFirst];
        let order = orders[rng.usize(..3)];
        let has_since = order != Order::Shuffled && rng.bool();
        let notations = [
            Notation::Iso,
            Notation::Rfc2822,
            Notation::Ctime,
            Notation::Seconds,
            Notation::MillisAsText,
        ];
        // The API compares texts.
        let notation = notations[if has_since { 0 } else { rng.usize(..5) }];
        let (mut fields, can_skip) = paging(&mut rng);
        let has_bad = rng.u8(..4) > 0;
        let page_size = 1 + rng.usize(..8);
        let emit = ["each", "page", "all"][rng.usize(..3)];
        let since = ["updated_since", "updated_from"][rng.usize(..2)];
        let more = json!({
            "itemsPointer": "/records", "pageSize": page_size, "isSorted": order == Order::Sorted,
            "emit": emit, "sinceParameter": has_since.then_some(since),
        });
        fields
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        Self {
            trouble: trouble(&mut rng, seed, has_bad, page_size),
            // An API that returns changes since a time never returns an item without one.
            list: List::new(order, notation, !has_since, has_bad),
            rig: Rig::new().await,
            rng,
            fields,
            can_skip,
            account: Account::default(),
            snapshot: json!({}),
        }
    }

    pub async fn run(mut self) {
        for _ in 0..ROUNDS {
            let count = self.rng.usize(1..10);
            self.list.grow(&mut self.rng, count);
            self.set_up();
            for _ in 0..self.rng.usize(1..3) {
                self.poll().await;
            }
        }
        if !self.can_skip {
            // Only the API can mend what such a list does not let pass over.
            self.trouble.failing_ids.clear();
            self.rig.provider.set_trouble(self.trouble.clone());
        }
        let mut idle = 0;
        for _ in 0..MAX_POLLS {
            let (is_done, is_new) = self.poll().await;
            idle = if is_done && !is_new { idle + 1 } else { 0 };
            if idle == 2 {
                return self.account.assert_complete(&self.list, self.can_skip);
            }
        }
        panic!(
            "it does not come to an end: {}, {:?}",
            self.fields, self.trouble
        );
    }

    fn set_up(&mut self) {
        let items = &self.list.items;
        let bad = items.iter().filter(|item| item.is_bad);
        self.trouble.failing_ids = bad.map(|item| item.id.to_string()).collect();
        self.rig.provider.set_trouble(self.trouble.clone());
        let records: Vec<Value> = items.iter().map(Item::record).collect();
        self.rig.provider.set_records(records);
    }

    /// Polls once. Returns whether it succeeded, and whether it emitted something.
    async fn poll(&mut self) -> (bool, bool) {
        let emitted = self
            .rig
            .poll(self.fields.clone(), self.snapshot.clone())
            .await;
        let mut failure = None;
        for event in &emitted.events {
            assert_eq!(failure, None, "then came {event:?}");
            failure = self.account.take(event, &self.list);
            if let Event::Snapshot(snapshot) = event {
                self.snapshot = snapshot.clone();
            }
        }
        let is_done = emitted.verdict == Verdict::Acknowledged && failure.is_none();
        let is_data = |event: &Event| matches!(event, Event::Data(_));
        (is_done, emitted.events.iter().any(is_data))
    }
}

/// The fields of a way of paging, and whether a request can pass over an item.
fn paging(rng: &mut Rng) -> (Value, bool) {
    match rng.u8(..5) {
        0 => (json!({ "path": "/records/pages", "paging": "page" }), true),
        1 => (
            json!({ "path": "/records/offsets", "paging": "offset" }),
            true,
        ),
        2 => {
            let pointer = "/next_cursor";
            (
                json!({ "path": "/records/cursors", "paging": "cursor", "nextPointer": pointer }),
                false,
            )
        }
        3 => {
            let pointer = "/next";
            (
                json!({ "path": "/records/links", "paging": "nextLink", "nextPointer": pointer }),
                false,
            )
        }
        _ => (
            json!({ "path": "/records/headers", "paging": "linkHeader" }),
            false,
        ),
    }
}

fn trouble(rng: &mut Rng, seed: u64, has_bad: bool, page_size: usize) -> Trouble {
    let encodings = [
        Encoding::Utf8Bom,
        Encoding::Utf16Le,
        Encoding::Utf16BeBom,
        Encoding::Latin1,
        Encoding::Latin1Undeclared,
    ];
    let empty = [
        EmptyList::NoContent,
        EmptyList::EmptyBody,
        EmptyList::Missing,
    ];
    let media_types = ["text/json", "text/html", "application/vnd.x+json", ""];
    Trouble {
        // What the client does not send again by itself: that takes seconds.
        failing_status: Some(501),
        encoding: rng.bool().then(|| encodings[rng.usize(..5)]),
        empty_list: rng.bool().then(|| empty[rng.usize(..3)]),
        content_type: rng.bool().then(|| media_types[rng.usize(..4)].to_owned()),
        half_surrogates: if rng.bool() {
            vec!["name".into()]
        } else {
            vec![]
        },
        max_items: (has_bad && rng.u8(..4) == 0).then(|| 1 + rng.usize(..page_size)),
        // A repeated page is found out, but not a repeated part of a page that is read in parts.
        repeat_pages: u32::from(!has_bad),
        last_page_names_itself: rng.bool(),
        chunked: rng.bool(),
        random: rng.bool().then(|| RandomTrouble {
            seed,
            server_error: 0.01,
            limit: 0.03,
            broken_body: 0.05,
            empty_body: 0.5,
            max_in_a_row: rng.u32(1..3),
        }),
        ..Trouble::default()
    }
}
