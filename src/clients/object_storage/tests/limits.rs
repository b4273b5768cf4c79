//! How large bodies may be, and how many are downloaded at the same time.

use super::*;
use crate::captured_log::CapturedLog;
use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

#[tokio::test]
async fn a_body_over_the_limit_is_an_error_that_names_the_setting() {
    let server = ScriptedDouble::start().await.unwrap();
    server.respond(
        "",
        [PreparedResponse::ok(format!("\"{}\"", "x".repeat(3000)))],
    );
    let storage = |limit| {
        let storage = storage(&server.url(), None);
        ObjectStorage {
            limit: SizeLimit {
                bytes: limit,
                ..storage.limit
            },
            ..storage
        }
    };
    storage(4000).get("o1", None).await.unwrap();
    let lower = Some(SizeLimit {
        bytes: 2000,
        variable: Some("THE_LIMIT"),
    });
    for (limit, lower, told) in [
        (
            1000,
            None,
            "1000 bytes (raise ELASTICIO_OBJECT_STORAGE_SIZE_LIMIT",
        ),
        (
            1000,
            lower,
            "1000 bytes (raise ELASTICIO_OBJECT_STORAGE_SIZE_LIMIT",
        ),
        (4000, lower, "2000 bytes (raise THE_LIMIT"),
    ] {
        let error = fetch_body(Some(&storage(limit)), "o1", lower)
            .await
            .unwrap_err()
            .to_string();
        let expected =
            "Failed to get message body with id=o1: the response is larger than the limit of ";
        assert!(error.starts_with(&format!("{expected}{told}")), "{error}");
    }
    assert_eq!(server.calls().all().len(), 4, "retried");
}

#[tokio::test]
async fn only_a_few_bodies_are_downloaded_at_once() {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let storage = storage(&format!("http://{}", listener.local_addr().unwrap()), None);
    let (counted, highest) = (open.clone(), most.clone());
    let together = Arc::new(tokio::sync::Barrier::new(MAX_DOWNLOADS));
    let server = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let (open, most, together) = (counted.clone(), highest.clone(), together.clone());
            connections.spawn(async move {
                let _ = connection.read(&mut [0; 4096]).await;
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Waits until the maximum of connections is open.
                together.wait().await;
                open.fetch_sub(1, Ordering::SeqCst);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                let _ = connection.write_all(answer).await;
            });
        }
    });
    // Clones share the limit.
    let (one, other) = (storage.clone(), storage);
    let gets = (0..20)
        .map(|n| if n % 2 == 0 { &one } else { &other })
        .map(|storage| storage.get("o1", None));
    let bodies = futures_util::future::join_all(gets).await;
    assert!(bodies.iter().all(Result::is_ok));
    assert_eq!(most.load(Ordering::SeqCst), MAX_DOWNLOADS);
    server.abort();
}

#[tokio::test]
async fn concurrent_bodies_share_the_memory_of_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let storage = storage(&format!("http://{}", listener.local_addr().unwrap()), None);
    // The budget is 4000 bytes, so a small body fits beside the large one.
    let server = tokio::spawn(async move {
        let head = |length: usize| {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n")
        };
        let text = format!("\"{}\"", "x".repeat(2998));
        let (mut first, _) = listener.accept().await.unwrap();
        let _ = first.read(&mut [0; 4096]).await;
        first
            .write_all((head(3000) + &text[..1]).as_bytes())
            .await
            .unwrap();
        for text in [&*text, "{}"] {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 4096]).await;
            connection
                .write_all((head(text.len()) + text).as_bytes())
                .await
                .unwrap();
        }
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        first.write_all(&text.as_bytes()[1..]).await.unwrap();
    });
    let done = Mutex::new(vec![]);
    let get = async |name: &'static str, after: usize| {
        // The yields fix the order of the requests.
        for _ in 0..after {
            tokio::task::yield_now().await;
        }
        storage.get(name, None).await.unwrap();
        done.lock().unwrap().push(name);
    };
    tokio::join!(get("first", 0), get("large", 200), get("small", 400));
    server.await.unwrap();
    let done = done.into_inner().unwrap();
    let place = |name: &str| done.iter().position(|done| *done == name).unwrap();
    assert!(place("first") < place("large"), "{done:?}");
}

