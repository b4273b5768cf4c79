//! Responses of the API that reject the token, or seem to.

use super::rig::{Rig, text};
use emulator::provider::{Fault, Knobs, Provider, ProviderConfig};
use reqwest::StatusCode;
use sailor::oauth2::{Error, Mode, OAuth2, Profile};
use serde_json::{Value, json};
use std::time::Duration;

/// A response with this status and this challenge.
fn challenged(status: u16, challenge: &str) -> Fault {
    let headers = vec![("www-authenticate".to_owned(), challenge.to_owned())];
    Fault::Response {
        status,
        headers,
        body: r#"{"error":"no"}"#.into(),
    }
}

pub fn invalid_token() -> Fault {
    challenged(401, r#"Bearer error="invalid_token""#)
}

impl Rig {
    /// The token endpoint got no request, and the refresh token still works.
    #[track_caller]
    fn assert_nothing_spent(&self, what: &str) {
        assert_eq!(self.provider.token_calls().len(), 0, "{what}");
        let refresh_token = text(&self.account.oauth(), "refresh_token");
        assert!(
            self.provider.is_spendable(&refresh_token) && self.provider.uses(&refresh_token) == 0,
            "{what}"
        );
    }
}

/// token-failures: T38.
#[tokio::test]
async fn a_rejected_token_costs_one_refresh_and_one_resend() {
    for mode in [Mode::On401, Mode::Expiry] {
        let mut rig = Rig::stale(Knobs::rotating()).await;
        rig.mode = Some(mode);
        let response = rig.replica().get().await.unwrap();
        assert_eq!(response["id"], "user-1");
        assert_eq!(
            (rig.provider.refreshes(), rig.statuses()),
            (1, vec![401, 200])
        );
        let [first, second] = rig.provider.authorizations().try_into().unwrap();
        assert_ne!(first, second);
        assert_eq!(
            second,
            format!("Bearer {}", text(&rig.account.oauth(), "access_token"))
        );
    }
}

/// The first one is Zettle's. token-failures: T41.
#[tokio::test]
async fn a_401_is_refreshed_whatever_its_code() {
    for (challenge, body) in [
        (
            r#"Bearer error="invalid_request", error_description="ACCESS_TOKEN_EXPIRED""#,
            json!({}),
        ),
        (
            r#"Bearer realm="api", error="token_revoked""#,
            json!({ "error": "no" }),
        ),
        ("Bearer", json!({ "error": "unauthorized_request" })),
    ] {
        let rig = Rig::new(Knobs::rotating()).await;
        let headers = vec![("www-authenticate".to_owned(), challenge.to_owned())];
        rig.provider.script_api([Fault::Response {
            status: 401,
            headers,
            body: body.to_string(),
        }]);
        rig.replica().get().await.unwrap();
        assert_eq!(
            (rig.provider.refreshes(), rig.statuses()),
            (1, vec![401, 200]),
            "{challenge}"
        );
    }
}

/// token-failures: T38.
#[tokio::test]
async fn a_second_401_is_returned_and_the_new_token_kept() {
    let rig = Rig::new(Knobs::rotating()).await;
    rig.provider.script_api([invalid_token(), invalid_token()]);
    let replica = rig.replica();
    let error = replica.get().await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED), "{error}");
    assert!(!error.is_transient(), "the error must be permanent");
    assert_eq!(
        (rig.provider.refreshes(), rig.statuses()),
        (1, vec![401, 401])
    );
    let fresh = rig.account.oauth();
    assert!(rig.provider.is_valid(&text(&fresh, "access_token")));
    replica.get().await.unwrap();
    assert_eq!(
        rig.provider.authorizations().last(),
        Some(&format!("Bearer {}", text(&fresh, "access_token")))
    );
    assert_eq!((rig.provider.refreshes(), rig.account.oauth()), (1, fresh));
}

