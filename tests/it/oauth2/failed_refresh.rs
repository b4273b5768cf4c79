//! Requests whose token was rejected and cannot be refreshed.

use super::rig::Rig;
use emulator::provider::{Fault, Knobs};
use sailor::oauth2::Error;
use serde_json::{Value, json};
use std::time::Duration;

/// The caller still has its request. The process tests show that the error event holds the message.
/// token-failures: T28.
#[tokio::test]
async fn a_refused_refresh_after_a_401_is_not_repeated() {
    let rig = Rig::stale(Knobs::rotating()).await;
    rig.provider.revoke_all();
    let replica = rig.replica();
    let client = replica.client();
    let body = json!({ "name": "Ada" });
    let error = rig
        .drive(client.post("/items").json(&body).send())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::ReauthRequired(reason) if reason.contains("invalid_grant")),
        "{error}"
    );
    assert!(!error.is_transient());
    assert_eq!(rig.statuses(), [401]);
    assert_eq!(rig.provider.api_calls()[0].body, body.to_string());
    assert_eq!((rig.provider.refreshes(), rig.account.savings()), (1, 0));

    // The same body is sent once the user has connected again.
    let connected = Value::Object(rig.provider.issue());
    rig.account.set(json!({ "oauth": connected }));
    rig.clock.advance(Duration::from_secs(31)).await;
    let created: Value = rig
        .drive(client.post("/items").json(&body).send_json())
        .await
        .unwrap();
    assert_eq!(
        (created["name"].as_str(), rig.provider.refreshes()),
        (Some("Ada"), 1)
    );
}

/// token-failures: T28.
#[tokio::test]
async fn a_failed_refresh_tells_what_the_api_said() {
    let told = json!({ "message": "session 7 ended by an administrator" });
    let empty = || Fault::Response {
        status: 401,
        headers: vec![],
        body: String::new(),
    };
    let refused = Fault::oauth_error("invalid_grant");
    for (rejection, refresh_error, why, said, is_transient) in [
        (
            Fault::Json(401, told.clone()),
            vec![Fault::Status(503); 3],
            "status 503",
            r#"GET /me returned 401 Unauthorized: {"message":"session 7 ended by an administrator"}"#,
            true,
        ),
        (
            Fault::Json(401, told),
            vec![refused.clone()],
            "invalid_grant",
            "session 7 ended",
            false,
        ),
        (
            empty(),
            vec![refused],
            "invalid_grant",
            "GET /me returned 401 Unauthorized",
            false,
        ),
        (
            empty(),
            vec![Fault::oauth_error("invalid_scope")],
            "invalid_scope",
            "GET /me returned 401 Unauthorized",
            false,
        ),
    ] {
        let rig = Rig::new(Knobs::rotating()).await;
        rig.provider.script_api([rejection]);
        rig.provider.script_token(refresh_error);
        let error = rig.drive(rig.replica().get()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(why) && text.contains(said), "{text}");
        assert_eq!(error.is_transient(), is_transient, "{text}");
        assert_eq!(rig.statuses(), [401]);
    }
}

/// The shapes of league/oauth2-server and Fitbit. token-failures: T24.
#[tokio::test]
async fn a_refusal_in_other_words_needs_the_user() {
    for (status, refusal) in [
        (
            401,
            json!({ "error": "invalid_request", "hint": "Token has been revoked" }),
        ),
        (
            400,
            json!({ "errors": [{ "errorType": "invalid_grant", "message": "Refresh token invalid" }], "success": false }),
        ),
    ] {
        let rig = Rig::stale(Knobs::rotating()).await;
        rig.provider.script_token([Fault::Json(status, refusal)]);
        let replica = rig.replica();
        for _ in 0..2 {
            let error = rig.drive(replica.get()).await.unwrap_err();
            assert!(matches!(error, Error::ReauthRequired(_)), "{error}");
        }
        assert_eq!((rig.provider.refreshes(), rig.account.savings()), (1, 0));
    }
}
