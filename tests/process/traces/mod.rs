//! Traces, as a collector receives them.

mod sending;

use super::*;
use emulator::broker::QueueOptions;
use http_double::{PreparedResponse, ScriptedDouble};
use test_rig::{FLOW, Kind, Span, TraceCollector};

/// A trace that another process has begun.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A step whose spans the collector gets.
async fn traced(collector: &TraceCollector) -> Rig {
    scripted(5).await.traced(collector)
}

fn of_step<'a>(spans: &'a [Span], step: &str) -> Vec<&'a Span> {
    let spans = spans.iter();
    spans
        .filter(|span| span.resource["elasticio.step.id"] == step)
        .collect()
}

#[track_caller]
fn named<'a>(spans: &[&'a Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

/// The component as the step after this one: it consumes what the rig's step emits, and emits to a queue of its own.
fn start_next_step(rig: &Rig) -> Running {
    let (broker, topology) = (rig.emulator.broker(), rig.emulator.topology());
    let (queue, key) = ("after_step_2", "step_2.message");
    broker.declare_queue(queue, QueueOptions::default());
    broker.bind_queue(queue, &topology.exchange, key);
    let step = Step {
        id: "step_2".into(),
        function: "script".into(),
        ..Step::default()
    };
    rig.emulator.platform().set_step(FLOW, step);
    let mut command = rig.command();
    command
        .env("ELASTICIO_STEP_ID", "step_2")
        .env("ELASTICIO_LISTEN_MESSAGES_ON", &topology.next)
        .env("ELASTICIO_DATA_ROUTING_KEY", key);
    Running::start(command)
}

/// An API that both steps ask.
async fn api() -> ScriptedDouble {
    let api = ScriptedDouble::start().await.unwrap();
    api.respond("GET", [PreparedResponse::ok("{}")]);
    api
}

#[tokio::test]
async fn a_message_through_two_steps_is_one_trace() {
    let (collector, api) = (TraceCollector::start(0).await, api().await);
    let rig = traced(&collector).await;
    let get = |path: &str| json!(["get", format!("{}{path}", api.url())]);
    let next = json!({ "body": { "script": [get("/two")] } });
    let id = rig.send(json!([["data", next]]));
    let (first, second) = (rig.start(), start_next_step(&rig));
    let is_last = |span: &Span| {
        span.get("messaging.destination.name")
            .ends_with(":step_2.message")
    };
    let last = collector.span("what the second step emits", is_last).await;
    assert_eq!(first.stop().await.0, 0);
    assert_eq!(second.stop().await.0, 0);

    let spans = collector.spans();
    let (first, second) = (of_step(&spans, "step_1"), of_step(&spans, "step_2"));
    assert_eq!((first.len(), second.len()), (2, 3), "{spans:#?}");
    let process = named(&first, "process script");
    let publish = named(&first, "publish data");
    let next_process = named(&second, "process script");
    let request = named(&second, "GET");
    // From the first message to the last event, each is below the one before.
    for (span, kind, parent) in [
        (process, Kind::Consumer, ""),
        (publish, Kind::Producer, &*process.id),
        (next_process, Kind::Consumer, &*publish.id),
        (request, Kind::Client, &*next_process.id),
        (&last, Kind::Producer, &*next_process.id),
    ] {
        assert_eq!((span.kind, &*span.parent), (kind, parent), "{spans:#?}");
        assert_eq!(span.trace, process.trace, "{spans:#?}");
        assert!(!span.is_error && span.nanoseconds > 0, "{span:#?}");
    }
    let topology = rig.emulator.topology();
    process.assert_has(&[
        ("messaging.system", "rabbitmq"),
        ("messaging.operation.name", "process"),
        ("messaging.destination.name", &topology.input),
        ("messaging.message.id", &id),
        ("elasticio.message.outcome", "acknowledged"),
    ]);
    let destination = format!("{}:{}", topology.exchange, topology.keys.data);
    publish.assert_has(&[
        ("messaging.operation.name", "publish"),
        ("messaging.destination.name", &destination),
        (
            "messaging.message.id",
            next_process.get("messaging.message.id"),
        ),
        (
            "messaging.message.conversation_id",
            process.get("messaging.message.conversation_id"),
        ),
    ]);
    request.assert_has(&[
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("server.address", "127.0.0.1"),
        ("url.full", &format!("{}/two", api.url())),
    ]);
    // The API can continue the trace.
    let received = &api.calls().all()[0].headers["traceparent"];
    assert_eq!(*received, format!("00-{}-{}-01", process.trace, request.id));
}

