use super::*;
use crate::clients::http::{error::with_causes, streaming_client};
use futures_util::stream;
use std::{io, sync::mpsc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::spawn_blocking,
    time::{advance, pause},
};

/// The limit in these tests. Whatever is to pass it takes at least twice as long.
const LIMIT: Duration = Duration::from_millis(400);
const PAUSE: Duration = Duration::from_millis(100);

/// Stops the clock until the result is dropped, so that it moves by [`advance`] only: tokio does not move a paused clock
/// while a blocking task runs.
fn stop_clock() -> mpsc::Sender<()> {
    pause();
    let (clock, dropped) = mpsc::channel();
    spawn_blocking(move || dropped.recv());
    clock
}

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

/// Reads the head of a request, byte by byte.
async fn read_head(connection: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

async fn post(address: &str, body: Body, limit: Duration) -> Result<Response, NoResponse> {
    let client = streaming_client().unwrap();
    let request = client.post(address).body(body).build().unwrap();
    execute_within(&client, request, 0, limit).await
}

#[tokio::test]
async fn an_upload_from_a_slow_source_is_not_cut_off() {
    let _clock = stop_clock();
    let address = server(async |mut connection| {
        read_head(&mut connection).await;
        // 15 parts of one byte, with the frames of chunks around them, and the end.
        connection.read_exact(&mut [0; 15 * 6 + 5]).await.unwrap();
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        connection.write_all(response).await.unwrap();
    })
    .await;
    let parts = stream::unfold(0, |count| async move {
        advance(PAUSE).await;
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
    // Two of these are more than the buffers of both sockets hold: what the client sends is read two pauses later at most.
    const PART: usize = 8 << 20;
    let length = 8 * PART;
    let _clock = stop_clock();
    let address = server(move |mut connection| async move {
        let head = read_head(&mut connection).await;
        let mut part = vec![0; PART];
        for _ in 0..8 {
            connection.read_exact(&mut part).await.unwrap();
            advance(PAUSE).await;
        }
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
    let start = Instant::now();
    let response = post(&address, vec![b'x'; length].into(), LIMIT)
        .await
        .unwrap();
    assert!(start.elapsed() >= 2 * LIMIT);
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
        let told = "timed out: for 0.4 s, no part of the request was sent and no response began; `timeout`";
        assert!(error.reason.contains(told), "{}", error.reason);
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
    let _clock = stop_clock();
    let address = server(async |mut connection| {
        let _ = connection.read(&mut [0; 1000]).await;
        advance(3 * LIMIT).await;
        let _ = connection
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await;
    })
    .await;
    let client = streaming_client().unwrap();
    let request = client.get(&address).timeout(100 * LIMIT).build().unwrap();
    let response = execute_within(&client, request, 0, LIMIT).await.unwrap();
    assert_eq!(response.status(), 204);
}
