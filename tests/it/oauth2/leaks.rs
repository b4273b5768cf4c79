//! No secret is ever told (token-failures: T55): failures of every kind, with everything that is said about them.
//!
//! What is said are log lines at every level, errors, reports to the user, figures, what `Debug` shows of public types,
//! and panics. Each failure names something that must be among it, so that none passes for want of happening.

use super::rig::{Replica, ReplicaStore, Rig, text};
use emulator::provider::{BodyFormat, ClientAuth, Fault, Knobs};
use futures_util::future::BoxFuture;
use sailor::oauth2::{
    CredentialStore, CredentialWarning, Error, LockError, LockGuard, Mode, Profile, RefreshLock,
    StoreError, TokenRecord, TokenResponse,
};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use std::{
    cell::RefCell,
    fmt::{Debug, Write as _},
    io,
    sync::{Arc, Mutex, Once, atomic::AtomicBool},
    time::Duration,
};
use tracing::{Level, level_filters::LevelFilter, subscriber::DefaultGuard};
use tracing_subscriber::{
    filter::Targets,
    fmt::{MakeWriter, format::FmtSpan},
    layer::SubscriberExt,
};

/// A failure: what is said of it, how the provider is, and what is arranged.
struct Failure(&'static str, fn() -> Knobs, fn(&mut Rig));

/// The tokens that are stored at the beginning.
fn stored(rig: &Rig) -> (String, String) {
    (
        text(&rig.account.oauth(), "access_token"),
        text(&rig.account.oauth(), "refresh_token"),
    )
}

/// The token endpoint repeats everything that it knows.
fn repeated_by_the_endpoint(rig: &Rig, status: u16) -> Fault {
    let (access, refresh) = stored(rig);
    let secret = rig.provider.client_secret();
    let body = json!({ "error": refresh, "error_description": access, "code": secret, "suberror": refresh, "x": access });
    Fault::Json(status, body)
}

fn answered(status: u16, header: (&str, String), body: String) -> Fault {
    Fault::Response {
        status,
        headers: vec![(header.0.into(), header.1)],
        body,
    }
}

/// What a token endpoint can do to its clients.
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
            .script_token([answered(200, ("content-type", "text/plain".into()), body)]);
    }),
    Failure("status 502", Knobs::rotating, |rig| {
        let (access, refresh) = stored(rig);
        let page = answered(
            502,
            ("x-sent", access.clone()),
            format!("<html>{access} {refresh}</html>"),
        );
        rig.provider.script_token(vec![page; 3]);
    }),
    Failure("connection was lost", Knobs::rotating, |rig| {
        rig.provider.script_token([Fault::DropAfter]);
    }),
    Failure("will be asked again", Knobs::rotating, |rig| {
        rig.provider.script_token([Fault::DropMidBody]);
    }),
    Failure("no answer in time", Knobs::rotating, |rig| {
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
        "of a kind",
        || Knobs {
            token_type: Some("mac".into()),
            ..Knobs::rotating()
        },
        |_| {},
    ),
    Failure("no header can carry", Knobs::rotating, |rig| {
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

/// What an API can say, and where it can lead.
const API: &[Failure] = &[
    Failure("401 Unauthorized", Knobs::rotating, |rig| {
        let challenge = r#"Bearer error="invalid_request""#.to_owned();
        rig.provider.script_api([answered(
            401,
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
            .script_api([answered(400, ("x-sent", access), body)]);
    }),
    // The part that an error shows ends within the token.
    Failure("[token]", Knobs::rotating, |rig| {
        let access = stored(rig).0;
        let body = format!("{}{access}", "-".repeat(2048 - access.len() / 2));
        rig.provider
            .script_api([answered(400, ("x-sent", access), body)]);
    }),
    Failure("needs a scope", Knobs::rotating, |rig| {
        let challenge = format!(
            r#"Bearer error="insufficient_scope", scope="{}""#,
            stored(rig).0
        );
        rig.provider.script_api([answered(
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
        rig.provider.script_api([answered(
            401,
            ("www-authenticate", challenge),
            String::new(),
        )]);
    }),
    Failure("has no answer", Knobs::rotating, |rig| {
        let to = format!("http://127.0.0.1:1/?access_token={}", stored(rig).0);
        rig.provider.script_api(vec![Fault::Redirect(to); 4]);
    }),
    Failure("has no answer", Knobs::rotating, |rig| {
        rig.provider.script_api(vec![Fault::DropAfter; 8]);
    }),
    Failure("not the JSON", Knobs::rotating, |rig| {
        rig.provider
            .script_api([answered(200, ("x", String::new()), stored(rig).0)]);
    }),
    Failure("is busy", Knobs::rotating, |rig| {
        rig.provider.script_api([Fault::retry_after(429, "1")]);
    }),
];

/// How a credential can be set up, and what can happen to it where it is kept.
const KEEPING: &[Failure] = &[
    Failure("UnsavedCredentials", Knobs::rotating, |rig| {
        *rig.account.down.lock().unwrap() = true;
    }),
    Failure("could not be saved", Knobs::default, |rig| {
        *rig.account.down.lock().unwrap() = true;
    }),
    Failure("cannot be seen", Knobs::rotating, |rig| {
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
    Failure("is not an address", Knobs::rotating, |rig| {
        let address = format!("{}:no/address", rig.provider.client_secret());
        rig.definition = rig.definition.clone().token_uri(address);
    }),
    Failure("was refreshed", Knobs::rotating, |rig| {
        rig.mode = Some(Mode::EveryAccess);
    }),
    Failure("held the lock", Knobs::rotating, |rig| {
        rig.lock = Some(Arc::new(Locked(|| Err(LockError::TimedOut))));
    }),
    Failure("without a lock", Knobs::rotating, |rig| {
        rig.lock = Some(Arc::new(Locked(|| {
            Err(LockError::Unsupported("none here".into()))
        })));
    }),
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
        tells_nothing(failure, Rig::stale((failure.1)()).await).await;
    }
}

/// Where the parameters stand in the address, as some providers want it.
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
        tells_nothing(failure, rig).await;
    }
}

/// token-failures: T55.
#[tokio::test]
async fn api_errors_reveal_no_secret() {
    for failure in API {
        tells_nothing(failure, Rig::new((failure.1)()).await).await;
    }
}

/// token-failures: T55.
#[tokio::test]
async fn configuration_and_storage_errors_reveal_no_secret() {
    for failure in KEEPING {
        tells_nothing(failure, Rig::stale((failure.1)()).await).await;
    }
}

async fn tells_nothing(Failure(said, _, arrange): &Failure, mut rig: Rig) {
    let mut told = Told::begin();
    arrange(&mut rig);
    let replica = rig.replica();
    live(&rig, &replica, replica.store.clone(), &mut told).await;
    told.check(&rig, said);
}

/// A process that goes on whatever happens, and says all that it can about it.
async fn live(rig: &Rig, replica: &Replica, store: Arc<dyn CredentialStore>, told: &mut Told) {
    let client = replica.session.client(store);
    for _ in 0..2 {
        let get = client.get("/me").query(&[("token", "x")]);
        told.see(&get);
        told.result(rig.drive(get.send_json::<Value>()).await.map(drop));
        told.result(
            rig.drive(client.post("/items").json(&json!({})).send())
                .await
                .map(drop),
        );
        // The pauses after failures are over, and tokens have come to their end.
        rig.provider.expire_access_tokens();
        rig.clock.advance(Duration::from_secs(31)).await;
    }
    let token = rig.drive(client.access_token()).await;
    told.see(&token);
    told.result(token.map(drop));
    told.see(&(
        &client,
        &replica.session,
        replica.session.counts(),
        rig.tools(),
        &rig.definition,
    ));
    told.see(&replica.store.reports.lock().unwrap());
    let config = replica.store.config();
    let record = TokenRecord::find(&config, &["oauth".to_owned()]).unwrap_or_default();
    told.see(&(
        &record,
        TokenResponse::read(
            record.to_value().to_string().as_bytes(),
            &Profile::generic(),
        ),
    ));
    rig.drive(replica.session.close()).await;
}

/// The account is removed while its token is refreshed, and revoking what came of it fails.
/// token-failures: T55.
#[tokio::test]
async fn a_failed_revocation_reveals_no_token() {
    let (mut told, mut rig) = (Told::begin(), Rig::stale(Knobs::rotating()).await);
    rig.descriptor["credentials"]["oauth2"]["revoke_uri"] = "{{TEST_PROVIDER}}/revoke".into();
    rig.provider
        .script_revoke([repeated_by_the_endpoint(&rig, 400)]);
    let replica = rig.replica();
    let held = rig.provider.hold_token_responses();
    let (answer, ()) = rig
        .drive(async {
            tokio::join!(replica.get(), async {
                held.held(1).await;
                rig.account.delete();
                held.release();
            })
        })
        .await;
    told.result(answer.map(drop));
    assert!(told.all().contains("was removed"), "{}", told.all());
    told.check(&rig, "could not be revoked");
}

/// The API repeats a token that is not the current one any more when its answer comes.
/// token-failures: T55.
#[tokio::test]
async fn a_replaced_token_is_redacted() {
    let (mut told, rig) = (Told::begin(), Rig::new(Knobs::rotating()).await);
    let replica = rig.replica();
    rig.provider
        .script_api([Fault::JsonAfter(400, json!({ "sent": stored(&rig).0 }))]);
    let held = rig.provider.hold_api_responses();
    let (answer, ()) = tokio::join!(replica.get(), async {
        held.held(1).await;
        replica.store.remember(
            json!({ "oauth": rig.provider.issue() })
                .as_object()
                .unwrap(),
        );
        let current = replica.client().access_token().await.unwrap();
        assert_ne!(current.expose_secret(), stored(&rig).0);
        held.release();
    });
    told.result(answer.map(drop));
    told.check(&rig, "[token]");
}

/// A store that is wrong itself.
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

    fn reread(&self) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        self.may_panic("reread");
        self.store.reread()
    }

    fn save<'a>(
        &'a self,
        keys: Map<String, Value>,
        taken: &'a AtomicBool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.may_panic("save");
        self.store.save(keys, taken)
    }

    fn remember(&self, keys: &Map<String, Value>) {
        self.store.remember(keys);
    }

    fn report(&self, trouble: CredentialWarning) -> BoxFuture<'_, ()> {
        self.store.report(trouble)
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
    for at in ["reread", "save"] {
        let (mut told, rig) = (Told::begin(), Rig::stale(Knobs::rotating()).await);
        let replica = rig.replica();
        let store = Arc::new(Panicking {
            store: replica.store.clone(),
            at,
        });
        live(&rig, &replica, store, &mut told).await;
        assert!(
            told.all().contains("this store is broken"),
            "the panic is heard"
        );
        told.check(&rig, "broken off by a panic");
    }
}

/// Otherwise a listener that hears nothing would pass everything above.
#[tokio::test]
#[should_panic(expected = "is told")]
async fn what_is_logged_at_trace_is_heard() {
    let (told, rig) = (Told::begin(), Rig::new(Knobs::default()).await);
    tracing::trace!(target: "sailor::oauth2", "{}", stored(&rig).0);
    told.check(&rig, "");
}

/// All that was said, in whichever way.
struct Told {
    capture: Capture,
    said: String,
}

thread_local! {
    /// The panics of this thread.
    static PANICS: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Told {
    fn begin() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                PANICS.with_borrow_mut(|panics| writeln!(panics, "{panic}").unwrap());
                before(panic);
            }));
        });
        PANICS.take();
        Self {
            capture: Capture::begin(),
            said: String::new(),
        }
    }

    fn see(&mut self, what: &dyn Debug) {
        writeln!(self.said, "{what:?}\n{what:#?}").unwrap();
    }

    fn result(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.see(&error);
            writeln!(
                self.said,
                "{error}\n{:#}",
                anyhow::Error::from(error.clone())
            )
            .unwrap();
        }
    }

    fn all(&self) -> String {
        PANICS.with_borrow(|panics| [self.said.as_str(), &self.capture.text(), panics].join("\n"))
    }

    /// Nothing secret is told, not half of it either, but `said` is.
    #[track_caller]
    fn check(&self, rig: &Rig, said: &str) {
        let (all, secrets) = (self.all(), rig.provider.secrets());
        assert!(all.contains(said), "nobody has said {said:?}: {all}");
        assert!(secrets.len() > 3, "there is something to tell");
        for secret in &secrets {
            assert!(!all.contains(secret.as_str()), "{secret} is told: {all}");
            if secret.len() >= 32 {
                let (begin, end) = (&secret[..16], &secret[secret.len() - 16..]);
                assert!(
                    !all.contains(begin) && !all.contains(end),
                    "half of {secret} is told: {all}"
                );
            }
        }
    }
}

/// Hears everything that the runtime logs on this thread, at every level, and of other crates what a process shows.
pub struct Capture {
    written: Written,
    _guard: DefaultGuard,
}

impl Capture {
    pub fn begin() -> Self {
        let written = Written::default();
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_span_events(FmtSpan::FULL)
            .with_writer(written.clone());
        let heard = Targets::new()
            .with_default(LevelFilter::WARN)
            .with_target("sailor", Level::TRACE);
        let guard = tracing::subscriber::set_default(
            tracing_subscriber::registry().with(heard).with(lines),
        );
        Self {
            written,
            _guard: guard,
        }
    }

    /// All of it so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.written.0.lock().unwrap().clone()).unwrap()
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