#[tokio::test]
async fn the_trace_of_the_headers_is_continued() {
    let collector = TraceCollector::start(0).await;
    let rig = traced(&collector).await;
    let script = json!([["data", { "body": {} }]]);
    let headers = json!({
        "traceparent": format!("00-{TRACE}-{PARENT}-01"),
        "tracestate": "vendor=x",
        "x-eio-meta-trace-id": "platform-1",
    });
    rig.send_with(script, headers);
    let component = rig.start();
    let events = rig.events(EventKind::Data, 1).await;
    let spans = rig.spans_after(component, &collector).await;
    let spans: Vec<_> = spans.iter().collect();
    let process = named(&spans, "process script");
    assert_eq!((&*process.trace, &*process.parent), (TRACE, PARENT));
    assert_eq!(process.state, "vendor=x");
    process.assert_has(&[("elasticio.trace.id", "platform-1")]);
    let publish = named(&spans, "publish data");
    let headers = &events[0].headers;
    assert_eq!(
        headers["traceparent"],
        format!("00-{TRACE}-{}-01", publish.id)
    );
    assert_eq!(headers["tracestate"], "vendor=x");
    assert_eq!(headers["x-eio-meta-trace-id"], "platform-1");
}

#[tokio::test]
async fn a_trace_that_is_not_sampled_is_handed_on_unseen() {
    let collector = TraceCollector::start(0).await;
    let rig = traced(&collector).await;
    let headers = json!({ "traceparent": format!("00-{TRACE}-{PARENT}-00") });
    rig.send_with(json!([["data", { "body": {} }]]), headers);
    let component = rig.start();
    let events = rig.events(EventKind::Data, 1).await;
    let spans = rig.spans_after(component, &collector).await;
    assert!(spans.is_empty(), "{spans:#?}");
    let handed_on = events[0].headers["traceparent"].as_str().unwrap();
    assert!(
        handed_on.starts_with(&format!("00-{TRACE}-")),
        "{handed_on}"
    );
    assert!(
        handed_on.ends_with("-00") && !handed_on.contains(PARENT),
        "{handed_on}"
    );
}

#[tokio::test]
async fn a_sampler_decides_about_new_traces() {
    let collector = TraceCollector::start(0).await;
    let rig = traced(&collector).await;
    let rig = rig.variable("OTEL_TRACES_SAMPLER", "parentbased_always_off");
    let script = || json!([["data", { "body": {} }]]);
    rig.send(script());
    let headers = json!({ "traceparent": format!("00-{TRACE}-{PARENT}-01") });
    rig.send_with(script(), headers);
    let component = rig.start();
    rig.events(EventKind::Data, 2).await;
    let spans = rig.spans_after(component, &collector).await;
    // The message that is part of another process's trace, and its event.
    assert_eq!(spans.len(), 2, "{spans:#?}");
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
}

#[tokio::test]
async fn spans_of_the_component_are_in_the_trace() {
    // A span for debugging is only in the log, whatever its level.
    for level in ["info", "debug"] {
        let (collector, api) = (TraceCollector::start(0).await, api().await);
        let rig = traced(&collector).await.variable("LOG_LEVEL", level);
        rig.send(json!([["getInSpan", api.url()]]));
        let component = rig.start();
        rig.settled().await;
        let spans = rig.spans_after(component, &collector).await;
        let spans: Vec<_> = spans.iter().collect();
        let own = named(&spans, "look up");
        assert_eq!(own.parent, named(&spans, "process script").id);
        own.assert_has(&[("items", "1")]);
        assert_eq!(named(&spans, "GET").parent, own.id);
        assert!(spans.iter().all(|span| span.name != "details"));
    }
}

