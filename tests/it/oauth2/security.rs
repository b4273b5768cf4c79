//! I. Where tokens go and where they do not, and what verifying costs.

use super::rig::{Account, Rig, text};
use emulator::provider::{Fault, Knobs, Provider, ProviderConfig, ProviderEventKind};
use futures_util::future::join_all;
use sailor::{
    Component, Context, Message, ServiceContext, Verified, http,
    oauth2::{Error, OAuth2, Profile},
    testing::Harness,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// Another host, which must not see a token.
async fn elsewhere() -> Provider {
    Provider::start(ProviderConfig::default()).await.unwrap()
}

/// token-failures: T56.
#[tokio::test]
async fn a_request_to_another_origin_is_not_sent() {
    let elsewhere = elsewhere().await;
    let rig = Rig::expired(Knobs::rotating()).await;
    let replica = rig.replica();
    let (own, port) = (rig.provider.addr(), rig.provider.addr().port());
    for address in [
        format!("{}/me", elsewhere.api_url()),
        format!("http://{own}@{}/api/me", elsewhere.addr()),
        format!("http://localhost:{port}/api/me"),
        format!("https://{own}/api/me"),
        "https://api.example.com/me".to_owned(),
        format!("http:\\\\{}\\api\\me", elsewhere.addr()),
        format!("\thttp://{}/api/me", elsewhere.addr()),
        "file:///etc/hostname".to_owned(),
        "data:text/plain,x".to_owned(),
    ] {
        let error = replica.client().get(&address).send().await.unwrap_err();
        assert!(matches!(error, Error::NotSent(_)), "{address}: {error}");
    }
    assert!(
        rig.provider
            .log()
            .iter()
            .all(|entry| matches!(entry.kind, ProviderEventKind::Issued { .. })),
        "{:?}",
        rig.provider.log()
    );
    assert!(elsewhere.log().is_empty());
    let error = replica
        .client()
        .get("people:batch")
        .send()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("a slash before it"), "{error}");
    // No other host, though it looks like one.
    let answer: Value = replica
        .client()
        .get(format!("//{}/../echo/x", elsewhere.addr()))
        .send_json()
        .await
        .unwrap();
    assert_eq!(
        (&answer["path"], elsewhere.log().len()),
        (&json!("/api/echo/x"), 0)
    );
}

/// token-failures: T56.
#[tokio::test]
async fn an_allowed_origin_gets_the_token() {
    let mut rig = Rig::new(Knobs::default()).await;
    let other = format!("http://localhost:{}", rig.provider.addr().port());
    rig.definition = rig.definition.clone().allow_origin(&other);
    let answer: Value = rig
        .replica()
        .client()
        .get(format!("{other}/api/echo"))
        .send_json()
        .await
        .unwrap();
    assert_eq!(
        format!("http://{}", answer["host"].as_str().unwrap()),
        other
    );
}

/// A secret of the platform's is read to see where its API is, but its token is not sent.
/// token-failures: T56.
#[tokio::test]
async fn a_platform_secret_is_not_sent_to_another_origin() {
    let (elsewhere, rig) = (elsewhere().await, Rig::new(Knobs::default()).await);
    rig.account
        .set_secrets([Value::Object(rig.provider.issue())]);
    rig.account.set(json!({ "secretId": "secret-1" }));
    let error = rig
        .replica()
        .client()
        .get(format!("{}/me", elsewhere.api_url()))
        .send()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotSent(_)), "{error}");
    assert!(
        elsewhere.log().is_empty()
            && !rig
                .account
                .secret_calls
                .lock()
                .unwrap()
                .contains(&"refresh")
    );
}

/// A component that asks the API who the user is, as verifyCredentials and as an action.
fn component() -> Component {
    async fn make_request(_: Message<Value>, cx: Context<Value, Value>) -> anyhow::Result<()> {
        let me: Value = cx.oauth().get("/me").send_json().await?;
        cx.data(&me).await
    }
    async fn verify(cx: ServiceContext<Value>) -> anyhow::Result<Verified> {
        Ok(http::verify(cx.oauth().get("/me").send().await)?)
    }
    Component::new(include_str!("../../../component.json"))
        .unwrap()
        .oauth2(OAuth2::new().base_url("{{baseUrl}}"))
        .verify_credentials(verify)
        .action("makeRequest", make_request)
}

