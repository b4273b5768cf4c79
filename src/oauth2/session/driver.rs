//! Carries out what the machine asks for: reads, exchanges, saves, locks and pauses. Each runs in a task of its own, which
//! gives the machine its answer. No caller has to wait for it, and a panic in it is an answer too.

use super::{
    super::{
        CredentialStore, Error, ExchangeError, LockError, LockGuard, OAuth2, StoreErrorKind,
        TokenRecord, token_record::keys_with_record, token_request::TIME_LIMIT,
    },
    SessionConfig, Token,
    keys::Waiting,
    life, look,
    machine::{
        self, Effect, Event, Failure, Keeper, Look, Machine, Moment, Need, SaveResult, WaiterId,
        Why,
    },
    metrics::Recorded,
    report, secret,
    setup::{CredentialSetup, Setups},
};
use crate::settings::descriptor::Descriptor;
use futures_util::FutureExt;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// The time limit of one save.
const SAVE: Duration = Duration::from_secs(20);
/// The longest time for which another replica may hold the lock.
const LOCK_WAIT: Duration = Duration::from_secs(345);

// The wait for the lock is longer than its holder needs for all attempts and saves (token-failures: T4, T6).
const _: () = {
    let exchanges = machine::TRIES as u64
        * (look::READ.as_secs() + TIME_LIMIT.as_secs() + 2 * machine::MAX_DELAY.as_secs());
    let looks = machine::LOOKS.len() as u64 * (look::READ.as_secs() + 2);
    // After the last attempt the account may seem to be gone: then it is confirmed, and tried once more.
    let saves = (machine::ATTEMPTS as u64 + 1) * (look::READ.as_secs() + SAVE.as_secs() + 2)
        + look::CONFIRMATION.as_secs();
    assert!(LOCK_WAIT.as_secs() > exchanges + saves);
    assert!(LOCK_WAIT.as_secs() > exchanges + looks);
};

/// The store that a piece of work uses: that of the message or call which caused it.
pub(super) type Store = Arc<dyn CredentialStore>;
pub(super) type TokenEvent = Event<TokenRecord, Store>;
type TokenEffect = Effect<TokenRecord, Store>;

pub(super) struct Driver {
    pub(super) definition: OAuth2,
    pub(super) descriptor: Descriptor,
    pub(super) config: SessionConfig,
    pub(super) metrics: Recorded,
    /// Limits the warning about a token type that the profile does not list to one.
    pub(super) unknown_type: Once,
    created: Instant,
    shared: Mutex<Shared>,
    /// The tasks that the machine waits for. They do not depend on callers.
    pub(super) tasks: TaskTracker,
    pub(super) stopping: CancellationToken,
}

/// What changes. Effects are carried out while it is locked, so that they keep their order.
pub(super) struct Shared {
    pub(super) machine: Machine<TokenRecord, Store>,
    pub(super) setups: Setups,
    /// The configuration whose tokens the machine knows.
    seen: Option<Arc<Value>>,
    last_waiter: WaiterId,
    tokens: HashMap<WaiterId, oneshot::Sender<Result<Arc<Token>, Error>>>,
    pub(super) keys: HashMap<WaiterId, Waiting>,
    lock: Option<Box<dyn LockGuard>>,
    /// The configuration that was read last, for the credential's other fields.
    pub(super) read: Option<Value>,
    /// Whether the platform's queue has taken the record with this identity.
    queued: Option<([u8; 32], Arc<AtomicBool>)>,
}

impl machine::Record for TokenRecord {
    type Id = [u8; 32];
    type Response = Response;

    fn id(&self) -> Self::Id {
        let mut hash = Sha256::new();
        for token in [self.access_token(), self.refresh_token()] {
            let token = token.unwrap_or_default();
            hash.update((token.len() as u64).to_le_bytes());
            hash.update(token);
        }
        hash.finalize().into()
    }

    fn has_access_token(&self) -> bool {
        self.access_token().is_some()
    }

    fn has_refresh_token(&self) -> bool {
        self.refresh_token().is_some()
    }

    fn same_access_token(&self, other: &Self) -> bool {
        self.access_token() == other.access_token()
    }

    fn same_refresh_token(&self, other: &Self) -> bool {
        self.refresh_token() == other.refresh_token()
    }

    fn refreshed(&self, response: &Self::Response) -> Self {
        self.merged(&response.response, response.asked_at)
    }

