//! What APIs send in the field: lists that say in their own ways that they are empty, times in any notation, texts in any
//! encoding, and headers with any bytes.

use super::{Rig, error_text, ids, seen, snapshot};
use emulator::provider::{Encoding, Fault, Trouble};
use http_double::{PreparedResponse, ScriptedDouble};
use sailor::testing::{Emitted, Event, Verdict};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tracing::{
    Event as LogEvent, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

fn text_response(status: u16, body: &str) -> Fault {
    Fault::Response {
        status,
        headers: vec![("content-type".into(), "application/json".into())],
        body: body.into(),
    }
}

#[tokio::test]
async fn an_empty_list_is_empty_in_every_notation() {
    for (pointer, status, body) in [
        ("/items", 204, ""),
        ("/items", 200, ""),
        ("/items", 200, "{}"),
        ("/messages", 200, r#"{"resultSizeEstimate":0}"#),
        ("/QueryResponse/Item", 200, r#"{"QueryResponse":{}}"#),
        // Two more of our own.
        ("/items", 200, "\u{feff}\r\n"),
        ("/d/results", 200, r#"{"d":null}"#),
    ] {
        let rig = Rig::new().await;
        rig.provider.script_api([text_response(status, body)]);
        let position = json!({ "before": 1, "since": 2, "seen": seen([1]) });
        let fields = json!({ "path": "/list", "itemsPointer": pointer });
        let emitted = rig.poll(fields, position.clone()).await;
        assert_eq!(emitted.events, [Event::Snapshot(position)], "{body}");
        assert_eq!(emitted.verdict, Verdict::Acknowledged);
    }
}

/// Counts the log lines with a text.
struct LogCount(&'static str, Arc<AtomicUsize>);

impl Visit for LogCount {
    fn record_debug(&mut self, _: &Field, value: &dyn std::fmt::Debug) {
        if format!("{value:?}").contains(self.0) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Subscriber for LogCount {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &LogEvent<'_>) {
        event.record(&mut Self(self.0, self.1.clone()));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn a_missing_list_is_logged_once() {
    let count = Arc::new(AtomicUsize::new(0));
    let log = LogCount("has no list at `itemsPointer`", count.clone());
    let _guard = tracing::subscriber::set_default(log);
    let rig = Rig::new().await;
    for _ in 0..3 {
        rig.provider
            .script_api([text_response(200, r#"{"total":0}"#)]);
        let fields = json!({ "path": "/list", "itemsPointer": "/items" });
        assert_eq!(
            rig.poll(fields, json!({}))
                .await
                .error
                .map(|e| e.to_string()),
            None
        );
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

/// Three times in one notation, each a second later, in the order of a list that is not sorted.
fn notations() -> [(&'static str, [Value; 3]); 9] {
    let of = |texts: [&str; 3]| texts.map(|text| json!(text));
    [
        (
            "RFC 2822 with a numeric zone",
            of([
                "Sat, 31 Jan 2026 13:00:00 +0200",
                "Sat, 31 Jan 2026 12:00:01 +0100",
                "Sat, 31 Jan 2026 06:00:02 -0500",
            ]),
        ),
        (
            "ctime with a zone",
            of([
                "Sat Jan 31 11:00:00 +0000 2026",
                "Sat Jan 31 11:00:01 UTC 2026",
                "Sat Jan 31 13:00:02 +0200 2026",
            ]),
        ),
        (
            "seconds",
            [
                json!(999_999_999),
                json!(1_000_000_000),
                json!(1_000_000_001),
            ],
        ),
        (
            "seconds as text",
            of(["999999999", "1000000000", "1000000001"]),
        ),
        (
            "milliseconds",
            [
                json!(999_999_999_999_u64),
                json!(1_000_000_000_000_u64),
                json!(1_000_000_000_001_u64),
            ],
        ),
        (
            "milliseconds as text",
            of(["999999999999", "1000000000000", "1000000000001"]),
        ),
        (
            "mixed fractions and zones",
            of([
                "2026-01-31T12:00:00+01:00",
                "2026-01-31T11:00:01.000Z",
                "2026-01-31 11:00:02 +0000",
            ]),
        ),
        // Two more of our own.
        (
            "JSON dates of .NET",
            of([
                "/Date(999999999999)/",
                "/Date(1000000000000)/",
                "/Date(1000000000001+0100)/",
            ]),
        ),
        (
            "a zone by its name",
            of([
                "2026-01-31T12:00:00+01:00[Europe/Berlin]",
                "Sat, 31 Jan 2026 06:00:01 EST",
                "Sat Jan 31 2026 12:00:02 GMT+0100",
            ]),
        ),
    ]
}

#[tokio::test]
async fn times_are_ordered_in_every_notation() {
    for (name, [first, second, third]) in notations() {
        let rig = Rig::new().await;
        let list = |items: &[(u32, &Value)]| {
            let items = items.iter();
            let items = items.map(|(id, at)| json!({ "id": id, "updated_at": at }));
            Fault::Json(200, items.collect())
        };
        let fields = json!({ "path": "/list", "itemsPointer": "#" });
        let nothing = json!(null);
        rig.provider
            .script_api([list(&[(2, &second), (9, &nothing), (1, &first)])]);
        let emitted = rig.poll(fields.clone(), json!({})).await;
        assert_eq!(ids(&emitted), [1, 2], "{name}: {emitted:?}");
        let reported =
            |event: &Event| matches!(event, Event::Error(text) if text.contains("item 9"));
        assert!(emitted.events.iter().any(reported), "{name}: {emitted:?}");
        rig.provider.script_api([list(&[
            (3, &third),
            (2, &second),
            (9, &nothing),
            (1, &first),
        ])]);
        let emitted = rig.poll(fields, snapshot(&emitted)).await;
        assert_eq!(ids(&emitted), [3], "{name}: {emitted:?}");
        assert!(!emitted.events.iter().any(reported), "{name}: {emitted:?}");
    }
}

#[tokio::test]
async fn an_unreadable_time_is_an_error_that_names_it() {
    for time in ["31/01/2026 um 12 Uhr", "01/02/2026", "2026-13-01T00:00:00Z"] {
        let rig = Rig::new().await;
        let item = json!({ "id": 1, "updated_at": time });
        rig.provider.script_api([Fault::Json(200, json!([item]))]);
        let fields = json!({ "path": "/list", "itemsPointer": "#" });
        let emitted = rig.poll(fields, json!({})).await;
        assert!(
            error_text(&emitted).contains(&format!("{time:?}")),
            "{emitted:?}"
        );
    }
}

/// What goes wrong with texts, and how a name arrives then.
fn encodings() -> [(Trouble, &'static str); 8] {
    let encoded = |encoding| Trouble {
        encoding: Some(encoding),
        ..Trouble::default()
    };
    let name = "Zoë – €";
    [
        (encoded(Encoding::Utf8Bom), name),
        (encoded(Encoding::Utf16Le), name),
        (encoded(Encoding::Latin1), name),
        (
            Trouble {
                half_surrogates: vec!["name".into()],
                ..Trouble::default()
            },
            "Zoë – €\u{fffd}",
        ),
        (
            Trouble {
                content_type: Some("text/json".into()),
                ..encoded(Encoding::Utf16LeBom)
            },
            name,
        ),
        (encoded(Encoding::Utf16Be), name),
        // Two more of our own.
        (
            Trouble {
                half_surrogates: vec!["name".into()],
                chunked: true,
                ..encoded(Encoding::Utf16BeBom)
            },
            "Zoë – €\u{fffd}",
        ),
        (encoded(Encoding::Latin1Undeclared), name),
    ]
}

#[tokio::test]
async fn texts_are_read_in_every_encoding() {
    for (trouble, name) in encodings() {
        let rig = Rig::new().await;
        let record = json!({ "id": 1, "name": "Zoë – €", "updated_at": 1 });
        rig.provider.set_records([record]);
        rig.provider.set_trouble(trouble.clone());
        let fields = json!({ "path": "/records", "itemsPointer": "/records" });
        let polled = rig.poll(fields, json!({})).await;
        assert_eq!(polled.data::<Value>()[0]["name"], name, "{trouble:?}");
        let json = json!({ "answerType": "json" });
        let requested = rig.request(json, json!({ "path": "/records" })).await;
        let body = &requested.data::<Value>()[0]["body"];
        assert_eq!(body["records"][0]["name"], name, "{trouble:?}");
    }
}

impl Rig {
    /// A request to an API that responds with this.
    async fn request_of(&self, fields: Value, response: PreparedResponse) -> Emitted {
        let api = ScriptedDouble::start().await.unwrap();
        api.respond("", [response]);
        let mut all = json!({ "baseUrl": api.url() });
        all.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        self.request(all, json!({ "path": "/files/1" })).await
    }
}

#[tokio::test]
async fn files_are_named_in_every_notation() {
    let rig = Rig::new().await;
    for (disposition, name) in [
        (
            "attachment; filename=\"Müller.pdf\"".as_bytes(),
            "Müller.pdf",
        ),
        (b"attachment; filename=\"M\xfcller.pdf\"", "Müller.pdf"),
        (
            b"attachment; filename=x.pdf; filename*=UTF-8''M%C3%BCller.pdf",
            "Müller.pdf",
        ),
        (
            b"attachment; filename=\"=?utf-8?B?TcO8bGxlci5wZGY=?=\"",
            "Müller.pdf",
        ),
        // Two more of our own.
        (
            b"attachment; filename*=iso-8859-1'de'M%FCller.pdf",
            "Müller.pdf",
        ),
        (b"inline; FileName = \"..\\\\a;b.pdf\"", "a;b.pdf"),
    ] {
        let response = PreparedResponse::ok("x")
            .header("content-type", "application/pdf")
            .header("content-disposition", disposition);
        let emitted = rig.request_of(json!({}), response).await;
        let Some(Event::Data(message)) = emitted.events.last() else {
            panic!("{emitted:?}")
        };
        let files = message["attachments"].as_object().unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), [name]);
    }
}

#[tokio::test]
async fn repeated_headers_are_all_emitted() {
    let rig = Rig::new().await;
    for (headers, name, expected) in [
        (
            vec![("set-cookie", "a=1"), ("set-cookie", "b=2")],
            "set-cookie",
            json!(["a=1", "b=2"]),
        ),
        (
            vec![
                ("link", "</1>; rel=\"prev\""),
                ("link", "</2>; rel=\"next\""),
            ],
            "link",
            json!("</1>; rel=\"prev\", </2>; rel=\"next\""),
        ),
        // Two more of our own.
        (
            vec![("set-cookie", "a=1, 2")],
            "set-cookie",
            json!("a=1, 2"),
        ),
        (
            vec![("X-Name", "Müller"), ("x-name", "")],
            "x-name",
            json!("Müller, "),
        ),
    ] {
        let response = PreparedResponse::ok("{}");
        let response = headers
            .into_iter()
            .fold(response, |response, (name, value)| {
                response.header(name, value)
            });
        let emitted = rig.request_of(json!({}), response).await;
        assert_eq!(emitted.data::<Value>()[0]["headers"][name], expected);
    }
}
