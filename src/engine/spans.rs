//! A message and its events as spans of a trace, with the names of OpenTelemetry's conventions for messaging
//! (<https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>). docs/tracing.md lists the attributes.
//!
//! The message's span continues the trace that the message's headers name. Each event has a span below it, and the event's
//! headers name that span. So the next step's span is below the event that it processes. A rebounded message keeps its headers:
//! all of its attempts are below the same event.

use super::{Engine, emit::InFlightMessage};
use crate::{
    broker::transport::{Confirm, ConfirmSender, Delivery, Publication, Route, Transport},
    monitoring::{Label, Outcome, trace},
    protocol::{Headers, IncomingHeaders, MAX_LOGGED_ID, truncated},
    settings::AmqpSettings,
};
use bytes::Bytes;
use serde_json::Value;
use tracing::{Span, field::Empty};

/// The attribute of a message that was rebounded.
pub(super) const REBOUNDED: &str = "elasticio.message.rebounded";
/// The attribute with what became of the message.
const OUTCOME: &str = "elasticio.message.outcome";
/// The platform's own id of a trace. It is no W3C trace id.
const PLATFORM_TRACE: &str = "x-eio-meta-trace-id";

/// Returns the span of a message: a part of its trace, or else `log_span`, which names the message in the log.
pub(super) fn of_message<T: Transport, H>(
    log_span: Span,
    delivery: &Delivery<H>,
    incoming: &IncomingHeaders,
    engine: &Engine<T>,
) -> Span {
    if !trace::is_on() {
        return log_span;
    }
    let span = tracing::debug_span!(
        target: trace::TARGET,
        parent: &log_span,
        "process",
        "otel.name" = format!("process {}", engine.identity.function),
        "otel.kind" = "consumer",
        "otel.status_code" = Empty,
        "error.type" = Empty,
        "messaging.system" = "rabbitmq",
        "messaging.operation.name" = "process",
        "messaging.operation.type" = "process",
        "messaging.destination.name" = engine.settings.amqp.queue,
        "messaging.message.id" = incoming.message_id.as_deref().map(id).as_deref(),
        "messaging.message.conversation_id" = &*id(&incoming.thread_id),
        "messaging.message.body.size" = integer(delivery.withheld.unwrap_or(delivery.body.len())),
        "elasticio.message.parent_id" = incoming.parent_message_id.as_deref().map(id).as_deref(),
        "elasticio.message.redelivered" = delivery.redelivered,
        "elasticio.trace.id" = text(&incoming.meta, PLATFORM_TRACE).map(id).as_deref(),
        { REBOUNDED } = Empty,
        { OUTCOME } = Empty,
    );
    trace::continue_from(&span, &delivery.headers);
    span
}

/// Notes what became of the current message.
pub(super) fn note_outcome(outcome: Outcome) {
    let span = trace::current();
    span.record(OUTCOME, Outcome::VALUES[outcome.index()]);
    if outcome == Outcome::Rejected {
        trace::fail(&span, "message_rejected");
    }
}

impl<T: Transport> InFlightMessage<T> {
    /// Hands an event to the transport. If the message is traced, the event's headers name the span of this publish, which
    /// ends with the confirm.
    pub(super) fn publish(
        &self,
        route: Route,
        headers: Headers,
        body: impl Into<Bytes>,
    ) -> Confirm {
        let (sender, confirm) = Confirm::channel();
        self.publish_to(sender, route, headers, body);
        confirm
    }

    /// The same, for a sender of the caller's.
    pub(super) fn publish_to(
        &self,
        confirm: ConfirmSender,
        route: Route,
        mut headers: Headers,
        body: impl Into<Bytes>,
    ) {
        let (transport, body) = (&self.engine.transport, body.into());
        if self.span.is_none() {
            let publication = Publication {
                route,
                headers,
                body,
            };
            return transport.publish_to(publication, confirm);
        }
        let span = of_event(&self.span, &route, &headers, body.len(), &self.engine);
        trace::hand_on(&span, |name, value| {
            headers.insert(name.to_owned(), value.into());
        });
        let publication = Publication {
            route,
            headers,
            body,
        };
        transport.publish_to(publication, confirm.with_span(span));
    }
}

fn of_event<T: Transport>(
    message: &Span,
    route: &Route,
    headers: &Headers,
    size: usize,
    engine: &Engine<T>,
) -> Span {
    let amqp = &engine.settings.amqp;
    let (kind, key) = kind_and_key(route, amqp);
    tracing::debug_span!(
        target: trace::TARGET,
        parent: message,
        "publish",
        "otel.name" = format!("publish {kind}"),
        "otel.kind" = "producer",
        "otel.status_code" = Empty,
        "error.type" = Empty,
        "messaging.system" = "rabbitmq",
        "messaging.operation.name" = "publish",
        "messaging.operation.type" = "send",
        "messaging.destination.name" = format!("{}:{}", amqp.exchange, id(key)),
        "messaging.rabbitmq.destination.routing_key" = id(key).as_ref(),
        "messaging.message.id" = text(headers, "messageId").map(id).as_deref(),
        "messaging.message.conversation_id" = text(headers, "threadId").map(id).as_deref(),
        "messaging.message.body.size" = integer(size),
    )
}

fn kind_and_key<'a>(route: &'a Route, amqp: &'a AmqpSettings) -> (&'static str, &'a str) {
    match route {
        Route::Data => ("data", &amqp.data_key),
        Route::Custom(key) => ("data", key),
        Route::Error => ("error", &amqp.error_key),
        Route::Snapshot => ("snapshot", &amqp.snapshot_key),
        Route::UpdateKeys => ("keys", amqp.update_keys_key.as_deref().unwrap_or_default()),
        Route::Reply(key) => ("reply", key),
    }
}

fn text<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(Value::as_str)
}

/// The layer that makes spans of a trace takes only this type for a number.
fn integer(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn id(id: &str) -> std::borrow::Cow<'_, str> {
    truncated(id, MAX_LOGGED_ID)
}
