//! One credential in this process: its definition, the machine, and what the machine's work needs.

use super::{
    super::{
        CredentialStore, Error, LockGuard, OAuth2, TokenRecord, token_record::keys_with_record,
    },
    config::SessionConfig,
    life,
    machine::{self, Effect, Event, Keeper, Machine, Moment, WaiterId},
    metrics::Recorded,
    record::Token,
    setup::{CredentialSetup, Resolver, Setups},
    turn::Waiting,
};
use crate::settings::descriptor::Descriptor;
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError, atomic::AtomicBool},
};
use tokio::{sync::oneshot, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The store that a piece of work uses: that of the message or call which caused it.
pub(super) type Store = Arc<dyn CredentialStore>;
pub(super) type TokenEvent = Event<TokenRecord, Store>;
pub(super) type TokenEffect = Effect<TokenRecord, Store>;

pub(super) struct Credential {
    pub(super) config: SessionConfig,
    pub(super) resolver: Resolver,
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
    pub(super) last_waiter: WaiterId,
    pub(super) tokens: HashMap<WaiterId, oneshot::Sender<Result<Arc<Token>, Error>>>,
    pub(super) keys: HashMap<WaiterId, Waiting>,
    pub(super) lock: Option<Box<dyn LockGuard>>,
    /// The configuration that was read last, for the credential's other fields.
    pub(super) read: Option<Value>,
    /// Whether the platform's queue has taken the record with this identity.
    pub(super) queued: Option<([u8; 32], Arc<AtomicBool>)>,
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

    pub(super) fn queued(&mut self, record: &TokenRecord) -> Arc<AtomicBool> {
        let id = machine::Record::id(record);
        match &self.queued {
            Some((queued, flag)) if *queued == id => flag.clone(),
            _ => self.queued.insert((id, Arc::default())).1.clone(),
        }
    }
}

impl Credential {
    pub(super) fn new(definition: OAuth2, descriptor: Descriptor, config: SessionConfig) -> Self {
        let machine = Machine::new(config.lock.is_some());
        Self {
            resolver: Resolver {
                definition,
                descriptor,
                http: config.http.clone(),
                environment: config.environment.clone(),
                mode: config.mode,
            },
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

    pub(super) fn setup(&self, store: &dyn CredentialStore) -> Result<Arc<CredentialSetup>, Error> {
        self.shared().setups.get(&self.resolver, &store.config())
    }

    /// Returns the keys to save: the record and the credential's other fields, because some stores replace the whole
    /// credential.
    pub(super) fn keys_to_save(
        &self,
        shared: &mut Shared,
        store: &dyn CredentialStore,
        record: &TokenRecord,
    ) -> Result<Map<String, Value>, Error> {
        let local = store.config();
        let setup = shared.setups.get(&self.resolver, &local)?;
        let config = shared.read.as_ref().unwrap_or(&local);
        Ok(keys_with_record(
            config,
            &self.resolver.credential_fields(),
            &setup.resolved.field,
            record,
        ))
    }
}
