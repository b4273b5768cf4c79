//! What the cases have in common: the emulator's provider, an account that replicas share, and a clock that moves only
//! when it is told to.

use emulator::provider::{Knobs, Provider, ProviderConfig};
use futures_util::future::BoxFuture;
use sailor::{
    descriptor::Descriptor,
    oauth2::{
        AuthorizedClient, Mode, OAuth2,
        internals::{
            CredentialStore, CredentialWarning, RefreshLock, Session, SessionConfig, StoreError,
            StoreErrorKind,
        },
    },
};
use serde_json::{Map, Value, json};
use std::{
    cell::Cell,
    collections::VecDeque,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, Semaphore};

/// The names of the environment in the descriptor below.
const ENVIRONMENT: [&str; 3] = ["TEST_CLIENT_ID", "TEST_CLIENT_SECRET", "TEST_PROVIDER"];

/// component.json of the cases: one OAuth2 credential in the field `oauth`, and two fields beside it.
pub fn descriptor() -> Value {
    json!({
        "title": "Cases",
        "credentials": {
            "fields": {
                "oauth": { "label": "Connection", "viewClass": "OAuthFieldView" },
                "prodEnv": { "label": "Environment", "viewClass": "TextFieldView" },
                "retries": { "label": "Retries", "viewClass": "TextFieldView" },
            },
            "oauth2": {
                "client_id": "{{TEST_CLIENT_ID}}",
                "client_secret": "{{TEST_CLIENT_SECRET}}",
                "auth_uri": "{{TEST_PROVIDER}}/authorize",
                "token_uri": "{{TEST_PROVIDER}}/token",
                "scopes": ["api", "offline_access"],
            },
        },
    })
}

/// What the next saving of an account does.
#[derive(Debug)]
pub enum Fault {
    /// Refuses, as the platform does when it cannot now.
    Fail,
    /// Waits for a permit of [`Account::gate`] first.
    Wait,
    /// Never ends.
    Hang,
    /// Says that there is nowhere to save to, as where the configuration names no account.
    Nowhere,
    /// Waits for a permit of `gate`, but the process's configuration has it at once.
    WaitMerged,
    /// Says that the account is not there, though it is.
    Missing,
    /// The same over REST, while the platform's queue takes the keys.
    Queued,
    /// The queue takes the keys, REST never answers, and the account is gone from then on.
    QueuedOnly,
}

/// The account on the platform: what all replicas read and save.
#[derive(Default)]
pub struct Account {
    /// `_account` of the step's configuration, which saving does not touch.
    pub id: Option<String>,
    keys: Mutex<Option<Value>>,
    faults: Mutex<VecDeque<Fault>>,
    /// Every saving fails, until told otherwise.
    pub down: Mutex<bool>,
    /// Reading again fails.
    pub unreadable: Mutex<bool>,
    /// So many of the next readings wait for a permit of `gate` before they answer what they have read.
    pub slow_reads: Mutex<usize>,
    /// Readings that have begun to wait.
    pub stalled: Mutex<usize>,
    /// What reading and saving take at most.
    pub latency: Mutex<Duration>,
    /// Who is to be told of trouble never hears it.
    pub nobody_listens: Mutex<bool>,
    /// Permits for readings and savings that wait.
    pub gate: GateSemaphore,
    /// Everything saved so far, in order.
    pub saved: Mutex<Vec<Map<String, Value>>>,
    /// Savings that were begun.
    pub begun: Mutex<usize>,
    /// Readings that found no credential.
    in_vain: Mutex<usize>,
    secrets: Mutex<VecDeque<Value>>,
    /// `state` of the secrets.
    pub secret_state: Mutex<&'static str>,
    /// Reads and refreshes of secrets.
    pub secret_calls: Mutex<Vec<&'static str>>,
    changed: Notify,
}

/// A semaphore without permits.
pub struct GateSemaphore(pub Semaphore);

impl Default for GateSemaphore {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Account {
    /// An account with this configuration, such as `{"oauth": {…}}`.
    pub fn new(config: Value) -> Arc<Self> {
        let id = config["_account"].as_str().map(str::to_owned);
        Arc::new(Self {
            id,
            keys: Mutex::new(Some(config)),
            ..Self::default()
        })
    }

    /// What is stored now.
    pub fn stored(&self) -> Value {
        self.keys
            .lock()
            .unwrap()
            .clone()
            .expect("the account exists")
    }

