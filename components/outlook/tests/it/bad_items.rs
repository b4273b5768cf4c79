//! Both triggers: a bad item or page is reported once, and stops nothing that comes after it.

use crate::rig::{Rig, contact, each, errors, mail, with};
use emulator::provider::Fault;
use graph_standin::Trouble;
use sailor::testing::{Emitted, Event, Verdict};
use serde_json::{Value, json};

/// A trigger, its fields, and the member that names its items.
pub const TRIGGERS: [Trigger; 2] = [
    Trigger("getContacts", "contacts", "displayName"),
    Trigger("readMail", "messages", "subject"),
];

#[derive(Clone, Copy)]
pub struct Trigger(pub &'static str, &'static str, &'static str);

impl Trigger {
    pub async fn poll(self, rig: &Rig, since: &mut Value) -> Emitted {
        rig.poll(self.0, json!({ "folderId": "inbox" }), since)
            .await
    }

    /// The names of emitted items.
    pub fn names(self, emitted: &Emitted) -> Vec<String> {
        let names = each(emitted, self.2);
        names
            .iter()
            .map(|name| name.as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// An item that changed at this second.
    pub fn item(self, name: &str, second: usize) -> Value {
        self.item_at(
            name,
            &format!("2024-05-01T10:{:02}:{:02}Z", second / 60, second % 60),
        )
    }

    pub fn item_at(self, name: &str, time: &str) -> Value {
        match self.0 {
            "readMail" => mail(name, time),
            _ => contact(name, time),
        }
    }

    pub fn add(self, rig: &Rig, item: Value) -> String {
        match self.0 {
            "readMail" => rig.graph.add_message("inbox", item),
            _ => rig.graph.add_contact(item),
        }
    }

    /// The items `0`, `1`, …, one second apart. Returns their ids.
    async fn mailbox(self, count: usize) -> (Rig, Vec<String>) {
        let rig = Rig::new().await;
        let ids = (0..count).map(|n| self.add(&rig, self.item(&n.to_string(), n)));
        let ids = ids.collect();
        (rig, ids)
    }

    /// Returns this as the next page.
    pub fn script(self, rig: &Rig, page: &Value) {
        rig.graph
            .inject_faults(&format!("/{}\\?", self.1), [Fault::Json(200, page.clone())]);
    }
}

fn range(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn a_page_is_read_around_what_graph_cannot_return() {
    for trigger in TRIGGERS {
        for (bad, status) in [
            (vec![3], 500),
            (vec![0], 504),
            (vec![9], 501),
            (vec![4, 5], 501),
            (vec![0, 1, 2, 7, 9], 501),
            ((0..10).collect::<Vec<_>>(), 501),
        ] {
            let (rig, ids) = trigger.mailbox(10).await;
            for at in &bad {
                rig.graph.break_content(&ids[*at], status);
            }
            let mut since = json!({});
            let emitted = trigger.poll(&rig, &mut since).await;
            let good = (0..10).filter(|n| !bad.contains(n));
            assert_eq!(trigger.names(&emitted), range(good), "{bad:?}");
            let errors = errors(&emitted);
            assert_eq!(errors.len(), bad.len(), "{errors:?}");
            for (at, error) in bad.iter().zip(&errors) {
                assert!(
                    error.contains(&ids[*at]) && error.contains("passed over"),
                    "{error}"
                );
            }
            trigger.add(&rig, trigger.item("new", 30));
            let emitted = trigger.poll(&rig, &mut since).await;
            assert_eq!(trigger.names(&emitted), ["new"], "{bad:?}");
            assert_eq!(emitted.verdict, Verdict::Acknowledged, "{emitted:?}");
        }
    }
}

#[tokio::test]
async fn many_bad_items_side_by_side_stop_nothing() {
    let trigger = TRIGGERS[1];
    let (rig, ids) = trigger.mailbox(60).await;
    for id in &ids[2..55] {
        rig.graph.break_content(id, 501);
    }
    let mut since = json!({});
    let emitted = trigger.poll(&rig, &mut since).await;
    let good = (0..60).filter(|n| !(2..55).contains(n));
    assert_eq!(trigger.names(&emitted), range(good));
    let errors = errors(&emitted);
    assert_eq!(errors.len(), 53, "{errors:?}");
    for (id, error) in ids[2..55].iter().zip(&errors) {
        assert!(
            error.contains(id) && error.contains("passed over"),
            "{error}"
        );
    }
    // At most seven requests for each bad item: three attempts, twice, and the pages around them.
    let requests = rig.graph.calls_matching("/messages").len();
    assert!(requests < 53 * 8 + 100, "{requests}");
    assert!(trigger.poll(&rig, &mut since).await.events.is_empty());
}

#[tokio::test]
async fn an_item_whose_id_cannot_be_read_is_reported_once() {
    for trigger in TRIGGERS {
        for bad in [vec![3], vec![0], vec![9], vec![8, 9]] {
            let (rig, ids) = trigger.mailbox(10).await;
            for at in &bad {
                rig.graph.break_entirely(&ids[*at], 501);
            }
            let mut since = json!({});
            let emitted = trigger.poll(&rig, &mut since).await;
            let good = (0..10).filter(|n| !bad.contains(n));
            assert_eq!(trigger.names(&emitted), range(good), "{bad:?}");
            assert_eq!(errors(&emitted).len(), bad.len(), "{bad:?}");
            let emitted = trigger.poll(&rig, &mut since).await;
            assert!(emitted.events.is_empty(), "{bad:?}: {emitted:?}");
            trigger.add(&rig, trigger.item("new", 30));
            let emitted = trigger.poll(&rig, &mut since).await;
            assert_eq!(trigger.names(&emitted), ["new"], "{bad:?}");
            assert_eq!(emitted.verdict, Verdict::Acknowledged, "{emitted:?}");
        }
    }
}

#[tokio::test]
async fn bad_items_of_one_second_are_read_around() {
    for trigger in TRIGGERS {
        let rig = Rig::new().await;
        rig.graph.limit_pages(3);
        let ids: Vec<String> = (0..10)
            .map(|n| trigger.add(&rig, trigger.item(&n.to_string(), 0)))
            .collect();
        rig.graph.break_content(&ids[1], 501);
        rig.graph.break_content(&ids[7], 501);
        let mut since = json!({});
        let emitted = trigger.poll(&rig, &mut since).await;
        assert_eq!(trigger.names(&emitted), range([0, 2, 3, 4, 5, 6, 8, 9]));
        assert_eq!(errors(&emitted).len(), 2);
        assert!(trigger.poll(&rig, &mut since).await.events.is_empty());
    }
}

#[tokio::test]
async fn a_failure_of_graph_is_not_taken_for_bad_items() {
    for trigger in TRIGGERS {
        for (fault, count) in [
            (Fault::retry_after(500, "0"), 40),
            (Fault::retry_after(504, "0"), 40),
            (Fault::Throttled(120), 1),
            (Fault::retry_after(503, "120"), 1),
        ] {
            let (rig, _) = trigger.mailbox(3).await;
            let pattern = format!("/{}\\?", trigger.1);
            rig.graph.inject_faults(&pattern, vec![fault; count]);
            let mut since = json!({});
            let emitted = trigger.poll(&rig, &mut since).await;
            assert!(
                matches!(&emitted.events[..], [Event::Rebound(_)]),
                "{emitted:?}"
            );
            // The page, and a request that only shows whether Graph works.
            assert!(rig.graph.calls_matching(&pattern).len() <= 8);
        }
    }
}

#[tokio::test]
async fn a_change_while_a_page_is_read_around_hides_no_item() {
    for trigger in TRIGGERS {
        for unlisted in [false, true] {
            let (rig, ids) = trigger.mailbox(20).await;
            if unlisted {
                rig.graph.break_entirely(&ids[2], 501);
            } else {
                rig.graph.break_content(&ids[2], 501);
            }
            // The first item moves to the end while parts of the page are read.
            let (id, change) = (ids[0].clone(), trigger.item("0 again", 50));
            rig.graph.before_response("skip=3", move |graph| {
                assert!(graph.change(&id, change.as_object().unwrap().clone()));
            });
            let emitted = trigger.poll(&rig, &mut json!({})).await;
            let mut names = trigger.names(&emitted);
            names.retain(|name| name != "0" && name != "0 again");
            assert_eq!(names, range((0..20).filter(|n| ![0, 2].contains(n))));
            assert_eq!(errors(&emitted).len(), 1, "{emitted:?}");
        }
    }
}

#[tokio::test]
async fn unusable_items_are_reported_once_and_stop_nothing() {
    for trigger in TRIGGERS {
        let bad = |id: Value, time: Value| {
            with(
                trigger.item("bad", 0),
                json!({ "id": id, "lastModifiedDateTime": time }),
            )
        };
        for (bad, shown) in [
            (
                bad(json!(null), json!("2024-05-01T10:00:01Z")),
                "without `id` (bad)",
            ),
            (
                bad(json!(""), json!("2024-05-01T10:00:01Z")),
                "without `id` (bad)",
            ),
            (bad(json!("bad-1"), json!(null)), "item bad-1"),
            (bad(json!("bad-2"), json!("yesterday")), "item bad-2"),
            (bad(json!("bad-3"), json!({})), "item bad-3"),
            (json!({ "id": "bad-4" }), "item bad-4"),
            (json!("nothing"), "an item without `id`"),
            (json!(null), "an item without `id`"),
        ] {
            let rig = Rig::new().await;
            let good = |id: &str, at| with(trigger.item(id, at), json!({ "id": id }));
            let page = json!({ "value": [good("a", 1), bad, good("b", 1)] });
            let mut since = json!({});
            trigger.script(&rig, &page);
            let emitted = trigger.poll(&rig, &mut since).await;
            assert_eq!(trigger.names(&emitted), ["a", "b"], "{bad}");
            let [error] = &errors(&emitted)[..] else {
                panic!("{bad}: {emitted:?}")
            };
            assert!(error.contains(shown), "{error}");
            trigger.script(&rig, &page);
            assert!(
                trigger.poll(&rig, &mut since).await.events.is_empty(),
                "{bad}"
            );
        }
    }
}

#[tokio::test]
async fn times_of_change_are_read_in_any_notation() {
    for trigger in TRIGGERS {
        for time in [
            json!("2024-05-01T12:00:01+02:00"),
            json!("Wed, 01 May 2024 10:00:01 GMT"),
            json!("2024-05-01 10:00:01"),
            json!("/Date(1714557601000)/"),
            json!(1_714_557_601),
        ] {
            let rig = Rig::new().await;
            let item = with(
                trigger.item("a", 0),
                json!({ "id": "a", "lastModifiedDateTime": time }),
            );
            trigger.script(&rig, &json!({ "value": [item] }));
            let mut since = json!({});
            let emitted = trigger.poll(&rig, &mut since).await;
            assert_eq!(trigger.names(&emitted), ["a"], "{time}");
            assert_eq!(since["lastModifiedDateTime"], "2024-05-01T10:00:01Z");
        }
    }
}

#[tokio::test]
async fn an_item_from_the_future_does_not_end_polling() {
    for trigger in TRIGGERS {
        let (rig, _) = trigger.mailbox(2).await;
        trigger.add(&rig, trigger.item_at("future", "2199-01-01T00:00:00Z"));
        let mut since = json!({});
        let emitted = trigger.poll(&rig, &mut since).await;
        assert_eq!(trigger.names(&emitted), ["0", "1", "future"]);
        for n in 2..4 {
            trigger.add(&rig, trigger.item(&n.to_string(), n));
            let emitted = trigger.poll(&rig, &mut since).await;
            assert_eq!(trigger.names(&emitted), range([n]));
        }
    }
}

#[tokio::test]
async fn a_page_that_is_too_large_is_requested_in_parts() {
    for trigger in TRIGGERS {
        let (rig, _) = trigger.mailbox(3).await;
        let too_large = Fault::Response {
            status: 200,
            headers: vec![],
            body: " ".repeat(33 << 20),
        };
        rig.graph
            .inject_faults(&format!("/{}\\?", trigger.1), vec![too_large; 2]);
        let emitted = trigger.poll(&rig, &mut json!({})).await;
        assert_eq!(trigger.names(&emitted), ["0", "1", "2"]);
        assert_eq!(emitted.verdict, Verdict::Acknowledged);
        let calls = rig.graph.calls_matching(&format!("/{}\\?", trigger.1));
        let sizes: Vec<u32> = calls
            .iter()
            .filter_map(|call| {
                call.query
                    .split("top=")
                    .nth(1)?
                    .split('&')
                    .next()?
                    .parse()
                    .ok()
            })
            .collect();
        assert!(sizes[2] * 16 <= sizes[0], "{sizes:?}");
    }
}

#[tokio::test]
async fn a_broken_page_is_read_again_in_parts() {
    for trigger in TRIGGERS {
        for fault in [
            Fault::DropMidBody,
            Fault::Json(200, json!("no page")),
            Fault::Json(200, json!({ "value": "no list" })),
            Fault::Response {
                status: 200,
                headers: vec![],
                body: "<html>busy</html>".to_owned(),
            },
        ] {
            let (rig, _) = trigger.mailbox(3).await;
            rig.graph
                .inject_faults(&format!("/{}\\?", trigger.1), [fault.clone()]);
            let emitted = trigger.poll(&rig, &mut json!({})).await;
            assert_eq!(trigger.names(&emitted), ["0", "1", "2"], "{fault:?}");
            assert_eq!(emitted.verdict, Verdict::Acknowledged);
        }
    }
}

#[tokio::test]
async fn a_page_in_another_notation_is_read() {
    for trigger in TRIGGERS {
        let item = with(trigger.item("ä", 1), json!({ "id": "a" }));
        for (content_type, body) in [
            (
                "application/json",
                format!("\u{feff}{}", json!({ "value": [item] })),
            ),
            (
                "text/json; charset=utf-8",
                json!({ "value": [item] }).to_string(),
            ),
            (
                "application/octet-stream",
                json!({ "value": [item] }).to_string(),
            ),
        ] {
            let rig = Rig::new().await;
            let page = Fault::Response {
                status: 200,
                headers: vec![("content-type".to_owned(), content_type.to_owned())],
                body,
            };
            rig.graph
                .inject_faults(&format!("/{}\\?", trigger.1), [page]);
            let emitted = trigger.poll(&rig, &mut json!({})).await;
            assert_eq!(trigger.names(&emitted), ["ä"], "{content_type}");
        }
    }
}

#[tokio::test]
async fn repeated_and_wrong_next_links_end_after_their_items() {
    for trigger in TRIGGERS {
        for link in [
            "self",
            "/v1.0/me/none",
            "https://other.example.com/",
            "https://",
            "?x=1",
        ] {
            let rig = Rig::new().await;
            let item = with(trigger.item("a", 1), json!({ "id": "a" }));
            let own = format!("{}/me/{}?page=2", rig.graph.url(), trigger.1);
            let link = if link == "self" { &own } else { link };
            let page = json!({ "value": [item], "@odata.nextLink": link });
            rig.graph.inject_faults(
                &format!("/{}\\?", trigger.1),
                vec![Fault::Json(200, page); 3],
            );
            let emitted = trigger.poll(&rig, &mut json!({})).await;
            assert_eq!(trigger.names(&emitted), ["a"], "{link}");
            assert_eq!(
                emitted.verdict,
                Verdict::Acknowledged,
                "{link}: {emitted:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_repeated_page_moves_no_later_request() {
    for trigger in TRIGGERS {
        for failure in [Fault::Status(501), Fault::DropBefore] {
            let rig = Rig::new().await;
            for (name, second) in [("0", 0), ("1", 0), ("2", 1)] {
                trigger.add(&rig, trigger.item(name, second));
            }
            rig.graph.limit_pages(1);
            rig.graph.set_trouble(Trouble {
                repeat_pages: 1,
                ..Trouble::default()
            });
            // The link to the second page returns the first one again, and then fails.
            rig.graph
                .inject_faults("skip=1", [Fault::Normal, failure.clone()]);
            let emitted = trigger.poll(&rig, &mut json!({})).await;
            assert_eq!(trigger.names(&emitted), range(0..3), "{failure:?}");
        }
    }
}

#[tokio::test]
async fn a_snapshot_without_faults_is_as_before() {
    for trigger in TRIGGERS {
        let (rig, _) = trigger.mailbox(2).await;
        let mut since = json!({});
        trigger.poll(&rig, &mut since).await;
        let members: Vec<&String> = since.as_object().unwrap().keys().collect();
        assert_eq!(members, ["lastModifiedDateTime", "seen"]);
        // One item of eight bytes.
        assert_eq!(since["seen"].as_str().unwrap().len(), 11);
    }
}
