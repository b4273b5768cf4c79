//! Results of one-time calls.

use super::*;
use crate::settings::ResultTarget;

/// Posts a result to a URL with this user info. Returns the requests that the server got.
async fn post(
    user_info: &str,
    responses: &[u16],
) -> (Result<(), PlatformError>, Vec<RecordedCall>) {
    let server = ScriptedDouble::start().await.unwrap();
    let responses = responses.iter().copied();
    server.respond("", responses.map(PreparedResponse::status));
    let url = server
        .url()
        .replace("http://", &format!("http://{user_info}"))
        + "/result?execution=1";
    let target = ResultTarget {
        url: url.into(),
        attempts: 3,
        retry_delay: Duration::from_millis(1),
    };
    let result = post_result(
        &http::client().unwrap(),
        &target,
        "success",
        &json!({"verified": true}),
    )
    .await;
    (result, server.calls().all())
}

#[tokio::test]
async fn a_result_is_posted_with_the_credentials_of_the_url() {
    for (user_info, expected) in [
        ("", None),
        ("us%40er:p%3Aw@", Some("us@er:p:w")),
        ("user@", None),
        ("user:@", None),
        (":pw@", None),
    ] {
        let (result, requests) = post(user_info, &[201]).await;
        result.unwrap();
        let call = &requests[0];
        assert_eq!(call.credentials().as_deref(), expected, "{user_info}");
        assert_eq!(call.line(), "POST /result?execution=1", "{user_info}");
        assert_eq!(
            call.json(),
            Some(json!({"status": "success", "data": {"verified": true}}))
        );
    }
}

#[tokio::test]
async fn a_retried_result_is_identical() {
    let (result, requests) = post("", &[500, 503, 500]).await;
    assert_eq!(
        result.unwrap_err().status(),
        Some(StatusCode::INTERNAL_SERVER_ERROR)
    );
    assert_eq!(requests.len(), 3);
    assert!(
        requests
            .iter()
            .all(|request| request.body == requests[0].body)
    );
}

#[tokio::test]
async fn a_rejected_result_shows_no_credentials() {
    let (result, requests) = post("user:top-secret@", &[400]).await;
    assert_eq!(requests.len(), 1);
    assert_eq!(
        result.unwrap_err().to_string(),
        "posting the result failed: 400 Bad Request"
    );
}
