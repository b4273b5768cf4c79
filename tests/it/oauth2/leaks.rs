//! No secret is ever revealed (token-failures: T55): failures of every kind, and everything that is reported of them: log
//! lines at every level, errors, warnings, metrics, `Debug` output and panics.
//!
//! Each failure names a text that must be reported, so that the test fails if the failure does not happen.

use super::{
    account::ReplicaStore,
    reports::Reports,
    rig::{Replica, Rig, text},
};
use emulator::provider::{BodyFormat, ClientAuth, Fault, Knobs};
use futures_util::future::BoxFuture;
use sailor::oauth2::{
    Mode, Profile,
    internals::{
        CredentialStore, CredentialWarning, LockError, LockGuard, RefreshLock, StoreError,
    },
};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

/// A failure: a text of its report, the provider's knobs, and how it is caused.
struct Failure(&'static str, fn() -> Knobs, fn(&mut Rig));

/// The stored tokens.
fn stored(rig: &Rig) -> (String, String) {
    (
        text(&rig.account.oauth(), "access_token"),
        text(&rig.account.oauth(), "refresh_token"),
    )
}

/// A response of the token endpoint that repeats every secret.
fn repeated_by_the_endpoint(rig: &Rig, status: u16) -> Fault {
    let (access, refresh) = stored(rig);
    let secret = rig.provider.client_secret();
    let body = json!({ "error": refresh, "error_description": access, "code": secret, "suberror": refresh, "x": access });
    Fault::Json(status, body)
}

fn response(status: u16, header: (&str, String), body: String) -> Fault {
    Fault::Response {
        status,
        headers: vec![(header.0.into(), header.1)],
        body,
    }
}

/// Failures of the token endpoint.
const ENDPOINT: &[Failure] = &[
    Failure("invalid_grant", Knobs::rotating, |rig| {
        rig.provider.revoke_all();
    }),
    Failure("status 400", Knobs::rotating, |rig| {
        rig.provider
            .script_token([repeated_by_the_endpoint(rig, 400)]);
    }),
    Failure("status 500", Knobs::rotating, |rig| {
        rig.provider
            .script_token(vec![repeated_by_the_endpoint(rig, 500); 3]);
    }),
    Failure("the provider refused", Knobs::rotating, |rig| {
        rig.provider
            .script_token([repeated_by_the_endpoint(rig, 200)]);
    }),
    Failure("holds no access token", Knobs::rotating, |rig| {
        let (access, refresh) = stored(rig);
        rig.provider.script_token([Fault::Json(
            200,
            json!({ "accessToken": access, "refreshToken": refresh }),
        )]);
    }),
    Failure("neither JSON nor a form", Knobs::rotating, |rig| {
        let (access, refresh) = stored(rig);
        let body = format!("{access} {refresh}");
        rig.provider
            .script_token([response(200, ("content-type", "text/plain".into()), body)]);
    }),
    Failure("status 502", Knobs::rotating, |rig| {
        let (access, refresh) = stored(rig);
        let page = response(
            502,
            ("x-sent", access.clone()),
            format!("<html>{access} {refresh}</html>"),
        );
        rig.provider.script_token(vec![page; 3]);
    }),
    Failure("connection was lost", Knobs::rotating, |rig| {
        rig.provider.script_token([Fault::DropAfter]);
    }),
    Failure("is retried", Knobs::rotating, |rig| {
        rig.provider.script_token([Fault::DropMidBody]);
    }),
    Failure("timed out", Knobs::rotating, |rig| {
        rig.provider
            .script_token([Fault::DelayAfter(Duration::from_secs(16))]);
    }),
    Failure("redirects", Knobs::rotating, |rig| {
        let to = format!(
            "{}?refresh_token={}",
            rig.provider.token_url(),
            stored(rig).1
        );
        rig.provider.script_token([Fault::Redirect(to)]);
    }),
    Failure("invalid_client", Knobs::rotating, |rig| {
        rig.provider
            .knobs(|knobs| knobs.client_auth = ClientAuth::None);
    }),
    Failure(
        "is not listed in",
        || Knobs {
            token_type: Some("mac".into()),
            ..Knobs::rotating()
        },
        |_| {},
    ),
    Failure("not allowed in a header", Knobs::rotating, |rig| {
        let (access, _) = stored(rig);
        rig.provider.knobs(|knobs| {
            knobs
                .extra
                .insert("access_token".into(), format!("{access}\n{access}").into());
        });
    }),
    Failure(
        "lacks scopes",
        || Knobs {
            narrow_scope: Some("read".into()),
            ..Knobs::rotating()
        },
        |_| {},
    ),
];

/// Failures and redirects of the API.
const API: &[Failure] = &[
    // Both the API's words and the reason of the failed refresh are shown.
    Failure(
        "returned 401 Unauthorized: {\"sent\":\"[token]\"}",
        Knobs::rotating,
        |rig| {
            rig.provider.revoke_all();
            let body = format!(r#"{{"sent":"{}"}}"#, stored(rig).0);
            rig.provider
                .script_api([response(401, ("x", String::new()), body)]);
        },
    ),
    Failure("403 Forbidden", Knobs::rotating, |rig| {
        let challenge = r#"Bearer error="invalid_request""#.to_owned();
        rig.provider.script_api([response(
            403,
            ("www-authenticate", challenge),
            stored(rig).0,
        )]);
    }),
    Failure("[token]", Knobs::rotating, |rig| {
        let (access, refresh) = stored(rig);
        let body = format!(
            r#"{{"sent":"Bearer {access}","stored":"{}"}}"#,
            refresh.replace('/', "\\/")
        );
        rig.provider
            .script_api([response(400, ("x-sent", access), body)]);
    }),
    // The error shows the beginning of the body, which ends in the middle of the token.
    Failure("[token]", Knobs::rotating, |rig| {
        let access = stored(rig).0;
        let body = format!("{}{access}", "-".repeat(2048 - access.len() / 2));
        rig.provider
            .script_api([response(400, ("x-sent", access), body)]);
    }),
    Failure("needs a scope", Knobs::rotating, |rig| {
        let challenge = format!(
            r#"Bearer error="insufficient_scope", scope="{}""#,
            stored(rig).0
        );
        rig.provider.script_api([response(
            403,
            ("www-authenticate", challenge),
            String::new(),
        )]);
    }),
    Failure("insufficient_claims", Knobs::rotating, |rig| {
        let challenge = format!(
            r#"Bearer error="insufficient_claims", claims="{}""#,
            stored(rig).0
        );
        rig.provider.script_api([response(
            401,
            ("www-authenticate", challenge),
            String::new(),
        )]);
    }),
    Failure("failed without a response", Knobs::rotating, |rig| {
        let to = format!("http://127.0.0.1:1/?access_token={}", stored(rig).0);
        rig.provider.script_api(vec![Fault::Redirect(to); 4]);
    }),
    Failure("failed without a response", Knobs::rotating, |rig| {
        rig.provider.script_api(vec![Fault::DropAfter; 8]);
    }),
    Failure("not the expected JSON", Knobs::rotating, |rig| {
        rig.provider
            .script_api([response(200, ("x", String::new()), stored(rig).0)]);
    }),
    Failure("is busy", Knobs::rotating, |rig| {
        rig.provider.script_api([Fault::retry_after(429, "1")]);
    }),
];

/// Failures of the configuration, the store and the lock.
const KEEPING: &[Failure] = &[
    Failure("UnsavedCredentials", Knobs::rotating, |rig| {
        *rig.account.down.lock().unwrap() = true;
    }),
    Failure("could not be saved", Knobs::default, |rig| {
        *rig.account.down.lock().unwrap() = true;
    }),
    Failure("stored credential cannot be read", Knobs::rotating, |rig| {
        *rig.account.unreadable.lock().unwrap() = true;
    }),
    Failure("has no access token", Knobs::rotating, |rig| {
        rig.account.set(json!({ "secretId": "secret-1" }));
        rig.account
            .set_secrets([json!({ "refresh_token": rig.provider.issue()["refresh_token"] })]);
    }),
    Failure("no such secret", Knobs::rotating, |rig| {
        rig.account.set(json!({ "secretId": "secret-1" }));
    }),
    Failure("no provider profile", Knobs::rotating, |rig| {
        rig.definition = rig.definition.clone().profile("none");
    }),
    Failure("a user name or a password", Knobs::rotating, |rig| {
        let address = format!("http://me:{}@127.0.0.1/token", rig.provider.client_secret());
        rig.definition = rig.definition.clone().token_uri(address);
    }),
    Failure("is not a valid address", Knobs::rotating, |rig| {
        let address = format!("{}:no/address", rig.provider.client_secret());
        rig.definition = rig.definition.clone().token_uri(address);
    }),
    Failure("was refreshed", Knobs::rotating, |rig| {
        rig.mode = Some(Mode::EveryAccess);
    }),
    Failure(
        "timed out waiting for the credential's lock",
        Knobs::rotating,
        |rig| {
            rig.lock = Some(Arc::new(Locked(|| Err(LockError::TimedOut))));
        },
    ),
    Failure("lock was lost", Knobs::rotating, |rig| {
        rig.lock = Some(Arc::new(Locked(|| Ok(Box::new(Lost)))));
    }),
];

struct Locked(fn() -> Result<Box<dyn LockGuard>, LockError>);

struct Lost;

impl RefreshLock for Locked {
    fn acquire<'a>(
        &'a self,
        _: &'a str,
        _: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn LockGuard>, LockError>> {
        Box::pin(std::future::ready((self.0)()))
    }
}

impl LockGuard for Lost {
    fn is_held(&self) -> bool {
        false
    }
}

/// token-failures: T55.
#[tokio::test]
async fn token_endpoint_errors_reveal_no_secret() {
    for failure in ENDPOINT {
        reveals_nothing(failure, Rig::stale((failure.1)()).await).await;
    }
}

/// With the parameters in the address, as some providers require.
/// token-failures: T55.
#[tokio::test]
async fn no_secret_in_a_token_endpoint_address_is_revealed() {
    for failure in ENDPOINT {
        let mut rig = Rig::stale(Knobs {
            body: BodyFormat::Query,
            ..(failure.1)()
        })
        .await;
        let profile = Profile::from_json(r#"{ "name": "own", "body": "query" }"#).unwrap();
        rig.definition = rig.definition.clone().custom_profile(profile);
        reveals_nothing(failure, rig).await;
    }
}

/// token-failures: T55.
#[tokio::test]
async fn api_errors_reveal_no_secret() {
    for failure in API {
        reveals_nothing(failure, Rig::new((failure.1)()).await).await;
    }
}

/// token-failures: T55.
#[tokio::test]
async fn configuration_and_storage_errors_reveal_no_secret() {
    for failure in KEEPING {
        reveals_nothing(failure, Rig::stale((failure.1)()).await).await;
    }
}

async fn reveals_nothing(Failure(text, _, arrange): &Failure, mut rig: Rig) {
    let mut reports = Reports::begin();
    arrange(&mut rig);
    let replica = rig.replica();
    live(&rig, &replica, replica.store.clone(), &mut reports).await;
    reports.check(&rig, text);
}

/// Sends requests, ignores their errors, and records everything that is reported.
async fn live(
    rig: &Rig,
    replica: &Replica,
    store: Arc<dyn CredentialStore>,
    reports: &mut Reports,
) {
    let client = replica.session.client(store);
    for _ in 0..2 {
        let get = client.get("/me").query(&[("token", "x")]);
        reports.see(&get);
        reports.result(rig.drive(get.send_json::<Value>()).await.map(drop));
        reports.result(
            rig.drive(client.post("/items").json(&json!({})).send())
                .await
                .map(drop),
        );
        // Delays after failures end, and tokens expire.
        rig.provider.expire_access_tokens();
        rig.clock.advance(Duration::from_secs(31)).await;
    }
    let token = rig.drive(client.access_token()).await;
    reports.see(&token);
    reports.result(token.map(drop));
    reports.see(&(
        &client,
        &replica.session,
        replica.session.metrics(),
        rig.config(),
        &rig.definition,
    ));
    reports.see(&replica.store.warnings.lock().unwrap());
    rig.drive(replica.session.close()).await;
}

/// The account is removed while its token is refreshed, and the revocation of the new tokens fails.
/// token-failures: T55.
#[tokio::test]
async fn a_failed_revocation_reveals_no_token() {
    let (mut reports, mut rig) = (Reports::begin(), Rig::stale(Knobs::rotating()).await);
    rig.descriptor["credentials"]["oauth2"]["revoke_uri"] = "{{TEST_PROVIDER}}/revoke".into();
    rig.provider
        .script_revoke([repeated_by_the_endpoint(&rig, 400)]);
    let replica = rig.replica();
    let held = rig.provider.hold_token_responses();
    let (response, ()) = rig
        .drive(async {
            tokio::join!(replica.get(), async {
                held.held(1).await;
                rig.account.delete();
                held.release();
            })
        })
        .await;
    rig.drive(replica.session.close()).await;
    reports.result(response.map(drop));
    assert!(reports.all().contains("was removed"), "{}", reports.all());
    reports.check(&rig, "could not be revoked");
}

/// The API repeats a token that is no longer the current one.
/// token-failures: T55.
#[tokio::test]
async fn a_replaced_token_is_redacted() {
    let (mut reports, rig) = (Reports::begin(), Rig::new(Knobs::rotating()).await);
    let replica = rig.replica();
    rig.provider
        .script_api([Fault::JsonAfter(400, json!({ "sent": stored(&rig).0 }))]);
    let held = rig.provider.hold_api_responses();
    let (response, ()) = tokio::join!(replica.get(), async {
        held.held(1).await;
        replica.store.update_local(
            json!({ "oauth": rig.provider.issue() })
                .as_object()
                .unwrap(),
        );
        let current = replica.client().access_token().await.unwrap();
        assert_ne!(current.expose_secret(), stored(&rig).0);
        held.release();
    });
    reports.result(response.map(drop));
    reports.check(&rig, "[token]");
}

/// A store that panics.
struct Panicking {
    store: Arc<ReplicaStore>,
    at: &'static str,
}

impl Panicking {
    fn may_panic(&self, at: &'static str) {
        assert_ne!(self.at, at, "this store is broken");
    }
}

impl CredentialStore for Panicking {
    fn config(&self) -> Arc<Value> {
        self.store.config()
    }

    fn reload(&self) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        self.may_panic("reload");
        self.store.reload()
    }

    fn save<'a>(
        &'a self,
        keys: Map<String, Value>,
        queued: &'a AtomicBool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.may_panic("save");
        self.store.save(keys, queued)
    }

    fn update_local(&self, keys: &Map<String, Value>) {
        self.store.update_local(keys);
    }

    fn warn(&self, warning: CredentialWarning) -> BoxFuture<'_, ()> {
        self.store.warn(warning)
    }

    fn secret<'a>(
        &'a self,
        id: &'a str,
        refresh: bool,
    ) -> BoxFuture<'a, Result<Value, StoreError>> {
        self.store.secret(id, refresh)
    }
}

/// token-failures: T55.
#[tokio::test]
async fn a_panic_during_a_refresh_reveals_no_secret() {
    for at in ["reload", "save"] {
        let (mut reports, rig) = (Reports::begin(), Rig::stale(Knobs::rotating()).await);
        let replica = rig.replica();
        let store = Arc::new(Panicking {
            store: replica.store.clone(),
            at,
        });
        live(&rig, &replica, store, &mut reports).await;
        assert!(
            reports.all().contains("this store is broken"),
            "the panic is reported"
        );
        reports.check(&rig, "the refresh panicked");
    }
}

/// Without this test, a capture that records nothing would pass all of the above.
#[tokio::test]
#[should_panic(expected = "is revealed")]
async fn a_secret_at_trace_level_is_found() {
    let (reports, rig) = (Reports::begin(), Rig::new(Knobs::default()).await);
    tracing::trace!(target: "sailor::oauth2", "{}", stored(&rig).0);
    reports.check(&rig, "");
}
