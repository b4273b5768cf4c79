//! Which redirects are followed, and with which headers.

use super::*;
use wiremock::matchers::path;

/// A server that redirects each of these paths with 307, and responds with 200 to all others.
async fn redirecting(ways: &[(&str, String)]) -> MockServer {
    let server = MockServer::start().await;
    for (from, to) in ways {
        let redirect = ResponseTemplate::new(307).insert_header("location", &**to);
        Mock::given(path(*from))
            .respond_with(redirect)
            .mount(&server)
            .await;
    }
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200))
        .with_priority(9)
        .mount(&server)
        .await;
    server
}

/// The paths of the requests, and whether they had a token.
async fn seen(server: &MockServer) -> Vec<(String, bool)> {
    let requests = server.received_requests().await.unwrap();
    requests
        .iter()
        .map(|r| {
            (
                r.url.path().to_owned(),
                r.headers.contains_key("authorization"),
            )
        })
        .collect()
}

#[tokio::test]
async fn the_token_is_never_sent_to_another_origin() {
    let with = |path: &str| (path.to_owned(), true);
    let without = |path: &str| (path.to_owned(), false);
    let other = redirecting(&[("/b1", "/b2".to_owned()), ("/b2", "/b3".to_owned())]).await;
    let first = redirecting(&[
        ("/", "/a1".to_owned()),
        ("/a1", format!("{}/b1", other.uri())),
        ("/short", format!("{}/end", other.uri())),
    ])
    .await;
    // The second request within the other origin would carry the token again, so the redirect to it is the response.
    let response = client()
        .unwrap()
        .get(first.uri())
        .bearer_auth("token")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (response.status(), response.url().path()),
        (StatusCode::TEMPORARY_REDIRECT, "/b1")
    );
    assert_eq!(response.headers()["location"], "/b2");
    assert_eq!(
        (seen(&first).await, seen(&other).await),
        (vec![with("/"), with("/a1")], vec![without("/b1")])
    );
    // One redirect to another origin is followed.
    let response = client()
        .unwrap()
        .post(format!("{}/short", first.uri()))
        .bearer_auth("token")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(seen(&other).await[1..], [without("/end")]);
}

#[tokio::test]
async fn redirects_to_new_origins_are_followed_without_the_token() {
    let (first, other, third) = (
        MockServer::start().await,
        MockServer::start().await,
        MockServer::start().await,
    );
    let to = |url: String| ResponseTemplate::new(302).insert_header("location", &*url);
    for (server, from, location) in [
        (&first, "/", format!("{}/b1", other.uri())),
        (&other, "/b1", format!("{}/a2", first.uri())),
        (&first, "/a2", format!("{}/b2", other.uri())),
        (&other, "/b2", format!("{}/c", third.uri())),
    ] {
        Mock::given(path(from))
            .respond_with(to(location))
            .mount(server)
            .await;
    }
    let response = client()
        .unwrap()
        .get(first.uri())
        .bearer_auth("token")
        .send()
        .await
        .unwrap();
    assert_eq!(response.url().path(), "/c");
    assert_eq!(
        seen(&other).await,
        [("/b1".to_owned(), false), ("/b2".to_owned(), false)]
    );
    assert_eq!(seen(&third).await, [("/c".to_owned(), false)]);
}

#[tokio::test]
async fn a_redirect_loop_ends() {
    let server = redirecting(&[("/", "/".to_owned())]).await;
    let error = client()
        .unwrap()
        .get(server.uri())
        .send()
        .await
        .unwrap_err();
    assert!(error.is_redirect(), "{error}");
    assert_eq!(server.received_requests().await.unwrap().len(), 11);
}

#[tokio::test]
async fn a_redirected_request_has_no_referer() {
    for status in [302, 307] {
        let to = server(vec![]).await;
        let from = server(vec![
            ResponseTemplate::new(status).insert_header("location", to.uri()),
        ])
        .await;
        assert_eq!(
            get(&quick(), &format!("{}/?key=secret", from.uri()))
                .await
                .unwrap(),
            "done"
        );
        let [request] = to.received_requests().await.unwrap().try_into().unwrap();
        assert!(
            !request.headers.contains_key("referer"),
            "{status}: {request:?}"
        );
    }
}
