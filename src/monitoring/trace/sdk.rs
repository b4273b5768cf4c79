//! Spans in OpenTelemetry's terms: the provider that samples and queues them, and the headers that carry a trace from one
//! process to the next (W3C Trace Context, <https://www.w3.org/TR/trace-context/>).

use super::{Reason, TARGET, collector::Collector};
use crate::{
    codes,
    protocol::Headers,
    settings::{Sampling, TraceSettings},
};
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_otlp::{Compression, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    resource::TelemetryResourceDetector,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use serde_json::Value;
use std::time::Duration;
use tracing::{Level, Span, Subscriber, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    Layer,
    filter::{Targets, filter_fn},
    registry::LookupSpan,
};

/// The longest header that is read: the length that must be handed on (W3C Trace Context section 3.3.1.5). A longer one could
/// make events too large for the broker.
const HEADER_LIMIT: usize = 512;
/// How long the last spans may take at the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The traces of a process. Spans that have ended wait in a queue, and a thread of its own sends them. If the queue is full,
/// they are dropped: no message waits for them.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts the thread that sends spans. It does not connect before there are some. `http` follows no redirects; `address` is
    /// the collector's without secrets, for the log.
    ///
    /// # Errors
    /// Returns an error if the system gives no thread.
    pub(crate) fn start(
        settings: &TraceSettings,
        http: reqwest::Client,
        reason: Reason,
        address: String,
    ) -> anyhow::Result<Self> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(settings.endpoint.as_str())
            .with_timeout(settings.timeout)
            .with_http_client(Collector::new(settings, http, reason, address)?);
        let exporter = if settings.gzip {
            exporter.with_compression(Compression::Gzip)
        } else {
            exporter
        };
        let batches = BatchConfigBuilder::default()
            .with_scheduled_delay(settings.delay)
            .with_max_queue_size(settings.queue)
            .with_max_export_batch_size(settings.batch)
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::new(exporter.build()?, batches))
            .with_sampler(sampler(settings.sampling))
            .with_resource(resource(settings))
            .build();
        Ok(Self(provider))
    }

    /// Returns what makes spans of the target [`TARGET`] and of the component's own crates those of a trace. The lines of the
    /// log are not part of it.
    pub(crate) fn layer<S>(&self, component_targets: &[&str]) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let own = component_targets.iter().map(|name| name.replace('-', "_"));
        let targets = Targets::new()
            .with_targets(own.map(|name| (name, Level::INFO)))
            // The runtime's other spans are for the log. Its name can be among those of the component.
            .with_target(env!("CARGO_CRATE_NAME"), LevelFilter::OFF)
            .with_target(TARGET, Level::DEBUG);
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(env!("CARGO_PKG_NAME")))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(filter_fn(move |metadata| {
                metadata.is_span() && targets.would_enable(metadata.target(), metadata.level())
            }))
    }

    /// Sends the spans that wait, for at most two seconds. Called at the end of the process; later spans are dropped.
    pub(crate) fn flush(&self) {
        if self.0.shutdown_with_timeout(FLUSH_TIMEOUT).is_err() {
            tracing::warn!(
                code = %codes::SPANS_LOST,
                seconds = FLUSH_TIMEOUT.as_secs(),
                "The last spans were not sent in time; they are lost"
            );
        }
    }
}

fn sampler(sampling: Sampling) -> Sampler {
    let root = if sampling.ratio >= 1.0 {
        Sampler::AlwaysOn
    } else if sampling.ratio <= 0.0 {
        Sampler::AlwaysOff
    } else {
        Sampler::TraceIdRatioBased(sampling.ratio)
    };
    if sampling.by_parent {
        Sampler::ParentBased(Box::new(root))
    } else {
        root
    }
}

fn resource(settings: &TraceSettings) -> Resource {
    let attributes = settings.resource.iter();
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(attributes.map(|(name, value)| KeyValue::new(name.clone(), value.clone())))
        .build()
}

/// Makes a span, which has just begun, the child of the one that the headers of a message name. Without a valid `traceparent`
/// the span begins a trace.
pub(crate) fn continue_from(span: &Span, headers: &Headers) {
    let propagator = TraceContextPropagator::new();
    let parent = propagator.extract_with_context(&Context::new(), &Received(headers));
    if parent.span().span_context().is_valid() {
        // It fails if nobody records the span as part of a trace.
        let _ = span.set_parent(parent);
    }
}

/// Sets the headers that make what receives them part of the span's trace: `traceparent`, and `tracestate` if there is one.
pub(crate) fn hand_on(span: &Span, set: impl FnMut(&str, String)) {
    TraceContextPropagator::new().inject_context(&span.context(), &mut Set(set));
}

/// Ends a span, although tasks that continue may still be in it.
pub(crate) fn end(span: &Span) {
    if !span.is_none() {
        span.context().span().end();
    }
}

/// The headers of a message that has come.
struct Received<'a>(&'a Headers);

impl Extractor for Received<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name).and_then(Value::as_str);
        value.filter(|value| value.len() <= HEADER_LIMIT)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

/// A function that sets a header.
struct Set<F>(F);

impl<F: FnMut(&str, String)> Injector for Set<F> {
    fn set(&mut self, name: &str, value: String) {
        // There may be no trace state.
        if !value.is_empty() {
            self.0(name, value);
        }
    }
}
