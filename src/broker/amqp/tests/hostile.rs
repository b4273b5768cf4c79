//! Messages whose headers the client library cannot read.

use super::*;
use test_rig::tampering_proxy::{
    Replacement, TamperingProxy,
    wire::{HEADERS, name, nested, sized, table, text},
};

/// Messages by their bodies, each with the flags and bytes that replace its properties on the wire.
fn unreadable_messages() -> Vec<(&'static str, u16, Vec<u8>)> {
    let with = |value: Vec<u8>| {
        table(&[
            (b"before", text(b"1")),
            (b"h", value),
            (b"after", text(b"2")),
        ])
    };
    let bad_name = table(&[(b"before", text(b"1")), (b"caf\xe9", text(b"2"))]);
    let bad_type = [with(text(b"x")), name(b"\xff")].concat();
    let bad_app = [with(text(b"x")), name(b"a\xffb")].concat();
    let bad_content_type = [name(b"\xc3"), with(text(b"x"))].concat();
    let too_long = with(text(&vec![b'x'; 140_000]));
    vec![
        ("tables 500 deep", HEADERS, with(nested(500, b'F'))),
        ("tables 1000 deep", HEADERS, with(nested(1000, b'F'))),
        ("arrays 10000 deep", HEADERS, with(nested(10_000, b'A'))),
        ("a name that is not UTF-8", HEADERS, bad_name),
        ("a type that is not UTF-8", HEADERS | 1 << 5, bad_type),
        ("an app that is not UTF-8", HEADERS | 1 << 3, bad_app),
        (
            "a content type that is not UTF-8",
            1 << 15 | HEADERS,
            bad_content_type,
        ),
        ("a value of no type", HEADERS, with(b"Z".to_vec())),
        (
            "an unterminated table",
            HEADERS,
            sized(b"\x01hF\0\0\0\xff\x01n"),
        ),
        (
            "unterminated headers",
            HEADERS,
            b"\0\0\xff\xff\x01h".to_vec(),
        ),
        ("headers longer than a frame", HEADERS, too_long),
    ]
}

/// A relay that replaces the properties of these messages on their way to the adapter.
async fn interfere(world: &mut World, messages: &[(&str, u16, Vec<u8>)]) -> TamperingProxy {
    let instead = messages
        .iter()
        .map(|(mark, flags, bytes)| Replacement::new(*mark, *flags, bytes.clone()));
    let broker = format!("127.0.0.1:{}", world.relay.port);
    let relay = TamperingProxy::start(broker, None, instead.collect()).await;
    let uri = world.settings.uri.expose_secret().replace(
        &format!(":{}/", world.relay.port),
        &format!(":{}/", relay.port),
    );
    world.settings.uri = SecretString::from(uri);
    relay
}

/// Such a message can also be rebounded: as it arrived, but what was cut stays cut.
async fn check_rebound(world: &World, amqp: &Amqp, delivery: &Delivery<DeliveryHandle>) {
    let confirm = amqp
        .rebound(&delivery.handle, delivery.body.clone(), "later")
        .unwrap();
    soon("the confirm", confirm).await.unwrap();
    let rebound = world.take().await;
    assert_eq!(rebound.data, delivery.body);
    assert_eq!(
        header(&rebound, "reboundIteration"),
        Some(AMQPValue::ShortShortInt(1))
    );
    assert_eq!(
        header(&rebound, "before").is_some(),
        delivery.headers.contains_key("before")
    );
    if delivery.body == "headers longer than a frame" {
        let mark = AMQPValue::LongString("[cut: headers longer than a frame]".into());
        assert_eq!(header(&rebound, "h"), Some(mark));
    }
}

#[tokio::test]
async fn messages_with_unreadable_headers_arrive_on_one_connection() {
    let messages = unreadable_messages();
    let mut world = World::new().await;
    let relay = interfere(&mut world, &messages).await;
    world.settings.prefetch = 100;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();

    let ids = messages.iter().flat_map(|(mark, ..)| ["a good one", mark]);
    let ids: Vec<&str> = ids.collect();
    for id in &ids {
        let properties = BasicProperties::default().with_message_id((*id).into());
        world.put(properties, id.as_bytes()).await;
    }
    for id in ids {
        let delivery = next(&mut deliveries).await;
        assert_eq!(
            (
                delivery.body.as_ref(),
                delivery.redelivered,
                delivery.generation.number
            ),
            (id.as_bytes(), false, 1)
        );
        if id == "tables 500 deep" || id == "headers longer than a frame" {
            assert_eq!(
                (&delivery.headers["before"], &delivery.headers["after"]),
                (&json!("1"), &json!("2"))
            );
        }
        check_rebound(&world, &amqp, &delivery).await;
        assert_eq!(
            amqp.settle(&delivery.handle, Verdict::Acknowledged),
            SettleOutcome::Sent
        );
    }
    // One to consume and one to publish, as from the start.
    assert_eq!((relay.connections(), amqp.metrics.reconnects.sum()), (2, 0));
    amqp.close().await;
    assert!(world.try_take(&world.settings.queue).await.is_none());
}
