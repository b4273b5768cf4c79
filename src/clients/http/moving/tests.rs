use super::*;
use crate::clients::http::{error::with_causes, streaming_client};
use futures_util::stream;
use std::io;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The limit in these tests. Whatever is to pass it takes at least three times as long.
const LIMIT: Duration = Duration::from_millis(400);
const PAUSE: Duration = Duration::from_millis(100);

/// A server that handles one connection so. Returns its address.
async fn server<F>(handle: impl FnOnce(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (connection, _) = listener.accept().await.unwrap();
        handle(connection).await;
    });
    address
}

/// Reads a request with a body of so many bytes, at most `part` of them between two pauses.
async fn read_slowly(connection: &mut TcpStream, length: usize, part: usize) -> String {
    let (mut read, mut buffer) = (Vec::new(), vec![0; part]);
    let ends = |read: &[u8]| {
        let head = read.windows(4).position(|end| end == b"\r\n\r\n");
        head.is_some_and(|head| read.len() >= head + 4 + length)
    };
    while !ends(&read) {
        let count = connection.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "the request is whole");
        read.extend_from_slice(&buffer[..count]);
        tokio::time::sleep(PAUSE).await;
    }
    String::from_utf8_lossy(&read[..200]).to_lowercase()
}

async fn post(address: &str, body: Body, limit: Duration) -> Result<Response, NoResponse> {
    let client = streaming_client().unwrap();
    let request = client.post(address).body(body).build().unwrap();
    execute_within(&client, request, limit).await
}

#[tokio::test]
async fn an_upload_from_a_slow_source_is_not_cut_off() {
    let address = server(async |mut connection| {
        // 15 parts of one byte, with the frames of chunks around them.
        read_slowly(&mut connection, 15 * 6 + 5, 1000).await;
        connection
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
    })
    .await;
    let parts = stream::unfold(0, |count| async move {
        tokio::time::sleep(PAUSE).await;
        (count < 15).then_some((Ok::<_, io::Error>("x"), count + 1))
    });
    let start = Instant::now();
    let response = post(&address, Body::wrap_stream(parts), LIMIT)
        .await
        .unwrap();
    assert!(start.elapsed() > 3 * LIMIT);
    assert_eq!(response.text().await.unwrap(), "ok");
}

#[tokio::test]
async fn an_upload_from_memory_moves_and_has_its_length() {
    // More than the buffers of the two sockets hold.
    let length = 24 << 20;
    let address = server(move |mut connection| async move {
        let head = read_slowly(&mut connection, length, 2 << 20).await;
        let has_length = head.contains(&format!("content-length: {length}"));
        let status = if has_length {
            "200 OK"
        } else {
            "411 Length Required"
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        connection.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let limit = 2 * LIMIT;
    let response = post(&address, vec![b'x'; length].into(), limit)
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_request_that_stands_still_ends() {
    for length in [10, 24 << 20] {
        let address = server(async |mut connection| {
            let _ = connection.read(&mut [0; 10]).await;
            std::future::pending::<()>().await;
        })
        .await;
        let error = post(&address, vec![b'x'; length].into(), LIMIT)
            .await
            .unwrap_err();
        assert!(error.reason.contains("`timeout`"), "{}", error.reason);
        assert!(!error.is_unsent && !error.is_invalid);
    }
}

#[tokio::test]
async fn a_response_that_stands_still_ends() {
    let address = server(async |mut connection| {
        let _ = connection.read(&mut [0; 1000]).await;
        let start = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nstart";
        connection.write_all(start).await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let response = post(&address, "x".into(), LIMIT).await.unwrap();
    let shown = with_causes(&response.bytes().await.unwrap_err());
    assert!(shown.contains("nothing of the response came"), "{shown}");
}

#[tokio::test]
async fn a_limit_of_the_request_is_the_only_one() {
    let address = server(async |mut connection| {
        let _ = connection.read(&mut [0; 1000]).await;
        tokio::time::sleep(3 * LIMIT).await;
        let _ = connection
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await;
    })
    .await;
    let client = streaming_client().unwrap();
    let request = client.get(&address).timeout(100 * LIMIT).build().unwrap();
    let response = execute_within(&client, request, LIMIT).await.unwrap();
    assert_eq!(response.status(), 204);
}
