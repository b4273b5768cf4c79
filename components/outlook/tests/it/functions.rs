//! Every action and trigger with its samples, what it emits, and inputs that are invalid.

use crate::rig::{Rig, sample, sample_body};
use sailor::testing::{Emitted, Verdict};
use serde_json::{Value, json};

/// A function with its samples.
pub struct Function {
    pub name: &'static str,
    config: &'static str,
    /// Its message; none for a polling trigger.
    message: Option<&'static str>,
    /// How many messages it emits, and a value of the first one.
    emits: (usize, &'static str, fn() -> Value),
    /// Fields and body that replace those of the samples, and what the error says.
    pub wrong: &'static [(&'static str, &'static str, &'static [&'static str])],
}

pub const FUNCTIONS: [Function; 7] = [
    Function {
        name: "getContacts",
        config: "config.json",
        message: None,
        emits: (2, "/displayName", || json!("Ada Lovelace")),
        // It has no fields. Its own tests have an invalid snapshot.
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
                &["`startTime` is not a time", "2024-07-01T09:30:00 (in UTC)"],
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
                &["`time` is not a time", "2024-07-01T09:30:00 (in UTC)"],
            ),
            (
                "{}",
                r#"{"time": "2024-13-01T00:00:00Z"}"#,
                &["`time` is not a time"],
            ),
            (
                "{}",
                r#"{"time": "99999999999999999999"}"#,
                &["`time` is not a time", "out of range"],
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
                r#"{"time": "2024-13-01T00:00:00Z"}"#,
                &["`time` is not a time"],
            ),
            (
                "{}",
                r#"{"time": "tomorrow"}"#,
                &["`time` is not a time", "2024-07-01T09:30:00 (in UTC)"],
            ),
            (
                "{}",
                r#"{"time": "99999999999999999999"}"#,
                &["`time` is not a time", "out of range"],
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
                r#"{"start": {"dateTime": "soon"}}"#,
                &["`start.dateTime` is not a time"],
            ),
            ("{}", r#"{"end": null}"#, &["end"]),
            (
                "{}",
                r#"{"end": {"dateTime": ""}}"#,
                &[
                    "`end.dateTime` is not a time",
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
                &["`attachments[0]`", "is not a URL"],
            ),
        ],
    },
];

impl Function {
    pub fn config(&self, rig: &Rig) -> Value {
        sample(self.config, &rig.platform)
    }

    pub fn body(&self, rig: &Rig) -> Value {
        self.message
            .map_or_else(|| json!({}), |file| sample_body(file, &rig.platform))
    }

    pub fn assert_works(&self, emitted: &Emitted) {
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
