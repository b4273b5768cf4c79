//! How much of a response is read.

use super::*;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A server that responds with these bytes and then with zeros until the client closes. Counts the requests.
async fn endless_server(answer: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 4096]).await;
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = connection.write_all(answer).await;
            while connection.write_all(&[b'0'; 4096]).await.is_ok() {}
        }
    });
    (address, requests)
}

async fn read_within(bytes: usize, address: &str) -> Result<usize, HttpError> {
    let (client, limit) = (
        client().unwrap(),
        SizeLimit {
            bytes,
            variable: Some("THE_LIMIT"),
        },
    );
    Ok(send_with_retry(&quick(), limit, || client.get(address))
        .await?
        .body
        .len())
}

#[tokio::test]
async fn a_response_over_the_limit_is_an_error_and_not_retried() {
    for head in [
        // The length is announced, so nothing of the body is read.
        &b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775807\r\n\r\n",
        // The body ends when the connection is closed, and this server never closes it.
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n",
    ] {
        let (address, requests) = endless_server(head).await;
        let error = read_within(100_000, &address).await.unwrap_err();
        let head = String::from_utf8_lossy(head);
        assert!(matches!(error, HttpError::TooLarge(_)), "{head}: {error}");
        for text in [error.to_string(), error.without_contents()] {
            assert!(
                text.contains("100000 bytes") && text.contains("THE_LIMIT"),
                "{text}"
            );
        }
        assert_eq!(requests.load(Ordering::SeqCst), 1, "{head}");
    }
}

#[tokio::test]
async fn the_limit_applies_to_the_decompressed_size() {
    use std::io::Write;
    let mut bomb = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
    bomb.write_all(&vec![b'0'; 1 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 10_000);
    let answer = PreparedResponse::status(200)
        .header("content-encoding", "gzip")
        .body(bomb);
    let server = ScriptedDouble::start().await.unwrap();
    server.respond("", [answer]);
    assert!(matches!(
        read_within((1 << 20) - 1, &server.url()).await,
        Err(HttpError::TooLarge(_))
    ));
    assert_eq!(server.calls().all().len(), 1);
    assert_eq!(read_within(1 << 20, &server.url()).await.unwrap(), 1 << 20);
}

#[tokio::test]
async fn a_response_up_to_the_limit_is_read() {
    let server = ScriptedDouble::start().await.unwrap();
    let answer = PreparedResponse::ok(vec![b'0'; 1000]);
    server.respond("", [answer]);
    assert_eq!(read_within(1000, &server.url()).await.unwrap(), 1000);
    assert!(matches!(
        read_within(999, &server.url()).await,
        Err(HttpError::TooLarge(_))
    ));
}

#[tokio::test]
async fn a_2xx_status_is_enough_if_the_body_is_ignored() {
    for head in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"[..],
        b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n",
    ] {
        let (address, requests) = endless_server(head).await;
        let client = client().unwrap();
        send_ignoring_body(&quick(), || client.post(&address).body("keys"))
            .await
            .unwrap();
        assert_eq!(
            requests.load(Ordering::SeqCst),
            1,
            "{}",
            String::from_utf8_lossy(head)
        );
    }
}
