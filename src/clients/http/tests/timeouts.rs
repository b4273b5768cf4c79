//! Servers that accept a connection and stay silent. The clock is paused, so it moves on to the end of each time limit.

use super::*;
use crate::captured_log::CapturedLog;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};

/// Sends a request to a server that never responds. Returns the error and how long it took.
async fn request(scheme: &str) -> (String, Duration) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = client().unwrap();
    let start = Instant::now();
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
    assert!(error.ends_with("/: timed out after 60 s"), "{error}");
    assert!((60..62).contains(&time.as_secs()), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_response_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/keys", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let _ = connection.read(&mut [0; 1024]).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
        connection.write_all(head).await.unwrap();
        // Until the client closes the connection.
        connection.read(&mut [0; 1024]).await
    });
    let (client, log) = (client().unwrap(), CapturedLog::begin());
    let start = Instant::now();
    send_ignoring_body(&for_outages(), || client.post(&address))
        .await
        .unwrap();
    assert_eq!(start.elapsed().as_secs(), 1);
    let line = "The rest of a response that is not needed did not come in time.";
    log.assert_one(&[line, "seconds=1", &address]);
    assert_eq!(server.await.unwrap().unwrap(), 0);
}