async fn verify(rig: &Rig, base: &str, token: Value) -> anyhow::Result<Verified> {
    let component = component();
    let harness = Harness::new(&component, "makeRequest")
        .config(json!({ "baseUrl": base, "oauth": token }))
        .environment("OAUTH_CLIENT_ID", rig.provider.client_id())
        .environment("OAUTH_CLIENT_SECRET", rig.provider.client_secret())
        .environment("OAUTH_AUTH_URI", &rig.provider.authorize_url())
        .environment("OAUTH_TOKEN_URI", &rig.provider.token_url());
    rig.drive(harness.verify()).await
}

/// token-failures: T58.
#[tokio::test]
async fn verifying_a_valid_token_costs_no_refresh() {
    let rig = Rig::new(Knobs::rotating()).await;
    let verified = verify(&rig, &rig.provider.api_url(), rig.account.oauth())
        .await
        .unwrap();
    assert_eq!(
        (verified, rig.statuses(), rig.provider.token_calls().len()),
        (Verified::Yes, vec![200], 0)
    );
}

/// token-failures: T58.
#[tokio::test]
async fn invalid_credentials_are_not_verified_with_the_reason() {
    // An expired token is none of them: it is refreshed.
    let rig = Rig::stale(Knobs::rotating()).await;
    let verified = verify(&rig, &rig.provider.api_url(), rig.account.oauth())
        .await
        .unwrap();
    assert_eq!((verified, rig.provider.refreshes()), (Verified::Yes, 1));

    let refusal = |status| Fault::Json(status, json!({ "error": "no such user" }));
    for (answers, refreshes, reason) in [
        (vec![refusal(401), refusal(401)], 1, "401 Unauthorized"),
        (vec![refusal(403)], 0, "403 Forbidden"),
    ] {
        let rig = Rig::new(Knobs::rotating()).await;
        rig.provider.script_api(answers);
        let verified = verify(&rig, &rig.provider.api_url(), rig.account.oauth())
            .await
            .unwrap();
        let Verified::No(text) = verified else {
            panic!("{reason} is verified")
        };
        assert!(
            text.contains(reason) && text.contains("no such user"),
            "{text}"
        );
        assert_eq!(rig.provider.refreshes(), refreshes, "{reason}");
    }

    let rig = Rig::stale(Knobs::rotating()).await;
    rig.provider.revoke_all();
    let verified = verify(&rig, &rig.provider.api_url(), rig.account.oauth())
        .await
        .unwrap();
    assert!(
        matches!(&verified, Verified::No(text) if text.contains("connected again")),
        "{verified:?}"
    );
}

/// token-failures: T58.
#[tokio::test]
async fn a_network_error_is_no_verification_result() {
    let rig = Rig::new(Knobs::rotating()).await;
    rig.provider.script_api(vec![Fault::DropBefore; 4]);
    let error = verify(&rig, &rig.provider.api_url(), rig.account.oauth())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("has no answer"), "{error}");
    rig.provider
        .script_api(vec![Fault::Json(503, json!({})); 4]);
    let error = verify(&rig, &rig.provider.api_url(), rig.account.oauth())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
    // The token endpoint is away.
    let rig = Rig::stale(Knobs::rotating()).await;
    rig.provider
        .script_token(vec![Fault::Json(503, json!({})); 3]);
    let error = verify(&rig, &rig.provider.api_url(), rig.account.oauth())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no access token could be had"),
        "{error}"
    );
}

/// Also F57. Two accounts, requests of both at once, and both expire again and again.
/// token-failures: T57.
#[tokio::test]
async fn two_credentials_in_one_process_are_never_mixed() {
    let rig = Rig::expired(Knobs::rotating()).await;
    let accounts = ["first", "second"].map(|name| {
        let account =
            Account::new(json!({ "_account": name, "oauth": rig.provider.issue_expired() }));
        (name, rig.replica_with(account.clone()), account)
    });
    for round in 0..5 {
        let requests = accounts.iter().flat_map(|(name, replica, _)| {
            (0..10).map(move |n| {
                replica
                    .client()
                    .get(format!("/echo/{name}/{round}/{n}"))
                    .send()
            })
        });
        assert!(join_all(requests).await.iter().all(Result::is_ok));
        rig.provider.expire_access_tokens();
    }
    let mut grant_of = BTreeMap::new();
    for entry in rig.provider.log() {
        if let ProviderEventKind::Issued {
            access,
            refresh,
            grant,
        } = entry.kind
        {
            grant_of.extend(
                [Some(access), refresh]
                    .into_iter()
                    .flatten()
                    .map(|token| (token, grant)),
            );
        }
    }
    for (name, replica, account) in &accounts {
        let own = grant_of[&text(&account.oauth(), "refresh_token")];
        let calls = rig
            .provider
            .api_calls()
            .into_iter()
            .filter(|call| call.path.contains(name));
        let grants = calls
            .map(|call| grant_of[&call.token.unwrap()])
            .collect::<Vec<_>>();
        assert!(
            grants.len() > 50 && grants.iter().all(|grant| *grant == own),
            "{name}: {grants:?}"
        );
        assert_eq!(
            (replica.session.counts().refreshes, account.savings()),
            (5, 5),
            "{name}"
        );
    }
    assert_eq!(rig.provider.refreshes(), 10);
}

