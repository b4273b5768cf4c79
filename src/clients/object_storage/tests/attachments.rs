//! Attachments: uploads, downloads, and which of them carry the token.

use super::*;

#[tokio::test]
async fn an_attachment_is_stored_and_downloaded_unchanged() {
    let server = ScriptedDouble::start().await.unwrap();
    server.respond("POST", [PreparedResponse::status(500), stored("o1")]);
    server.respond("GET /objects/o1", [PreparedResponse::ok("a,b\n")]);
    let storage = storage(&server.url(), Some(cipher()));
    let file = storage.upload("a,b\n", "text/csv").await.unwrap();
    let url = format!("{}/objects/o1?storage_type=maester", server.url());
    assert_eq!(
        file,
        StoredFile {
            url: url.clone(),
            content_type: "text/csv".into(),
            size: Some(4)
        }
    );
    let request = &server.calls().all()[1];
    assert_eq!(
        (&*request.body, header(request, "content-type")),
        (&b"a,b\n"[..], Some("text/csv"))
    );

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
    let answer = PreparedResponse::json(201, &json!({"objectId": "o1", "contentLength": 2}));
    let server1 = server(vec![answer.clone()]).await;
    assert_eq!(
        storage(&server1.url(), None)
            .upload(stream(), "text/plain")
            .await
            .unwrap()
            .size,
        Some(2)
    );
    assert_eq!(server1.calls().all()[0].body, "ab");
    let server2 = server(vec![PreparedResponse::status(500), answer]).await;
    storage(&server2.url(), None)
        .upload(stream(), "text/plain")
        .await
        .unwrap_err();
    assert_eq!(server2.calls().all().len(), 1);
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
    let stored = storage(&server.url(), None)
        .upload(Body::wrap_stream(parts), "text/csv")
        .await;
    assert!(stored.unwrap().url.contains("o1"));
    assert_eq!(server.calls().all()[0].body, "ab");
    drop(done);
    let _ = hold.await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_ends_is_given_up_after_an_hour() {
    let server = server(vec![stored("o1")]).await;
    let endless = Body::wrap_stream(futures_util::stream::pending::<std::io::Result<&str>>());
    let start = Instant::now();
    let storage = storage(&server.url(), None);
    let error = storage
        .upload(endless, "text/csv")
        .await
        .unwrap_err()
        .to_string();
    let told = "storing an attachment failed: no response from ";
    assert!(error.starts_with(told), "{error}");
    assert!(
        error.ends_with("/objects: timed out after 3600 s"),
        "{error}"
    );
    assert_eq!(start.elapsed().as_secs(), 3600);
}

#[tokio::test]
async fn only_the_storage_receives_the_token() {
    let contents = || PreparedResponse::ok("contents");
    let own = server(vec![contents(), contents()]).await;
    let foreign = server(vec![contents()]).await;
    let storage = storage(&format!("{}/base", own.url()), None);
    for (url, with_token, server) in [
        (format!("{}/base/objects/o1", own.url()), true, &own),
        (format!("{}/baseless/objects/o1", own.url()), false, &own),
        (
            format!("{}/base/objects/o1", foreign.url()),
            false,
            &foreign,
        ),
    ] {
        storage.download(&url).await.unwrap();
        let request = server.calls().all().pop().unwrap();
        assert_eq!(
            header(&request, "authorization").is_some(),
            with_token,
            "{url}"
        );
    }
}

#[tokio::test]
async fn a_redirect_from_the_storage_is_followed_without_the_token() {
    let foreign = server(vec![PreparedResponse::ok("contents")]).await;
    let elsewhere = format!("{}/bucket/o1", foreign.url());
    let own = server(vec![PreparedResponse::redirect(302, &elsewhere)]).await;
    let (storage, url) = (
        storage(&own.url(), None),
        format!("{}/objects/o1", own.url()),
    );
    let response = tokio::spawn(async move { storage.download(&url).await })
        .await
        .unwrap()
        .unwrap();
    assert_eq!(response.text().await.unwrap(), "contents");
    assert_eq!(
        header(&own.calls().all()[0], "authorization"),
        Some("Bearer top-secret")
    );
    assert_eq!(header(&foreign.calls().all()[0], "authorization"), None);
}

/// Otherwise another server could direct the token to an object of its choice.
#[tokio::test]
async fn a_redirect_back_to_the_storage_has_no_token() {
    for starts_elsewhere in [false, true] {
        let own = ScriptedDouble::start().await.unwrap();
        let foreign = ScriptedDouble::start().await.unwrap();
        for (server, at, to) in [
            (&own, "/objects/o1", format!("{}/way", foreign.url())),
            (&foreign, "/way", format!("{}/objects/o2", own.url())),
            (&own, "/objects/o2", "/objects/o3".into()),
        ] {
            server.respond(at, [PreparedResponse::redirect(302, &to)]);
        }
        own.respond("/objects/o3", [PreparedResponse::status(200)]);
        let start = if starts_elsewhere {
            foreign.url() + "/way"
        } else {
            own.url() + "/objects/o1"
        };
        storage(&own.url(), None).download(&start).await.unwrap();
        let with_token = |request: &RecordedCall| header(request, "authorization").is_some();
        let seen: Vec<_> = own
            .calls()
            .all()
            .iter()
            .map(|r| (r.path.clone(), with_token(r)))
            .collect();
        let first = (!starts_elsewhere).then(|| ("/objects/o1".to_owned(), true));
        let rest = [
            ("/objects/o2".to_owned(), false),
            ("/objects/o3".to_owned(), false),
        ];
        assert_eq!(seen, first.into_iter().chain(rest).collect::<Vec<_>>());
        assert!(!foreign.calls().all().iter().any(with_token));
    }
}

#[tokio::test]
async fn a_redirect_loop_fails_the_download() {
    let server = ScriptedDouble::start().await.unwrap();
    server.respond("", [PreparedResponse::redirect(302, "/again")]);
    let error = storage(&server.url(), None)
        .download(&server.url())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "fetching an attachment failed: its server redirects more than 5 times"
    );
    assert_eq!(server.calls().all().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_failed_download_names_host_and_status_and_whether_to_try_again() {
    for (status, transient) in [(503, true), (429, true), (404, false), (403, false)] {
        let server = server(vec![PreparedResponse::status(status)]).await;
        let url = format!("{}/objects/o1?key=top-secret", server.url());
        let error = storage(&server.url(), None)
            .download(&url)
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&server.url())
                && text.contains(&status.to_string())
                && !text.contains("top-secret"),
            "{text}"
        );
        assert_eq!(error.is_transient(), transient, "{text}");
    }
    let refused = storage("http://127.0.0.1:1", None);
    let error = refused.download("http://127.0.0.1:1/objects/o1").await;
    let error = error.unwrap_err();
    assert!(
        error.is_transient() && error.to_string().contains("127.0.0.1:1"),
        "{error}"
    );
    let error = refused.upload("a", "text/plain").await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    let error = refused.download("no URL").await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
}
