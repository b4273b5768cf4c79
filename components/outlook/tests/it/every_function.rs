//! What holds for each action and trigger: it works on its sample, with a token that has expired, after it was told to
//! wait, and says what is wrong with an input.

use crate::{
    component::component,
    rig::{Rig, error, sample, sample_body, with},
};
use emulator::standins::graph::Fault;
use futures_util::future::join_all;
use sailor::testing::{Emitted, Event, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A function with its samples.
struct Function {
    name: &'static str,
    config: &'static str,
    /// Its message; a polling trigger has none.
    message: Option<&'static str>,
    /// How many messages it emits, and what is in the first one.
    emits: (usize, &'static str, fn() -> Value),
    /// Fields and body over those of the samples, and what the error says.
    wrong: &'static [(&'static str, &'static str, &'static [&'static str])],
}

const FUNCTIONS: [Function; 7] = [
    Function {
        name: "getContacts",
        config: "config.json",
        message: None,
        emits: (2, "/displayName", || json!("Ada Lovelace")),
        // It has no fields; a snapshot that is none is tested with its own tests.
        wrong: &[],
    },
    Function {
        name: "readMail",
        config: "read-mail.config.json",
        message: None,
        emits: (2, "/subject", || json!("Notes on the engine")),
        wrong: &[
            (
                r#"{"folderId": null}"#,
                "{}",
                &["`folderId` is empty", "choose a mail folder"],
            ),
            (
                r#"{"folderId": " "}"#,
                "{}",
                &["`folderId` is empty", "choose a mail folder"],
            ),
            (
                r#"{"folderId": 7}"#,
                "{}",
                &["folderId", "expected a string"],
            ),
            (
                r#"{"startTime": "soon"}"#,
                "{}",
                &["`startTime` is no time", "2024-07-01T09:30:00 (in UTC)"],
            ),
            (
                r#"{"pollOnlyUnreadMail": "perhaps"}"#,
                "{}",
                &["pollOnlyUnreadMail", "expected true or false"],
            ),
            (
                r#"{"getAttachment": 7}"#,
                "{}",
                &["getAttachment", "expected true or false"],
            ),
            (
                r#"{"emitBehavior": "emitSome"}"#,
                "{}",
                &["emitBehavior", "`emitIndividually` or `emitAll`"],
            ),
        ],
    },
    Function {
        name: "checkAvailability",
        config: "config.json",
        message: Some("check-availability.json"),
        emits: (1, "/available", || json!(false)),
        wrong: &[
            (
                "{}",
                r#"{"time": "tomorrow"}"#,
                &["`time` is no time", "2024-07-01T09:30:00 (in UTC)"],
            ),
            (
                "{}",
                r#"{"time": "2024-13-01T00:00:00Z"}"#,
                &["`time` is no time"],
            ),
            (
                "{}",
                r#"{"time": {"dateTime": "2024-06-03"}}"#,
                &["time", "expected ISO 8601"],
            ),
        ],
    },
    Function {
        name: "findNextAvailableTime",
        config: "config.json",
        message: Some("find-next-available-time.json"),
        emits: (1, "/time", || json!("2024-06-03T11:00:00Z")),
        wrong: &[
            (
                "{}",
                r#"{"time": "tomorrow"}"#,
                &["`time` is no time", "2024-07-01T09:30:00 (in UTC)"],
            ),
            (
                "{}",
                r#"{"time": "99999999999999999999"}"#,
                &["`time` is no time", "out of range"],
            ),
        ],
    },
    Function {
        name: "createEvent",
        config: "create-event.config.json",
        message: Some("create-event.json"),
        emits: (1, "/start/dateTime", || json!("2024-07-01T09:30:00")),
        wrong: &[
            (
                r#"{"calendarId": null}"#,
                "{}",
                &["`calendarId` is empty", "choose a calendar"],
            ),
            (
                r#"{"timeZone": ""}"#,
                "{}",
                &["`timeZone` is empty", "choose a time zone"],
            ),
            (
                r#"{"timeZone": "Mars/Olympus"}"#,
                "{}",
                &["`timeZone` is \"Mars/Olympus\"", "Europe/Berlin"],
            ),
            (
                r#"{"importance": "Urgent"}"#,
                "{}",
                &["importance", "`low`, `normal`, `high`"],
            ),
            (
                r#"{"showAs": "Away"}"#,
                "{}",
                &["showAs", "`free`, `tentative`"],
            ),
            (
                r#"{"sensitivity": "Secret"}"#,
                "{}",
                &["sensitivity", "`normal`, `personal`"],
            ),
            (
                r#"{"bodyContentType": "RTF"}"#,
                "{}",
                &["bodyContentType", "`text` or `html`"],
            ),
            (
                r#"{"isAllDay": "perhaps"}"#,
                "{}",
                &["isAllDay", "expected true or false"],
            ),
            (
                "{}",
                r#"{"body": null}"#,
                &["`body.content` is empty", "give a text"],
            ),
            ("{}", r#"{"start": null}"#, &["start"]),
            ("{}", r#"{"start": {}}"#, &["start", "dateTime"]),
            (
                "{}",
                r#"{"end": {"dateTime": ""}}"#,
                &[
                    "`end.dateTime` is no time",
                    "(local to the step's time zone)",
                ],
            ),
            (
                "{}",
                r#"{"end": {"dateTime": "2024-06-30"}}"#,
                &["`end.dateTime` (2024-06-30T00:00:00) is before"],
            ),
            (
                "{}",
                r#"{"reminderMinutesBeforeStart": "soon"}"#,
                &["reminderMinutesBeforeStart"],
            ),
        ],
    },
    Function {
        name: "moveMail",
        config: "move-mail.config.json",
        message: Some("move-mail.json"),
        emits: (1, "/currentFolder/displayName", || json!("Archive")),
        wrong: &[
            (
                r#"{"originalMailFolders": ""}"#,
                "{}",
                &["`originalMailFolders` is empty", "choose the folder"],
            ),
            (
                "{}",
                r#"{"messageId": " "}"#,
                &["`messageId` is empty", "map the id"],
            ),
            ("{}", r#"{"messageId": null}"#, &["messageId"]),
        ],
    },
    Function {
        name: "sendMail",
        config: "config.json",
        message: Some("send-mail.json"),
        emits: (1, "/subject", || json!("The item you asked for")),
        wrong: &[
            ("{}", r#"{"subject": null}"#, &["subject"]),
            (
                "{}",
                r#"{"toRecipients": []}"#,
                &["`toRecipients` is empty", "at least one"],
            ),
            (
                "{}",
                r#"{"toRecipients": [{}]}"#,
                &["toRecipients[0]", "emailAddress"],
            ),
            (
                "{}",
                r#"{"ccRecipients": [{"emailAddress": {"address": " "}}]}"#,
                &[
                    "`ccRecipients[0].emailAddress.address` is empty",
                    "give a mail address",
                ],
            ),
            ("{}", r#"{"body": {}}"#, &["body", "content"]),
            (
                "{}",
                r#"{"body": {"content": "x", "contentType": "rtf"}}"#,
                &["body.contentType", "`text` or `html`"],
            ),
            (
                "{}",
                r#"{"saveToSentItems": "perhaps"}"#,
                &["saveToSentItems", "expected true or false"],
            ),
            (
                "{}",
                r#"{"attachments": [{"name": "a"}]}"#,
                &["attachments[0]", "url"],
            ),
            (
                "{}",
                r#"{"attachments": [{"name": "", "url": "http://x"}]}"#,
                &["`attachments[0].name` is empty"],
            ),
            (
                "{}",
                r#"{"attachments": [{"name": "a", "url": "a.csv"}]}"#,
                &["`attachments[0]`", "is not an address"],
            ),
        ],
    },
];

impl Function {
    fn config(&self, rig: &Rig) -> Value {
        sample(self.config, &rig.platform)
    }

    fn body(&self, rig: &Rig) -> Value {
        self.message
            .map_or_else(|| json!({}), |file| sample_body(file, &rig.platform))
    }

    fn assert_works(&self, emitted: &Emitted) {
        let name = self.name;
        assert!(
            emitted.error.is_none() && emitted.verdict == Verdict::Acknowledged,
            "{name}: {emitted:?}"
        );
        let (count, pointer, value) = self.emits;
        let bodies: Vec<Value> = emitted.data();
        assert_eq!(bodies.len(), count, "{name}: {bodies:?}");
        assert_eq!(
            bodies[0].pointer(pointer),
            Some(&value()),
            "{name}: {bodies:?}"
        );
    }
}

async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.graph.add_samples();
    rig
}

#[test]
fn the_table_covers_every_action_and_trigger() {
    let descriptor: Value = serde_json::from_str(include_str!("../../component.json")).unwrap();
    let names = |kind: &str| {
        descriptor[kind]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let all: BTreeSet<String> = names("actions")
        .into_iter()
        .chain(names("triggers"))
        .collect();
    assert_eq!(
        all,
        FUNCTIONS
            .iter()
            .map(|function| function.name.to_owned())
            .collect()
    );
    assert!(component().is_ok());
}

#[tokio::test]
async fn each_function_works_with_its_sample_without_a_refresh() {
    for function in FUNCTIONS {
        let rig = rig().await;
        let emitted = rig
            .run(function.name, function.config(&rig), function.body(&rig))
            .await;
        function.assert_works(&emitted);
        assert_eq!(rig.provider.refreshes(), 0, "{}", function.name);
        assert!(
            rig.graph
                .calls(".")
                .iter()
                .all(|call| call.status.is_some_and(|status| status < 300))
        );
    }
}

#[tokio::test]
async fn each_function_refreshes_an_expired_token_once() {
    for function in FUNCTIONS {
        let (rig, name) = (rig().await, function.name);
        let expired = json!(rig.provider.issue_expired());
        let emitted = rig
            .connected(name, function.config(&rig), expired)
            .run(function.body(&rig))
            .await
            .unwrap();
        function.assert_works(&emitted);
        assert_eq!(rig.provider.refreshes(), 1, "{name}");
        let saved = emitted.events.iter().filter_map(|event| match event {
            Event::UpdateKeys(keys) => Some(&keys["oauth"]),
            _ => None,
        });
        let [saved] = saved.collect::<Vec<_>>()[..] else {
            panic!("{name}: {emitted:?}")
        };
        assert!(
            rig.provider
                .is_good(saved["access_token"].as_str().unwrap()),
            "{name}"
        );
        assert!(
            rig.provider
                .is_spendable(saved["refresh_token"].as_str().unwrap()),
            "{name}"
        );
        assert!(
            saved["id_token"].is_string(),
            "{name}: the whole answer is kept"
        );
        let calls = rig.graph.calls(".");
        let refused: Vec<bool> = calls.iter().map(|call| call.status == Some(401)).collect();
        assert_eq!(
            refused.iter().filter(|refused| **refused).count(),
            1,
            "{name}: {calls:?}"
        );
        assert!(
            refused[0] && calls[0].line() == calls[1].line() && calls[0].body == calls[1].body,
            "{name}"
        );
    }
}

#[tokio::test]
async fn each_function_waits_for_a_short_429() {
    for function in FUNCTIONS {
        let (rig, name) = (rig().await, function.name);
        rig.graph
            .fail(".", [Fault::Throttled(0), Fault::Throttled(0)]);
        let emitted = rig
            .run(name, function.config(&rig), function.body(&rig))
            .await;
        function.assert_works(&emitted);
        let throttled = rig
            .graph
            .calls(".")
            .iter()
            .filter(|call| call.status == Some(429))
            .count();
        assert_eq!((throttled, rig.provider.refreshes()), (2, 0), "{name}");
    }
}

#[tokio::test]
async fn each_function_rebounds_on_a_long_429() {
    for function in FUNCTIONS {
        for faults in [vec![Fault::Throttled(0); 4], vec![Fault::Throttled(120)]] {
            let (rig, name) = (rig().await, function.name);
            let tries = faults.len();
            rig.graph.fail(".", faults);
            let emitted = rig
                .run(name, function.config(&rig), function.body(&rig))
                .await;
            let [Event::Rebound(reason)] = &emitted.events[..] else {
                panic!("{name}: {emitted:?}")
            };
            assert!(
                reason.contains("429") && reason.contains("TooManyRequests"),
                "{name}: {reason}"
            );
            assert_eq!(rig.graph.calls(".").len(), tries, "{name}");
        }
    }
}

#[tokio::test]
async fn each_function_names_the_invalid_field_and_sends_nothing() {
    for function in FUNCTIONS {
        for (fields, body, told) in function.wrong {
            let (rig, name) = (rig().await, function.name);
            let fields = with(function.config(&rig), serde_json::from_str(fields).unwrap());
            let body = with(function.body(&rig), serde_json::from_str(body).unwrap());
            let emitted = rig.run(name, fields, body).await;
            assert_eq!(emitted.verdict, Verdict::Rejected, "{name}: {told:?}");
            let error = error(&emitted);
            assert!(
                told.iter().all(|told| error.contains(told)),
                "{name}: {told:?} in {error}"
            );
            assert!(rig.graph.calls(".").is_empty(), "{name}: {told:?}");
        }
    }
}

#[tokio::test]
async fn each_function_says_when_the_user_must_connect_again() {
    // Side by side, for before it says so it looks several times whether the account has other tokens.
    join_all(FUNCTIONS.iter().map(async |function| {
        let (rig, name) = (rig().await, function.name);
        let tokens = json!(rig.provider.issue_expired());
        rig.provider.revoke_all();
        let emitted = rig
            .connected(name, function.config(&rig), tokens)
            .run(function.body(&rig))
            .await
            .unwrap();
        assert!(
            error(&emitted).contains("connect the account again"),
            "{name}: {emitted:?}"
        );
    }))
    .await;
}

#[tokio::test]
async fn each_function_reports_graphs_message() {
    for function in FUNCTIONS {
        let (rig, name) = (rig().await, function.name);
        rig.graph.fail(
            ".",
            [Fault::Refused(
                403,
                "ErrorAccessDenied",
                "Access is denied. Check credentials.",
            )],
        );
        let emitted = rig
            .run(name, function.config(&rig), function.body(&rig))
            .await;
        let error = error(&emitted);
        assert!(
            error.contains("ErrorAccessDenied") && error.contains("Check credentials"),
            "{name}: {error}"
        );
        assert_eq!(
            (rig.graph.calls(".").len(), rig.provider.refreshes()),
            (1, 0),
            "{name}"
        );
    }
}
