//! What became of each item: the account of all events of a flow.

use super::list::{Item, List};
use sailor::{http::time_of, testing::Event};
use serde_json::Value;
use std::collections::BTreeMap;

/// What became of an item.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fate {
    pub emitted: u32,
    pub reported: u32,
}

/// What became of all items so far.
#[derive(Debug, Default)]
pub struct Account(BTreeMap<u64, Fate>);

impl Account {
    pub fn fate(&self, id: u64) -> Fate {
        self.0.get(&id).copied().unwrap_or_default()
    }

    /// Whether an item was emitted or reported.
    fn has(&self, item: &Item) -> bool {
        self.fate(item.id) != Fate::default()
    }

    /// Takes an event. Returns the reason when the poll has failed.
    pub fn take(&mut self, event: &Event, list: &List) -> Option<String> {
        match event {
            Event::Data(message) => self.emitted(&message["body"]),
            Event::Snapshot(snapshot) => self.assert_not_past(snapshot, list),
            Event::Error(text) if text.contains("the API cannot return it") => {
                let item = self.unreadable(text, list);
                self.0.entry(item).or_default().reported += 1;
            }
            Event::Error(text) if text.contains(" is passed over: ") => {
                let id = number_after(text, "item ").expect(text);
                let item = list.items.iter().find(|item| item.id == id);
                assert_eq!(item.map(|item| item.minute), Some(None), "{text}");
                self.0.entry(id).or_default().reported += 1;
            }
            Event::Error(text) if text.starts_with("two pages contain only") => {}
            Event::Error(text) | Event::Rebound(text) => return Some(text.clone()),
            _ => {}
        }
        None
    }

    fn emitted(&mut self, body: &Value) {
        let single = std::slice::from_ref(body);
        for item in body["items"].as_array().map_or(single, Vec::as_slice) {
            let id = item["id"].as_u64().expect("an item has an id");
            let fate = self.0.entry(id).or_default();
            fate.emitted += 1;
            assert_eq!(fate.emitted, 1, "item {id} was emitted again");
        }
    }

    /// The item that an error is about: it is next to the items that the error names.
    fn unreadable(&self, text: &str, list: &List) -> u64 {
        let index = |name: &str| {
            let id = number_after(text, name)?;
            Some(
                list.items
                    .iter()
                    .position(|item| item.id == id)
                    .expect(text),
            )
        };
        let before = index(", between item ").or_else(|| index(", after item "));
        let after = index(" and item ").or_else(|| index(", before item "));
        let range = before.map_or(0, |before| before + 1)..after.unwrap_or(list.items.len());
        let gap = &list.items[range];
        let open = |item: &&Item| !self.has(item);
        let mut forward = gap.iter().filter(open);
        let found = if before.is_some() {
            forward.next()
        } else {
            forward.next_back()
        };
        found
            .unwrap_or_else(|| panic!("nothing is left there: {text}"))
            .id
    }

    fn assert_not_past(&self, snapshot: &Value, list: &List) {
        let Some(since) = time_of(&snapshot["since"]) else {
            return;
        };
        for item in &list.items {
            let is_past = item.seconds().is_some_and(|at| at < since.as_second());
            assert!(!is_past || self.has(item), "{snapshot} is past {item:?}");
        }
    }

    /// Asserts that every item has met its fate. `can_skip`: the API's items can be passed over.
    pub fn assert_complete(&self, list: &List, can_skip: bool) {
        for item in &list.items {
            let Fate { emitted, reported } = self.fate(item.id);
            assert!(reported <= 1, "{item:?} was reported {reported} times");
            if item.minute.is_none() || (item.is_bad && can_skip) {
                assert_eq!((emitted, reported), (0, 1), "{item:?}");
            } else {
                assert!(emitted + reported > 0, "{item:?} is lost");
            }
        }
    }
}

/// The number after the first occurrence of a text.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(name)?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}
