//! C. Answers of the API that refuse the token, or seem to.

use super::rig::{Fault, Rig, text};
use emulator::provider::{ApiErrorStyle, Fault as HttpFault, Knobs, Provider, ProviderConfig};
use reqwest::StatusCode;
use sailor::oauth2::{Error, Mode, OAuth2, Profile};
use serde_json::{Value, json};
use std::time::Duration;

/// An answer with this status and this challenge.
fn challenged(status: u16, challenge: &str) -> HttpFault {
    let headers = vec![("www-authenticate".to_owned(), challenge.to_owned())];
    HttpFault::Response {
        status,
        headers,
        body: r#"{"error":"no"}"#.into(),
    }
}

fn invalid_token() -> HttpFault {
    challenged(401, r#"Bearer error="invalid_token""#)
}

/// A provider whose API refuses expired tokens in this way.
fn refusing(status: u16, challenges: &[&str], body: impl Into<Value>) -> Knobs {
    let challenges = challenges
        .iter()
        .map(|&challenge| challenge.to_owned())
        .collect();
    let unauthorized = ApiErrorStyle {
        status,
        challenges,
        body: body.into(),
    };
    Knobs {
        unauthorized,
        ..Knobs::rotating()
    }
}

impl Rig {
    /// Neither was a token asked for, nor has the refresh token suffered.
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
        let answer = rig.replica().get().await.unwrap();
        assert_eq!(answer["id"], "user-1");
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

/// token-failures: T38.
#[tokio::test]
async fn a_second_401_is_returned_and_the_new_token_kept() {
    let rig = Rig::new(Knobs::rotating()).await;
    rig.provider.script_api([invalid_token(), invalid_token()]);
    let replica = rig.replica();
    let error = replica.get().await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED), "{error}");
    assert!(
        !error.is_transient(),
        "the message must not come again for this"
    );
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

/// token-failures: T39.
#[tokio::test]
async fn an_api_that_rejects_every_token_costs_few_refreshes() {
    let rig = Rig::new(Knobs::rotating()).await;
    rig.provider.script_api(vec![invalid_token(); 200]);
    let replica = rig.replica();
    for _ in 0..50 {
        let error = replica.get().await.unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED), "{error}");
    }
    // One for the token that may have been old, and three for fresh ones.
    assert_eq!(rig.provider.refreshes(), 4);

    // It is a pause, not an end.
    rig.clock.advance(Duration::from_secs(61)).await;
    for _ in 0..10 {
        replica.get().await.unwrap_err();
    }
    assert_eq!(rig.provider.refreshes(), 5);
}

/// Others begin while a new token is being saved, which is in the configuration already.
/// token-failures: T39.
#[tokio::test]
async fn parallel_rejections_before_the_save_cost_few_refreshes() {
    let rig = Rig::new(Knobs::rotating()).await;
    rig.provider.script_api(vec![invalid_token(); 200]);
    let replica = rig.replica();
    for round in 1..=10 {
        rig.account.fail([Fault::WaitMerged]);
        let mut first = std::pin::pin!(replica.get());
        tokio::select! {
            answer = &mut first => {
                answer.unwrap_err();
                continue;
            }
            () = rig.account.saving_begun(round) => {}
        }
        let requests = rig.provider.api_calls().len();
        let mut other = std::pin::pin!(replica.get());
        tokio::select! {
            answer = &mut other => panic!("{answer:?}, though the token is not saved"),
            () = rig.provider.api_called(requests + 1) => {}
        }
        rig.account.gate.0.add_permits(1);
        first.await.unwrap_err();
        other.await.unwrap_err();
    }
    assert_eq!(rig.provider.refreshes(), 4);
}

/// The tokens are not fresh any more when they are rejected, but the API has never taken one of them.
/// token-failures: T39.
#[tokio::test]
async fn slow_rejections_of_every_token_cost_few_refreshes() {
    let rig = Rig::new(Knobs::rotating()).await;
    rig.provider.script_api(vec![invalid_token(); 200]);
    let replica = rig.replica();
    for _ in 0..50 {
        replica.get().await.unwrap_err();
        rig.clock.advance(Duration::from_secs(61)).await;
    }
    assert!(
        rig.provider.refreshes() <= 15,
        "{} in 50 minutes",
        rig.provider.refreshes()
    );
}

/// Some APIs answer 401 to a request that the user has no right to, whatever token it has.
/// token-failures: T39.
#[tokio::test]
async fn a_request_that_is_always_rejected_costs_few_refreshes() {
    let rig = Rig::new(Knobs::rotating()).await;
    let replica = rig.replica();
    for _ in 0..50 {
        rig.provider.script_api([invalid_token(), invalid_token()]);
        let error = replica.get().await.unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED), "{error}");
        // What was ordered for a resend that did not come is used up by another one.
        while replica.get().await.is_err() {}
    }
    assert!(
        rig.provider.refreshes() <= 4,
        "{}",
        rig.provider.refreshes()
    );

    // The others have a token that expires refreshed at once.
    rig.clock.advance(Duration::from_secs(61)).await;
    rig.provider.expire_access_tokens();
    let refreshes = rig.provider.refreshes();
    replica.get().await.unwrap();
    assert_eq!(rig.provider.refreshes(), refreshes + 1);
}

