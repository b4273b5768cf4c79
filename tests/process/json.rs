//! JSON that JavaScript writes and strict parsers refuse: lone surrogates, invalid UTF-8, many levels.

use super::*;
use sailor::protocol::{Encoding, Json};

/// Sends a message whose JSON is this text.
fn send_text(rig: &Rig, text: impl Into<Vec<u8>>) {
    let headers = Headers::from_iter([("protocolVersion".to_owned(), 2.into())]);
    let sealed = rig.emulator.cipher().encrypt(text.into(), Encoding::Raw);
    rig.emulator.send_raw(sealed, "odd", &headers);
}

/// A message of this many levels of JSON. Its script emits all of them but the outer five.
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
    let rig = scripted(1).await;
    let component = rig.start();
    send_text(&rig, nested(1_000));
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
        "the nested value has changed"
    );
    for levels in [1_001, 100_000, 1_000_000] {
        send_text(&rig, nested(levels));
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
    let rig = scripted(1).await;
    let component = rig.start();
    send_text(
        &rig,
        r#"{"headers":{"kept":1,"odd":"\ude00"},"body":{"party \ud83d":["party \ud83d"]}}"#,
    );
    send_text(
        &rig,
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
