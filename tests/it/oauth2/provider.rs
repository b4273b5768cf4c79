//! G. What token endpoints answer, and how they want to be asked.

use super::{
    leaks::Capture,
    rig::{Account, Rig, text},
};
use emulator::provider::{
    BodyFormat, Content, Credentials, Fault, Knobs, Provider, ProviderConfig,
};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use sailor::oauth2::{Error, OAuth2, Profile};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Which variant of [`Error`] it is.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::Config(_) => "config",
        Error::ReauthRequired(_) => "reauth",
        Error::Unavailable { .. } => "unavailable",
        _ => "other",
    }
}

/// The error of a request whose refresh is answered so; nothing that is stored may change by it.
async fn refused(rig: &Rig, answers: impl IntoIterator<Item = Fault>) -> Error {
    let stored = rig.account.stored();
    rig.provider.script_token(answers);
    let error = rig
        .drive(rig.replica().get())
        .await
        .expect_err("there is no token");
    assert_eq!((rig.account.stored(), rig.account.savings()), (stored, 0));
    assert!(rig.provider.api_calls().is_empty());
    error
}

fn profile(json: Value) -> OAuth2 {
    OAuth2::new().custom_profile(Profile::from_json(&json.to_string()).unwrap())
}

/// token-failures: T23.
#[tokio::test]
async fn a_200_with_an_error_changes_nothing() {
    let answers = [
        ("github", json!({ "error": "bad_refresh_token" })),
        ("generic", json!({ "error": "invalid_grant" })),
        ("slack", json!({ "ok": false, "error": "token_revoked" })),
    ];
    for (profile, answer) in answers {
        let mut rig = Rig::expired(Knobs::rotating()).await;
        rig.definition = rig.definition.clone().profile(profile);
        let error = refused(&rig, [Fault::Json(200, answer.clone())]).await;
        assert_eq!(kind(&error), "reauth", "{profile}: {error}");
        assert!(
            error
                .to_string()
                .contains(answer["error"].as_str().unwrap()),
            "{error}"
        );
        assert!(
            rig.provider
                .is_spendable(&text(&rig.account.oauth(), "refresh_token"))
        );
    }
}

/// token-failures: T23.
#[tokio::test]
async fn a_200_without_token_and_error_is_transient() {
    for answer in [
        json!({}),
        json!({ "ok": true }),
        json!({ "access_token": "" }),
        json!({ "access_token": null }),
    ] {
        let rig = Rig::expired(Knobs::default()).await;
        let error = refused(&rig, [Fault::Json(200, answer.clone())]).await;
        assert_eq!(
            (kind(&error), error.is_transient()),
            ("unavailable", true),
            "{answer}: {error}"
        );
        assert_eq!(rig.provider.refreshes(), 1, "{answer}");
        // Later it works: nothing was taken for dead.
        rig.drive(rig.replica().get()).await.unwrap();
    }
}

/// A gateway's empty 200s, and what else nobody understands: each costs a pause, and none a refresh token.
/// token-failures: T23.
#[tokio::test]
async fn unknown_responses_delay_but_do_not_kill_the_credential() {
    let empty = Fault::Response {
        status: 200,
        headers: vec![],
        body: String::new(),
    };
    for answer in [
        empty,
        Fault::oauth_error("no_such_thing"),
        Fault::Json(200, json!({ "ok": true })),
    ] {
        let rig = Rig::expired(Knobs::default()).await;
        rig.provider.script_token(vec![answer.clone(); 8]);
        let replica = rig.replica();
        for attempt in 1..=8 {
            for error in rig.drive(replica.get_at_once(5)).await {
                let error = error.unwrap_err();
                assert_eq!(
                    (kind(&error), error.is_transient()),
                    ("unavailable", true),
                    "{attempt}: {error}"
                );
            }
            assert_eq!(
                rig.provider.refreshes(),
                attempt,
                "{answer:?}: all share the pause"
            );
            // It is over, so that the next request asks again.
            rig.clock.advance(Duration::from_secs(31)).await;
        }
        rig.drive(replica.get()).await.unwrap();
        assert_eq!(rig.provider.refreshes(), 9, "{answer:?}");
    }
}

/// Without a name, which the RFC asks for, an error may come from whatever stands before the provider.
#[tokio::test]
async fn errors_without_a_code_are_transient_and_say_what_to_check() {
    for (status, body) in [
        (404, json!({})),
        (
            404,
            json!({ "message": "no Route matched with those values" }),
        ),
        (405, json!({ "message": "Method Not Allowed" })),
        (410, json!({})),
        (401, json!({ "message": "Unauthorized" })),
        (403, json!({ "message": "Forbidden" })),
    ] {
        let rig = Rig::expired(Knobs::rotating()).await;
        let error = refused(&rig, vec![Fault::Json(status, body); 3]).await;
        assert_eq!(
            (kind(&error), error.is_transient()),
            ("unavailable", true),
            "{status}: {error}"
        );
        assert!(
            error.to_string().contains("check what credentials.oauth2"),
            "{error}"
        );
        assert_eq!(rig.provider.refreshes(), 3, "{status}");
        rig.drive(rig.replica().get()).await.unwrap();
    }
}