    /// What is stored now in the field `oauth`.
    pub fn oauth(&self) -> Value {
        self.stored()["oauth"].clone()
    }

    /// Changes what is stored, as when the user connects again.
    pub fn set(&self, config: Value) {
        *self.keys.lock().unwrap() = Some(config);
    }

    /// Whether there still is something stored.
    pub fn exists(&self) -> bool {
        self.keys.lock().unwrap().is_some()
    }

    /// Removes it.
    pub fn delete(&self) {
        *self.keys.lock().unwrap() = None;
    }

    /// Orders faults for the next savings.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// The credentials that the platform's secret has, and those that each refresh of it brings.
    pub fn set_secrets(&self, secrets: impl IntoIterator<Item = Value>) {
        *self.secrets.lock().unwrap() = secrets.into_iter().collect();
    }

    /// How often it was saved.
    pub fn savings(&self) -> usize {
        self.saved.lock().unwrap().len()
    }

    /// Waits until `count` savings have begun.
    pub async fn saving_begun(&self, count: usize) {
        self.until(|account| *account.begun.lock().unwrap() >= count)
            .await;
    }

    /// Waits until `count` readings have found no credential.
    pub async fn looked_in_vain(&self, count: usize) {
        self.until(|account| *account.in_vain.lock().unwrap() >= count)
            .await;
    }

    /// What a reading waits for after it has read.
    async fn stall(&self) {
        {
            let mut slow = self.slow_reads.lock().unwrap();
            if *slow == 0 {
                return;
            }
            *slow -= 1;
            *self.stalled.lock().unwrap() += 1;
        }
        self.changed.notify_waiters();
        self.gate.0.acquire().await.unwrap().forget();
    }

    async fn take_time(&self) {
        let latency = *self.latency.lock().unwrap();
        if !latency.is_zero() {
            tokio::time::sleep(latency.mul_f64(fastrand::f64())).await;
        }
    }

    /// Waits until something holds of it.
    pub async fn until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if holds(self) {
                return;
            }
            changed.await;
        }
    }
}

/// One process: a session, and the configuration as this process has it.
pub struct Replica {
    pub session: Session,
    pub store: Arc<ReplicaStore>,
}

impl Replica {
    pub fn client(&self) -> AuthorizedClient {
        self.session.client(self.store.clone())
    }

    /// A GET request to the provider's API.
    pub async fn get(&self) -> Result<Value, sailor::oauth2::Error> {
        self.client().get("/me").send_json().await
    }

    /// `count` of them at once.
    pub async fn get_at_once(&self, count: usize) -> Vec<Result<Value, sailor::oauth2::Error>> {
        futures_util::future::join_all((0..count).map(|_| self.get())).await
    }
}

pub struct ReplicaStore {
    account: Arc<Account>,
    config: Mutex<Arc<Value>>,
    /// What the user was told of.
    pub reports: Mutex<Vec<CredentialWarning>>,
}

impl ReplicaStore {
    fn merge(&self, keys: &Map<String, Value>) {
        let mut config = self.config.lock().unwrap();
        Arc::make_mut(&mut config)
            .as_object_mut()
            .unwrap()
            .extend(keys.clone());
    }
}

impl CredentialStore for ReplicaStore {
    fn config(&self) -> Arc<Value> {
        self.config.lock().unwrap().clone()
    }

