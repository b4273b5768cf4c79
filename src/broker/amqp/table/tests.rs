//! Compared with how the client reads and writes tables.

use super::*;
use lapin::types::{
    AMQPValue, ByteArray, DecimalValue, FieldArray, FieldTable, generation::gen_field_table,
    parsing::parse_field_table,
};
use proptest::prelude::*;
use serde_json::json;

fn table(value: AMQPValue) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert("h".into(), value);
    table
}

/// What the client writes.
fn bytes_of(table: &FieldTable) -> Vec<u8> {
    let written = gen_field_table(table)(Vec::new().into()).unwrap();
    written.into_inner().0
}

/// What the client reads of the headers that are written.
fn read_by_client(headers: &Headers) -> FieldTable {
    let mut bytes = Vec::new();
    write(&mut bytes, headers);
    let (rest, table) = parse_field_table(bytes.as_slice()).unwrap();
    assert!(rest.is_empty(), "{rest:?}");
    table
}

fn headers(value: Value) -> Headers {
    let Value::Object(headers) = value else {
        panic!("{value}")
    };
    headers
}

#[test]
fn every_amqp_value_type_is_read_as_json() {
    let nested = AMQPValue::FieldTable(table(AMQPValue::FieldArray(FieldArray::from(vec![
        AMQPValue::Boolean(true),
        AMQPValue::Void,
        AMQPValue::LongString("in a list".into()),
    ]))));
    for (wire, expected) in [
        (AMQPValue::ShortShortInt(-3), json!(-3)),
        (AMQPValue::ShortShortUInt(200), json!(200)),
        (AMQPValue::ShortInt(-300), json!(-300)),
        (AMQPValue::ShortUInt(60_000), json!(60_000)),
        (AMQPValue::LongInt(-70_000), json!(-70_000)),
        (AMQPValue::LongUInt(4_000_000_000), json!(4_000_000_000_u32)),
        (AMQPValue::LongLongInt(i64::MIN), json!(i64::MIN)),
        (AMQPValue::Timestamp(u64::MAX), json!(u64::MAX)),
        (AMQPValue::Float(0.5), json!(0.5)),
        (AMQPValue::Double(1.25), json!(1.25)),
        (AMQPValue::Double(f64::NAN), json!(null)),
        (
            AMQPValue::DecimalValue(DecimalValue {
                scale: 2,
                value: 275,
            }),
            json!(2.75),
        ),
        (
            AMQPValue::DecimalValue(DecimalValue { scale: 0, value: 7 }),
            json!(7),
        ),
        (AMQPValue::LongString("ü".into()), json!("ü")),
        (
            AMQPValue::LongString(vec![0xff_u8].into()),
            json!("\u{fffd}"),
        ),
        (
            AMQPValue::ByteArray(ByteArray::from(b"x".as_slice())),
            json!("x"),
        ),
        (AMQPValue::Boolean(false), json!(false)),
        (AMQPValue::Void, json!(null)),
        (nested, json!({"h": [true, null, "in a list"]})),
    ] {
        let bytes = bytes_of(&table(wire.clone()));
        assert_eq!(to_json(&bytes)["h"], expected, "{wire:?}");
    }
}

/// RabbitMQ sends `s` and `l`; AMQP 0-9-1 has `U` and `L` for the same.
#[test]
fn both_letters_of_an_integer_are_read() {
    for (kind, bytes, expected) in [
        (b's', [0xFF, 0xFE].as_slice(), json!(-2)),
        (b'U', &[0xFF, 0xFE], json!(-2)),
        (b'l', &[0, 0, 0, 0, 0, 0, 1, 0], json!(256)),
        (b'L', &[0, 0, 0, 0, 0, 0, 1, 0], json!(256)),
    ] {
        let entry = [&[1, b'h', kind], bytes].concat();
        let table = [(entry.len() as u32).to_be_bytes().as_slice(), &entry].concat();
        assert_eq!(Value::Object(to_json(&table)), json!({ "h": expected }));
    }
}