/// token-failures: T39.
#[tokio::test]
async fn refreshing_resumes_after_the_pause_for_rejected_tokens() {
    let rig = Rig::new(Knobs::rotating()).await;
    let replica = rig.replica();
    let reject = |count| {
        rig.provider
            .script_api(vec![Fault::Json(401, json!({})); count]);
    };
    let mut refreshes = 0;
    for _ in 0..10 {
        reject(2);
        replica.get().await.unwrap_err();
        if std::mem::replace(&mut refreshes, rig.provider.refreshes()) == refreshes {
            break;
        }
    }
    assert!((1..=4).contains(&refreshes), "{refreshes}");
    // What is left of the script.
    while replica.get().await.is_err() {}
    // In the pause a token that the API takes is used, and one that it does not take is not refreshed.
    replica.get().await.unwrap();
    reject(1);
    let error = replica.get().await.unwrap_err();
    assert_eq!(
        (error.status().unwrap().as_u16(), rig.provider.refreshes()),
        (401, refreshes)
    );
    rig.clock.advance(Duration::from_secs(61)).await;
    reject(1);
    replica.get().await.unwrap();
    assert_eq!(rig.provider.refreshes(), refreshes + 1);
}

/// What authors see of it in their tests.
#[tokio::test]
async fn keys_saved_by_calls_are_visible_in_tests() {
    let provider = Provider::start(ProviderConfig {
        knobs: Knobs::rotating(),
        ..ProviderConfig::default()
    })
    .await
    .unwrap();
    let component = component();
    let harness = || {
        Harness::new(&component, "makeRequest")
            .config(json!({ "baseUrl": provider.api_url(), "oauth": provider.issue_expired() }))
            .environment("OAUTH_CLIENT_ID", provider.client_id())
            .environment("OAUTH_CLIENT_SECRET", provider.client_secret())
            .environment("OAUTH_AUTH_URI", &provider.authorize_url())
            .environment("OAUTH_TOKEN_URI", &provider.token_url())
    };
    let verify = harness();
    let saved = verify.saved_keys();
    assert!(saved.all().is_empty());
    verify.verify().await.unwrap();
    assert!(provider.is_spendable(&text(&saved.all()[0]["oauth"], "refresh_token")));

    let run = harness();
    let saved = run.saved_keys();
    let emitted = run.run(json!({})).await.unwrap();
    assert_eq!(
        (
            saved.all().len(),
            emitted.data::<Value>().len(),
            provider.refreshes()
        ),
        (1, 1, 2)
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

/// And what the other host says about a request without a token says nothing of the token.
/// token-failures: T56.
#[tokio::test]
async fn a_redirect_to_another_origin_drops_the_token() {
    let (elsewhere, rig) = (elsewhere().await, Rig::new(Knobs::rotating()).await);
    for status in [301, 302, 303, 307, 308] {
        let headers = vec![("location".to_owned(), format!("{}/me", elsewhere.api_url()))];
        rig.provider.script_api([Fault::Response {
            status,
            headers,
            body: String::new(),
        }]);
        let error = rig.replica().get().await.unwrap_err();
        assert_eq!(
            error.status().map(|status| status.as_u16()),
            Some(401),
            "{status}: {error}"
        );
    }
    assert_eq!(
        (
            elsewhere.api_calls().len(),
            elsewhere.authorizations().len()
        ),
        (5, 0)
    );
    let seen = elsewhere
        .api_calls()
        .iter()
        .map(|call| format!("{:?}", call.headers))
        .collect::<String>();
    assert!(!seen.contains(&text(&rig.account.oauth(), "access_token")));
    assert!(rig.provider.token_calls().is_empty());
}

/// token-failures: T56.
#[tokio::test]
async fn a_redirect_within_the_origin_keeps_the_token() {
    let rig = Rig::new(Knobs::rotating()).await;
    rig.provider
        .script_api([Fault::Redirect("/api/echo/moved".into())]);
    let answer = rig.replica().get().await.unwrap();
    assert_eq!(
        (&answer["path"], rig.statuses()),
        (&json!("/api/echo/moved"), vec![307, 200])
    );
}

/// Where a request that must not be done twice is redirected after it was done, nothing has it sent again.
/// token-failures: T49.
#[tokio::test]
async fn a_303_post_is_sent_once() {
    let (elsewhere, rig) = (elsewhere().await, Rig::new(Knobs::rotating()).await);
    let replica = rig.replica();
    let post = async |to: String| {
        let headers = vec![("location".to_owned(), to)];
        rig.provider.script_api([Fault::Response {
            status: 303,
            headers,
            body: String::new(),
        }]);
        rig.drive(
            replica
                .client()
                .post("/echo/orders")
                .json(&json!({ "n": 1 }))
                .send(),
        )
        .await
    };
    let error = post("http://127.0.0.1:1/".into()).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoResponse {
                repeatable: false,
                ..
            }
        ) && !error.is_transient(),
        "{error}"
    );
    for status in [401, 429, 503] {
        elsewhere.script_api([Fault::retry_after(status, "1")]);
        let error = post(format!("{}/x", elsewhere.api_url()))
            .await
            .unwrap_err();
        assert_eq!(
            error.status().map(|status| status.as_u16()),
            Some(status),
            "{error}"
        );
    }
    assert_eq!(rig.statuses(), [303; 4]);
    assert_eq!(
        (elsewhere.authorizations().len(), rig.provider.refreshes()),
        (0, 0)
    );
    assert!(
        elsewhere
            .api_calls()
            .iter()
            .all(|call| call.method == "GET" && call.body.is_empty())
    );

    let outcome: Value = post("/api/echo/orders/1".into())
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&outcome["method"], &outcome["path"]),
        (&json!("GET"), &json!("/api/echo/orders/1"))
    );
    assert_eq!(rig.statuses()[4..], [303, 200]);
}