    fn with_emitted(&self, emitted: &Self) -> Self {
        TokenRecord::with_emitted(self, emitted)
    }
}

/// The provider's response, and the time of the request.
#[derive(Debug)]
pub(crate) struct Response {
    response: super::super::token_response::TokenResponse,
    asked_at: SystemTime,
}

impl Shared {
    /// Tells the machine about tokens that are in the configuration and not from it: a module may have emitted them.
    pub(super) fn observe(
        &mut self,
        now: Moment,
        store: &dyn CredentialStore,
        setup: &CredentialSetup,
    ) {
        if setup.keeper() == Keeper::Platform {
            return;
        }
        let config = store.config();
        if self
            .seen
            .as_ref()
            .is_some_and(|seen| Arc::ptr_eq(seen, &config))
        {
            return;
        }
        if let Some(record) = TokenRecord::find(&config, &setup.resolved.field)
            && !self.machine.knows(&record)
        {
            let life = life::stored(now, &record, &setup.resolved.profile);
            // It has no effects: the configuration has the record already.
            let _ = self.machine.step(now, Event::Configured(record, life));
        }
        self.seen = Some(config);
    }

    pub(super) fn next_waiter(&mut self) -> WaiterId {
        self.last_waiter += 1;
        self.last_waiter
    }

    fn queued(&mut self, record: &TokenRecord) -> Arc<AtomicBool> {
        let id = machine::Record::id(record);
        match &self.queued {
            Some((queued, flag)) if *queued == id => flag.clone(),
            _ => self.queued.insert((id, Arc::default())).1.clone(),
        }
    }
}

impl Driver {
    pub(super) fn new(definition: OAuth2, descriptor: Descriptor, config: SessionConfig) -> Self {
        let machine = Machine::new(config.lock.is_some());
        Self {
            definition,
            descriptor,
            config,
            metrics: Recorded::default(),
            unknown_type: Once::new(),
            created: Instant::now(),
            shared: Mutex::new(Shared {
                machine,
                setups: Setups::default(),
                seen: None,
                last_waiter: 0,
                tokens: HashMap::new(),
                keys: HashMap::new(),
                lock: None,
                read: None,
                queued: None,
            }),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }
    }

    pub(super) fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine's time.
    pub(super) fn now(&self) -> Moment {
        self.created.elapsed()
    }

    /// Waits for a token. If the caller is dropped, the refresh goes on.
    pub(super) async fn token(
        self: &Arc<Self>,
        store: &Store,
        keeper: Keeper,
        why: Why,
        known: Option<u64>,
    ) -> Result<Arc<Token>, Error> {
        let (sender, receiver) = oneshot::channel();
        let waiter = {
            let mut shared = self.shared();
            let waiter = shared.next_waiter();
            shared.tokens.insert(waiter, sender);
            waiter
        };
        self.handle(Event::Needed(Need {
            waiter: Some(waiter),
            why,
            known,
            keeper,
            store: store.clone(),
        }));
        receiver
            .await
            .unwrap_or_else(|_| Err(Error::unavailable("the session has ended")))
    }

