//! Attachments: uploads, downloads, and which of them carry the token.

use super::*;

#[tokio::test]
async fn an_attachment_is_stored_and_downloaded_unchanged() {
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
async fn a_stream_is_sent_once_and_has_the_reported_size() {
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

#[tokio::test(start_paused = true)]
async fn a_stream_may_take_longer_than_other_requests() {
    // While a blocking task runs, tokio does not advance the paused clock by itself.
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
async fn only_the_storage_receives_the_token() {
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

/// Otherwise another server could direct the token to an object of its choice.
#[tokio::test]
async fn a_redirect_back_to_the_storage_has_no_token() {
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
