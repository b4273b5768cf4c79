//! The wire format: wire-contract: Worked vectors, and what must hold for every message.

use proptest::prelude::*;
use sailor::protocol::{
    Cipher, CipherError, Encoding, EnvelopeError, ErrorReport, IncomingHeaders, Json, Object,
    error_body,
};
use serde_json::{Value, json};

fn cipher() -> Cipher {
    Cipher::new("testCryptoPassword", "iv=any16_symbols").unwrap()
}

/// wire-contract: Worked vectors: plaintext and its base64 in protocol version 1. Version 2 is the same ciphertext, raw.
const VECTORS: [(&str, &str); 5] = [
    (
        r#"{"body":{"someKey":"someValue"}}"#,
        "vSx5ntK2UdYh2Wjcdy8rgM7Yz5a/H8koXKtwNI0FL/Y9QiQFcUrtT4HJUkYXACNL",
    ),
    (
        r#"{"id":"88999c40-a2f4-404e-9bf3-c531a37c9df4","headers":{},"body":{"name":"größe €","n":25},"attachments":{}}"#,
        "yM4zPVWl1cDydyIRhie5MB6imzdt9gAxsdeHxu7re4i8MmV3oYGOQ5oRiAWWHeZHPNgCR7v9Dn0GV1pr5wAsIjhn2WKQhUS73jOGdboR5eNhZWA2k0xhQ78EQ0T8B3EK9XHjMB6EBvfLbtwme8NEcKYGmgDpBV1z7sXTvQSi/8s=",
    ),
    (
        r#"{"name":"Error","message":"Test error","stack":"Error: Test error\n    at x"}"#,
        "+PAlXNRj+5HdYNSuw3cyrfXNSlnUHKH0AtyspQkvT0RFROPAhMgqrj8y1I0EW9zJEhcRzmiEwbK5ftV3a8N3FRa/Qr1EBQvNGI9YG+MmKDE=",
    ),
    ("{}", "YnVkti0G1RRGkx6HZNFCcg=="),
    (r#""plain string""#, "x/yWOytQVcpumCEaVd2qXQ=="),
];

fn from_base64(text: &str) -> Vec<u8> {
    base64_simd::STANDARD.decode_to_vec(text).unwrap()
}

#[test]
fn the_worked_vectors_hold_both_ways_in_both_protocol_versions() {
    for (plain, base64) in VECTORS {
        let raw = from_base64(base64);
        assert_eq!(
            cipher().encrypt(plain.into(), Encoding::Base64),
            base64.as_bytes()
        );
        assert_eq!(cipher().encrypt(plain.into(), Encoding::Raw), raw);
        assert_eq!(
            cipher()
                .decrypt(base64.as_bytes(), Encoding::Base64)
                .unwrap(),
            plain.as_bytes()
        );
        assert_eq!(
            cipher().decrypt(&raw, Encoding::Raw).unwrap(),
            plain.as_bytes()
        );
    }
}

#[test]
fn base64_is_read_as_leniently_as_node_reads_it() {
    let (plain, base64) = VECTORS[1];
    let url_safe = base64.replace('+', "-").replace('/', "_");
    let unpadded = base64.trim_end_matches('=').to_owned();
    let broken_up = base64
        .as_bytes()
        .chunks(20)
        .map(|l| std::str::from_utf8(l).unwrap())
        .collect::<Vec<_>>()
        .join("\r\n ");
    for text in [url_safe, unpadded, broken_up] {
        assert_eq!(
            cipher().decrypt(text.as_bytes(), Encoding::Base64).unwrap(),
            plain.as_bytes(),
            "{text}"
        );
    }
}

#[test]
fn a_decryption_error_does_not_show_the_content() {
    let table: [(&[u8], Encoding, CipherError); 5] = [
        (
            b"not encrypted at al",
            Encoding::Base64,
            CipherError::Undecipherable(19),
        ),
        (b"%%%", Encoding::Base64, CipherError::NotBase64),
        (b"", Encoding::Base64, CipherError::Undecipherable(0)),
        (b"", Encoding::Raw, CipherError::Undecipherable(0)),
        (
            b"fifteen bytes..",
            Encoding::Raw,
            CipherError::Undecipherable(15),
        ),
    ];
    for (body, encoding, error) in table {
        assert_eq!(cipher().decrypt(body, encoding).unwrap_err(), error);
    }
    assert_eq!(
        Cipher::new("p", "too short").unwrap_err(),
        CipherError::VectorLength(9)
    );
    assert!(!format!("{:?}", cipher()).contains("iv="));
}

#[test]
fn an_error_event_matches_the_example_for_both_protocols() {
    let report = ErrorReport {
        name: "Error".into(),
        message: "Test error".into(),
        stack: "Error: Test error\n    at x".into(),
    };
    let sealed = report.encrypt(&cipher());
    let input = VECTORS[0].1;
    let expected = format!(r#"{{"error":"{}","errorInput":"{input}"}}"#, VECTORS[2].1);
    assert_eq!(
        error_body(&sealed, Some((input.as_bytes(), Encoding::Base64))),
        expected.as_bytes()
    );
    assert_eq!(
        error_body(&sealed, Some((&from_base64(input), Encoding::Raw))),
        expected.as_bytes()
    );
    assert_eq!(
        error_body(&sealed, None),
        format!(r#"{{"error":"{}"}}"#, VECTORS[2].1).as_bytes()
    );
}

#[test]
fn only_objects_are_messages() {
    for text in ["null", "1", "true", r#""text""#, "[{}]"] {
        assert!(
            matches!(Object::read(text.into()), Err(EnvelopeError::NotAnObject)),
            "{text}"
        );
    }
    for text in ["", "{", "{nope", r#"{"a":1}}"#] {
        assert!(
            matches!(
                Object::read(text.into()),
                Err(EnvelopeError::NotJson { .. })
            ),
            "{text}"
        );
    }
}

#[test]
fn the_last_value_of_a_duplicate_member_counts() {
    let mut object = Object::read(r#"{"a":1,"b":2,"a":3}"#.into()).unwrap();
    assert_eq!(object.get("a").unwrap().as_bytes(), b"3");
    object.set("a", Json::of(&4).unwrap());
    assert_eq!(
        serde_json::from_slice::<Value>(&object.to_vec()).unwrap(),
        json!({ "a": 4, "b": 2 })
    );
    object.remove("a");
    assert_eq!(object.to_vec(), br#"{"b":2}"#);
}

#[test]
fn emptiness_is_what_the_existing_sailors_call_empty() {
    for empty in [
        "{}", "{ }", "{} ", " {}", "\n[ ]\t", " \"\" ", " 1 ", "[]", r#""""#, "null", "0", "17",
        "true", "false",
    ] {
        assert!(Json::from_text(empty.into()).unwrap().is_empty(), "{empty}");
    }
    for full in [
        r#"{"a":1}"#,
        r#" {"a":1}"#,
        "\r\n[0]\n",
        r#" " " "#,
        "[0]",
        r#"" ""#,
    ] {
        assert!(!Json::from_text(full.into()).unwrap().is_empty(), "{full}");
    }
}

#[test]
fn white_space_around_a_value_is_ignored() {
    for text in [r#"{"a": 1}"#, "[1, 2]", r#"" ""#, "17"] {
        for around in [" ", "\n", "\t \r\n"] {
            let json = Json::from_text(format!("{around}{text}{around}").into()).unwrap();
            assert_eq!(
                (json.as_bytes(), json.is_object()),
                (text.as_bytes(), text.starts_with('{')),
                "{text}"
            );
        }
    }
    // Invalid UTF-8 is replaced. A form feed is not white space in JSON.
    let repaired = Json::from_text(b" {\"a\": \"\xff\"}\n".to_vec().into()).unwrap();
    assert_eq!(repaired.as_bytes(), "{\"a\": \"\u{fffd}\"}".as_bytes());
    assert!(Json::from_text("\x0c{}".into()).is_err());
}

#[test]
fn members_are_there_where_the_value_is_an_object() {
    let members = Json::from_text(r#" {"a":[1],"b":{}}"#.into())
        .unwrap()
        .members()
        .unwrap();
    assert_eq!(
        members
            .iter()
            .map(|(name, json)| (name, json.is_object()))
            .collect::<Vec<_>>(),
        [("a", false), ("b", true)]
    );
    for other in ["[{}]", r#""{}""#, "null", "1"] {
        let json = Json::from_text(other.into()).unwrap();
        assert!(json.members().is_none() && !json.is_object(), "{other}");
    }
}

#[test]
fn the_protocol_version_is_read_from_numbers_and_text() {
    let table = [
        (json!(2), 2),
        (json!(1), 1),
        (json!(0), 1),
        (json!(7), 7),
        (json!(2.0), 2),
        (json!("2"), 2),
        (json!(" 2 "), 2),
        (json!("x"), 1),
        (json!(null), 1),
        (json!(true), 1),
    ];
    for (header, version) in table {
        let headers = json!({ "protocolVersion": header });
        assert_eq!(
            IncomingHeaders::read(headers.as_object().unwrap()).protocol_version,
            version,
            "{header}"
        );
    }
}

#[test]
fn meta_headers_are_lower_cased_and_trace_the_thread() {
    let headers =
        json!({ "X-Eio-Meta-Trace-Id": "t", "x-eio-meta-Foo": 1, "x-eio-metä": 2, "other": 3 });
    let incoming = IncomingHeaders::read(headers.as_object().unwrap());
    assert_eq!(incoming.thread_id, "t");
    assert_eq!(
        Value::from(incoming.meta),
        json!({ "x-eio-meta-trace-id": "t", "x-eio-meta-foo": 1 })
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(".*", inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_payload_survives_the_cipher(plain in prop::collection::vec(any::<u8>(), 0..4096), raw: bool) {
        let encoding = if raw { Encoding::Raw } else { Encoding::Base64 };
        let body = cipher().encrypt(plain.clone(), encoding);
        prop_assert_eq!(cipher().decrypt(&body, encoding).unwrap(), plain);
    }

    #[test]
    fn no_body_makes_the_cipher_panic(body in prop::collection::vec(any::<u8>(), 0..256), raw: bool) {
        let _ = cipher().decrypt(&body, if raw { Encoding::Raw } else { Encoding::Base64 });
    }

    #[test]
    fn every_message_survives_the_envelope(members in prop::collection::hash_map(".*", any_json(), 0..8)) {
        let message = Value::Object(members.into_iter().collect());
        let object = Object::read(message.to_string().into()).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&object.to_vec()).unwrap(), message);
    }

    #[test]
    fn no_header_table_makes_the_reader_panic(headers in prop::collection::hash_map(".*", any_json(), 0..8)) {
        let _ = IncomingHeaders::read(&headers.into_iter().collect());
    }
}