#[tokio::test]
async fn a_body_is_read_as_far_as_there_is_memory() {
    let double = ScriptedDouble::start().await.unwrap();
    for chunked in [false, true] {
        double.respond(
            "",
            [(); 3].map(|()| PreparedResponse::ok(format!("\"{}\"", "x".repeat(2998)))),
        );
        double.set_trouble(Trouble {
            chunked,
            ..Trouble::default()
        });
        let storage = storage(&double.url(), None);
        let asked = Mutex::new(vec![]);
        let get = async |memory: usize| {
            let admit = |size: usize| {
                asked.lock().unwrap().push(size);
                size <= memory
            };
            let got = storage.get_within("o1", admit).await;
            let asked = std::mem::take(&mut *asked.lock().unwrap());
            (got.map_err(|error| error.no_memory), asked)
        };
        let (got, asked) = get(4000).await;
        assert_eq!(got.unwrap().as_bytes().len(), 3000);
        let largest = asked.into_iter().max().unwrap();
        assert!((3000..=4000).contains(&largest), "{largest}");
        // Nothing is tried again: there will be no more memory in a moment.
        let (got, asked) = get(2999).await;
        assert_eq!(got.unwrap_err(), Some(NoMemory(*asked.last().unwrap())));
        assert!(
            asked.windows(2).all(|sizes| sizes[0] < sizes[1]),
            "{asked:?}"
        );
        let (got, _) = get(largest).await;
        assert_eq!(got.unwrap().as_bytes().len(), 3000);
    }
}

#[tokio::test]
async fn a_download_slot_is_held_until_the_body_is_checked() {
    let responses = vec![
        PreparedResponse::status(500),
        PreparedResponse::ok("{}"),
        PreparedResponse::ok("not JSON"),
        PreparedResponse::ok("x".repeat(5000)),
    ];
    let server = server(responses).await;
    let storage = storage(&server.url(), None);
    let whole = (
        storage.downloads.available_permits(),
        storage.memory_budget.available_permits(),
    );
    assert_eq!(whole, (MAX_DOWNLOADS, 4));
    storage.get("o1", None).await.unwrap();
    for _ in 0..2 {
        storage.get("o1", None).await.unwrap_err();
    }
    assert_eq!(
        (
            storage.downloads.available_permits(),
            storage.memory_budget.available_permits()
        ),
        whole
    );
}

/// The storage accepts a connection and stays silent.
#[tokio::test(start_paused = true)]
async fn an_attempt_at_a_silent_storage_takes_10_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let silent = ObjectStorage {
        // As `REQUEST_TIMEOUT` and `REQUEST_MAX_RETRY` are without the variables.
        policy: RequestPolicy::for_outages(Duration::from_secs(10)),
        ..storage(&address, None)
    };
    for body in [false, true] {
        let (log, start) = (CapturedLog::begin(), Instant::now());
        let error = if body {
            silent.get("o1", None).await.unwrap_err().to_string()
        } else {
            let stored = silent.put(&Json::empty_object()).await;
            stored.unwrap_err().to_string()
        };
        let told = format!("no response from {address}/objects");
        assert!(error.contains(&told), "{error}");
        assert!(error.ends_with("timed out after 10 s"), "{error}");
        let retried = ["An HTTP request failed; it is retried", "after 10 s"];
        assert!((2..4).contains(&log.count(&retried)), "{}", log.text());
        // The last attempt begins before 30 s are over.
        let took = start.elapsed().as_secs();
        assert!((30..=41).contains(&took), "{took}");
    }
}
