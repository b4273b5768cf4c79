//! The requests that object storage gets, and what its answers become.

use super::*;
use futures_util::StreamExt;
use serde_json::json;
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{any, method, path},
};

fn cipher() -> Cipher {
    Cipher::new("testCryptoPassword", "iv=any16_symbols").unwrap()
}

fn storage(uri: &str, cipher: Option<Cipher>) -> ObjectStorage {
    let settings = ObjectStorageSettings {
        uri: uri.to_owned(),
        token: "top-secret".into(),
        retries: Some(2),
        timeout: Duration::from_secs(5),
        size_limit: Some(4000),
    };
    let identity = StepIdentity {
        flow_id: "flow1".into(),
        step_id: "step_1".into(),
        ..StepIdentity::default()
    };
    let (http, streams) = (
        http::client_without_redirects().unwrap(),
        http::client_for_streams().unwrap(),
    );
    ObjectStorage::new(http, streams, &settings, cipher, &identity)
}

async fn server(answers: Vec<ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    for answer in answers {
        Mock::given(any())
            .respond_with(answer)
            .up_to_n_times(1)
            .mount(&server)
            .await;
    }
    server
}

async fn requests(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.unwrap()
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request
        .headers
        .get(name)
        .map(|value| value.to_str().unwrap())
}

fn stored(id: &str) -> ResponseTemplate {
    ResponseTemplate::new(201).set_body_json(json!({ "objectId": id }))
}

fn text(json: &Json) -> &str {
    std::str::from_utf8(json.as_bytes()).unwrap()
}

#[tokio::test]
async fn a_body_is_stored_as_raw_ciphertext() {
    let server = server(vec![stored("o1")]).await;
    let body = Json::of(&json!({"a": [1, 2]})).unwrap();
    assert_eq!(
        storage(&server.uri(), Some(cipher()))
            .put(&body)
            .await
            .unwrap(),
        "o1"
    );
    let request = &requests(&server).await[0];
    assert_eq!(
        format!("{} {}", request.method, request.url.path()),
        "POST /objects"
    );
    assert_eq!(header(request, "authorization"), Some("Bearer top-secret"));
    assert_eq!(header(request, "content-type"), Some("application/json"));
    assert_eq!(header(request, "x-request-id"), Some("f:flow1;s:step_1;m:"));
    assert_eq!(
        cipher().decrypt(&request.body, Encoding::Raw).unwrap(),
        body.as_bytes()
    );
}

#[tokio::test]
async fn a_stored_body_reads_back_unchanged() {
    for cipher in [Some(cipher()), None] {
        let plain = br#"{"a": [1, 2]}"#.to_vec();
        let kept = cipher
            .as_ref()
            .map_or(plain.clone(), |cipher| cipher.encrypt(plain, Encoding::Raw));
        let server = server(vec![ResponseTemplate::new(200).set_body_bytes(kept)]).await;
        let body = storage(&server.uri(), cipher)
            .get("o/1", None)
            .await
            .unwrap();
        assert_eq!(text(&body), r#"{"a": [1, 2]}"#);
        let request = &requests(&server).await[0];
        assert_eq!(
            format!("{} {}", request.method, request.url.path()),
            "GET /objects/o%2F1"
        );
        assert_eq!(header(request, "authorization"), Some("Bearer top-secret"));
    }
}

#[tokio::test]
async fn a_storage_that_fails_for_a_moment_is_asked_three_times() {
    let sorry = || ResponseTemplate::new(500);
    let server1 = server(vec![sorry(), sorry(), stored("o1")]).await;
    assert_eq!(
        storage(&server1.uri(), None)
            .put(&Json::empty_object())
            .await
            .unwrap(),
        "o1"
    );
    let server2 = server(vec![sorry(), sorry(), sorry(), stored("o1")]).await;
    storage(&server2.uri(), None)
        .put(&Json::empty_object())
        .await
        .unwrap_err();
    assert_eq!(requests(&server2).await.len(), 3);
}

#[tokio::test]
async fn an_invalid_response_is_an_error_without_its_contents() {
    for (answer, expected) in [
        (
            ResponseTemplate::new(404),
            "fetching object o1 failed: 404 Not Found",
        ),
        (
            ResponseTemplate::new(302).insert_header("location", "/elsewhere"),
            "fetching object o1 failed: 302 Found",
        ),
        (
            ResponseTemplate::new(200).set_body_string("top-secret"),
            "fetching object o1 failed: the payload cannot be decrypted with this platform's password: 10 bytes of ciphertext",
        ),
        (
            ResponseTemplate::new(200)
                .set_body_bytes(cipher().encrypt(b"top-secret".to_vec(), Encoding::Raw)),
            "fetching object o1 failed: the object is not JSON, line 1, column 2",
        ),
    ] {
        let server = server(vec![answer]).await;
        let error = storage(&server.uri(), Some(cipher()))
            .get("o1", None)
            .await
            .unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        assert_eq!(requests(&server).await.len(), 1, "{expected}");
    }
}

#[tokio::test]
async fn a_response_without_an_object_id_is_an_error() {
    for body in [
        json!({}),
        json!({"objectId": null}),
        json!({"objectId": ""}),
    ] {
        let server = server(vec![ResponseTemplate::new(201).set_body_json(&body)]).await;
        let error = storage(&server.uri(), None)
            .put(&Json::empty_object())
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "storing a message's body failed: the storage's answer names no objectId",
            "{body}"
        );
    }
}