/// token-failures: T30.
#[tokio::test]
async fn token_responses_are_read_in_any_format() {
    for content in [
        Content::Form,
        Content::TextForm,
        Content::TextJson,
        Content::AsAccepted,
    ] {
        let rig = Rig::expired(Knobs {
            content,
            ..Knobs::rotating()
        })
        .await;
        let replica = rig.replica();
        replica.get().await.unwrap();
        let stored = rig.account.oauth();
        assert!(
            rig.provider.is_spendable(&text(&stored, "refresh_token")),
            "{content:?}"
        );
        assert!(
            rig.provider.is_valid(&text(&stored, "access_token")),
            "{content:?}"
        );
        // The lifetime is understood as well: the token is used up to its end, and no longer.
        rig.clock.advance(Duration::from_secs(3500)).await;
        replica.get().await.unwrap();
        rig.clock.advance(Duration::from_secs(101)).await;
        replica.get().await.unwrap();
        assert_eq!(
            (rig.provider.refreshes(), rig.statuses()),
            (2, vec![200; 3]),
            "{content:?}"
        );
    }
}

/// token-failures: Kinds of refusal.
#[tokio::test]
async fn errors_are_classified_by_the_rfc() {
    let error = |status, code: &str| {
        Fault::Json(status, json!({ "error": code, "error_description": "no" }))
    };
    let page = |status| Fault::Response {
        status,
        headers: vec![],
        body: "<html>busy</html>".into(),
    };
    let cases = [
        (error(400, "invalid_grant"), "reauth", 1),
        (error(401, "invalid_grant"), "reauth", 1),
        (error(401, "invalid_client"), "config", 1),
        (error(400, "invalid_client"), "config", 1),
        (error(400, "invalid_scope"), "config", 1),
        (error(400, "unauthorized_client"), "config", 1),
        (error(400, "temporarily_unavailable"), "unavailable", 3),
        (error(500, "server_error"), "unavailable", 3),
        (Fault::Json(408, json!({})), "unavailable", 3),
        (Fault::Json(429, json!({})), "unavailable", 3),
        (page(502), "unavailable", 3),
        (page(503), "unavailable", 3),
        (page(403), "unavailable", 3),
    ];
    for (answer, expected, calls) in cases {
        let rig = Rig::expired(Knobs::rotating()).await;
        let error = refused(&rig, vec![answer.clone(); calls]).await;
        assert_eq!(
            (kind(&error), error.is_transient()),
            (expected, expected == "unavailable"),
            "{answer:?}: {error}"
        );
        assert_eq!(rig.provider.refreshes(), calls, "{answer:?}");
        assert!(
            rig.provider
                .is_spendable(&text(&rig.account.oauth(), "refresh_token")),
            "{answer:?}"
        );
    }
}

/// The provider refuses who comes while another one's refresh of the same token is under way. The second process has
/// nothing but another try: it cannot see what the first one saves.
/// token-failures: T17.
#[tokio::test]
async fn salesforce_parallel_refresh_errors_are_retried() {
    let knobs = Knobs {
        concurrent_refresh_fails: true,
        omit_refresh_token: true,
        ..Knobs::default()
    };
    let mut rig = Rig::expired(knobs).await;
    rig.definition = rig.definition.clone().profile("salesforce");
    rig.provider
        .knobs(|knobs| knobs.require_param = vec![("format".into(), "json".into())]);
    let (first, second) = (
        rig.replica(),
        rig.replica_with(Account::new(rig.account.stored())),
    );
    let held = rig.provider.hold_token_calls();
    let (one, other, ()) = rig
        .drive(async {
            tokio::join!(Box::pin(first.get()), Box::pin(second.get()), async {
                rig.provider.token_called(2).await;
                held.release();
            })
        })
        .await;
    one.unwrap();
    other.unwrap();
    let statuses = rig
        .provider
        .token_calls()
        .iter()
        .map(|call| call.request.status.unwrap())
        .collect::<Vec<_>>();
    assert!(
        statuses.len() > 2 && statuses.iter().filter(|status| **status == 200).count() == 2,
        "{statuses:?}"
    );

    let mut rig = Rig::expired(Knobs::default()).await;
    rig.definition = rig.definition.clone().profile("salesforce");
    let answer =
        json!({ "error": "invalid_grant", "error_description": "expired access/refresh token" });
    let error = refused(&rig, [Fault::Json(400, answer)]).await;
    assert_eq!((kind(&error), rig.provider.refreshes()), ("reauth", 1));
}

