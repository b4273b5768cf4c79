use super::*;
use crate::monitoring::{Link, Outcome};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener as AsyncListener, TcpStream},
    time::Instant,
};

/// A server in this test's runtime, which may have a paused clock.
async fn served(metrics: &Arc<Metrics>) -> (SocketAddr, TaskTracker) {
    let listener = AsyncListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), TaskTracker::new());
    tasks.spawn(accept(listener, metrics.clone()));
    (address, tasks)
}

/// Sends a text, and returns everything that the server sends.
async fn exchange(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

/// Returns the status, the head in lower case, and the body.
async fn request(address: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    let text = format!("{method} {path} HTTP/1.1\r\nHost: step\r\n\r\n");
    let response = exchange(address, &text).await;
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

fn ready() -> Arc<Metrics> {
    let metrics = Arc::new(Metrics::default());
    metrics.set_connected(Link::Consume, true);
    metrics.set_connected(Link::Publish, true);
    metrics
}

#[tokio::test]
async fn only_reads_of_three_paths_are_answered() {
    let (address, _tasks) = served(&ready()).await;
    for (method, path, expected) in [
        ("GET", "/livez", 200),
        ("GET", "/livez?verbose", 200),
        ("HEAD", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("HEAD", "/metrics", 200),
        ("POST", "/metrics", 405),
        ("DELETE", "/livez", 405),
        ("GET", "/", 404),
        ("GET", "/livez/", 404),
        ("POST", "/metric", 404),
    ] {
        let (status, head, body) = request(address, method, path).await;
        assert_eq!(status, expected, "{method} {path}");
        assert_eq!(head.contains("allow: get, head"), status == 405, "{head}");
        assert_eq!(body.is_empty(), method == "HEAD", "{method} {path}: {body}");
    }
}

#[tokio::test]
async fn readiness_follows_the_connections_and_the_stop() {
    let metrics = Arc::new(Metrics::default());
    let (address, _tasks) = served(&metrics).await;
    let readyz = async || {
        let (status, _, body) = request(address, "GET", "/readyz").await;
        let (_, _, text) = request(address, "GET", "/metrics").await;
        let gauge = text.contains("\nelasticio_sailor_ready 1\n");
        assert_eq!(gauge, status == 200, "the metric says the same: {text}");
        (status, body)
    };
    assert!(readyz().await.1.contains("the queue is not consumed"));
    metrics.set_connected(Link::Consume, true);
    let (status, body) = readyz().await;
    assert!(
        status == 503 && body.contains("nothing can be published"),
        "{body}"
    );
    metrics.set_connected(Link::Publish, true);
    assert_eq!(readyz().await, (200, "ok\n".to_owned()));
    metrics.set_connected(Link::Consume, false);
    assert_eq!(readyz().await.0, 503);
    metrics.set_connected(Link::Consume, true);
    metrics.stopping();
    assert_eq!(
        readyz().await,
        (503, "the process is stopping\n".to_owned())
    );
    assert_eq!(request(address, "GET", "/livez").await.0, 200);
}

#[tokio::test]
async fn metrics_are_in_the_text_format_of_prometheus() {
    let metrics = ready();
    metrics.outcomes.of(Outcome::Rejected).inc();
    let (address, _tasks) = served(&metrics).await;
    let (_, head, body) = request(address, "GET", "/metrics").await;
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    for line in [
        "# TYPE elasticio_sailor_messages_total counter",
        "elasticio_sailor_messages_total{outcome=\"acknowledged\"} 0",
        "elasticio_sailor_messages_total{outcome=\"rejected\"} 1",
        "elasticio_sailor_waiting{reason=\"broker_blocked\"} 0",
        "elasticio_sailor_connected{connection=\"consume\"} 1",
    ] {
        assert!(body.lines().any(|found| found == line), "{line}: {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_is_disconnected() {
    let (address, _tasks) = served(&ready()).await;
    let start = Instant::now();
    for text in ["", "GET /livez HTTP/1.1\r\nHost"] {
        assert_eq!(exchange(address, text).await, "");
    }
    assert!(start.elapsed() >= 2 * REQUEST_TIMEOUT);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let (address, _tasks) = served(&ready()).await;
    let long = "x".repeat(2 * MAX_HEAD);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text = format!("GET /livez HTTP/1.1\r\nHost: step\r\nLong: {long}\r\n\r\n");
    // The server need not read all of it.
    let _ = stream.write_all(text.as_bytes()).await;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 431");
}

#[test]
fn a_port_that_is_taken_is_named_with_its_variable() {
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = HealthServer::start(port, ready()).unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("ELASTICIO_HEALTH_PORT") && text.contains(&port.to_string()),
        "{text}"
    );
}

#[test]
fn the_server_ends_when_it_is_dropped() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = HealthServer::serve(listener, ready()).unwrap();
    assert!(std::net::TcpStream::connect(address).is_ok());
    drop(server);
    // The thread closes the socket a moment later.
    while std::net::TcpStream::connect(address).is_ok() {
        std::thread::yield_now();
    }
}