#[tokio::test]
async fn an_attachment_is_stored_as_it_is_and_found_under_its_url() {
    let server = server(vec![ResponseTemplate::new(500), stored("o1")]).await;
    let storage = storage(&server.uri(), Some(cipher()));
    let file = storage.upload("a,b\n", "text/csv").await.unwrap();
    let url = format!("{}/objects/o1?storage_type=maester", server.uri());
    assert_eq!(
        file,
        StoredFile {
            url: url.clone(),
            content_type: "text/csv".into(),
            size: Some(4)
        }
    );
    let request = &requests(&server).await[1];
    assert_eq!(
        (&*request.body, header(request, "content-type")),
        (&b"a,b\n"[..], Some("text/csv"))
    );

    let contents = ResponseTemplate::new(200).set_body_string("a,b\n");
    Mock::given(method("GET"))
        .and(path("/objects/o1"))
        .respond_with(contents)
        .mount(&server)
        .await;
    assert_eq!(
        storage.download(&url).await.unwrap().text().await.unwrap(),
        "a,b\n"
    );
}

#[tokio::test]
async fn a_stream_is_sent_once_and_its_size_is_what_the_storage_says() {
    let stream = || {
        Body::wrap_stream(futures_util::stream::iter([
            Ok::<_, std::io::Error>("a"),
            Ok("b"),
        ]))
    };
    let answer =
        ResponseTemplate::new(201).set_body_json(json!({"objectId": "o1", "contentLength": 2}));
    let server1 = server(vec![answer.clone()]).await;
    assert_eq!(
        storage(&server1.uri(), None)
            .upload(stream(), "text/plain")
            .await
            .unwrap()
            .size,
        Some(2)
    );
    assert_eq!(requests(&server1).await[0].body, b"ab");
    let server2 = server(vec![ResponseTemplate::new(500), answer]).await;
    storage(&server2.uri(), None)
        .upload(stream(), "text/plain")
        .await
        .unwrap_err();
    assert_eq!(requests(&server2).await.len(), 1);
}

#[tokio::test]
async fn only_the_storage_itself_sees_the_token() {
    let contents = || ResponseTemplate::new(200).set_body_string("contents");
    let own = server(vec![contents(), contents()]).await;
    let foreign = server(vec![contents()]).await;
    let storage = storage(&format!("{}/base", own.uri()), None);
    for (url, with_token, server) in [
        (format!("{}/base/objects/o1", own.uri()), true, &own),
        (format!("{}/baseless/objects/o1", own.uri()), false, &own),
        (
            format!("{}/base/objects/o1", foreign.uri()),
            false,
            &foreign,
        ),
    ] {
        storage.download(&url).await.unwrap();
        let request = requests(server).await.pop().unwrap();
        assert_eq!(
            header(&request, "authorization").is_some(),
            with_token,
            "{url}"
        );
    }
}

#[tokio::test]
async fn a_redirect_from_the_storage_is_followed_without_the_token() {
    let foreign = server(vec![ResponseTemplate::new(200).set_body_string("contents")]).await;
    let elsewhere = format!("{}/bucket/o1", foreign.uri());
    let own = server(vec![
        ResponseTemplate::new(302).insert_header("location", &*elsewhere),
    ])
    .await;
    let (storage, url) = (
        storage(&own.uri(), None),
        format!("{}/objects/o1", own.uri()),
    );
    let response = tokio::spawn(async move { storage.download(&url).await })
        .await
        .unwrap()
        .unwrap();
    assert_eq!(response.text().await.unwrap(), "contents");
    assert_eq!(
        header(&requests(&own).await[0], "authorization"),
        Some("Bearer top-secret")
    );
    assert_eq!(header(&requests(&foreign).await[0], "authorization"), None);
}

