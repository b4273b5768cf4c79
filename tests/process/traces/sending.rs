//! How spans are sent, what happens when they cannot be, and what the log and the doctor tell about it.

use super::*;

/// Nothing listens at the start, and again at the end.
#[tokio::test]
async fn a_collector_that_is_away_is_one_warning() {
    let port = {
        let collector = TraceCollector::start(0).await;
        collector
            .endpoint()
            .rsplit(':')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    let rig = scripted(5).await;
    let rig = rig
        .variable(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://127.0.0.1:{port}"),
        )
        .variable("OTEL_BSP_SCHEDULE_DELAY", "10")
        .variable("OTEL_EXPORTER_OTLP_TIMEOUT", "1000");
    let mut component = rig.start();
    rig.send(json!([["data", { "body": {} }]]));
    component.says("The collector does not take spans").await;
    rig.settled().await;
    let collector = TraceCollector::start(port).await;
    rig.send(json!([["data", { "body": {} }]]));
    component.says("The collector takes spans again").await;
    drop(collector);
    rig.send(json!([["data", { "body": {} }]]));
    rig.settled().await;
    let (status, log) = component.stop().await;
    assert_eq!((status, acked_and_rejected(&rig)), (0, (3, 0)));
    let says = |text: &str| {
        let lines = log
            .iter()
            .filter(|line| line["msg"].as_str().unwrap().contains(text));
        lines.count()
    };
    assert_eq!(says("The collector does not take spans"), 1, "{log:?}");
}

/// docs/time-limits.md: the last spans have two seconds (`FLUSH_TIMEOUT`).
#[tokio::test]
async fn a_silent_collector_does_not_keep_the_process() {
    let collector = TraceCollector::start(0).await;
    collector.refuse(None);
    let rig = traced(&collector).await;
    rig.send(json!([["data", { "body": {} }]]));
    let component = rig.start();
    rig.settled().await;
    collector.asked().await;
    let (status, log) = component.stop().await;
    assert_eq!(status, 0);
    let late = "The last spans were not sent in time; they are lost";
    let line = log.iter().find(|line| line["msg"] == late);
    assert_eq!(line.expect("it is told")["seconds"], 2, "{log:?}");
}

#[tokio::test]
async fn the_collector_gets_its_headers_and_gzip() {
    let collector = TraceCollector::start(0).await;
    let rig = traced(&collector)
        .await
        .variable(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "x-key=a%20b,authorization=Bearer%20c",
        )
        .variable("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        .variable("OTEL_SERVICE_NAME", "orders")
        .variable(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        );
    rig.send(json!([["end"]]));
    let component = rig.start();
    let span = collector.named("process script").await;
    assert_eq!(span.resource["service.name"], "orders");
    assert_eq!(span.resource["deployment.environment.name"], "test");
    assert_eq!(component.stop().await.0, 0);
    let (headers, _) = &collector.requests()[0];
    assert_eq!(headers["x-key"], "a b");
    assert_eq!(headers["authorization"], "Bearer c");
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(headers.get("traceparent"), None);
}

/// The attributes of spans are not for the log, which still names the message of each line.
#[tokio::test]
async fn the_log_is_the_same_with_traces() {
    let collector = TraceCollector::start(0).await;
    let plain = scripted(1).await;
    let traced = traced(&collector).await;
    let mut logs = vec![];
    for rig in [plain, traced] {
        let rig = rig.variable("LOG_LEVEL", "debug");
        let id = rig.send(json!([["throw", "trouble"]]));
        let component = rig.start();
        rig.events(EventKind::Rejected, 1).await;
        let (_, log) = component.stop().await;
        let line = log.iter().find(|line| line["messageId"] == id.as_str());
        let line = line.expect("a line of the message").as_object().unwrap();
        let names: Vec<_> = line.keys().cloned().collect();
        logs.push((names, line["msg"].clone()));
    }
    assert_eq!(logs[0], logs[1]);
}

#[tokio::test]
async fn wrong_settings_of_traces_are_warnings() {
    let collector = TraceCollector::start(0).await;
    let rig = traced(&collector)
        .await
        .variable("OTEL_TRACES_SAMPLER", "secret-sampler");
    let mut component = rig.start();
    component
        .says("OTEL_TRACES_SAMPLER must be always_on")
        .await;
    component.says("Fully initialized").await;
    let (status, log) = component.stop().await;
    assert_eq!(status, 0);
    assert!(!json!(log).to_string().contains("secret-sampler"));
}

#[tokio::test]
async fn doctor_tells_the_settings_of_traces() {
    let rig = scripted(1).await;
    let off = printed(&run_command(&rig, &["doctor", "--json"]).await);
    assert_eq!(off["settings"]["OTEL_TRACES_EXPORTER"], "off");
    let rig = rig
        .variable(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://user:secret@collector:4318",
        )
        .variable("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")
        .variable("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let ended = run_command(&rig, &["doctor", "--json"]).await;
    assert!(!ended.output().contains("secret"), "{}", ended.output());
    let told = printed(&ended);
    let settings = &told["settings"];
    assert_eq!(settings["OTEL_TRACES_EXPORTER"], "otlp");
    let endpoint = &settings["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    assert_eq!(*endpoint, "http://collector:4318/v1/traces");
    assert_eq!(settings["OTEL_EXPORTER_OTLP_TRACES_HEADERS"], "x-key");
    let findings = told["findings"].to_string();
    assert!(
        findings.contains("OTEL_EXPORTER_OTLP_PROTOCOL names a protocol"),
        "{findings}"
    );
}