/// token-failures: T39.
#[tokio::test]
async fn short_lived_tokens_are_refreshed_each_time() {
    let rig = Rig::new(Knobs::rotating()).await;
    let replica = rig.replica();
    for refreshes in 1..=10 {
        rig.provider.expire_access_tokens();
        replica.get().await.unwrap();
        assert_eq!(rig.provider.refreshes(), refreshes);
    }
}

/// token-failures: T16.
#[tokio::test]
async fn a_401_for_an_outdated_token_is_resent_without_a_refresh() {
    let rig = Rig::stale(Knobs::rotating()).await;
    rig.provider
        .script_api([HttpFault::DelayAfter(Duration::from_secs(10))]);
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

/// token-failures: T42.
#[tokio::test]
async fn a_403_never_costs_a_refresh() {
    let answers = [
        HttpFault::Json(403, json!({ "error": "forbidden" })),
        challenged(403, r#"Bearer realm="api""#),
        challenged(403, r#"Bearer error="invalid_token""#),
        HttpFault::Json(
            403,
            json!({ "error": "invalid_token", "message": "The access token expired" }),
        ),
    ];
    for mode in [Mode::On401, Mode::Expiry] {
        let mut rig = Rig::new(Knobs::rotating()).await;
        rig.mode = Some(mode);
        rig.provider.script_api(answers.clone());
        let replica = rig.replica();
        for answer in &answers {
            let error = replica.get().await.unwrap_err();
            assert_eq!(
                error.status(),
                Some(StatusCode::FORBIDDEN),
                "{answer:?}: {error}"
            );
            rig.assert_nothing_spent(&format!("{answer:?}"));
        }
        assert_eq!(rig.statuses(), [403; 4], "none is sent again");
    }
}

/// token-failures: T41.
#[tokio::test]
async fn a_401_for_an_invalid_request_costs_no_refresh() {
    let rig = Rig::new(Knobs::rotating()).await;
    rig.provider.script_api([challenged(
        401,
        r#"Bearer error="invalid_request", error_description="no api key""#,
    )]);
    let error = rig.replica().get().await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED), "{error}");
    assert_eq!(rig.statuses(), [401]);
    rig.assert_nothing_spent("invalid_request");
}

/// token-failures: T41.
#[tokio::test]
async fn the_bearer_challenge_counts_among_several() {
    let expired: [&[&str]; 6] = [
        &[r#"Basic realm="old clients", Bearer error="invalid_token""#],
        &[r#"Bearer realm="api", error="invalid_token", Basic realm="x""#],
        &[
            r#"Negotiate, Bearer realm="a, b", error="invalid_token", error_description="it \"ended\", alas""#,
        ],
        &[r#"Basic realm="Bearer error=\"insufficient_scope\"", Bearer error="invalid_token""#],
        &[r#"Basic realm="x""#, r#"bearer ERROR=invalid_token"#],
        &[r#"Digest realm="x", nonce="abc==", qop="auth,auth-int", Bearer error="invalid_token""#],
    ];
    for challenges in expired {
        let rig = Rig::stale(refusing(401, challenges, json!({}))).await;
        rig.replica()
            .get()
            .await
            .unwrap_or_else(|error| panic!("{challenges:?}: {error}"));
        assert_eq!(
            (rig.provider.refreshes(), rig.statuses()),
            (1, vec![401, 200]),
            "{challenges:?}"
        );
    }
    let for_want_of_scope: [&[&str]; 3] = [
        &[r#"Basic realm="x", Bearer realm="api", error="insufficient_scope", scope="a b""#],
        &[
            r#"Basic realm="error=\"invalid_token\"", Bearer error="insufficient_scope", scope="a b""#,
        ],
        &[
            r#"Negotiate YWJj=="#,
            r#"Bearer scope="a b", error="insufficient_scope""#,
        ],
    ];
    for challenges in for_want_of_scope {
        let rig = Rig::stale(refusing(401, challenges, json!({}))).await;
        let error = rig.replica().get().await.unwrap_err();
        assert!(
            matches!(&error, Error::InsufficientScope { scope: Some(scope), .. } if scope == "a b"),
            "{error}"
        );
        rig.assert_nothing_spent(&format!("{challenges:?}"));
    }
}

/// token-failures: T43.
#[tokio::test]
async fn only_what_the_profile_calls_expired_is_refreshed() {
    let soap = "<error><exceptionCode>InvalidSessionId</exceptionCode></error>";
    let marketo = json!({ "success": false, "errors": [{ "code": "602", "message": "Access token expired" }] });
    let own = |rule: Value| Profile::from_json(&json!({ "expired": [rule] }).to_string()).unwrap();
    let salesforce = || Profile::named("salesforce").unwrap();
    let quiet = own(json!({ "status": 419 }));
    let header = own(json!({ "status": 400, "header": { "name": "x-error", "text": "expired" } }));
    let cases: [(Profile, HttpFault); 6] = [
        (
            salesforce(),
            HttpFault::Response {
                status: 400,
                headers: vec![],
                body: soap.into(),
            },
        ),
        (
            salesforce(),
            HttpFault::Json(403, json!([{ "errorCode": "INVALID_SESSION_ID" }])),
        ),
        (
            own(json!({ "status": 403 })),
            HttpFault::Json(403, json!({})),
        ),
        (
            own(json!({ "status": 200, "text": r#""code":"602""# })),
            HttpFault::Json(200, marketo),
        ),
        (quiet, HttpFault::Json(419, json!({}))),
        (
            header,
            HttpFault::Response {
                status: 400,
                headers: vec![("X-Error".into(), "Token Expired".into())],
                body: "{}".into(),
            },
        ),
    ];
    for (profile, expired) in cases {
        let mut rig = Rig::new(Knobs::rotating()).await;
        rig.definition = OAuth2::new()
            .base_url(rig.provider.api_url())
            .custom_profile(profile);
        rig.provider.script_api([expired.clone()]);
        let answer = rig
            .replica()
            .get()
            .await
            .unwrap_or_else(|error| panic!("{expired:?}: {error}"));
        assert_eq!(
            answer["id"], "user-1",
            "an answer that was looked into is whole: {expired:?}"
        );
        assert_eq!(
            (rig.provider.refreshes(), rig.statuses().len()),
            (1, 2),
            "{expired:?}"
        );
    }

    let mut rig = Rig::new(Knobs::rotating()).await;
    rig.definition = OAuth2::new()
        .base_url(rig.provider.api_url())
        .custom_profile(salesforce());
    rig.provider.script_api([
        HttpFault::Json(400, json!([{ "errorCode": "MALFORMED_QUERY" }])),
        HttpFault::Json(403, json!([{ "errorCode": "REQUEST_LIMIT_EXCEEDED" }])),
    ]);
    let replica = rig.replica();
    for status in [400, 403] {
        let error = replica.get().await.unwrap_err();
        assert_eq!(
            error.status().map(|status| status.as_u16()),
            Some(status),
            "{error}"
        );
        rig.assert_nothing_spent("another error of that status");
    }
}

/// token-failures: T41.
#[tokio::test]
async fn a_401_that_the_profile_excludes_costs_no_refresh() {
    let body = json!([{ "errorCode": "INVALID_AUTH", "message": "This Connected App is not attached to the org" }]);
    let mut rig = Rig::new(Knobs::rotating()).await;
    rig.provider.script_api([
        HttpFault::Json(401, body.clone()),
        HttpFault::Json(401, json!({})),
    ]);
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
    // Any other 401 is refreshed all the same.
    replica.get().await.unwrap();
    assert_eq!(rig.provider.refreshes(), 1);
}

/// The caller has its request still: nothing was taken from it. That the message is in the error event, and so with the
/// user, is shown by the process tests.
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

    // The same body goes out, once the user has connected again.
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

/// token-failures: T47.
#[tokio::test]
async fn a_request_follows_the_base_url_of_the_refresh() {
    for absolute in [false, true] {
        let mut rig = Rig::new(Knobs::rotating()).await;
        let moved = Provider::start(ProviderConfig::default()).await.unwrap();
        moved.script_api([HttpFault::Json(200, json!({ "moved": true }))]);
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
        let answer: Value = request.send_json().await.unwrap();

        assert_eq!(answer, json!({ "moved": true }));
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
        // The refresh went to where refreshes go, not to the instance.
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
    let error = rig.replica().get().await.unwrap_err();
    assert!(
        matches!(&error, Error::ReauthRequired(reason) if reason.contains("secret-1")),
        "{error}"
    );
    assert!(rig.provider.api_calls().is_empty());
}

/// token-failures: Secrets of the platform.
#[tokio::test]
async fn an_unchanged_rejected_secret_is_refreshed_by_the_platform() {
    // Somebody else has had it refreshed meanwhile.
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

    // It is the same as before.
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

    // Many at once have it refreshed once.
    let newest = Value::Object(rig.provider.issue());
    rig.account.set_secrets([newer, newest]);
    rig.provider
        .script_api([invalid_token(), invalid_token(), invalid_token()]);
    for answer in replica.get_at_once(3).await {
        answer.unwrap();
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
