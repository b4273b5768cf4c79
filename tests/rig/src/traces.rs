//! A collector of traces that speaks OTLP over HTTP, with protobuf (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).

use crate::{
    process::soon,
    rig::{Rig, Running},
};
use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http_double::{Listener, Server};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    trace::v1::{Span as Received, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Read,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::sync::watch;

/// What the conventions want as a number.
const NUMBERS: [&str; 4] = [
    "http.request.resend_count",
    "http.response.status_code",
    "messaging.message.body.size",
    "server.port",
];

/// The attributes of a span or a resource, by name.
type Attributes = BTreeMap<String, String>;

/// What a span is to the other side of a call or a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A part of the process.
    Internal,
    /// It sends a request.
    Client,
    /// It publishes an event.
    Producer,
    /// It processes a message.
    Consumer,
}

/// A span that the collector has received. Ids are hexadecimal.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// What it is to the other side.
    pub kind: Kind,
    /// The trace that it belongs to.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// The id of the span above it; empty for a span that begins a trace.
    pub parent: String,
    /// `tracestate`, as the span has got it.
    pub state: String,
    /// Whether it has failed.
    pub is_error: bool,
    /// How long it took, in nanoseconds.
    pub nanoseconds: u64,
    /// What it tells.
    pub attributes: Attributes,
    /// What all spans of its process tell.
    pub resource: Attributes,
}

impl Span {
    /// An attribute, or an empty text.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// Asserts that the span has these attributes.
    ///
    /// # Panics
    /// When one is another, or missing.
    #[track_caller]
    pub fn assert_has(&self, attributes: &[(&str, &str)]) {
        for (name, value) in attributes {
            assert_eq!(self.get(name), *value, "{name} in {self:#?}");
        }
    }
}

/// A collector. It receives spans until it is dropped.
#[derive(Debug)]
pub struct TraceCollector {
    addr: SocketAddr,
    state: Arc<Collected>,
    received: watch::Receiver<usize>,
    _server: Server,
}

#[derive(Debug)]
struct Collected {
    spans: Mutex<Vec<Span>>,
    /// Headers and body of each request, the body without compression.
    requests: Mutex<Vec<(HeaderMap, Bytes)>>,
    /// What it responds; nothing if it hangs.
    status: Mutex<Option<StatusCode>>,
    count: watch::Sender<usize>,
}

impl TraceCollector {
    /// Starts a collector on a port of loopback; 0 takes a free one.
    ///
    /// # Panics
    /// When the port is taken.
    pub async fn start(port: u16) -> Self {
        let listener = Listener::bind(port).await.expect("a free port");
        let (count, received) = watch::channel(0);
        let state = Arc::new(Collected {
            spans: Mutex::default(),
            requests: Mutex::default(),
            status: Mutex::new(Some(StatusCode::OK)),
            count,
        });
        let router = Router::new()
            .route("/v1/traces", post(receive))
            .with_state(state.clone());
        Self {
            addr: listener.addr(),
            state,
            received,
            _server: listener.serve("collector", router),
        }
    }

    /// The value of `OTEL_EXPORTER_OTLP_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// From now on it refuses spans with this status; without one it does not respond at all.
    ///
    /// # Panics
    /// Never: no thread panics with the lock.
    pub fn refuse(&self, status: Option<u16>) {
        let status = status.map(|status| StatusCode::from_u16(status).expect("a status"));
        *self.state.status.lock().unwrap() = status;
    }

    /// All spans so far, in the order in which they came.
    ///
    /// # Panics
    /// Never: no thread panics with the lock.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.state.spans.lock().unwrap().clone()
    }

    /// The headers and bodies of all requests so far.
    ///
    /// # Panics
    /// Never: no thread panics with the lock.
    #[must_use]
    pub fn requests(&self) -> Vec<(HeaderMap, Bytes)> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Waits until a request has come, whether it was refused or not.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn asked(&self) {
        let mut received = self.received.clone();
        let asked = received.wait_for(|count| *count > 0);
        soon("a request to the collector", asked).await.unwrap();
    }

    /// Waits for a span for which `is_it` is true.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn span(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        let mut received = self.received.clone();
        let find = async {
            loop {
                received.borrow_and_update();
                if let Some(span) = self.spans().into_iter().find(&is_it) {
                    return span;
                }
                received.changed().await.expect("the collector runs");
            }
        };
        soon(what, find).await
    }

    /// Waits for a span with this name.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn named(&self, name: &str) -> Span {
        self.span(name, |span| span.name == name).await
    }

    /// Asserts that no request has one of these texts in its body.
    ///
    /// # Panics
    /// When one has, or when there was no request.
    #[track_caller]
    pub fn assert_has_none_of<'a>(&self, texts: impl IntoIterator<Item = &'a str>) {
        let requests = self.requests();
        assert!(!requests.is_empty(), "nothing was sent");
        for text in texts {
            let bytes = text.as_bytes();
            let has_it = |body: &Bytes| body.windows(bytes.len()).any(|part| part == bytes);
            let shown = requests.iter().any(|(_, body)| has_it(body));
            assert!(!shown, "{text} is in a span: {:#?}", self.spans());
        }
    }
}

