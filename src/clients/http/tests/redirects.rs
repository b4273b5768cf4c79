//! Which redirects are followed, and with which headers.

use super::*;
use http_double::RecordedCall;

/// A server that redirects each of these paths with 307, and responds with 200 to all others.
async fn redirecting(ways: &[(&str, String)]) -> ScriptedDouble {
    let server = ScriptedDouble::start().await.unwrap();
    for (from, to) in ways {
        redirect(&server, 307, from, to);
    }
    server.respond("", [PreparedResponse::status(200)]);
    server
}

fn redirect(server: &ScriptedDouble, status: u16, from: &str, to: &str) {
    let pattern = format!(" {from}$");
    server.respond(&pattern, [PreparedResponse::redirect(status, to)]);
}

/// The paths of the requests, and whether they had a token.
fn seen(server: &ScriptedDouble) -> Vec<(String, bool)> {
    let shown = |call: RecordedCall| (call.path, call.token.is_some());
    server.calls().all().into_iter().map(shown).collect()
}

#[tokio::test]
async fn the_token_is_never_sent_to_another_origin() {
    let with = |path: &str| (path.to_owned(), true);
    let without = |path: &str| (path.to_owned(), false);
    let other = redirecting(&[("/b1", "/b2".to_owned()), ("/b2", "/b3".to_owned())]).await;
    let first = redirecting(&[
        ("/", "/a1".to_owned()),
        ("/a1", format!("{}/b1", other.url())),
        ("/short", format!("{}/end", other.url())),
    ])
    .await;
    // The second request within the other origin would carry the token again, so the redirect to it is the response.
    let response = client()
        .unwrap()
        .get(first.url())
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
        (seen(&first), seen(&other)),
        (vec![with("/"), with("/a1")], vec![without("/b1")])
    );
    // One redirect to another origin is followed.
    let response = client()
        .unwrap()
        .post(format!("{}/short", first.url()))
        .bearer_auth("token")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(seen(&other)[1..], [without("/end")]);
}

#[tokio::test]
async fn redirects_to_new_origins_are_followed_without_the_token() {
    let (first, other, third) = (
        ScriptedDouble::start().await.unwrap(),
        ScriptedDouble::start().await.unwrap(),
        ScriptedDouble::start().await.unwrap(),
    );
    for (server, from, location) in [
        (&first, "/", format!("{}/b1", other.url())),
        (&other, "/b1", format!("{}/a2", first.url())),
        (&first, "/a2", format!("{}/b2", other.url())),
        (&other, "/b2", format!("{}/c", third.url())),
    ] {
        redirect(server, 302, from, &location);
    }
    let response = client()
        .unwrap()
        .get(first.url())
        .bearer_auth("token")
        .send()
        .await
        .unwrap();
    assert_eq!(response.url().path(), "/c");
    assert_eq!(
        seen(&other),
        [("/b1".to_owned(), false), ("/b2".to_owned(), false)]
    );
    assert_eq!(seen(&third), [("/c".to_owned(), false)]);
}

#[tokio::test]
async fn a_redirect_loop_ends() {
    let server = redirecting(&[("/", "/".to_owned())]).await;
    let error = client()
        .unwrap()
        .get(server.url())
        .send()
        .await
        .unwrap_err();
    assert!(error.is_redirect(), "{error}");
    assert_eq!(server.calls().all().len(), 11);
}

#[tokio::test]
async fn a_redirected_request_has_no_referer() {
    for status in [302, 307] {
        let to = server(vec![]).await;
        let from = server(vec![PreparedResponse::redirect(status, &to.url())]).await;
        assert_eq!(
            get(&quick(), &format!("{}/?key=secret", from.url()))
                .await
                .unwrap(),
            "done"
        );
        let [request] = to.calls().all().try_into().unwrap();
        assert!(
            !request.headers.contains_key("referer"),
            "{status}: {request:?}"
        );
    }
}
