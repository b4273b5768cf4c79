//! Messages whose headers the client library cannot read.

use super::*;
use test_rig::tampering_proxy::{
    Replacement, TamperingProxy,
    wire::{HEADERS, name, nested, sized, table, text},
};

#[tokio::test]
async fn messages_with_unreadable_headers_arrive_on_one_connection() {
    let with = |value: Vec<u8>| {
        table(&[
            (b"before", text(b"1")),
            (b"h", value),
            (b"after", text(b"2")),
        ])
    };
    let hostile = [
        ("tables 500 deep", HEADERS, with(nested(500, b'F'))),
        ("tables 1000 deep", HEADERS, with(nested(1000, b'F'))),
        ("arrays 10000 deep", HEADERS, with(nested(10_000, b'A'))),
        (
            "a name that is no text",
            HEADERS,
            table(&[(b"before", text(b"1")), (b"caf\xe9", text(b"2"))]),
        ),
        (
            "a type that is no text",
            HEADERS | 1 << 5,
            [with(text(b"x")), name(b"\xff")].concat(),
        ),
        (
            "an app that is no text",
            HEADERS | 1 << 3,
            [with(text(b"x")), name(b"a\xffb")].concat(),
        ),
        (
            "a content type that is no text",
            1 << 15 | HEADERS,
            [name(b"\xc3"), with(text(b"x"))].concat(),
        ),
        ("a value of no type", HEADERS, with(b"Z".to_vec())),
        (
            "a table that does not end",
            HEADERS,
            sized(b"\x01hF\0\0\0\xff\x01n"),
        ),
        (
            "headers that do not end",
            HEADERS,
            b"\0\0\xff\xff\x01h".to_vec(),
        ),
        (
            "headers longer than a frame",
            HEADERS,
            with(text(&vec![b'x'; 140_000])),
        ),
    ];
    let mut world = World::new().await;
    let instead = hostile
        .iter()
        .map(|(mark, flags, bytes)| Replacement::new(*mark, *flags, bytes.clone()));
    let relay = TamperingProxy::start(
        format!("127.0.0.1:{}", world.relay.port),
        None,
        instead.collect(),
    )
    .await;
    let uri = world.settings.uri.expose_secret().replace(
        &format!(":{}/", world.relay.port),
        &format!(":{}/", relay.port),
    );
    world.settings.uri = SecretString::from(uri);
    world.settings.prefetch = 100;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();

    let mut sent = Vec::new();
    for (mark, ..) in &hostile {
        for id in ["a good one", mark] {
            world
                .put(
                    BasicProperties::default().with_message_id(id.into()),
                    id.as_bytes(),
                )
                .await;
            sent.push(id.as_bytes());
        }
    }
    for body in sent {
        let delivery = next(&mut deliveries).await;
        assert_eq!(
            (
                delivery.body.as_ref(),
                delivery.redelivered,
                delivery.generation.number
            ),
            (body, false, 1)
        );
        if body == b"tables 500 deep" || body == b"headers longer than a frame" {
            assert_eq!(
                (&delivery.headers["before"], &delivery.headers["after"]),
                (&json!("1"), &json!("2"))
            );
        }
        // Such a message can also be handed on: as it came, but what was cut stays cut.
        let receipt = amqp
            .rebound(&delivery.handle, delivery.body.clone(), "later")
            .unwrap();
        soon("the confirm", receipt).await.unwrap();
        let rebound = world.take().await;
        assert_eq!(rebound.data, body);
        assert_eq!(
            header(&rebound, "reboundIteration"),
            Some(AMQPValue::ShortShortInt(1))
        );
        assert_eq!(
            header(&rebound, "before").is_some(),
            delivery.headers.contains_key("before")
        );
        if body == b"headers longer than a frame" {
            let mark = AMQPValue::LongString("[cut: headers longer than a frame]".into());
            assert_eq!(header(&rebound, "h"), Some(mark));
        }
        assert_eq!(
            amqp.settle(&delivery.handle, Verdict::Acknowledged).await,
            SettleOutcome::Sent
        );
    }
    // One to read and one to write, as from the start.
    assert_eq!(
        (relay.connections(), amqp.counters.reconnects.load(Relaxed)),
        (2, 0)
    );
    amqp.close().await;
    assert!(world.try_take(&world.settings.queue).await.is_none());
}