#[test]
fn json_numbers_are_written_in_the_narrowest_type() {
    for (value, expected) in [
        (json!(0), AMQPValue::ShortShortInt(0)),
        (json!(127), AMQPValue::ShortShortInt(127)),
        (json!(-128), AMQPValue::ShortShortInt(-128)),
        (json!(128), AMQPValue::ShortInt(128)),
        (json!(-32_768), AMQPValue::ShortInt(-32_768)),
        (json!(32_768), AMQPValue::LongInt(32_768)),
        (
            json!(2_147_483_648_i64),
            AMQPValue::LongLongInt(2_147_483_648),
        ),
        (
            json!(1_700_000_000_000_i64),
            AMQPValue::LongLongInt(1_700_000_000_000),
        ),
        (json!(2.0), AMQPValue::ShortShortInt(2)),
        (json!(2.5), AMQPValue::Double(2.5)),
        (
            json!(u64::MAX),
            AMQPValue::Double(18_446_744_073_709_551_615.0),
        ),
        (json!(true), AMQPValue::Boolean(true)),
        (json!("ü"), AMQPValue::LongString("ü".into())),
        (json!(null), AMQPValue::Void),
        (
            json!([1]),
            AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::ShortShortInt(1)])),
        ),
        (
            json!({"h": 1}),
            AMQPValue::FieldTable(table(AMQPValue::ShortShortInt(1))),
        ),
    ] {
        let read = read_by_client(&headers(json!({ "h": value })));
        assert_eq!(read, table(expected), "{value}");
    }
}

#[test]
fn a_header_name_over_255_bytes_is_named_in_the_error() {
    for value in [
        json!({ "n".repeat(256): 1 }),
        json!({"in": [{ "n".repeat(256): 1 }]}),
    ] {
        let error = check_names(&headers(value)).unwrap_err();
        assert!(
            error.contains("nnnn") && error.contains("256 bytes"),
            "{error}"
        );
    }
}

#[test]
fn only_numeric_values_are_read_as_numbers() {
    for (value, expected) in [
        (AMQPValue::ShortShortUInt(3), Some(3)),
        (AMQPValue::LongLongInt(3), Some(3)),
        (AMQPValue::Double(3.0), Some(3)),
        (AMQPValue::LongString("3".into()), None),
        (AMQPValue::Boolean(true), None),
    ] {
        let bytes = bytes_of(&table(value.clone()));
        assert_eq!(get_number(&bytes, "h"), expected, "{value:?}");
        assert_eq!(get_number(&bytes, "other"), None);
    }
}

#[test]
fn added_headers_replace_those_of_the_same_name_and_no_others() {
    let mut before = table(AMQPValue::Timestamp(5));
    before.insert("retry".into(), AMQPValue::LongLongInt(1));
    let added = headers(json!({"retry": 2, "end": "now"}));
    let mut expected = table(AMQPValue::Timestamp(5));
    expected.insert("retry".into(), AMQPValue::ShortShortInt(2));
    expected.insert("end".into(), AMQPValue::LongString("now".into()));
    let bytes = with(&bytes_of(&before), &added);
    assert_eq!(parse_field_table(bytes.as_slice()).unwrap().1, expected);
    // There may be no table yet.
    let bytes = with(&[], &added);
    assert_eq!(Value::Object(to_json(&bytes)), Value::Object(added));
}

#[test]
fn of_headers_with_the_same_name_the_last_one_counts() {
    let entry = |value: u8| [1, b'h', b'b', value];
    let entries = [entry(1), entry(2), entry(3)].concat();
    let table = [(entries.len() as u32).to_be_bytes().as_slice(), &entries].concat();
    assert_eq!(get(&table, "h"), Some(json!(3)));
    assert_eq!(Value::Object(to_json(&table)), json!({"h": 3}));
    let with = with(&table, &headers(json!({"end": 9})));
    assert_eq!(Value::Object(to_json(&with)), json!({"h": 3, "end": 9}));
    assert_eq!(with.len(), 4 + entry(3).len() + 1 + 3 + 2);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-70_000_i64..70_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,300}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(".{0,60}", inner, 0..8)
                .prop_map(|object| Value::Object(object.into_iter().collect())),
        ]
    })
}

/// Numbers in the form in which they are read: `2.0` is written as 2.
fn as_read(value: Value) -> Value {
    match value {
        Value::Number(number) if number.as_i64().is_none() => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0 => {
                (float as i64).into()
            }
            float => float.into(),
        },
        Value::Array(items) => items.into_iter().map(as_read).collect(),
        Value::Object(object) => Value::Object(
            object
                .into_iter()
                .map(|(name, value)| (name, as_read(value)))
                .collect(),
        ),
        value => value,
    }
}

proptest! {
    #[test]
    fn headers_come_back_as_they_were_written(
        written in prop::collection::btree_map(".{0,60}", value(), 0..20),
    ) {
        let written = Headers::from_iter(written);
        let mut bytes = Vec::new();
        write(&mut bytes, &written);
        prop_assert_eq!(Value::Object(to_json(&bytes)), as_read(Value::Object(written.clone())));
        // The client writes the same bytes.
        prop_assert_eq!(bytes_of(&read_by_client(&written)), bytes);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        name in ".{0,3}",
    ) {
        let read = to_json(&bytes);
        get(&bytes, &name);
        with(&bytes, &read);
    }
}
