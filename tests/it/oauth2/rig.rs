//! What the tests share: the emulator's provider, a connected account, and replicas that use it.

use super::{
    account::{Account, ReplicaStore},
    clock::Clock,
};
use emulator::provider::{Knobs, Provider, ProviderConfig};
use sailor::{
    descriptor::Descriptor,
    oauth2::{
        AuthorizedClient, Error, Mode, OAuth2,
        internals::{RefreshLock, Session, SessionConfig},
    },
};
use serde_json::{Map, Value, json};
use std::{future::Future, sync::Arc};

/// The variables of the descriptor below.
const ENVIRONMENT: [&str; 3] = ["TEST_CLIENT_ID", "TEST_CLIENT_SECRET", "TEST_PROVIDER"];

/// component.json of the tests: one OAuth2 credential in the field `oauth`, and two further fields.
pub fn descriptor() -> Value {
    json!({
        "title": "Test",
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

/// One process: a session, and its own copy of the configuration.
pub struct Replica {
    pub session: Session,
    pub store: Arc<ReplicaStore>,
}

impl Replica {
    pub fn client(&self) -> AuthorizedClient {
        self.session.client(self.store.clone())
    }

    /// A GET request to the provider's API.
    pub async fn get(&self) -> Result<Value, Error> {
        self.client().get("/me").send_json().await
    }

    /// `count` of them at the same time.
    pub async fn get_at_once(&self, count: usize) -> Vec<Result<Value, Error>> {
        futures_util::future::join_all((0..count).map(|_| self.get())).await
    }
}

/// A member that is text.
#[track_caller]
pub fn text(record: &Value, name: &str) -> String {
    record[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} is not a text"))
        .to_owned()
}

/// A provider, a connected account, and a paused clock.
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

    /// The stored access token has expired, by its record as well.
    pub async fn expired(knobs: Knobs) -> Self {
        Self::with(knobs, |provider| {
            let mut record = provider.issue_expired();
            record.insert("tokenExpiryTime".into(), "2020-01-01T00:00:00.000Z".into());
            record
        })
        .await
    }

    /// The stored access token has expired at the provider; the record does not say when.
    pub async fn stale(knobs: Knobs) -> Self {
        Self::with(knobs, Provider::issue_expired).await
    }

    /// The stored token is valid, and the clock is the real one.
    pub async fn in_real_time(knobs: Knobs) -> Self {
        Self::with_clock(Clock::real(), knobs, Provider::issue).await
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
        // Unique, since tests can share a broker.
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
        self.replica_using(account, self.config())
    }

    /// A process with this configuration that uses this account.
    pub fn replica_using(&self, account: Arc<Account>, config: SessionConfig) -> Replica {
        let descriptor: Descriptor = serde_json::from_value(self.descriptor.clone()).unwrap();
        Replica {
            session: Session::new(self.definition.clone(), descriptor, config),
            store: Arc::new(ReplicaStore::new(account)),
        }
    }

    /// The parts of a process that a session needs: a client, and the environment.
    pub fn config(&self) -> SessionConfig {
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

    /// The statuses of the API's responses so far.
    pub fn statuses(&self) -> Vec<u16> {
        self.provider
            .api_calls()
            .iter()
            .map(|call| call.status.unwrap_or_default())
            .collect()
    }

    /// The refresh tokens that the token endpoint got, in order.
    pub fn spent(&self) -> Vec<String> {
        self.provider
            .token_calls()
            .iter()
            .map(|call| call.form["refresh_token"].clone())
            .collect()
    }

    /// Lets the clock run until `work` is done, so that delays end.
    pub async fn drive<T>(&self, work: impl Future<Output = T>) -> T {
        self.clock.drive(work).await
    }
}
