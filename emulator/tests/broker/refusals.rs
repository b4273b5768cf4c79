//! What is refused, with RabbitMQ's reply codes and mostly its texts.

use crate::{on_brokers, wire::Wire};
use amq_protocol::{
    frame::AMQPFrame,
    protocol::{AMQPClass, BasicProperties, basic, channel, confirm, exchange, queue, tx},
    types::{AMQPValue, FieldTable},
};

fn declare(queue: &str, arguments: &[(&str, AMQPValue)]) -> AMQPClass {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    AMQPClass::Queue(queue::AMQPMethod::Declare(queue::Declare {
        queue: queue.into(),
        passive: false,
        durable: false,
        exclusive: true,
        auto_delete: false,
        nowait: false,
        arguments: table,
    }))
}

fn passive(queue: &str) -> AMQPClass {
    AMQPClass::Queue(queue::AMQPMethod::Declare(queue::Declare {
        queue: queue.into(),
        passive: true,
        durable: false,
        exclusive: false,
        auto_delete: false,
        nowait: false,
        arguments: FieldTable::default(),
    }))
}

fn declare_exchange(exchange: &str, kind: &str, durable: bool, passive: bool) -> AMQPClass {
    AMQPClass::Exchange(exchange::AMQPMethod::Declare(exchange::Declare {
        exchange: exchange.into(),
        kind: kind.into(),
        passive,
        durable,
        auto_delete: false,
        internal: false,
        nowait: false,
        arguments: FieldTable::default(),
    }))
}

fn bind(queue: &str, exchange: &str) -> AMQPClass {
    AMQPClass::Queue(queue::AMQPMethod::Bind(queue::Bind {
        queue: queue.into(),
        exchange: exchange.into(),
        routing_key: "".into(),
        nowait: false,
        arguments: FieldTable::default(),
    }))
}

fn consume(queue: &str, tag: &str, exclusive: bool) -> AMQPClass {
    AMQPClass::Basic(basic::AMQPMethod::Consume(basic::Consume {
        queue: queue.into(),
        consumer_tag: tag.into(),
        no_local: false,
        no_ack: false,
        exclusive,
        nowait: false,
        arguments: FieldTable::default(),
    }))
}

fn basic_publish(exchange: &str, immediate: bool) -> AMQPClass {
    AMQPClass::Basic(basic::AMQPMethod::Publish(basic::Publish {
        exchange: exchange.into(),
        routing_key: "".into(),
        mandatory: false,
        immediate,
    }))
}

fn ack(delivery_tag: u64) -> AMQPClass {
    AMQPClass::Basic(basic::AMQPMethod::Ack(basic::Ack {
        delivery_tag,
        multiple: false,
    }))
}