/// Whoever is led to may not lead the token to an object of its choice.
#[tokio::test]
async fn a_redirect_back_to_the_storage_does_not_bring_the_token_back() {
    let to = |url: String| ResponseTemplate::new(302).insert_header("location", &*url);
    for starts_elsewhere in [false, true] {
        let (own, foreign) = (MockServer::start().await, MockServer::start().await);
        let mount = async |server: &MockServer, at: &str, answer| {
            Mock::given(path(at))
                .respond_with(answer)
                .mount(server)
                .await;
        };
        mount(&own, "/objects/o1", to(format!("{}/way", foreign.uri()))).await;
        mount(&foreign, "/way", to(format!("{}/objects/o2", own.uri()))).await;
        mount(&own, "/objects/o2", to("/objects/o3".into())).await;
        mount(&own, "/objects/o3", ResponseTemplate::new(200)).await;
        let start = if starts_elsewhere {
            foreign.uri() + "/way"
        } else {
            own.uri() + "/objects/o1"
        };
        storage(&own.uri(), None).download(&start).await.unwrap();
        let with_token = |request: &Request| header(request, "authorization").is_some();
        let seen: Vec<_> = requests(&own)
            .await
            .iter()
            .map(|r| (r.url.path().to_owned(), with_token(r)))
            .collect();
        let first = (!starts_elsewhere).then(|| ("/objects/o1".to_owned(), true));
        let rest = [
            ("/objects/o2".to_owned(), false),
            ("/objects/o3".to_owned(), false),
        ];
        assert_eq!(seen, first.into_iter().chain(rest).collect::<Vec<_>>());
        assert!(!requests(&foreign).await.iter().any(with_token));
    }
}

#[tokio::test]
async fn a_redirect_loop_fails_the_download() {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(302).insert_header("location", "/again"))
        .mount(&server)
        .await;
    let error = storage(&server.uri(), None)
        .download(&server.uri())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "fetching an attachment failed: its server redirects more than 5 times"
    );
    assert_eq!(requests(&server).await.len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_take_longer_than_an_answer() {
    // While a blocking task runs, the paused clock moves by hand only.
    let (done, until_done) = std::sync::mpsc::channel::<()>();
    let hold = tokio::task::spawn_blocking(move || until_done.recv());
    let server = server(vec![stored("o1")]).await;
    let parts = futures_util::stream::iter(["a", "b"]).then(async |part| {
        tokio::time::advance(Duration::from_secs(90)).await;
        Ok::<_, std::io::Error>(part)
    });
    let stored = storage(&server.uri(), None)
        .upload(Body::wrap_stream(parts), "text/csv")
        .await;
    assert!(stored.unwrap().url.contains("o1"));
    assert_eq!(requests(&server).await[0].body, b"ab");
    drop(done);
    let _ = hold.await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_an_error_that_names_the_setting() {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(
            ResponseTemplate::new(200).set_body_string(format!("\"{}\"", "x".repeat(3000))),
        )
        .mount(&server)
        .await;
    let storage = |limit| {
        let storage = storage(&server.uri(), None);
        ObjectStorage {
            limit: SizeLimit {
                bytes: limit,
                ..storage.limit
            },
            ..storage
        }
    };
    storage(4000).get("o1", None).await.unwrap();
    let room = Some(SizeLimit {
        bytes: 2000,
        variable: Some("THE_ROOM"),
    });
    for (limit, room, told) in [
        (
            1000,
            None,
            "1000 bytes (raise ELASTICIO_OBJECT_STORAGE_SIZE_LIMIT",
        ),
        (
            1000,
            room,
            "1000 bytes (raise ELASTICIO_OBJECT_STORAGE_SIZE_LIMIT",
        ),
        (4000, room, "2000 bytes (raise THE_ROOM"),
    ] {
        let error = body(Some(&storage(limit)), "o1", room)
            .await
            .unwrap_err()
            .to_string();
        let expected =
            "Failed to get message body with id=o1: the answer is larger than the limit of ";
        assert!(error.starts_with(&format!("{expected}{told}")), "{error}");
    }
    assert_eq!(requests(&server).await.len(), 4, "tried again");
}

#[tokio::test]
async fn a_size_error_shows_only_the_size() {
    let server = server(vec![
        ResponseTemplate::new(403).set_body_string("top-secret"),
    ])
    .await;
    for storage in [Some(storage(&server.uri(), None)), None] {
        let error = body(storage.as_ref(), "o1", None).await.unwrap_err();
        assert_eq!(error.to_string(), "Failed to get message body with id=o1");
    }
}

#[tokio::test]
async fn bodies_are_fetched_a_few_at_a_time() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let storage = storage(&format!("http://{}", listener.local_addr().unwrap()), None);
    let (counted, highest) = (open.clone(), most.clone());
    let together = Arc::new(tokio::sync::Barrier::new(DOWNLOADS));
    let server = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let (open, most, together) = (counted.clone(), highest.clone(), together.clone());
            connections.spawn(async move {
                let _ = connection.read(&mut [0; 4096]).await;
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // All that are to come at once come first.
                together.wait().await;
                open.fetch_sub(1, Ordering::SeqCst);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                let _ = connection.write_all(answer).await;
            });
        }
    });
    // Clones belong to the same process.
    let (one, other) = (storage.clone(), storage);
    let gets = (0..20)
        .map(|n| if n % 2 == 0 { &one } else { &other })
        .map(|storage| storage.get("o1", None));
    let bodies = futures_util::future::join_all(gets).await;
    assert!(bodies.iter().all(Result::is_ok));
    assert_eq!(most.load(Ordering::SeqCst), DOWNLOADS);
    server.abort();
}