/// token-failures: T54.
#[tokio::test]
async fn microsoft_error_numbers_are_shown_but_decide_nothing() {
    for number in ["50076", "50079", "53003", "1234567"] {
        let mut rig = Rig::expired(Knobs::default()).await;
        rig.definition = rig.definition.clone().profile("microsoft");
        let answer = json!({
            "error": "interaction_required",
            "error_description": format!("AADSTS{number}: Due to a configuration change, the user must sign in."),
            "suberror": "basic_action",
        });
        let error = refused(&rig, [Fault::Json(400, answer)]).await;
        assert_eq!((kind(&error), rig.provider.refreshes()), ("reauth", 1));
        let text = error.to_string();
        let told = [
            "interaction_required",
            "basic_action",
            &format!("AADSTS{number}"),
            "connected again",
        ];
        assert!(told.iter().all(|told| text.contains(told)), "{text}");
        assert!(!text.contains("configuration change"), "{text}");
    }
}

/// Finds no host for a while.
struct Resolver {
    to: SocketAddr,
    fails: usize,
    asked: AtomicUsize,
}

/// What reqwest takes for a resolver.
struct Shared(Arc<Resolver>);

impl Resolve for Shared {
    fn resolve(&self, _: Name) -> Resolving {
        let found = self.0.asked.fetch_add(1, Ordering::Relaxed) >= self.0.fails;
        let to: Addrs = Box::new([self.0.to].into_iter());
        Box::pin(std::future::ready(if found {
            Ok(to)
        } else {
            Err("no such host".into())
        }))
    }
}

/// token-failures: T25.
#[tokio::test]
async fn a_transient_dns_error_costs_one_refresh() {
    let mut rig = Rig::expired(Knobs::rotating()).await;
    let addr = rig.provider.addr();
    rig.definition = rig
        .definition
        .clone()
        .token_uri(format!("http://localhost:{}/token", addr.port()));
    let resolver = Arc::new(Resolver {
        to: addr,
        fails: 2,
        asked: AtomicUsize::new(0),
    });
    let mut tools = rig.tools();
    tools.direct = reqwest::Client::builder()
        .dns_resolver(Shared(resolver.clone()))
        .build()
        .unwrap();
    let replica = rig.replica_using(rig.account.clone(), tools);
    let began = Instant::now();
    rig.drive(replica.get()).await.unwrap();
    assert_eq!(resolver.asked.load(Ordering::Relaxed), 3);
    assert_eq!(
        (
            rig.provider.refreshes(),
            replica.session.counts().refreshes,
            rig.account.savings()
        ),
        (1, 1, 1)
    );
    assert_eq!(replica.session.counts().failures, 0);
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
}

/// token-failures: T56.
#[tokio::test]
async fn a_redirecting_token_endpoint_gets_no_secret() {
    let rig = Rig::expired(Knobs::rotating()).await;
    let elsewhere = Provider::start(ProviderConfig::default()).await.unwrap();
    let error = refused(&rig, [Fault::Redirect(elsewhere.token_url())]).await;
    assert_eq!((kind(&error), rig.provider.refreshes()), ("config", 1));
    assert!(error.to_string().contains("redirect"), "{error}");
    assert!(elsewhere.log().is_empty());
}

/// token-failures: T34.
#[tokio::test]
async fn scopes_are_sent_only_where_the_profile_says() {
    let granted = "openid offline_access User.Read";
    for (profile, scope) in [
        ("microsoft", Some(granted)),
        ("salesforce", None),
        ("generic", None),
    ] {
        let knobs = Knobs {
            scope: granted.into(),
            require_scope: scope.is_some(),
            ..Knobs::default()
        };
        let mut rig = Rig::expired(Knobs {
            forbid_scope: scope.is_none(),
            ..knobs
        })
        .await;
        rig.definition = rig.definition.clone().profile(profile);
        rig.replica().get().await.unwrap();
        assert_eq!(
            rig.provider.token_calls()[0]
                .form
                .get("scope")
                .map(String::as_str),
            scope,
            "{profile}"
        );
    }
}