type Case = (&'static str, Vec<AMQPClass>, u16, String);

/// Name, methods (the last one is invalid), and the code and the beginning of the text of the refusal.
fn wrong_methods(q: &str) -> Vec<Case> {
    let ttl = |ms: i32| ("x-message-ttl", AMQPValue::LongInt(ms));
    let get = |queue: &str| {
        AMQPClass::Basic(basic::AMQPMethod::Get(basic::Get {
            queue: queue.into(),
            no_ack: true,
        }))
    };
    let purge = AMQPClass::Queue(queue::AMQPMethod::Purge(queue::Purge {
        queue: q.into(),
        nowait: false,
    }));
    let text = |text: &str| AMQPValue::LongString(text.into());
    let no_queue = format!("NOT_FOUND - no queue '{q}' in vhost '/'");
    vec![
        ("passive declare of no queue", vec![passive(q)], 404, no_queue.clone()),
        ("consume from no queue", vec![consume(q, "", false)], 404, no_queue.clone()),
        ("get from no queue", vec![get(q)], 404, no_queue.clone()),
        ("purge no queue", vec![purge], 404, no_queue.clone()),
        ("bind no queue", vec![bind(q, "amq.direct")], 404, no_queue),
        (
            "bind to no exchange",
            vec![declare(q, &[]), bind(q, q)],
            404,
            format!("NOT_FOUND - no exchange '{q}' in vhost '/'"),
        ),
        ("bind to the default exchange", vec![declare(q, &[]), bind(q, "")], 403, "ACCESS_REFUSED - ".into()),
        (
            "passive declare of no exchange",
            vec![declare_exchange(q, "direct", true, true)],
            404,
            format!("NOT_FOUND - no exchange '{q}' in vhost '/'"),
        ),
        (
            "another durability",
            vec![declare_exchange("amq.topic", "topic", false, false)],
            406,
            "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'amq.topic' in vhost '/': received \
                 'false' but current is 'true'"
                .into(),
        ),
        (
            "another type",
            vec![declare_exchange("amq.topic", "direct", true, false)],
            406,
            "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.topic' in vhost '/': received \
                 'direct' but current is 'topic'"
                .into(),
        ),
        ("an unknown exchange type", vec![declare_exchange(q, "odd", true, false)], 503, "COMMAND_INVALID - ".into()),
        (
            "a reserved exchange name",
            vec![declare_exchange("amq.mine", "direct", true, false)],
            403,
            "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'".into(),
        ),
        (
            "a reserved queue name",
            vec![declare("amq.mine", &[])],
            403,
            "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'".into(),
        ),
        (
            "other arguments",
            vec![declare(q, &[]), declare(q, &[ttl(5)])],
            406,
            format!("PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue '{q}' in vhost '/': received "),
        ),
        (
            "a negative ttl",
            vec![declare(q, &[ttl(-1)])],
            406,
            format!("PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue '{q}' in vhost '/': "),
        ),
        (
            "an unknown overflow",
            vec![declare(q, &[("x-overflow", text("explode"))])],
            406,
            format!("PRECONDITION_FAILED - invalid arg 'x-overflow' for queue '{q}' in vhost '/': "),
        ),
        (
            "a dead-letter key without exchange",
            vec![declare(q, &[("x-dead-letter-routing-key", text("k"))])],
            406,
            format!("PRECONDITION_FAILED - invalid arg 'x-dead-letter-routing-key' for queue '{q}' in vhost '/': "),
        ),
        ("an unknown tag", vec![ack(1)], 406, "PRECONDITION_FAILED - unknown delivery tag 1".into()),
        (
            "a second exclusive consumer",
            vec![declare(q, &[]), consume(q, "a", false), consume(q, "b", true)],
            403,
            format!("ACCESS_REFUSED - queue '{q}' in vhost '/' in exclusive use"),
        ),
        (
            "a consumer tag twice",
            vec![declare(q, &[]), consume(q, "a", false), consume(q, "a", false)],
            530,
            "NOT_ALLOWED - attempt to reuse consumer tag 'a'".into(),
        ),
        (
            "recover without requeue",
            vec![AMQPClass::Basic(basic::AMQPMethod::RecoverAsync(basic::RecoverAsync { requeue: false }))],
            540,
            "NOT_IMPLEMENTED - requeue=false".into(),
        ),
        (
            "flow off",
            vec![AMQPClass::Channel(channel::AMQPMethod::Flow(channel::Flow { active: false }))],
            540,
            "NOT_IMPLEMENTED - active=false".into(),
        ),
        (
            "a channel opened twice",
            vec![AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {}))],
            504,
            "CHANNEL_ERROR - second 'channel.open' seen".into(),
        ),
        ("a method in place of content", vec![basic_publish("", false), passive(q)], 505, "UNEXPECTED_FRAME - ".into()),
    ]
}