    fn reload(&self) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(async {
            if *self.account.unreadable.lock().unwrap() {
                return Err(StoreError::transient("the platform is away"));
            }
            self.account.take_time().await;
            let read = self.account.keys.lock().unwrap().clone();
            self.account.stall().await;
            if read
                .as_ref()
                .is_none_or(|config| config["oauth"]["refresh_token"].is_null())
            {
                *self.account.in_vain.lock().unwrap() += 1;
                self.account.changed.notify_waiters();
            }
            read.map(Some).ok_or_else(gone)
        })
    }

    fn save<'a>(
        &'a self,
        keys: Map<String, Value>,
        queued: &'a AtomicBool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let account = &self.account;
            *account.begun.lock().unwrap() += 1;
            account.changed.notify_waiters();
            let fault = account.faults.lock().unwrap().pop_front();
            match fault {
                Some(Fault::Fail) => return Err(StoreError::transient("the platform refuses")),
                Some(Fault::Wait) => account.gate.0.acquire().await.unwrap().forget(),
                Some(Fault::WaitMerged) => {
                    self.merge(&keys);
                    account.gate.0.acquire().await.unwrap().forget();
                }
                Some(Fault::Missing) => return Err(gone()),
                Some(Fault::Queued) => {
                    *account.keys.lock().unwrap() = Some(keys.clone().into());
                    self.merge(&keys);
                    queued.store(true, Ordering::SeqCst);
                    return Err(gone());
                }
                Some(Fault::QueuedOnly) => {
                    queued.store(true, Ordering::SeqCst);
                    account.delete();
                    std::future::pending::<()>().await;
                }
                Some(Fault::Hang) => std::future::pending().await,
                Some(Fault::Nowhere) => {
                    let message = "the step's configuration has no `_account`";
                    return Err(StoreError::new(StoreErrorKind::NoAccount, message));
                }
                None => {}
            }
            if *account.down.lock().unwrap() {
                return Err(StoreError::transient("the platform is away"));
            }
            account.take_time().await;
            match &mut *account.keys.lock().unwrap() {
                // Not merged: this is the store that takes a payload for everything there is (token-failures: Tokens on the platform).
                Some(stored) => *stored = keys.clone().into(),
                None => return Err(gone()),
            }
            account.saved.lock().unwrap().push(keys.clone());
            self.merge(&keys);
            account.changed.notify_waiters();
            Ok(())
        })
    }

    fn update_local(&self, keys: &Map<String, Value>) {
        self.merge(keys);
        self.account.changed.notify_waiters();
    }

    fn warn(&self, warning: CredentialWarning) -> BoxFuture<'_, ()> {
        self.reports.lock().unwrap().push(warning);
        self.account.changed.notify_waiters();
        if *self.account.nobody_listens.lock().unwrap() {
            return Box::pin(std::future::pending());
        }
        Box::pin(std::future::ready(()))
    }

    fn secret<'a>(
        &'a self,
        id: &'a str,
        refresh: bool,
    ) -> BoxFuture<'a, Result<Value, StoreError>> {
        Box::pin(async move {
            let mut secrets = self.account.secrets.lock().unwrap();
            let state = *self.account.secret_state.lock().unwrap();
            self.account.secret_calls.lock().unwrap().push(if refresh {
                "refresh"
            } else {
                "read"
            });
            if refresh && secrets.len() > 1 {
                secrets.pop_front();
            }
            let credentials = secrets
                .front()
                .cloned()
                .ok_or_else(|| StoreError::transient("no such secret"))?;
            Ok(json!({ "id": id, "attributes": { "state": state, "credentials": credentials } }))
        })
    }
}

/// A member that is text.
#[track_caller]
pub fn text(record: &Value, name: &str) -> String {
    record[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} is no text"))
        .to_owned()
}

fn gone() -> StoreError {
    StoreError::new(StoreErrorKind::NotFound, "404 Not Found")
}

/// A provider, an account connected with it, and a clock that stands still.
pub struct Rig {
    pub provider: Provider,
    pub account: Arc<Account>,
    pub definition: OAuth2,
    pub descriptor: Value,
    pub mode: Option<Mode>,
    pub lock: Option<Arc<dyn RefreshLock>>,
    pub clock: Clock,
}

impl Rig {
    /// A provider with these knobs; the stored token is valid.
    pub async fn new(knobs: Knobs) -> Self {
        Self::with(knobs, Provider::issue).await
    }

    /// The stored access token has expired at the provider, and says so itself.
    pub async fn expired(knobs: Knobs) -> Self {
        Self::with(knobs, |provider| {
            let mut record = provider.issue_expired();
            record.insert("tokenExpiryTime".into(), "2020-01-01T00:00:00.000Z".into());
            record
        })
        .await
    }

    /// The stored access token has expired at the provider, and nothing stored tells when.
    pub async fn stale(knobs: Knobs) -> Self {
        Self::with(knobs, Provider::issue_expired).await
    }

    /// The stored token is valid, and the clock is the real one.
    pub async fn in_real_time(knobs: Knobs) -> Self {
        Self::with_clock(Clock { _stop: None }, knobs, Provider::issue).await
    }

    async fn with(knobs: Knobs, record: impl FnOnce(&Provider) -> Map<String, Value>) -> Self {
        Self::with_clock(Clock::paused(), knobs, record).await
    }

