//! From publish to queue: routing, confirms, returns.

use crate::*;

#[tokio::test]
async fn the_exchange_type_decides_on_routing() {
    use lapin::ExchangeKind::{Direct, Fanout, Topic};
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let cases = [
            (Direct, "a.b", "a.b", true),
            (Direct, "a.*", "a.b", false),
            (Fanout, "a", "z", true),
            (Topic, "a.*", "a.b", true),
            (Topic, "a.*", "a.b.c", false),
            (Topic, "a.*", "a.", true),
            (Topic, "a.#", "a", true),
            (Topic, "#.z", "a.b.z", true),
            (Topic, "*", "", false),
            (Topic, "#", "", true),
        ];
        for (index, (kind, pattern, key, taken)) in cases.into_iter().enumerate() {
            let (q, x) = (
                rig.name(&format!("q{index}")),
                rig.name(&format!("x{index}")),
            );
            queue(&channel, &q, &[]).await;
            exchange(&channel, &x, kind.clone()).await;
            bind(&channel, &q, &x, pattern).await;
            let confirmation = publish(&channel, &x, key, BasicProperties::default(), b"").await;
            assert_eq!(
                confirmation == Confirmation::Ack(None),
                taken,
                "{kind:?} {pattern} {key}"
            );
            assert_eq!(
                queue(&channel, &q, &[]).await,
                u32::from(taken),
                "{kind:?} {pattern} {key}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn two_matching_bindings_deliver_once() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let (q, x) = (rig.name("q"), rig.name("x"));
        queue(&channel, &q, &[]).await;
        exchange(&channel, &x, lapin::ExchangeKind::Topic).await;
        bind(&channel, &q, &x, "a.*").await;
        bind(&channel, &q, &x, "#").await;
        publish(&channel, &x, "a.b", BasicProperties::default(), b"").await;
        assert_eq!(queue(&channel, &q, &[]).await, 1);
        channel
            .queue_unbind(
                q.as_str().into(),
                x.as_str().into(),
                "#".into(),
                FieldTable::default(),
            )
            .await
            .unwrap();
        let unrouted = publish(&channel, &x, "b", BasicProperties::default(), b"").await;
        assert_ne!(unrouted, Confirmation::Ack(None), "the binding is gone");
    })
    .await;
}

#[tokio::test]
async fn exchange_bindings_pass_messages_on() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let (q, first, second) = (rig.name("q"), rig.name("first"), rig.name("second"));
        queue(&channel, &q, &[]).await;
        exchange(&channel, &first, lapin::ExchangeKind::Topic).await;
        exchange(&channel, &second, lapin::ExchangeKind::Fanout).await;
        let (to, from) = (second.as_str().into(), first.as_str().into());
        channel
            .exchange_bind(
                to,
                from,
                "a.#".into(),
                Default::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
        bind(&channel, &q, &second, "").await;
        publish(&channel, &first, "a.b", BasicProperties::default(), b"").await;
        publish(&channel, &first, "b", BasicProperties::default(), b"").await;
        assert_eq!(queue(&channel, &q, &[]).await, 1);
    })
    .await;
}

#[tokio::test]
async fn an_unroutable_mandatory_message_is_returned_before_its_ack() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let properties = BasicProperties::default().with_message_id("m1".into());
        let confirmation = publish(&channel, "", &rig.name("nowhere"), properties, b"back").await;
        let Confirmation::Ack(Some(returned)) = confirmation else {
            panic!("not returned: {confirmation:?}")
        };
        assert_eq!(
            (returned.reply_code, returned.reply_text.as_str()),
            (312, "NO_ROUTE")
        );
        assert_eq!(&returned.delivery.data[..], b"back");
        assert_eq!(
            returned
                .delivery
                .properties
                .message_id()
                .as_ref()
                .map(lapin::types::ShortString::as_str),
            Some("m1")
        );
    })
    .await;
}

#[tokio::test]
async fn properties_and_large_bodies_are_unchanged() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let q = rig.name("q");
        queue(&channel, &q, &[]).await;
        let headers = table(&[
            ("text", long("é")),
            ("flag", AMQPValue::Boolean(true)),
            ("int", AMQPValue::LongInt(-1)),
            ("long", AMQPValue::LongLongInt(1 << 40)),
            ("double", AMQPValue::Double(0.5)),
            ("time", AMQPValue::Timestamp(7)),
            ("nothing", AMQPValue::Void),
            ("table", AMQPValue::FieldTable(table(&[("x", long("y"))]))),
            (
                "list",
                AMQPValue::FieldArray(vec![long("a"), AMQPValue::Boolean(false)].into()),
            ),
        ]);
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_content_type("application/json".into())
            .with_content_encoding("utf8".into())
            .with_delivery_mode(2)
            .with_priority(3)
            .with_correlation_id("c".into())
            .with_reply_to("r".into())
            .with_message_id("m".into())
            .with_timestamp(8)
            .with_type("t".into())
            .with_user_id("guest".into())
            .with_app_id("a".into());
        let body: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        publish(&channel, "", &q, properties.clone(), &body).await;
        let message = fetch(&channel, &q).await;
        assert_eq!(message.properties, properties);
        assert!(message.data == body, "the body has changed");
    })
    .await;
}

#[tokio::test]
async fn a_full_rejecting_queue_nacks() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        for (name, limit) in [("x-max-length", 2), ("x-max-length-bytes", 7)] {
            let q = rig.name(name);
            queue(
                &channel,
                &q,
                &[
                    (name, AMQPValue::LongInt(limit)),
                    ("x-overflow", long("reject-publish")),
                ],
            )
            .await;
            fill(&channel, &q, &["one", "two"]).await;
            let confirmation =
                publish(&channel, "", &q, BasicProperties::default(), b"three").await;
            assert!(
                matches!(confirmation, Confirmation::Nack(_)),
                "{name}: {confirmation:?}"
            );
            assert_eq!(drain(&channel, &q).await.len(), 2, "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn unmatched_messages_go_to_the_alternate_exchange() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.publisher().await;
        let (q, x, other) = (rig.name("q"), rig.name("x"), rig.name("other"));
        queue(&channel, &q, &[]).await;
        exchange(&channel, &other, lapin::ExchangeKind::Fanout).await;
        bind(&channel, &q, &other, "").await;
        let arguments = table(&[("alternate-exchange", long(&other))]);
        let options = ExchangeDeclareOptions::default();
        channel
            .exchange_declare(
                x.as_str().into(),
                lapin::ExchangeKind::Direct,
                options,
                arguments,
            )
            .await
            .unwrap();
        publish(&channel, &x, "unknown", BasicProperties::default(), b"").await;
        assert_eq!(queue(&channel, &q, &[]).await, 1);
        channel
            .exchange_delete(x.as_str().into(), Default::default())
            .await
            .unwrap();
    })
    .await;
}