#[tokio::test]
async fn an_invalid_method_closes_with_the_right_code() {
    on_brokers(async |rig| {
        for index in 0..wrong_methods("").len() {
            // A name for each: RabbitMQ deletes a connection's queues with some delay.
            let (name, methods, code, start) =
                wrong_methods(&rig.name(&index.to_string())).swap_remove(index);
            let mut wire = Wire::open(&rig.uri).await;
            for method in methods {
                wire.method(1, method).await;
            }
            let (got, text) = wire.refused().await;
            assert!(
                got == code && text.starts_with(&start),
                "{name}: {got} {text}, expected {code} {start}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn an_invalid_message_closes_with_the_right_code() {
    on_brokers(async |rig| {
        let none = BasicProperties::default;
        let missing = rig.name("missing");
        let cases = [
            ("no exchange", &*missing, none(), 404, format!("NOT_FOUND - no exchange '{missing}' in vhost '/'")),
            (
                "a bad expiration",
                "",
                none().with_expiration("soon".into()),
                406,
                "PRECONDITION_FAILED - invalid expiration 'soon'".into(),
            ),
            ("immediate", "", none(), 540, "NOT_IMPLEMENTED - immediate=true".into()),
            (
                "a negative expiration",
                "",
                none().with_expiration("-1".into()),
                406,
                "PRECONDITION_FAILED - invalid expiration '-1'".into(),
            ),
            (
                "another user's name",
                "",
                none().with_user_id("somebody".into()),
                406,
                "PRECONDITION_FAILED - user_id property set to 'somebody' but authenticated user was 'guest'".into(),
            ),
        ];
        for (name, exchange, properties, code, start) in cases {
            let mut wire = Wire::open(&rig.uri).await;
            wire.method(1, basic_publish(exchange, name == "immediate")).await;
            wire.header(1, 0, properties).await;
            let (got, text) = wire.refused().await;
            assert!(got == code && text.starts_with(&start), "{name}: {got} {text}, expected {code} {start}");
        }
    })
    .await;
}

#[tokio::test]
async fn broken_frames_close_the_connection_with_the_right_code() {
    on_brokers(async |rig| {
        let publish = |wire: Wire| async move {
            let mut wire = wire;
            wire.method(1, basic_publish("", false)).await;
            wire
        };
        // Beyond what RabbitMQ tolerates of clients that do not count the frame's own bytes.
        let mut wire = publish(Wire::open(&rig.uri).await).await;
        wire.header(1, 4097, BasicProperties::default()).await;
        wire.frame(&AMQPFrame::Body(1, vec![0; 4097])).await;
        assert_eq!(wire.refused().await.0, 501, "an oversized body frame");

        let mut wire = publish(Wire::open(&rig.uri).await).await;
        let headers = [("h".into(), AMQPValue::LongString("x".repeat(5000).into()))];
        let headers = FieldTable::from(std::collections::BTreeMap::from(headers));
        wire.header(1, 0, BasicProperties::default().with_headers(headers))
            .await;
        assert_eq!(wire.refused().await.0, 501, "an oversized header frame");

        let mut wire = Wire::open(&rig.uri).await;
        wire.raw(&[3, 0, 1, 0, 0, 0, 1, b'x', 0]).await;
        assert_eq!(wire.refused().await.0, 501, "no frame end");

        let mut wire = Wire::open(&rig.uri).await;
        wire.frame(&AMQPFrame::Body(1, b"x".to_vec())).await;
        assert_eq!(wire.refused().await.0, 505, "content without a publish");

        let mut wire = Wire::open(&rig.uri).await;
        wire.method(7, ack(1)).await;
        assert_eq!(wire.refused().await.0, 504, "a channel that is not open");
    })
    .await;
}

fn consume_with_priority() -> AMQPClass {
    let mut method = consume("q", "", false);
    if let AMQPClass::Basic(basic::AMQPMethod::Consume(consume)) = &mut method {
        consume
            .arguments
            .insert("x-priority".into(), AMQPValue::LongInt(1));
    }
    method
}

#[tokio::test]
async fn unsupported_methods_are_not_implemented_by_name() {
    let broker = crate::start().await;
    let cases = [
        (
            "tx.select",
            AMQPClass::Tx(tx::AMQPMethod::Select(tx::Select {})),
        ),
        (
            "x-max-priority",
            declare("q", &[("x-max-priority", AMQPValue::LongInt(3))]),
        ),
        (
            "x-expires",
            declare("q", &[("x-expires", AMQPValue::LongInt(3))]),
        ),
        (
            "quorum",
            declare(
                "q",
                &[("x-queue-type", AMQPValue::LongString("quorum".into()))],
            ),
        ),
        ("x-priority", consume_with_priority()),
        (
            "method 11 of class 85",
            AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {})),
        ),
    ];
    for (name, method) in cases {
        let mut wire = Wire::open(&broker.uri()).await;
        wire.method(1, method).await;
        let (code, text) = wire.refused().await;
        assert!(code == 540 && text.contains(name), "{name}: {code} {text}");
    }
}

#[tokio::test]
async fn a_closed_channel_number_can_be_reopened() {
    on_brokers(async |rig| {
        let mut wire = Wire::open(&rig.uri).await;
        wire.method(1, ack(1)).await;
        assert_eq!(wire.refused().await.0, 406);
        // Frames that were already sent when the channel was closed are ignored.
        wire.method(1, ack(2)).await;
        wire.method(
            1,
            AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {})),
        )
        .await;
        wire.method(
            1,
            AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})),
        )
        .await;
        let opened = wire.read().await;
        let open_ok = AMQPClass::Channel(channel::AMQPMethod::OpenOk(channel::OpenOk {}));
        assert_eq!(opened, Some(AMQPFrame::Method(1, open_ok)));
    })
    .await;
}