/// token-failures: T49.
#[tokio::test]
async fn a_307_post_is_resent_with_its_body_to_allowed_origins() {
    let (elsewhere, rig) = (elsewhere().await, Rig::new(Knobs::rotating()).await);
    let replica = rig.replica();
    let post = async |to: String| {
        rig.provider.script_api([Fault::Redirect(to)]);
        replica
            .client()
            .post("/echo/old")
            .query(&[("a", "1")])
            .json(&json!({ "n": 1 }))
            .send_json::<Value>()
            .await
    };
    let made = post("/api/echo/new?b=2".into()).await.unwrap();
    assert_eq!(
        (&made["path"], &made["body"]),
        (&json!("/api/echo/new"), &json!(r#"{"n":1}"#))
    );
    assert_eq!(made["query"], json!("b=2"));
    let error = post(format!("{}/echo/new", elsewhere.api_url()))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotSent(_)), "{error}");
    assert!(elsewhere.log().is_empty());
}

/// token-failures: T49.
#[tokio::test]
async fn a_redirect_loop_ends() {
    let rig = Rig::new(Knobs::rotating()).await;
    rig.provider
        .script_api(vec![Fault::Redirect("/api/echo/round".into()); 20]);
    let error = rig
        .replica()
        .client()
        .post("/echo/round")
        .send()
        .await
        .unwrap_err();
    assert_eq!(
        (
            error.status().map(|status| status.as_u16()),
            rig.statuses().len()
        ),
        (Some(307), 11)
    );
}

/// Clients take `Authorization` off when they are redirected, but no other header.
/// token-failures: T56.
#[tokio::test]
async fn a_token_in_a_custom_header_follows_no_redirect() {
    let (elsewhere, mut rig) = (elsewhere().await, Rig::new(Knobs::rotating()).await);
    let profile =
        json!({ "name": "own", "token_header": { "name": "x-acme-token", "scheme": "" } })
            .to_string();
    rig.definition = OAuth2::new()
        .base_url(rig.provider.api_url())
        .custom_profile(Profile::from_json(&profile).unwrap());
    rig.provider.script_api(vec![
        Fault::Redirect(format!("{}/me", elsewhere.api_url()));
        2
    ]);
    let replica = rig.replica();
    let error = replica.get().await.unwrap_err();
    assert_eq!(
        (error.status().unwrap().as_u16(), error.is_transient()),
        (307, false),
        "{error}"
    );
    let raw = replica.client().get("/me").send_any_status().await.unwrap();
    assert_eq!(raw.status().as_u16(), 307);
    assert!(elsewhere.log().is_empty() && rig.provider.token_calls().is_empty());
    let call = rig.provider.api_calls().remove(0);
    assert_eq!(
        call.headers["x-acme-token"].to_str().unwrap(),
        text(&rig.account.oauth(), "access_token")
    );
    assert_eq!(call.authorization(), None);
}
