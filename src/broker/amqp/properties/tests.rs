//! Compared with how the client reads and writes properties.

use super::*;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;

/// Every property there is.
fn all() -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("n".into(), AMQPValue::Timestamp(7));
    BasicProperties::default()
        .with_content_type("t/t".into())
        .with_content_encoding("gzip".into())
        .with_headers(headers)
        .with_delivery_mode(1)
        .with_priority(3)
        .with_correlation_id("c".into())
        .with_reply_to("r".into())
        .with_expiration("10".into())
        .with_message_id("i".into())
        .with_timestamp(9)
        .with_type("k".into())
        .with_user_id("somebody".into())
        .with_app_id("a".into())
        .with_cluster_id("cl".into())
}

#[test]
fn what_is_not_changed_stays_byte_by_byte() {
    for properties in [
        BasicProperties::default(),
        BasicProperties::default().with_timestamp(1),
        all(),
    ] {
        let bytes = of_client(&properties);
        assert_eq!(Properties::read(&bytes).write(), bytes, "{properties:?}");
        assert_eq!(for_client(&bytes), properties);
    }
}

#[test]
fn each_change_is_of_its_own_property() {
    let bytes = of_client(&all());
    let mut properties = Properties::read(&bytes);
    let table = table::with(
        properties.headers(),
        &Headers::from_iter([("b".to_owned(), json!(2))]),
    );
    properties.set_headers(&table);
    properties.set_expiration(b"\x0515000");
    properties.set_persistent(true);
    let expected = all().with_expiration("15000".into()).with_delivery_mode(2);
    let mut headers = expected.headers().clone().unwrap();
    headers.insert("b".into(), AMQPValue::ShortShortInt(2));
    assert_eq!(
        for_client(&properties.write()),
        expected.with_headers(headers)
    );
}

#[test]
fn only_the_user_id_of_another_user_is_removed() {
    let bytes = of_client(&all());
    let mut properties = Properties::read(&bytes);
    properties.remove_other_user_id("somebody");
    assert_eq!(for_client(&properties.write()), all());
    properties.remove_other_user_id("me");
    let read = for_client(&properties.write());
    assert_eq!(*read.user_id(), None);
    assert_eq!(read.with_user_id("somebody".into()), all());
    let mut without = Properties::read(&[0, 0]);
    without.remove_other_user_id("me");
    assert_eq!(without.write(), [0, 0]);
}

#[test]
fn an_event_has_the_properties_that_the_client_would_write() {
    for (is_persistent, mode) in [(true, 2), (false, 1)] {
        let headers = Headers::from_iter([("messageId".to_owned(), json!("m"))]);
        let bytes = of_event(&headers, is_persistent).unwrap();
        let mut table = FieldTable::default();
        table.insert("messageId".into(), AMQPValue::LongString("m".into()));
        let expected = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf8".into())
            .with_headers(table)
            .with_delivery_mode(mode);
        assert_eq!(bytes, of_client(&expected));
    }
    let headers = Headers::from_iter([("n".repeat(256), json!(1))]);
    assert!(of_event(&headers, true).unwrap_err().contains("255"));
}

#[test]
fn the_id_of_a_message_is_a_text_or_a_number() {
    for (id, expected) in [
        (json!("m"), "m"),
        (json!(17), "17"),
        (json!(null), ""),
        (json!(["m"]), ""),
    ] {
        let headers = Headers::from_iter([("messageId".to_owned(), id)]);
        assert_eq!(message_id(&of_event(&headers, true).unwrap()), expected);
    }
    assert_eq!(message_id(&[]), "");
}

#[test]
fn properties_that_are_cut_off_are_left_out() {
    let bytes = of_client(&all());
    for length in 2..bytes.len() {
        let cut = Properties::read(&bytes[..length]).write();
        // The flags differ, and all properties before the cut are there.
        let (complete, rest) = bytes[2..].split_at(cut.len() - 2);
        assert_eq!(&cut[2..], complete, "{length}");
        let flags = u16::from_be_bytes([cut[0], cut[1]]);
        let next = (2..16).rev().find(|bit| flags & (1 << bit) == 0).unwrap();
        let next = property_len(next, rest).unwrap();
        assert!(cut.len() + next > length, "{length}");
        for_client(&cut);
    }
    assert_eq!(Properties::read(&[]).write(), [0, 0]);
}