    pub(super) async fn close(self: &Arc<Self>) {
        self.stopping.cancel();
        self.handle(Event::Stop);
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Gives the machine an event, and carries out what it asks for.
    pub(super) fn handle(self: &Arc<Self>, event: TokenEvent) {
        let mut shared = self.shared();
        let mut next = Some(event);
        while let Some(event) = next.take() {
            tracing::trace!(event = event.name(), "The credential's state changes");
            for effect in shared.machine.step(self.now(), event) {
                // At most one effect of a step has an answer.
                next = self.perform(&mut shared, effect).or(next);
            }
        }
    }

    /// Carries out an effect. Returns its answer if that is known at once.
    fn perform(self: &Arc<Self>, shared: &mut Shared, effect: TokenEffect) -> Option<TokenEvent> {
        match effect {
            Effect::Lock(store) => self.spawn(lock(self.clone(), store), lock_failed),
            Effect::Unlock => shared.lock = None,
            Effect::Fence => {
                // A lost lock is dropped, so that it can be acquired again.
                shared.lock.take_if(|lock| !lock.is_held());
                return Some(Event::Fenced(shared.lock.is_some()));
            }
            Effect::Look(store) => {
                self.spawn(stored(self.clone(), store, &machine::LOOKS), look_failed);
            }
            Effect::LookOnce(store) => self.spawn(stored(self.clone(), store, &[]), look_failed),
            Effect::Exchange(store, base) => {
                self.spawn(exchange(self.clone(), store, base), exchange_failed);
            }
            Effect::Pause(pause) => {
                let pause = pause.mul_f64(0.75 + 0.5 * fastrand::f64());
                self.spawn(
                    async move {
                        sleep(pause).await;
                        Event::Woke
                    },
                    || Event::Woke,
                );
            }
            Effect::Alarm(after, number) => self
                .spawn(alarm(self.clone(), after, number), move || {
                    Event::Alarm(number)
                }),
            Effect::Save(store, record) => {
                let queued = shared.queued(&record);
                match self.keys_to_save(shared, &*store, &record) {
                    Ok(keys) => self.spawn(save(store, keys, queued), save_failed),
                    Err(error) => return Some(Event::Saved(SaveResult::Failed(error.to_string()))),
                }
            }
            Effect::ConfirmGone(store) => self.spawn(confirm_gone(self.clone(), store), || {
                Event::Confirmed(false)
            }),
            Effect::Revoke(store, record) => {
                self.tasks
                    .spawn(revoke(self.clone(), store, record).in_current_span());
            }
            Effect::Share(store, record) => {
                if let Ok(keys) = self.keys_to_save(shared, &*store, &record) {
                    store.update_local(&keys);
                }
            }
            Effect::SaveKeys(_, waiter, record) => {
                return self.hand_over_keys(shared, waiter, record);
            }
            Effect::ReadSecret(store, refresh) => {
                self.spawn(read_secret(self.clone(), store, refresh), secret_failed)
            }
            Effect::Answer(waiters, result) => {
                for waiter in waiters {
                    if let Some(sender) = shared.tokens.remove(&waiter) {
                        // A caller that was dropped needs no answer.
                        let _ = sender.send(result.clone());
                    }
                }
            }
            Effect::Report(report) => report::report(self, report),
        }
        None
    }

    /// Runs a task whose result is the machine's next event, also after a panic.
    fn spawn(
        self: &Arc<Self>,
        task: impl Future<Output = TokenEvent> + Send + 'static,
        panicked: impl FnOnce() -> TokenEvent + Send + 'static,
    ) {
        let driver = self.clone();
        let task = AssertUnwindSafe(task).catch_unwind();
        self.tasks.spawn(
            async move {
                let event = task.await.unwrap_or_else(|_| panicked());
                driver.handle(event);
            }
            .in_current_span(),
        );
    }

    /// Returns the keys to save: the record and the credential's other fields, because some stores replace the whole
    /// credential.
    fn keys_to_save(
        &self,
        shared: &mut Shared,
        store: &dyn CredentialStore,
        record: &TokenRecord,
    ) -> Result<Map<String, Value>, Error> {
        let local = store.config();
        let setup = shared.setups.get(self, &local)?;
        let config = shared.read.as_ref().unwrap_or(&local);
        Ok(keys_with_record(
            config,
            &self.credential_fields(),
            &setup.resolved.field,
            record,
        ))
    }
}

// --- The tasks --------------------------------------------------------------------------------------------------------

const PANICKED: &str = "a part of the refresh panicked; the log names the location";

async fn lock(driver: Arc<Driver>, store: Store) -> TokenEvent {
    let (Some(lock), Ok(setup)) = (&driver.config.lock, driver.setup(&*store)) else {
        return lock_failed();
    };
    let config = store.config();
    let account = config
        .get("_account")
        .and_then(Value::as_str)
        .unwrap_or(&driver.config.lock_scope);
    let name = format!("{account}:{}", setup.resolved.field.join("."));
    Event::Locked(match lock.acquire(&name, LOCK_WAIT).await {
        Ok(guard) => {
            driver.shared().lock = Some(guard);
            Ok(())
        }
        Err(error) => Err(error),
    })
}

fn lock_failed() -> TokenEvent {
    Event::Locked(Err(LockError::Unavailable(PANICKED.into())))
}

async fn stored(driver: Arc<Driver>, store: Store, pauses: &[Duration]) -> TokenEvent {
    let setup = match driver.setup(&*store) {
        Ok(setup) => setup,
        Err(error) => return Event::Looked(Look::Failed(error.to_string())),
    };
    let field = &setup.resolved.field;
    let found = look::stored(&*store, field, pauses).await;
    let result = match &found {
        Ok(None) => Look::NotAsked,
        Ok(Some(config)) => match TokenRecord::find(config, field) {
            Some(record) => {
                let life = life::stored(driver.now(), &record, &setup.resolved.profile);
                Look::Found(record, life)
            }
            None => Look::NoTokens,
        },
        Err(error) if error.is_not_found() => Look::Removed(error.to_string()),
        Err(error) => Look::Failed(error.to_string()),
    };
    driver.shared().read = found.ok().flatten();
    Event::Looked(result)
}

fn look_failed() -> TokenEvent {
    Event::Looked(Look::Failed(PANICKED.into()))
}

async fn exchange(driver: Arc<Driver>, store: Store, base: Arc<Token>) -> TokenEvent {
    let failed = |error| Event::Exchanged(Err(error));
    // Another process may have saved other fields with its tokens.
    let setup = match driver.setup(&*store) {
        Ok(setup) => setup,
        Err(error) => return failed(Failure::NotSent(error)),
    };
    let (Some(endpoint), Some(refresh_token)) = (&setup.endpoint, base.record.refresh_token())
    else {
        let reason = "the platform refreshes the tokens".to_owned();
        return failed(Failure::NotSent(Error::Config(reason)));
    };
    let (asked, asked_at) = (driver.now(), SystemTime::now());
    match endpoint.refresh(refresh_token, base.record.scope()).await {
        Ok(response) => {
            report::response(&driver, &base.record, &response, &setup.resolved.profile);
            let life = life::requested(asked, response.lifetime, setup.resolved.profile.margin);
            Event::Exchanged(Ok((Response { response, asked_at }, life)))
        }
        Err(failure) => failed(Failure::Refused(failure)),
    }
}

fn exchange_failed() -> TokenEvent {
    Event::Exchanged(Err(Failure::Refused(ExchangeError::unknown(PANICKED))))
}

async fn alarm(driver: Arc<Driver>, after: Duration, number: u32) -> TokenEvent {
    // A stop ends the wait: the machine saves at once.
    let _ = timeout(after, driver.stopping.cancelled()).await;
    Event::Alarm(number)
}

async fn save(store: Store, keys: Map<String, Value>, queued: Arc<AtomicBool>) -> TokenEvent {
    Event::Saved(match timeout(SAVE, store.save(keys, &queued)).await {
        Ok(Ok(())) => SaveResult::Saved,
        Ok(Err(error)) => match error.kind {
            StoreErrorKind::NotFound => SaveResult::NotFound {
                reason: error.message,
                queued: queued.load(Ordering::SeqCst),
            },
            StoreErrorKind::NoAccount => SaveResult::NoAccount(error.message),
            StoreErrorKind::Refused | StoreErrorKind::Transient => {
                SaveResult::Failed(error.message)
            }
        },
        Err(_) => SaveResult::Failed(format!(
            "the platform did not confirm the save within {} s",
            SAVE.as_secs()
        )),
    })
}

fn save_failed() -> TokenEvent {
    Event::Saved(SaveResult::Failed(PANICKED.into()))
}

async fn confirm_gone(driver: Arc<Driver>, store: Store) -> TokenEvent {
    Event::Confirmed(match driver.setup(&*store) {
        Ok(setup) => look::stays_gone(&*store, &setup.resolved.field, &driver.stopping).await,
        Err(_) => false,
    })
}

async fn revoke(driver: Arc<Driver>, store: Store, record: TokenRecord) {
    tracing::warn!("The credential was removed during the refresh; the new tokens are revoked");
    if let Ok(setup) = driver.setup(&*store)
        && let Some(endpoint) = &setup.endpoint
        && let Some(token) = record.refresh_token()
        && let Err(error) = endpoint.revoke(token, "refresh_token").await
    {
        tracing::warn!("The new tokens could not be revoked: {error}");
    }
}

async fn read_secret(driver: Arc<Driver>, store: Store, refresh: bool) -> TokenEvent {
    if refresh {
        driver.metrics.update(|metrics| metrics.refreshes += 1);
    }
    let found = secret::read(&*store, refresh).await;
    Event::Secret(found.map(|record| (record, life::unknown(driver.now()))))
}

fn secret_failed() -> TokenEvent {
    Event::Secret(Err(Error::unavailable(PANICKED)))
}