#[test]
fn without_a_variable_tries_go_on_for_half_a_minute() {
    let settings = |retries| ObjectStorageSettings {
        uri: "http://storage".into(),
        token: "t".into(),
        retries,
        timeout: Duration::from_secs(5),
        size_limit: None,
    };
    assert_eq!(policy(&settings(Some(4))).retry.attempts, Some(5));
    assert_eq!(policy(&settings(None)).retry.attempts, None);
}

#[tokio::test]
async fn a_servers_own_words_are_in_no_error() {
    for status in [400, 403, 502] {
        let server = server(vec![
            ResponseTemplate::new(status)
                .set_body_string("top-secret");
            20
        ])
        .await;
        let storage = storage(&server.uri(), None);
        let stream = Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>("a")]));
        for error in [
            storage.upload("a", "text/csv").await.unwrap_err(),
            storage.upload(stream, "text/csv").await.unwrap_err(),
            storage
                .download(&format!("{}/objects/o1", server.uri()))
                .await
                .unwrap_err(),
            storage.put(&Json::empty_object()).await.unwrap_err(),
            storage.get("o1", None).await.unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(
                error.contains(&status.to_string()) && !error.contains("top-secret"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_long_id_is_cut_where_an_error_names_it() {
    let server = MockServer::start().await;
    for id in ["i".repeat(20_000), "ü".repeat(8_000)] {
        let error = storage(&server.uri(), None)
            .get(&id, None)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("404") && error.matches('…').count() == 2 && error.len() < 2500,
            "{error}"
        );
        for storage in [Some(storage(&server.uri(), None)), None] {
            let error = body(storage.as_ref(), &id, None)
                .await
                .unwrap_err()
                .to_string();
            assert!(error.ends_with('…') && error.len() < 1100, "{error}");
        }
    }
}

#[tokio::test]
async fn bodies_that_are_read_together_fit_into_the_room_of_one() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let storage = storage(&format!("http://{}", listener.local_addr().unwrap()), None);
    // Of 4000 bytes each may take; small ones find room beside the large one.
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
    let done = std::sync::Mutex::new(vec![]);
    let get = async |name: &'static str, after: usize| {
        // In this order.
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
async fn a_download_slot_is_held_until_the_body_is_checked() {
    let answers = vec![
        ResponseTemplate::new(500),
        ResponseTemplate::new(200).set_body_string("{}"),
        ResponseTemplate::new(200).set_body_string("not JSON"),
        ResponseTemplate::new(200).set_body_string("x".repeat(5000)),
    ];
    let server = server(answers).await;
    let storage = storage(&server.uri(), None);
    let whole = (
        storage.downloads.available_permits(),
        storage.room.available_permits(),
    );
    assert_eq!(whole, (DOWNLOADS, 4));
    storage.get("o1", None).await.unwrap();
    for _ in 0..2 {
        storage.get("o1", None).await.unwrap_err();
    }
    assert_eq!(
        (
            storage.downloads.available_permits(),
            storage.room.available_permits()
        ),
        whole
    );
}
