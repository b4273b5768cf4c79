//! A mailbox that grows and changes, and what became of its items.

use crate::rig::{contact, mail, with};
use fastrand::Rng;
use graph_standin::{AttachmentKind, Graph};
use sailor::{http::time_of, testing::Event};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// 2024-05-01T10:00:00Z in seconds since 1970.
const START: u64 = 1_714_557_600;

/// A version of an item. Each version has a name of its own.
#[derive(Debug)]
struct Version {
    id: String,
    name: String,
    second: u64,
    is_bad: bool,
    /// A later version has replaced it.
    is_old: bool,
    emitted: u32,
    reported: u32,
}

#[derive(Debug)]
pub struct Mailbox {
    is_mail: bool,
    /// Whether the ids of bad items can be listed.
    pub is_listed: bool,
    versions: Vec<Version>,
    /// The latest time of change so far.
    second: u64,
    /// Reports of items without an id.
    unidentified: u32,
    /// The files that messages lack, and the reports of such files.
    lacking: u32,
    reported_files: u32,
}

impl Mailbox {
    pub fn new(is_mail: bool, is_listed: bool) -> Self {
        Self {
            is_mail,
            is_listed,
            versions: vec![],
            second: 0,
            unidentified: 0,
            lacking: 0,
            reported_files: 0,
        }
    }

    /// The ids of items that cannot be returned.
    pub fn bad_ids(&self) -> Vec<String> {
        let bad = self.versions.iter().filter(|version| version.is_bad);
        bad.map(|version| version.id.clone()).collect()
    }

    /// Adds items that changed at the time of the last one or later.
    pub fn grow(&mut self, rng: &mut Rng, graph: &Graph) {
        // Without ids, a bad item is known by those beside it.
        let first = self.second + u64::from(!self.is_listed);
        let mut latest = first;
        for _ in 0..rng.usize(1..10) {
            let second = first + rng.u64(0..4);
            latest = latest.max(second);
            let name = self.versions.len().to_string();
            let item = self.item(rng, &name, second);
            let id = if self.is_mail {
                graph.add_message("inbox", item)
            } else {
                graph.add_contact(item)
            };
            if self.is_mail && rng.u8(..3) == 0 {
                let file = graph.attach(&id, AttachmentKind::File, "a.csv", "text/csv", "x");
                if rng.bool() {
                    graph.break_content(&file, 501);
                }
            }
            let is_bad = rng.u8(..7) == 0;
            if is_bad && self.is_listed {
                graph.break_content(&id, 501);
            }
            self.add(id, name, second, is_bad);
        }
        self.second = latest;
    }

    /// Changes an item: it moves to the end of the list.
    pub fn change(&mut self, rng: &mut Rng, graph: &Graph) {
        self.second += 1;
        let current: Vec<usize> = (0..self.versions.len())
            .filter(|at| !self.versions[*at].is_old && !self.versions[*at].is_bad)
            .collect();
        let Some(at) = rng.choice(current) else {
            return;
        };
        let name = self.versions.len().to_string();
        let item = self.item(rng, &name, self.second);
        self.versions[at].is_old = true;
        let id = self.versions[at].id.clone();
        assert!(graph.change(&id, item.as_object().unwrap().clone()));
        self.add(id, name, self.second, false);
    }

    fn item(&self, rng: &mut Rng, name: &str, second: u64) -> Value {
        let time = format!(
            "2024-05-01T10:{:02}:{:02}.{:03}Z",
            second / 60,
            second % 60,
            rng.u32(..1000)
        );
        let text = json!({ "body": { "contentType": "html", "content": "<p>Zoë – €</p>" } });
        if self.is_mail {
            with(mail(name, &time), text)
        } else {
            contact(name, &time)
        }
    }

    fn add(&mut self, id: String, name: String, second: u64, is_bad: bool) {
        self.versions.push(Version {
            id,
            name,
            second,
            is_bad,
            is_old: false,
            emitted: 0,
            reported: 0,
        });
    }

    /// Takes an event. Returns the reason when the poll has failed.
    pub fn take(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::Data(message) => self.take_data(&message["body"]),
            Event::Snapshot(snapshot) => self.assert_not_past(snapshot),
            Event::Error(text) if text.contains("passed over: Graph cannot return it") => {
                self.take_report(text);
            }
            Event::Error(text) if text.contains(" is left out: ") => self.reported_files += 1,
            Event::Error(text) | Event::Rebound(text) => return Some(text.clone()),
            _ => {}
        }
        None
    }

    fn take_data(&mut self, body: &Value) {
        let single = std::slice::from_ref(body);
        for item in body["results"].as_array().map_or(single, Vec::as_slice) {
            let name = item.get("subject").or(item.get("displayName"));
            let version = self.versions.iter_mut();
            let mut version =
                version.filter(|version| Some(version.name.as_str()) == name.unwrap().as_str());
            let version = version.next().expect("a version has a name of its own");
            version.emitted += 1;
            assert!(
                version.emitted == 1 && version.reported == 0,
                "emitted again: {version:?}"
            );
            let files = item["attachments"].as_array().into_iter().flatten();
            self.lacking += files.filter(|file| file.get("error").is_some()).count() as u32;
        }
    }

    fn take_report(&mut self, text: &str) {
        let id = text.strip_prefix("item ");
        let Some((id, _)) = id.and_then(|text| text.split_once(" is passed")) else {
            self.unidentified += 1;
            return;
        };
        let version = self.versions.iter_mut().rfind(|version| version.id == id);
        let version = version.expect("a report names an item");
        version.reported += 1;
        assert!(
            version.is_bad && version.reported == 1,
            "{version:?}: {text}"
        );
    }

    fn assert_not_past(&self, snapshot: &Value) {
        let time = time_of(&snapshot["lastModifiedDateTime"]).expect("a position has a time");
        let second = time.as_second() as u64;
        for version in &self.versions {
            let is_open = version.emitted + version.reported == 0 && !version.is_old;
            let is_past = START + version.second < second;
            let is_unidentified = version.is_bad && !self.is_listed;
            assert!(
                !is_open || !is_past || is_unidentified,
                "{snapshot} is past {version:?}"
            );
        }
        let past = self
            .versions
            .iter()
            .filter(|version| START + version.second < second);
        let bad = past.filter(|version| version.is_bad).count() as u32;
        let is_unidentified = !self.is_listed;
        assert!(
            !is_unidentified || bad <= self.unidentified,
            "{snapshot} is past {bad} bad items"
        );
    }

    /// Asserts that every current version was emitted or reported.
    pub fn assert_complete(&self) {
        let mut bad = 0;
        for version in &self.versions {
            let wanted = match (version.is_bad, self.is_listed) {
                (true, true) => (0, 1),
                (true, false) => {
                    bad += 1;
                    (0, 0)
                }
                (false, _) => (1, 0),
            };
            let fate = (version.emitted, version.reported);
            assert!(fate == wanted || version.is_old, "{version:?}");
        }
        assert_eq!(self.unidentified, bad, "items without an id");
        assert_eq!(self.reported_files, self.lacking, "files");
        let counts: BTreeMap<&str, u32> =
            self.versions
                .iter()
                .fold(BTreeMap::new(), |mut all, version| {
                    *all.entry(version.name.as_str()).or_default() += version.emitted;
                    all
                });
        assert!(counts.values().all(|count| *count <= 1), "{counts:?}");
    }
}
