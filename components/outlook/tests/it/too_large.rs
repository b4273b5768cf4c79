//! Items that are too large for a message: the triggers as processes and in memory.

use crate::rig::{Rig, contact, each, errors, mail, process::Step, with};
use emulator::provider::Provider;
use serde_json::{Value, json};

const LIMIT: (&str, &str) = ("ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT", "100000");

fn names(step: &Step, member: &str) -> Vec<Value> {
    let bodies = step.data().into_iter();
    bodies.map(|body| body[member].clone()).collect()
}

#[tokio::test]
async fn an_item_too_large_to_emit_is_reported_once() {
    for (function, member) in [("getContacts", "displayName"), ("readMail", "subject")] {
        let step = Step::new(function, json!({ "folderId": "inbox" }), Provider::issue).await;
        let step = step.variable(LIMIT.0, LIMIT.1);
        let add = |name: &str, second: u32, size: usize| {
            let time = format!("2024-05-01T10:00:{second:02}Z");
            let long = json!({ "long": "x".repeat(size) });
            match function {
                "readMail" => step
                    .graph
                    .add_message("inbox", with(mail(name, &time), long)),
                _ => step.graph.add_contact(with(contact(name, &time), long)),
            }
        };
        add("a", 1, 10);
        let large = add("large", 2, 200_000);
        add("b", 3, 10);
        let component = step.start();
        for name in ["c", "d"] {
            step.send(json!({}));
            step.settled().await;
            add(name, 4, 10);
        }
        step.send(json!({}));
        step.settled().await;
        step.stop(component).await;
        assert_eq!(names(&step, member), ["a", "b", "c", "d"], "{function}");
        let [error] = &step.errors()[..] else {
            panic!("{:?}", step.errors())
        };
        assert!(error.contains(&large), "{error}");
        assert!(error.contains("passed over") && error.contains("limit of 100000"));
    }
}

#[tokio::test]
async fn in_memory_an_item_too_large_is_reported_once() {
    let rig = Rig::new().await;
    let fields = json!({ "folderId": "inbox", "emitBehavior": "emitAll" });
    let mut ids = vec![];
    for (n, size) in [10, 5_000, 30_000, 5_000].into_iter().enumerate() {
        let fields = mail(&n.to_string(), &format!("2024-05-01T10:00:{n:02}Z"));
        let long = json!({ "long": "x".repeat(size) });
        ids.push(rig.graph.add_message("inbox", with(fields, long)));
    }
    let emitted = rig.function("readMail", fields).message_size_limit(9_000);
    let emitted = emitted.run(json!({})).await.unwrap();
    let pages = each(&emitted, "results").into_iter();
    let subjects = pages.flat_map(|page| page.as_array().cloned().unwrap());
    let subjects: Vec<Value> = subjects.map(|mail| mail["subject"].clone()).collect();
    assert_eq!(subjects, ["0", "1", "3"]);
    let [error] = &errors(&emitted)[..] else {
        panic!("{emitted:?}")
    };
    assert!(
        error.contains(&ids[2]) && error.contains("limit of 9000"),
        "{error}"
    );
}

#[tokio::test]
async fn mails_too_large_together_are_emitted_in_parts() {
    let fields = json!({ "folderId": "inbox", "emitBehavior": "emitAll" });
    let step = Step::new("readMail", fields, Provider::issue).await;
    let step = step.variable(LIMIT.0, LIMIT.1);
    let sizes = [30_000, 30_000, 200_000, 30_000, 30_000, 10];
    let ids = (0..).zip(sizes).map(|(n, size)| {
        let fields = mail(&n.to_string(), &format!("2024-05-01T10:00:{n:02}Z"));
        let long = json!({ "long": "x".repeat(size) });
        step.graph.add_message("inbox", with(fields, long))
    });
    let ids: Vec<String> = ids.collect();
    let component = step.start();
    for _ in 0..2 {
        step.send(json!({}));
        step.settled().await;
    }
    step.stop(component).await;
    let results = names(&step, "results");
    let subjects = results
        .iter()
        .flat_map(|results| results.as_array().unwrap());
    let subjects: Vec<&Value> = subjects.map(|mail| &mail["subject"]).collect();
    assert_eq!(subjects, ["0", "1", "3", "4", "5"]);
    assert!(results.len() > 1, "{results:?}");
    let [error] = &step.errors()[..] else {
        panic!("{:?}", step.errors())
    };
    assert!(error.contains(&ids[2]), "{error}");
}
