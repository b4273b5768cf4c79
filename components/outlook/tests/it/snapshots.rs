//! Both triggers: each snapshot stays within the platform's 5 KB, this process knows what it has no room for, and after a
//! restart nothing is missed.

use crate::{
    bad_items::{TRIGGERS, Trigger},
    rig::{Rig, contact, errors, mail, with},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const COUNT: usize = 2_000;

impl Trigger {
    /// Polls again in this process, and then with the same snapshot in one that starts now: a new item of the same time is
    /// emitted by both, and what came before is repeated by the second one at most.
    async fn assert_remembered(self, rig: &mut Rig, before: Value, all: &BTreeSet<String>) {
        let mut since = before.clone();
        let quiet = self.poll(rig, &mut since).await;
        assert!(quiet.events.is_empty(), "{} {quiet:?}", self.0);
        self.add(rig, self.item("new", 0));
        let next = self.poll(rig, &mut since).await;
        assert_eq!(
            (self.names(&next), errors(&next)),
            (vec!["new".to_owned()], vec![])
        );
        rig.restart();
        since = before;
        let restarted = self.poll(rig, &mut since).await;
        let names: BTreeSet<String> = self.names(&restarted).into_iter().collect();
        assert!(
            names.contains("new") && names.len() < all.len(),
            "{}",
            names.len()
        );
        assert!(names.iter().all(|name| name == "new" || all.contains(name)));
        let again = self.poll(rig, &mut since).await;
        assert!(again.events.is_empty(), "{} {again:?}", self.0);
    }
}

/// [`Rig::poll`] checks the size of each snapshot.
#[tokio::test]
async fn many_items_of_one_second_fit_a_snapshot() {
    for trigger in TRIGGERS {
        let mut rig = Rig::new().await;
        let all: BTreeSet<String> = (0..COUNT).map(|n| n.to_string()).collect();
        for name in &all {
            trigger.add(&rig, trigger.item(name, 0));
        }
        let mut since = json!({});
        let first = trigger.poll(&rig, &mut since).await;
        assert_eq!(trigger.names(&first).len(), COUNT);
        trigger.assert_remembered(&mut rig, since, &all).await;
    }
}

#[tokio::test]
async fn many_items_from_the_future_fit_a_snapshot() {
    for trigger in TRIGGERS {
        let mut rig = Rig::new().await;
        let all: BTreeSet<String> = (0..COUNT).map(|n| n.to_string()).collect();
        for name in &all {
            trigger.add(&rig, trigger.item_at(name, "2199-01-01T00:00:00Z"));
        }
        let mut since = json!({});
        let first = trigger.poll(&rig, &mut since).await;
        assert_eq!(trigger.names(&first).len(), COUNT);
        trigger.assert_remembered(&mut rig, since, &all).await;
    }
}

#[tokio::test]
async fn many_unusable_and_long_items_fit_a_snapshot() {
    for trigger in TRIGGERS {
        let long = "\u{1}é".repeat(300);
        let item = |n: usize| {
            let item = match trigger.0 {
                "readMail" => mail(&n.to_string(), "2024-05-01T10:00:00Z"),
                _ => contact(&n.to_string(), "2024-05-01T10:00:00Z"),
            };
            let id = format!("{n}{long}");
            match n % 3 {
                0 => with(item, json!({ "id": id, "changeKey": long })),
                1 => with(item, json!({ "id": null })),
                _ => with(item, json!({ "id": id, "lastModifiedDateTime": long })),
            }
        };
        let page = json!({ "value": (0..COUNT).map(item).collect::<Vec<_>>() });
        let mut rig = Rig::new().await;
        let mut since = json!({});
        trigger.script(&rig, &page);
        let first = trigger.poll(&rig, &mut since).await;
        let count = COUNT.div_ceil(3);
        assert_eq!(
            (trigger.names(&first).len(), errors(&first).len()),
            (count, COUNT - count)
        );
        trigger.script(&rig, &page);
        let quiet = trigger.poll(&rig, &mut since).await;
        assert!(quiet.events.is_empty(), "{quiet:?}");
        rig.restart();
        trigger.script(&rig, &page);
        let restarted = trigger.poll(&rig, &mut since).await;
        assert!(trigger.names(&restarted).len() < count);
        assert!((1..COUNT - count).contains(&errors(&restarted).len()));
    }
}

#[tokio::test]
async fn a_snapshot_of_an_earlier_version_is_understood() {
    for trigger in TRIGGERS {
        let rig = Rig::new().await;
        let ids: Vec<String> = (0..3)
            .map(|n| trigger.add(&rig, trigger.item(&n.to_string(), 0)))
            .collect();
        let first = trigger.poll(&rig, &mut json!({})).await;
        let versions = crate::rig::each(&first, "changeKey");
        let mut since = json!({
            "lastModifiedDateTime": "2024-05-01T10:00:00Z", "passed": ["0123456789abcdef"],
            "seen": { &ids[0]: versions[0], &ids[1]: "another version" },
        });
        let emitted = trigger.poll(&rig, &mut since).await;
        assert_eq!(trigger.names(&emitted), ["1", "2"]);
        assert!(trigger.poll(&rig, &mut since).await.events.is_empty());
    }
}