/// token-failures: Provider profiles.
#[tokio::test]
async fn extra_parameters_override_no_standard_ones() {
    let extra =
        json!({ "format": "json", "resource": "https://api.example.com/", "audience": "a b" });
    let mut wrong = json!({ "grant_type": "password", "refresh_token": "x", "client_secret": "x", "client_id": "x" });
    wrong
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    let mut rig = Rig::expired(Knobs::default()).await;
    let required = extra
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().into()));
    rig.provider
        .knobs(|knobs| knobs.require_param = required.collect());
    rig.definition =
        profile(json!({ "name": "own", "refresh_params": wrong })).base_url(rig.provider.api_url());
    rig.replica().get().await.unwrap();
    let mut names = rig.provider.token_calls()[0].names.clone();
    names.sort_unstable();
    let expected = [
        "audience",
        "client_id",
        "client_secret",
        "format",
        "grant_type",
        "refresh_token",
        "resource",
    ];
    assert_eq!(names, expected);
}

/// A provider that forgives nothing has spent the old refresh token by then: the answer is all that is left.
/// token-failures: T37.
#[tokio::test]
async fn an_unknown_token_type_is_used_with_one_warning() {
    for (token_type, warnings) in [
        (Some("Bearer"), 0),
        (Some("bearer"), 0),
        (Some("BEARER"), 0),
        (None, 0),
        (Some("BearerToken"), 1),
        (Some("mac"), 1),
        (Some("JWT access token"), 1),
    ] {
        let capture = Capture::begin();
        let token_type = token_type.map(str::to_owned);
        let knobs = Knobs {
            token_type: token_type.clone(),
            kill_family_on_reuse: true,
            ..Knobs::rotating()
        };
        let rig = Rig::expired(knobs).await;
        let replica = rig.replica();
        for refreshes in 1..=3 {
            replica.get().await.unwrap();
            let stored = rig.account.oauth();
            assert!(
                rig.provider.is_spendable(&text(&stored, "refresh_token")),
                "{token_type:?}"
            );
            let sent = format!("Bearer {}", text(&stored, "access_token"));
            assert_eq!(rig.provider.authorizations().last(), Some(&sent));
            assert_eq!(rig.provider.refreshes(), refreshes, "{token_type:?}");
            rig.provider.expire_access_tokens();
        }
        assert_eq!(
            capture.text().matches("calls its access token").count(),
            warnings,
            "{token_type:?}"
        );
    }
}

/// As of a gateway that writes its own members into the provider's answers.
#[tokio::test]
async fn an_answer_with_tokens_is_saved_whatever_else_it_says() {
    for extra in [
        json!({ "token_type": "BearerToken", "expires_in": "1799" }),
        json!({ "error": "server_error", "error_description": "no" }),
        json!({ "ok": false, "scope": { "x": 1 }, "expires_in": [], "token_type": 7 }),
    ] {
        let rig = Rig::expired(Knobs {
            kill_family_on_reuse: true,
            ..Knobs::rotating()
        })
        .await;
        let replica = rig.replica();
        rig.provider
            .knobs(|knobs| knobs.extra = extra.as_object().unwrap().clone());
        replica.get().await.unwrap();
        rig.provider.expire_access_tokens();
        replica.get().await.unwrap();
        assert_eq!(
            (rig.provider.refreshes(), rig.account.savings()),
            (2, 2),
            "{extra}"
        );
        assert!(
            rig.provider
                .is_spendable(&text(&rig.account.oauth(), "refresh_token")),
            "{extra}"
        );
    }
}

/// What the query holds is seen in no log and no error, of those that work and those that do not.
/// token-failures: Provider profiles.
#[tokio::test]
async fn parameters_can_be_sent_as_json_or_query() {
    for (name, body) in [("json", BodyFormat::Json), ("query", BodyFormat::Query)] {
        let capture = Capture::begin();
        let mut rig = Rig::expired(Knobs {
            body,
            ..Knobs::rotating()
        })
        .await;
        rig.definition =
            profile(json!({ "name": "own", "body": name })).base_url(rig.provider.api_url());
        let spent = text(&rig.account.oauth(), "refresh_token");
        let error = refused(&rig, vec![Fault::DropBefore; 3]).await;
        let told = format!("{error} {error:?}");
        rig.replica().get().await.unwrap();
        let calls = rig.provider.token_calls();
        let call = calls.last().unwrap();
        assert_eq!(
            (call.form["refresh_token"].clone(), call.credentials),
            (spent, Credentials::Parameters)
        );
        match body {
            BodyFormat::Query => assert!(
                call.request.body.is_empty() && call.request.query.contains("%2B%2F%3D"),
                "{}",
                call.request.query
            ),
            _ => assert!(call.request.query.is_empty() && call.request.json().is_some()),
        }
        let log = capture.text();
        assert!(
            log.contains("asked again") && told.contains("/token"),
            "{log}\n{told}"
        );
        for secret in rig.provider.secrets() {
            assert!(
                !log.contains(&secret) && !told.contains(&secret),
                "{secret} is told\n{log}\n{told}"
            );
        }
        assert!(!log.contains("refresh_token=") && !told.contains("refresh_token="));
    }
}
