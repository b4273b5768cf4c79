//! Messages whose JSON is odd, as JavaScript writes it.

use super::*;
use sailor::protocol::{Encoding, Json};

impl Rig {
    /// Puts a message of this text into the queue.
    fn send_text(&self, text: impl Into<Vec<u8>>) {
        let headers = Headers::from_iter([("protocolVersion".to_owned(), 2.into())]);
        self.emulator.send_raw(
            self.emulator.cipher().encrypt(text.into(), Encoding::Raw),
            "odd",
            &headers,
        );
    }
}

/// A message of so many levels whose script has it emit all of them but four.
fn nested(levels: usize) -> String {
    let levels = levels - 5;
    format!(
        r#"{{"body":{{"script":[["data",{{"body":{}1{}}}]]}}}}"#,
        "[".repeat(levels),
        "]".repeat(levels)
    )
}

#[tokio::test]
async fn json_deeper_than_1000_levels_is_an_error_event() {
    let rig = Rig::with_prefetch(1).await;
    let component = rig.start();
    rig.send_text(nested(1_000));
    let data = rig.events(EventKind::Data, 1).await;
    let expected: Value = Json::from_text(
        ["[".repeat(995), "1".into(), "]".repeat(995)]
            .concat()
            .into(),
    )
    .unwrap()
    .parse()
    .unwrap();
    assert!(
        data[0].body["body"] == expected,
        "what is nested is not what was sent"
    );
    for levels in [1_001, 100_000, 1_000_000] {
        rig.send_text(nested(levels));
    }
    let errors = rig.events(EventKind::Error, 3).await;
    for (error, levels) in errors.iter().zip([1_001, 100_000, 1_000_000]) {
        let message = error.body["error"]["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("{levels} levels")) && message.contains("1000"),
            "{message}"
        );
    }
    rig.send(json!([["data", { "body": "as before" }]]));
    assert_eq!(
        rig.events(EventKind::Data, 2).await[1].body["body"],
        "as before"
    );
    rig.settled().await;
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn lone_surrogates_and_invalid_utf8_are_replaced() {
    let rig = Rig::with_prefetch(1).await;
    let component = rig.start();
    rig.send_text(
        r#"{"headers":{"kept":1,"odd":"\ude00"},"body":{"party \ud83d":["party \ud83d"]}}"#,
    );
    rig.send_text(
        b"{\"headers\":{\"kept\":1,\"odd\":\"\xff\"},\"body\":{\"party \xff\":[\"party \xed\"]}}",
    );
    for event in rig.events(EventKind::Data, 2).await {
        let read = &event.body["body"]["msg"];
        assert_eq!(read["headers"], json!({ "kept": 1, "odd": "\u{fffd}" }));
        assert_eq!(
            read["body"],
            json!({ "party \u{fffd}": ["party \u{fffd}"] })
        );
    }
    rig.settled().await;
    assert_eq!(component.stop().await.0, 0);
}
