//! Servers that accept a connection and stay silent. The clock is paused, so it moves on to the end of each time limit.

use super::*;
use tokio::net::TcpListener;

/// Sends a request to a server that never responds. Returns the error and how long it took.
async fn request(scheme: &str) -> (String, Duration) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = client().unwrap();
    let start = tokio::time::Instant::now();
    let sent = client.get(format!("{scheme}://127.0.0.1:{port}/")).send();
    let error = HttpError::from_reqwest(sent.await.unwrap_err());
    assert!(error.is_transient());
    (error.to_string(), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_takes_too_long_is_named() {
    let (error, time) = request("https").await;
    assert!(error.contains("no connection within 10 s"), "{error}");
    assert!((10..11).contains(&time.as_secs()), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_silent_is_named() {
    let (error, time) = request("http").await;
    assert!(error.contains("timed out"), "{error}");
    assert!((60..62).contains(&time.as_secs()), "{time:?}");
}
