//! These tests run on the default stack of threads, in a build without optimisation.

use super::{
    super::{EnvelopeError, Json, Object},
    *,
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;
use std::{collections::BTreeMap, thread};

/// The stack of tokio's threads and of `std::thread`.
fn on_a_default_stack(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new()
        .stack_size(2 * 1024 * 1024)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap();
}

/// `levels` of arrays, objects, or both in turn.
fn nested(kind: &str, levels: usize) -> String {
    let open = |level: usize| match kind {
        "arrays" => "[",
        "objects" => r#"{"a":"#,
        _ => ["[", r#"{"a":"#][level % 2],
    };
    let close = |level: usize| match kind {
        "arrays" => "]",
        "objects" => "}",
        _ => ["]", "}"][level % 2],
    };
    (0..levels)
        .map(open)
        .chain(["1"])
        .chain((0..levels).rev().map(close))
        .collect()
}

#[test]
fn json_of_1000_levels_can_be_compared_cloned_and_written() {
    for kind in ["arrays", "objects", "mixed"] {
        on_a_default_stack(move || {
            let text = nested(kind, MAX_DEPTH);
            let json = Json::from_text(text.clone().into()).unwrap();
            let value: Value = json.parse().unwrap();
            let copy = value.clone();
            assert!(copy == value);
            drop(copy);
            assert_eq!(Json::of(&value).unwrap().as_bytes(), text.as_bytes());
            assert_eq!(serde_json::to_vec(&value).unwrap(), text.as_bytes());
            assert_eq!(value.to_string(), text);
            assert!(serde_json::to_value(&value).unwrap() == value);
        });
    }
}

#[derive(Debug, Deserialize, Serialize, Clone, PartialEq)]
struct Tree {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    a: Option<Box<Tree>>,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize, Serialize, Clone, PartialEq)]
#[serde(untagged)]
enum Either {
    Number(u64),
    Many(Vec<Either>),
    Members(BTreeMap<String, Either>),
}

#[derive(Debug, Deserialize, Serialize, Clone, PartialEq)]
struct Plain {
    a: Option<Box<Plain>>,
}

#[test]
fn json_of_1000_levels_is_read_into_plain_types() {
    on_a_default_stack(move || {
        let text = nested("objects", MAX_DEPTH).replace('1', "null");
        let read: Plain = Json::from_text(text.clone().into())
            .unwrap()
            .parse()
            .unwrap();
        let copy = read.clone();
        assert!(copy == read);
        drop(copy);
        assert_eq!(Json::of(&read).unwrap().as_bytes(), text.as_bytes());
    });
}

#[test]
fn json_of_1000_levels_is_read_into_flattened_types() {
    on_a_default_stack(move || {
        let text = nested("objects", MAX_DEPTH).replace('1', r#"{"b":2}"#);
        let text = &text.replacen(r#"{"a":"#, "", 1)[..];
        let text = text[..text.len() - 1].to_owned();
        let read: Tree = Json::from_text(text.clone().into())
            .unwrap()
            .parse()
            .unwrap();
        let copy = read.clone();
        assert!(copy == read);
        drop(copy);
        assert_eq!(Json::of(&read).unwrap().as_bytes(), text.as_bytes());
    });
}

#[test]
fn json_of_1000_levels_is_read_into_untagged_types() {
    for kind in ["arrays", "objects", "mixed"] {
        on_a_default_stack(move || {
            let text = nested(kind, MAX_DEPTH);
            let read: Either = Json::from_text(text.clone().into())
                .unwrap()
                .parse()
                .unwrap();
            let copy = read.clone();
            assert!(copy == read);
            drop(copy);
            assert_eq!(Json::of(&read).unwrap().as_bytes(), text.as_bytes());
        });
    }
}

#[test]
fn a_value_of_1000_levels_is_read_into_types() {
    on_a_default_stack(|| {
        let within = |value| Value::from_iter([("a".to_owned(), value)]);
        let value = |levels| (0..levels).fold(json!(null), |value, _| within(value));
        for levels in [1, 127, 128, 129, MAX_DEPTH] {
            let read: Plain = read_value(&value(levels)).unwrap();
            assert!(serde_json::to_value(read).unwrap() == value(levels));
            assert_eq!(
                exceeds_depth(&value(levels), SERDE_JSON_DEPTH),
                levels > SERDE_JSON_DEPTH
            );
        }
        let error = read_value::<Plain>(&json!({ "a": { "a": 1 } })).unwrap_err();
        assert_eq!(error.path().to_string(), "a.a");
    });
}

#[test]
fn json_of_1000_levels_is_read_and_1001_is_an_error() {
    for place in [
        r#"{"body":@}"#,
        r#"{"headers":{},"body":@}"#,
        r#"{"passthrough":@,"body":{}}"#,
        r#"{"attachments":@}"#,
    ] {
        for kind in ["arrays", "objects", "mixed"] {
            let text = |levels: usize| place.replace('@', &nested(kind, levels - 1));
            Object::read(text(MAX_DEPTH).into()).unwrap();
            let error = Object::read(text(MAX_DEPTH + 1).into()).unwrap_err();
            assert!(
                matches!(error, EnvelopeError::TooDeep { depth: 1_001 }),
                "{place} {kind}: {error}"
            );
            assert!(
                error.to_string().contains("1001 levels") && error.to_string().contains("1000"),
                "{error}"
            );
        }
    }
}

#[test]
fn a_text_of_any_depth_is_rejected_without_recursion() {
    for levels in [2_000, 100_000, 1_000_000] {
        on_a_default_stack(move || {
            let text = nested("mixed", levels);
            assert!(
                matches!(Json::from_text(text.into()), Err(EnvelopeError::TooDeep { depth }) if depth == levels)
            );
            assert!(Json::from_text("[".repeat(levels).into()).is_err());
        });
    }
}

#[test]
fn brackets_in_strings_are_not_levels() {
    let wide = format!(r#"{{"a":[{}[]]}}"#, r#"{"b":[1]},"#.repeat(5_000));
    let strings = format!(
        r#"{{"a":["{}","\\","\"{}"]}}"#,
        "[".repeat(5_000),
        r#"\"["#.repeat(5_000)
    );
    for (text, levels) in [(&wide, 4), (&strings, 2)] {
        assert!(opening_brackets(text.as_bytes()) > MAX_DEPTH);
        assert_eq!(
            (depth(text.as_bytes()), excessive_depth(text.as_bytes())),
            (levels, None)
        );
        Object::read(text.clone().into()).unwrap();
    }
}

#[test]
fn writing_a_value_that_is_too_deep_is_an_error() {
    on_a_default_stack(|| {
        let levels = |levels| (0..levels).fold(json!(1), |value, _| Value::from(vec![value]));
        assert_eq!(
            Json::of(&levels(MAX_DEPTH)).unwrap().as_bytes(),
            nested("arrays", MAX_DEPTH).as_bytes()
        );
        let error = Json::of(&levels(MAX_DEPTH + 1)).unwrap_err().to_string();
        assert!(error.contains("more than 1000 levels"), "{error}");
    });
}

#[test]
fn writing_an_endless_value_is_an_error() {
    struct Endless;
    impl Serialize for Endless {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq([Endless])
        }
    }
    on_a_default_stack(|| assert!(Json::of(&Endless).is_err()));
}

/// Texts with lone surrogates, and how they are read. The first is `JSON.stringify("party 😀".slice(0, 7))` in JavaScript.
const LONE_SURROGATES: [(&str, &str); 8] = [
    (r#""party \ud83d""#, "party \u{fffd}"),
    (r#""\ude00 party""#, "\u{fffd} party"),
    (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
    (r#""\ud83d\u0041""#, "\u{fffd}A"),
    (r#""\uDBFF\uD800\n""#, "\u{fffd}\u{fffd}\n"),
    (r#""\\ud83d""#, r"\ud83d"),
    (r#""\\\ud83d""#, "\\\u{fffd}"),
    (r#""\ud83d\\ude00""#, "\u{fffd}\\ude00"),
];

#[test]
fn a_lone_surrogate_is_read_as_the_replacement_character() {
    for (written, read) in LONE_SURROGATES {
        let json = Json::from_text(written.into()).unwrap();
        assert_eq!(json.as_bytes(), written.as_bytes(), "the text changed");
        assert_eq!(json.parse::<String>().unwrap(), read, "{written}");
        let text = format!(r#"{{"a":{{{written}:[{written}]}},{written}:{written}}}"#);
        let object = Object::read(text.clone().into()).unwrap();
        assert_eq!(object.to_vec(), text.as_bytes(), "a name changed");
        assert_eq!(object.text_len(), text.len(), "{written}");
        assert_eq!(
            object.get("a").unwrap().parse::<Value>().unwrap(),
            json!({ read: [read] })
        );
        assert_eq!(
            object.get(read).unwrap().as_bytes(),
            written.as_bytes(),
            "{written}"
        );
        assert_eq!(
            object.get("a").unwrap().as_bytes(),
            format!("{{{written}:[{written}]}}").as_bytes()
        );
    }
}

#[test]
fn a_lone_surrogate_below_many_levels_is_read_too() {
    let text = nested("arrays", 500).replace('1', r#""\ud83d""#);
    let read: Value = Json::from_text(text.into()).unwrap().parse().unwrap();
    assert_eq!(
        read.to_string(),
        nested("arrays", 500).replace('1', "\"\u{fffd}\"")
    );
}

#[test]
fn invalid_utf8_is_read_as_the_replacement_character() {
    let text = |bytes: &[u8]| [br#"{"a":""#, bytes, br#"","\ud83d":1}"#].concat();
    for (bytes, read) in [
        (&b"x\xff\xfey"[..], "x\u{fffd}\u{fffd}y"),
        (b"\xe2\x82", "\u{fffd}"),
        (b"\xed\xa0\x80", "\u{fffd}\u{fffd}\u{fffd}"),
    ] {
        let object = Object::read(text(bytes).into()).unwrap();
        assert_eq!(object.get("a").unwrap().parse::<String>().unwrap(), read);
        assert_eq!(object.get("\u{fffd}").unwrap().as_bytes(), b"1");
        assert_eq!(
            Json::from_text(text(bytes).into())
                .unwrap()
                .parse::<Value>()
                .unwrap()["a"],
            read
        );
    }
}

#[test]
fn invalid_json_is_rejected_by_every_reader() {
    let broken = [
        &br#"{"a":"\ud83"}"#[..],
        br#"{"a":"\ud83d"#,
        br#"{"a":"\ud83d"]"#,
        br#"{"a":\ud83d}"#,
        b"{\"a\":\xff}",
        b"\xff\xfe{}",
    ];
    for text in broken {
        let text = bytes::Bytes::from_static(text);
        assert!(
            matches!(
                Object::read(text.clone()),
                Err(EnvelopeError::NotJson { .. })
            ),
            "{text:?}"
        );
        assert!(
            matches!(
                Json::from_text(text.clone()),
                Err(EnvelopeError::NotJson { .. })
            ),
            "{text:?}"
        );
    }
    // The error is about the type, not about the surrogate.
    let error = Json::from_text(r#"{"a":{"b":"\ud83d"}}"#.into())
        .unwrap()
        .parse::<BTreeMap<String, u8>>()
        .unwrap_err();
    assert_eq!(error.path().to_string(), "a");
}

fn levels(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = r#"[\[\]{}",\\a\n😀]{0,6}"#;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from)
    ];
    leaf.prop_recursive(8, 64, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text, inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_depth_is_that_of_the_value(value in any_json(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert_eq!(depth(text.as_bytes()), levels(&value));
        prop_assert!(opening_brackets(text.as_bytes()) >= levels(&value));
        let written = Json::of(&value).unwrap();
        prop_assert_eq!(written.bytes(), serde_json::to_string(&value).unwrap());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), bound in 0..200_usize) {
        let _ = (depth(&bytes), excessive_depth(&bytes), without_lone_surrogates(&bytes[..bound.min(bytes.len())]));
        let _ = (Object::read(bytes.clone().into()), Json::from_text(bytes.into()));
    }

    #[test]
    fn any_escaped_code_units_are_read_as_in_javascript(units in prop::collection::vec(prop_oneof![0xd7f0..0xe010_u16, any::<u16>()], 0..12)) {
        let text: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
        let json = Json::from_text(format!("\"{text}\"").into()).unwrap();
        prop_assert_eq!(json.parse::<String>().unwrap(), String::from_utf16_lossy(&units));
    }
}
