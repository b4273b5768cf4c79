//! One credential in this process: its definition, the machine, and what the machine's work needs.

use super::{
    super::{
        CredentialStore, Error, LockGuard, OAuth2, ResolvedConfig, TokenEndpoint, TokenRecord,
        token_record::keys_with_record,
    },
    config::{SessionConfig, SessionMetrics},
    machine::{Effect, Event, Machine, Moment, WaiterId},
    record::{Token, stored_life},
    streams::RefusedStreams,
};
use crate::{clients::http::RetryBudget, settings::descriptor::Descriptor};
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError, atomic::AtomicU64},
};
use tokio::{sync::oneshot, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The store that a piece of work uses: that of the message or call which caused it.
pub(super) type Store = Arc<dyn CredentialStore>;
pub(super) type TokenEvent = Event<TokenRecord, Store>;
pub(super) type TokenEffect = Effect<TokenRecord, Store>;
/// A module's turn to save its keys: the token record for them, the configuration that was read last, and whom to tell
/// that they are saved.
pub(super) type Turn = (Option<TokenRecord>, Option<Value>, oneshot::Sender<()>);

pub(super) struct Credential {
    pub(super) config: SessionConfig,
    definition: OAuth2,
    pub(super) descriptor: Descriptor,
    /// Limits the warning about a token type that the profile does not list to one.
    pub(super) unknown_type: Once,
    /// The operator is told once that the refresh token ends soon: some providers give each one only some days.
    pub(super) ends_soon: Once,
    /// The latest generation that the API has accepted, as the machine knows it.
    pub(super) accepted: AtomicU64,
    created: Instant,
    pub(super) retries: RetryBudget,
    pub(super) streams: RefusedStreams,
    shared: Mutex<Shared>,
    /// The tasks that the machine waits for. They do not depend on callers.
    pub(super) tasks: TaskTracker,
    pub(super) stopping: CancellationToken,
}

/// What changes. Effects are carried out while it is locked, so that they keep their order.
pub(super) struct Shared {
    pub(super) machine: Machine<TokenRecord, Store>,
    pub(super) metrics: SessionMetrics,
    /// The credential's definition, as it was resolved for the latest configuration.
    resolved: Option<(Arc<Value>, Arc<ResolvedConfig>)>,
    /// The configuration whose tokens the machine knows.
    seen: Option<Arc<Value>>,
    last_waiter: WaiterId,
    pub(super) tokens: HashMap<WaiterId, oneshot::Sender<Result<Arc<Token>, Error>>>,
    pub(super) turns: HashMap<WaiterId, oneshot::Sender<Turn>>,
    pub(super) lock: Option<Box<dyn LockGuard>>,
    /// The configuration that was read last, for the credential's other fields.
    pub(super) read: Option<Value>,
}

impl Shared {
    pub(super) fn next_waiter(&mut self) -> WaiterId {
        self.last_waiter += 1;
        self.last_waiter
    }

    /// Drops a lock that was lost, so that it can be acquired again. Returns whether there was one.
    pub(super) fn drop_lost_lock(&mut self) -> bool {
        self.lock.take_if(|lock| !lock.is_held()).is_some()
    }
}

impl Credential {
    pub(super) fn new(definition: OAuth2, descriptor: Descriptor, config: SessionConfig) -> Self {
        let shared = Shared {
            machine: Machine::new(config.lock.is_some()),
            metrics: SessionMetrics::default(),
            resolved: None,
            seen: None,
            last_waiter: 0,
            tokens: HashMap::new(),
            turns: HashMap::new(),
            lock: None,
            read: None,
        };
        Self {
            config,
            definition,
            descriptor,
            unknown_type: Once::new(),
            ends_soon: Once::new(),
            accepted: AtomicU64::new(0),
            created: Instant::now(),
            retries: RetryBudget::new(),
            streams: RefusedStreams::default(),
            shared: Mutex::new(shared),
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

    /// Returns the definition of the credential, resolved for the process's configuration.
    pub(super) fn resolved(
        &self,
        store: &dyn CredentialStore,
    ) -> Result<Arc<ResolvedConfig>, Error> {
        self.resolve(&mut self.shared(), &store.config())
    }

    fn resolve(
        &self,
        shared: &mut Shared,
        config: &Arc<Value>,
    ) -> Result<Arc<ResolvedConfig>, Error> {
        if let Some((seen, resolved)) = &shared.resolved
            && Arc::ptr_eq(seen, config)
        {
            return Ok(resolved.clone());
        }
        let (mode, environment) = (self.config.mode, &*self.config.environment);
        let definition = &self.definition;
        let resolved = definition.resolve(&self.descriptor, config, mode, environment);
        let resolved = Arc::new(resolved.map_err(|error| Error::Config(error.to_string()))?);
        shared.resolved = Some((config.clone(), resolved.clone()));
        Ok(resolved)
    }

    /// The same, and tells the machine about tokens in the configuration that are not from the machine: a module may have
    /// emitted them.
    pub(super) fn observe(
        &self,
        shared: &mut Shared,
        store: &dyn CredentialStore,
    ) -> Result<Arc<ResolvedConfig>, Error> {
        let config = store.config();
        let resolved = self.resolve(shared, &config)?;
        let is_seen = |seen: &Arc<Value>| Arc::ptr_eq(seen, &config);
        if resolved.is_of_platform() || shared.seen.as_ref().is_some_and(is_seen) {
            return Ok(resolved);
        }
        if let Some(record) = TokenRecord::find(&config, &resolved.field)
            && !shared.machine.knows(&record)
        {
            let now = self.now();
            let life = stored_life(now, &record, &resolved.profile);
            let effects = shared.machine.step(now, Event::Configured(record, life));
            // The configuration has the record already.
            debug_assert!(effects.is_empty());
        }
        shared.seen = Some(config);
        Ok(resolved)
    }

    /// Returns the provider's endpoint for the process's configuration.
    pub(super) fn endpoint(&self, resolved: &ResolvedConfig) -> Option<TokenEndpoint> {
        TokenEndpoint::new(self.config.http.clone(), resolved)
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
        let resolved = self.resolve(shared, &local)?;
        let config = shared.read.as_ref().unwrap_or(&local);
        let (fields, field) = (self.descriptor.credential_fields(), &resolved.field);
        Ok(keys_with_record(config, &fields, field, record))
    }
}