    async fn with_clock(
        clock: Clock,
        knobs: Knobs,
        record: impl FnOnce(&Provider) -> Map<String, Value>,
    ) -> Self {
        let provider = Provider::start(ProviderConfig {
            knobs,
            ..ProviderConfig::default()
        })
        .await
        .unwrap();
        // No other test has this one: all of them may use one broker.
        let id = format!("account-{}", uuid::Uuid::new_v4());
        let account = Account::new(json!({ "_account": id, "oauth": record(&provider) }));
        let definition = OAuth2::new().base_url(provider.api_url());
        Self {
            provider,
            account,
            definition,
            descriptor: descriptor(),
            mode: None,
            lock: None,
            clock,
        }
    }

    /// Another process that uses the account.
    pub fn replica(&self) -> Replica {
        self.replica_with(self.account.clone())
    }

    /// A process that uses this account.
    pub fn replica_with(&self, account: Arc<Account>) -> Replica {
        self.replica_using(account, self.tools())
    }

    /// A process that uses this account, and these tools.
    pub fn replica_using(&self, account: Arc<Account>, tools: SessionConfig) -> Replica {
        let descriptor: Descriptor = serde_json::from_value(self.descriptor.clone()).unwrap();
        let mut config = account.stored();
        if let Some(id) = &account.id {
            config["_account"] = id.as_str().into();
        }
        let store = ReplicaStore {
            config: Mutex::new(Arc::new(config)),
            account,
            reports: Mutex::default(),
        };
        Replica {
            session: Session::new(self.definition.clone(), descriptor, tools),
            store: Arc::new(store),
        }
    }

    /// What a process has: clients, and the environment with the provider's one client.
    pub fn tools(&self) -> SessionConfig {
        let values = [
            self.provider.client_id().to_owned(),
            self.provider.client_secret().to_owned(),
            self.provider.url(),
        ];
        SessionConfig {
            http: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            environment: Arc::new(move |name| {
                Some(values[ENVIRONMENT.iter().position(|n| *n == name)?].clone())
            }),
            mode: self.mode,
            lock: self.lock.clone(),
            lock_scope: "flow/step".into(),
        }
    }

    /// What the API has answered so far, in the order of the requests.
    pub fn statuses(&self) -> Vec<u16> {
        self.provider
            .api_calls()
            .iter()
            .map(|call| call.status.unwrap_or_default())
            .collect()
    }

    /// The refresh tokens that the token endpoint was sent, in order.
    pub fn spent(&self) -> Vec<String> {
        self.provider
            .token_calls()
            .iter()
            .map(|call| call.form["refresh_token"].clone())
            .collect()
    }

    /// Lets the clock run while `work` does: for what waits between its tries.
    pub async fn drive<T>(&self, work: impl Future<Output = T>) -> T {
        self.clock.drive(work).await
    }
}

/// A paused clock that does not move by itself: the runtime moves a paused clock whenever it has nothing to do, which
/// would end every wait for a socket at once, but not while a blocking task runs.
pub struct Clock {
    _stop: Option<std::sync::mpsc::Sender<()>>,
}

thread_local! {
    /// The runtime of this thread whose clock stands still.
    static STOPPED_ON: Cell<Option<tokio::runtime::Id>> = const { Cell::new(None) };
}

impl Clock {
    pub fn paused() -> Self {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || stopped.recv());
        // A case may need several rigs, and a clock can be stopped only once.
        let runtime = Some(tokio::runtime::Handle::current().id());
        if STOPPED_ON.replace(runtime) != runtime {
            tokio::time::pause();
        }
        Self { _stop: Some(stop) }
    }

    /// Moves the clock.
    pub async fn advance(&self, time: Duration) {
        tokio::time::advance(time).await;
    }

    /// Moves the clock, ten times as fast as a real one, until `work` is done.
    pub async fn drive<T>(&self, work: impl Future<Output = T>) -> T {
        self.drive_by(Duration::from_millis(50), work).await
    }

    /// Moves the clock by `step` every 5 ms of real time until `work` is done.
    pub async fn drive_by<T>(&self, step: Duration, work: impl Future<Output = T>) -> T {
        let ticking = async {
            loop {
                tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(5)))
                    .await
                    .unwrap();
                tokio::time::advance(step).await;
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            () = ticking => unreachable!("the clock ticks without an end"),
        }
    }
}