#[tokio::test]
async fn without_an_endpoint_a_trace_ends_here() {
    let rig = scripted(1).await;
    let headers = json!({ "traceparent": format!("00-{TRACE}-{PARENT}-01") });
    rig.send_with(
        json!([["data", { "body": {} }], ["rebound", "later"]]),
        headers,
    );
    let component = rig.start();
    let events = rig.events(EventKind::Data, 1).await;
    assert_eq!(events[0].headers.get("traceparent"), None);
    let rebounds = rig.events(EventKind::Rebound, 1).await;
    let kept = &rebounds[0].headers["traceparent"];
    assert_eq!(*kept, format!("00-{TRACE}-{PARENT}-01"));
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn a_header_that_is_no_trace_begins_a_new_one() {
    let collector = TraceCollector::start(0).await;
    let rig = traced(&collector).await;
    for traceparent in [json!("00-xyz-1-01"), json!(7), json!("x".repeat(100_000))] {
        let headers = json!({ "traceparent": traceparent, "tracestate": "a=".repeat(50_000) });
        rig.send_with(json!([["data", { "body": {} }]]), headers);
    }
    let component = rig.start();
    rig.events(EventKind::Data, 3).await;
    let spans = rig.spans_after(component, &collector).await;
    let messages: Vec<_> = spans
        .iter()
        .filter(|span| span.kind == Kind::Consumer)
        .collect();
    assert_eq!(messages.len(), 3);
    assert!(
        messages.iter().all(|span| span.parent.is_empty()),
        "{messages:#?}"
    );
}

#[tokio::test]
async fn all_attempts_of_a_message_are_below_its_event() {
    let collector = TraceCollector::start(0).await;
    let rig = scripted_with(EmulatorConfig {
        rebound_speed_up: 1000,
        ..EmulatorConfig::default()
    });
    let rig = rig
        .await
        .traced(&collector)
        .variable("ELASTICIO_REBOUND_LIMIT", "1");
    let headers = json!({ "traceparent": format!("00-{TRACE}-{PARENT}-01") });
    rig.send_with(json!([["rebound", "later"]]), headers);
    let component = rig.start();
    // The second attempt is one too many.
    let error = rig.events(EventKind::Error, 1).await;
    let spans = rig.spans_after(component, &collector).await;
    let attempts: Vec<_> = spans
        .iter()
        .filter(|span| span.kind == Kind::Consumer)
        .collect();
    assert_eq!(attempts.len(), 2);
    assert!(
        attempts.iter().all(|span| span.parent == PARENT),
        "{attempts:#?}"
    );
    attempts[0].assert_has(&[("elasticio.message.rebounded", "true")]);
    let publish = spans
        .iter()
        .find(|span| span.name == "publish error")
        .unwrap();
    assert_eq!(publish.parent, attempts[1].id);
    let handed_on = format!("00-{TRACE}-{}-01", publish.id);
    assert_eq!(error[0].headers["traceparent"], handed_on);
}

#[tokio::test]
async fn what_fails_is_an_error_without_its_text() {
    let collector = TraceCollector::start(0).await;
    let rig = traced(&collector).await;
    let api = ScriptedDouble::start().await.unwrap();
    rig.send(json!([["get", api.url()], ["throw", "secret text"]]));
    let component = rig.start();
    rig.events(EventKind::Rejected, 1).await;
    let spans = rig.spans_after(component, &collector).await;
    let spans: Vec<_> = spans.iter().collect();
    let process = named(&spans, "process script");
    process.assert_has(&[
        ("elasticio.message.outcome", "rejected"),
        ("error.type", "message_rejected"),
    ]);
    let request = named(&spans, "GET");
    request.assert_has(&[("error.type", "404"), ("http.response.status_code", "404")]);
    let errors: Vec<_> = spans
        .iter()
        .filter(|span| span.is_error)
        .map(|span| &*span.name)
        .collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert_eq!(named(&spans, "publish error").parent, process.id);
    collector.assert_has_none_of(["secret text"]);
}

#[tokio::test]
async fn an_event_of_a_detached_task_is_in_the_trace() {
    let collector = TraceCollector::start(0).await;
    let rig = traced(&collector).await;
    rig.send(json!([["spawn", { "n": 1 }]]));
    let component = rig.start();
    rig.events(EventKind::Data, 1).await;
    let spans = rig.spans_after(component, &collector).await;
    let spans: Vec<_> = spans.iter().collect();
    let process = named(&spans, "process script");
    assert_eq!(named(&spans, "publish data").parent, process.id);
}

#[tokio::test]
async fn no_span_has_a_secret_or_contents() {
    let collector = TraceCollector::start(0).await;
    let key = "authorization=secret-key";
    let rig = traced(&collector)
        .await
        .variable("OTEL_EXPORTER_OTLP_HEADERS", key);
    let address = rig
        .emulator
        .platform()
        .url()
        .replace("http://", "http://secret-user:secret-password@");
    let get = json!([
        "get",
        format!("{address}/sample/items?token=secret-query#secret-part")
    ]);
    let data = json!({ "body": { "a": "secret-body" }, "headers": { "b": "secret-header" } });
    rig.send(json!([get, ["data", data], ["snapshot", { "a": "secret-snapshot" }]]));
    rig.send(json!([["panic", "secret-panic"]]));
    let component = rig.start();
    rig.events(EventKind::Data, 2).await;
    rig.events(EventKind::Rejected, 1).await;
    rig.settled().await;
    let (status, log) = component.stop().await;
    assert_eq!(status, 0);
    let variables: BTreeMap<String, String> = rig.emulator.env().into_iter().collect();
    let secrets = secrets::SECRETS.iter().map(|name| &*variables[*name]);
    collector.assert_has_none_of(secrets.chain(["secret-"]));
    assert!(!json!(log).to_string().contains("secret-key"), "{log:?}");
}
