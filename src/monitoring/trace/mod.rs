//! Traces: what happened to a message across the steps of its flow, as spans that a collector is sent.
//!
//! A span is one of `tracing` with the target [`TARGET`], so that it is the parent of what happens inside of it, in all tasks
//! that are in its span. While no traces are wanted, nothing enables that target, and a span costs one comparison. The parts
//! that know what a span is about build it: `engine/spans`, `clients/http/spans` and `oauth2`. Here is what all of them need:
//! how a trace is continued and handed on, how a span ends, and (with the feature `opentelemetry`) how spans are sent.
//!
//! The names of spans and attributes are those of OpenTelemetry's semantic conventions; docs/tracing.md lists them.

#[cfg(not(feature = "opentelemetry"))]
mod absent;
#[cfg(feature = "opentelemetry")]
mod collector;
#[cfg(feature = "opentelemetry")]
mod sdk;

#[cfg(not(feature = "opentelemetry"))]
pub(crate) use absent::{Traces, continue_from, end, hand_on};
#[cfg(feature = "opentelemetry")]
pub(crate) use sdk::{Traces, continue_from, end, hand_on};

use tracing::{Level, Span};

/// The target of all spans that are exported, apart from those of the component's own crates.
pub(crate) const TARGET: &str = "sailor::trace";
/// Whether this binary can send traces.
pub(crate) const IS_COMPILED_IN: bool = cfg!(feature = "opentelemetry");

/// Says what was wrong with a failed request, without secrets.
pub(crate) type Reason = fn(&reqwest::Error) -> String;

/// Returns whether anybody wants spans.
pub(crate) fn is_on() -> bool {
    tracing::span_enabled!(target: TARGET, Level::DEBUG)
}

/// Returns the current span of the trace, or none if there is no trace here.
pub(crate) fn current() -> Span {
    if is_on() {
        Span::current()
    } else {
        Span::none()
    }
}

/// Notes that what the span is about has failed. `kind` is one of few texts, and never one of somebody else. The span has the
/// fields `error.type` and `otel.status_code`.
pub(crate) fn fail(span: &Span, kind: &str) {
    span.record("error.type", kind);
    span.record("otel.status_code", "ERROR");
}