/// token-failures: T16.
#[tokio::test]
async fn a_401_for_an_outdated_token_is_resent_without_a_refresh() {
    let rig = Rig::stale(Knobs::rotating()).await;
    rig.provider
        .script_api([Fault::DelayAfter(Duration::from_secs(10))]);
    let replica = rig.replica();
    let (slow, ()) = tokio::join!(replica.get(), async {
        rig.provider.api_called(1).await;
        replica.get().await.unwrap();
        assert_eq!(
            (rig.provider.refreshes(), rig.provider.api_calls().len()),
            (1, 3)
        );
        rig.clock.advance(Duration::from_secs(11)).await;
    });
    slow.unwrap();
    assert_eq!(
        (rig.provider.refreshes(), rig.statuses()),
        (1, vec![401, 401, 200, 200])
    );
    let [.., third, fourth] = &rig.provider.authorizations()[..] else {
        panic!("four requests")
    };
    assert_eq!(third, fourth);
}

/// token-failures: T42.
#[tokio::test]
async fn insufficient_scope_costs_no_refresh_and_names_the_scope() {
    let challenge =
        r#"Bearer realm="files", error="insufficient_scope", scope="files.read files.write""#;
    let rig = Rig::new(Knobs::rotating()).await;
    rig.provider
        .script_api([challenged(401, challenge), challenged(403, challenge)]);
    let replica = rig.replica();
    for _ in 0..2 {
        let error = replica.get().await.unwrap_err();
        let Error::InsufficientScope { scope, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(scope.as_deref(), Some("files.read files.write"));
        assert!(
            error.to_string().contains("files.write") && !error.is_transient(),
            "{error}"
        );
    }
    rig.assert_nothing_spent(challenge);
}

/// token-failures: T43.
#[tokio::test]
async fn only_what_the_profile_calls_expired_is_refreshed() {
    let mut rig = Rig::new(Knobs::rotating()).await;
    rig.definition = rig.definition.clone().profile("salesforce");
    let replica = rig.replica();
    rig.provider.script_api([
        Fault::Json(400, json!([{ "errorCode": "MALFORMED_QUERY" }])),
        Fault::Json(403, json!([{ "errorCode": "REQUEST_LIMIT_EXCEEDED" }])),
    ]);
    for status in [400, 403] {
        let error = replica.get().await.unwrap_err();
        assert_eq!(error.status().map(|s| s.as_u16()), Some(status), "{error}");
        rig.assert_nothing_spent("another error with that status");
    }
    rig.provider.script_api([Fault::Json(
        403,
        json!([{ "errorCode": "INVALID_SESSION_ID" }]),
    )]);
    let response = replica.get().await.unwrap();
    assert_eq!(
        response["id"], "user-1",
        "a response whose body was checked is complete"
    );
    assert_eq!(
        (rig.provider.refreshes(), rig.statuses()),
        (1, vec![400, 403, 403, 200])
    );
}

/// token-failures: T41.
#[tokio::test]
async fn a_401_that_the_profile_excludes_costs_no_refresh() {
    let body = json!([{ "errorCode": "INVALID_AUTH", "message": "This Connected App is not attached to the org" }]);
    let mut rig = Rig::new(Knobs::rotating()).await;
    rig.provider
        .script_api([Fault::Json(401, body.clone()), Fault::Json(401, json!({}))]);
    rig.definition = OAuth2::new()
        .base_url(rig.provider.api_url())
        .profile("salesforce");
    let replica = rig.replica();
    let error = replica.get().await.unwrap_err();
    assert!(
        matches!(&error, Error::Status { body, .. } if body.contains("not attached")),
        "{error}"
    );
    assert_eq!(rig.statuses(), [401]);
    rig.assert_nothing_spent("not about the token");
    // Any other 401 causes a refresh.
    replica.get().await.unwrap();
    assert_eq!(rig.provider.refreshes(), 1);
}

/// The rule of a profile goes before the resends of a busy API. token-failures: T43.
#[tokio::test]
async fn an_expired_token_under_a_busy_status_is_refreshed_at_once() {
    let salesforce = || Profile::built_in("salesforce").unwrap();
    let own = || {
        let logged_out = json!({"status": 503, "text": "logged out"});
        let header = json!({"status": 429, "header": {"name": "x-auth"}});
        Profile::from_json(&json!({ "expired": [logged_out, header] }).to_string()).unwrap()
    };
    let headers = [("retry-after", "20"), ("x-auth", "expired")];
    let with_header = Fault::Response {
        status: 429,
        headers: headers
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
        body: "{}".into(),
    };
    for (status, profile, fault) in [
        (
            500,
            salesforce(),
            Fault::Json(500, json!([{ "errorCode": "INVALID_SESSION_ID" }])),
        ),
        (
            503,
            own(),
            Fault::Json(503, json!({ "error": "You are logged out" })),
        ),
        (429, own(), with_header),
    ] {
        let mut rig = Rig::new(Knobs::rotating()).await;
        rig.definition = rig.definition.clone().custom_profile(profile);
        rig.provider.script_api([fault]);
        // The clock stands, so nothing can be waited for.
        rig.replica().get().await.unwrap();
        let expected = (1, vec![status, 200]);
        assert_eq!((rig.provider.refreshes(), rig.statuses()), expected);
    }
    // Any other 500 is still a busy API.
    let mut rig = Rig::new(Knobs::rotating()).await;
    rig.definition = rig.definition.clone().custom_profile(salesforce());
    rig.provider.script_api([Fault::Status(500)]);
    rig.drive(rig.replica().get()).await.unwrap();
    let expected = (0, vec![500, 200]);
    assert_eq!((rig.provider.refreshes(), rig.statuses()), expected);
}

/// token-failures: T47.
#[tokio::test]
async fn a_request_follows_the_base_url_of_the_refresh() {
    for absolute in [false, true] {
        let mut rig = Rig::new(Knobs::rotating()).await;
        let moved = Provider::start(ProviderConfig::default()).await.unwrap();
        moved.script_api([Fault::Json(200, json!({ "moved": true }))]);
        rig.definition = OAuth2::new().profile("salesforce");
        let mut record = rig.provider.issue_expired();
        record.insert("instance_url".into(), rig.provider.api_url().into());
        rig.account.set(json!({ "oauth": record }));
        let new = moved.api_url();
        rig.provider
            .knobs(|knobs| drop(knobs.extra.insert("instance_url".into(), new.into())));

        let path = if absolute {
            rig.provider.api_url() + "/echo/a%20b"
        } else {
            "/echo/a%20b".to_owned()
        };
        let request = rig
            .replica()
            .client()
            .post(path)
            .query(&[("q", "x y&z")])
            .json(&json!({ "name": "Ada" }));
        let response: Value = request.send_json().await.unwrap();

        assert_eq!(response, json!({ "moved": true }));
        let (before, after) = (
            rig.provider.api_calls().remove(0),
            moved.api_calls().remove(0),
        );
        assert_eq!((rig.statuses(), moved.api_calls().len()), (vec![401], 1));
        assert_eq!(
            (&after.method, &after.path, &after.query),
            (&before.method, &before.path, &before.query)
        );
        assert_eq!(
            (&after.path[..], &after.query[..]),
            ("/api/echo/a%20b", "q=x+y%26z")
        );
        assert_eq!(after.body, before.body);
        assert_eq!(
            after.token,
            Some(text(&rig.account.oauth(), "access_token"))
        );
        // The refresh went to the token endpoint, not to the new base URL.
        assert_eq!((rig.provider.refreshes(), moved.refreshes()), (1, 0));
    }
}

/// token-failures: T44.
#[tokio::test]
async fn a_token_rejected_before_its_expiry_is_refreshed() {
    for mode in [Mode::On401, Mode::Expiry] {
        let mut rig = Rig::stale(Knobs::rotating()).await;
        rig.mode = Some(mode);
        let mut record = rig.account.oauth();
        record["tokenExpiryTime"] = "2999-01-01T00:00:00.000Z".into();
        rig.account.set(json!({ "oauth": record }));
        rig.replica().get().await.unwrap();
        assert_eq!(
            (rig.provider.refreshes(), rig.statuses()),
            (1, vec![401, 200])
        );
    }
}

/// token-failures: T28.
#[tokio::test]
async fn a_failed_platform_secret_needs_the_user() {
    let rig = Rig::new(Knobs::rotating()).await;
    rig.account.set(json!({ "secretId": "secret-1" }));
    rig.account
        .set_secrets([Value::Object(rig.provider.issue())]);
    *rig.account.secret_state.lock().unwrap() = "error";
    let access_token = rig.account.secrets()["access_token"].clone();
    for (platform_says, shown) in [
        (json!("consent was withdrawn"), "(consent was withdrawn)"),
        (json!({ "message": "invalid_grant" }), "(invalid_grant)"),
        (
            json!(format!("refused {access_token}")),
            "refused \"[token]\"",
        ),
        (Value::Null, "as failed; see its page"),
    ] {
        *rig.account.secret_error.lock().unwrap() = platform_says;
        let error = rig.replica().get().await.unwrap_err();
        assert!(
            matches!(&error, Error::ReauthRequired(reason) if reason.contains("secret-1") && reason.contains(shown)),
            "{error}"
        );
    }
    assert!(rig.provider.api_calls().is_empty());
}

/// token-failures: Secrets of the platform.
#[tokio::test]
async fn an_unchanged_rejected_secret_is_refreshed_by_the_platform() {
    // Meanwhile another process had the platform refresh it.
    let rig = Rig::new(Knobs::rotating()).await;
    rig.account.set(json!({ "secretId": "secret-1" }));
    let [old, new] = [rig.provider.issue(), rig.provider.issue()].map(Value::Object);
    rig.account.set_secrets([old]);
    let replica = rig.replica();
    replica.get().await.unwrap();
    rig.provider.script_api([invalid_token()]);
    rig.account.set_secrets([new.clone()]);
    replica.get().await.unwrap();
    assert_eq!(*rig.account.secret_calls.lock().unwrap(), ["read", "read"]);
    assert_eq!(rig.statuses(), [200, 401, 200]);
    assert_eq!(
        rig.provider.authorizations().pop(),
        Some(format!("Bearer {}", text(&new, "access_token")))
    );

    // The secret still has the rejected token.
    let newer = Value::Object(rig.provider.issue());
    rig.account.set_secrets([new, newer.clone()]);
    rig.provider.script_api([invalid_token()]);
    replica.get().await.unwrap();
    assert_eq!(
        rig.account.secret_calls.lock().unwrap()[2..],
        ["read", "refresh"]
    );
    assert_eq!(rig.statuses()[3..], [401, 200]);
    assert_eq!(
        rig.provider.authorizations().pop(),
        Some(format!("Bearer {}", text(&newer, "access_token")))
    );

    // Many requests at the same time refresh it once.
    let newest = Value::Object(rig.provider.issue());
    rig.account.set_secrets([newer, newest]);
    rig.provider
        .script_api([invalid_token(), invalid_token(), invalid_token()]);
    for response in replica.get_at_once(3).await {
        response.unwrap();
    }
    assert_eq!(
        rig.account.secret_calls.lock().unwrap()[4..],
        ["read", "refresh"]
    );

    assert_eq!(
        (
            *rig.account.begun.lock().unwrap(),
            rig.provider.token_calls().len()
        ),
        (0, 0)
    );
}

/// token-failures: T48.
#[tokio::test]
async fn a_claims_challenge_needs_the_user_and_costs_no_refresh() {
    let rig = Rig::new(Knobs::rotating()).await;
    let claims = "eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZX19fQ==";
    let challenge = format!(r#"Bearer realm="", error="insufficient_claims", claims="{claims}""#);
    let headers = vec![("www-authenticate".to_owned(), challenge)];
    rig.provider.script_api([Fault::Response {
        status: 401,
        headers,
        body: String::new(),
    }]);
    let error = rig.replica().get().await.unwrap_err();
    assert!(
        matches!(&error, Error::ReauthRequired(reason) if reason.contains(claims)),
        "{error}"
    );
    assert_eq!(
        (
            rig.provider.token_calls().len(),
            rig.provider.api_calls().len()
        ),
        (0, 1)
    );
}