impl Rig {
    /// Sends the component's traces to this collector, each span soon after its end.
    #[must_use]
    pub fn traced(self, collector: &TraceCollector) -> Self {
        self.variable("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
            .variable("OTEL_BSP_SCHEDULE_DELAY", "10")
    }

    /// Stops the component, and returns all spans that it has sent.
    ///
    /// # Panics
    /// When it does not end in time, or fails.
    pub async fn spans_after(&self, component: Running, collector: &TraceCollector) -> Vec<Span> {
        let (status, log) = component.stop().await;
        assert_eq!(status, 0, "{log:?}");
        collector.spans()
    }
}

async fn receive(State(state): State<Arc<Collected>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = to_bytes(body, usize::MAX).await.expect("a whole request");
    assert_eq!(parts.headers["content-type"], "application/x-protobuf");
    if parts
        .headers
        .get("content-encoding")
        .is_some_and(|it| it == "gzip")
    {
        let mut plain = Vec::new();
        let mut decoder = GzDecoder::new(&*body);
        decoder.read_to_end(&mut plain).expect("gzip");
        body = plain.into();
    }
    let received = ExportTraceServiceRequest::decode(body.clone()).expect("spans in protobuf");
    let status = *state.status.lock().unwrap();
    state.requests.lock().unwrap().push((parts.headers, body));
    if status == Some(StatusCode::OK) {
        state.spans.lock().unwrap().extend(spans(received));
    }
    state.count.send_modify(|count| *count += 1);
    match status {
        Some(status) => status.into_response(),
        None => std::future::pending().await,
    }
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in request.resource_spans {
        let attributes = resource.resource.unwrap_or_default().attributes;
        let attributes = read(attributes);
        let received = resource
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans);
        spans.extend(received.map(|span| Span::new(span, attributes.clone())));
    }
    spans
}

impl Span {
    fn new(span: Received, resource: Attributes) -> Self {
        assert!(span.events.is_empty(), "no lines of the log: {span:?}");
        let status = span.status.clone().unwrap_or_default();
        assert_eq!(status.message, "", "no texts of errors");
        let kind = match span.kind() {
            SpanKind::Client => Kind::Client,
            SpanKind::Producer => Kind::Producer,
            SpanKind::Consumer => Kind::Consumer,
            _ => Kind::Internal,
        };
        Self {
            kind,
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            is_error: status.code() == SpanStatus::Error,
            nanoseconds: span.end_time_unix_nano - span.start_time_unix_nano,
            attributes: read(span.attributes),
            name: span.name,
            state: span.trace_state,
            resource,
        }
    }
}

fn read(attributes: Vec<KeyValue>) -> Attributes {
    let mut found = Attributes::new();
    for KeyValue { key, value, .. } in attributes {
        let value = match value {
            Some(AnyValue { value: Some(value) }) => value,
            other => panic!("{key} has the value {other:?}"),
        };
        let is_number = matches!(value, Any::IntValue(_));
        assert!(
            is_number || !NUMBERS.contains(&&*key),
            "{key} is no number: {value:?}"
        );
        let text = match value {
            Any::StringValue(text) => text,
            Any::BoolValue(value) => value.to_string(),
            Any::IntValue(value) => value.to_string(),
            Any::DoubleValue(value) => value.to_string(),
            other => panic!("{key} has the value {other:?}"),
        };
        let before = found.insert(key.clone(), text);
        assert_eq!(before, None, "{key} is there twice");
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
