//! Replaces the engine and the account in a run: it records every event, and saves credentials in memory.

use super::{Event, SavedKeys};
use crate::{
    broker::transport::Confirm,
    component::{
        context::{BoxFuture, KeySaver},
        emitter::{self, EventSink},
        error::AlreadyReported,
    },
    engine::{KeyStore, check_message_size, update_keys},
    oauth2::{AuthorizedClient, CredentialStore, CredentialWarning, Session, StoreError},
    protocol::ErrorReport,
};
use futures_util::FutureExt;
use serde_json::{Map, Value};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool};

pub(super) struct Recorder {
    events: Mutex<Vec<Event>>,
    config: Mutex<Arc<Value>>,
    saved: SavedKeys,
    session: Option<Session>,
    /// The largest message, in bytes as it would be published.
    size_limit: usize,
}

impl Recorder {
    pub(super) fn new(
        config: Value,
        saved: SavedKeys,
        session: Option<Session>,
        size_limit: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            size_limit,
            events: Mutex::default(),
            config: Mutex::new(Arc::new(config)),
            saved,
            session,
        })
    }

    /// Returns the component's OAuth2 client. Its credentials live as long as the run.
    pub(super) fn oauth(self: &Arc<Self>) -> AuthorizedClient {
        self.session
            .as_ref()
            .map_or_else(AuthorizedClient::unconfigured, |session| {
                session.client(self.clone())
            })
    }

    /// Waits for the session's background work, which belongs to the run too, and returns all events.
    pub(super) async fn finish(&self) -> Vec<Event> {
        if let Some(session) = &self.session {
            session.close().await;
        }
        std::mem::take(&mut *self.events())
    }

    fn record_keys(&self, keys: Map<String, Value>) {
        self.update_local(&keys);
        self.saved.lock().push(keys.clone().into());
        self.events().push(Event::UpdateKeys(keys.into()));
    }

    fn check_size(&self, event: &emitter::Event) -> anyhow::Result<()> {
        match event {
            emitter::Event::Data(message) => check_message_size(message, self.size_limit),
            _ => Ok(()),
        }
    }

    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyStore for Recorder {
    fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    async fn save_keys(&self, keys: &Map<String, Value>) -> anyhow::Result<()> {
        self.record_keys(keys.clone());
        Ok(())
    }
}

impl KeySaver for Recorder {
    fn update_keys(
        self: Arc<Self>,
        keys: Map<String, Value>,
    ) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(update_keys(self, keys))
    }
}

/// Records the events of a module.
pub(super) struct RecordingSink(pub(super) Arc<Recorder>);

impl RecordingSink {
    /// Records an event, unless it is too large to be published.
    async fn record(&self, event: emitter::Event) -> anyhow::Result<Confirm> {
        let recorder = &self.0;
        match event {
            emitter::Event::UpdateKeys(keys) => update_keys(recorder.clone(), keys).await?,
            event => {
                recorder.check_size(&event)?;
                let event = Event::try_from(event)?;
                recorder.events().push(event);
            }
        }
        Ok(Confirm::ready(Ok(())))
    }

    fn report(&self, error: &anyhow::Error) -> AlreadyReported {
        let report = ErrorReport::from_error(error);
        self.0.events().push(Event::Error(report.message.clone()));
        AlreadyReported(report.message)
    }
}

impl EventSink for RecordingSink {
    fn emit(&self, event: emitter::Event) -> BoxFuture<'_, anyhow::Result<Confirm>> {
        let is_data = matches!(event, emitter::Event::Data(_));
        Box::pin(async move {
            match self.record(event).await {
                Err(error) if is_data => Err(self.report(&error).into()),
                result => result,
            }
        })
    }

    fn emit_unreported(&self, event: emitter::Event) -> BoxFuture<'_, anyhow::Result<Confirm>> {
        Box::pin(self.record(event))
    }

    fn report_failure(&self, outcome: BoxFuture<'static, anyhow::Result<()>>) {
        // Nothing is waited for in memory.
        if let Some(Err(error)) = outcome.now_or_never() {
            self.report(&error);
        }
    }
}

impl CredentialStore for Recorder {
    fn config(&self) -> Arc<Value> {
        self.config
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn reload(&self) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn save<'a>(
        &'a self,
        keys: Map<String, Value>,
        _queued: &'a AtomicBool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.record_keys(keys);
        Box::pin(std::future::ready(Ok(())))
    }

    fn update_local(&self, keys: &Map<String, Value>) {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let Value::Object(members) = Arc::make_mut(&mut config) {
            members.extend(keys.clone());
        }
    }

    fn warn(&self, warning: CredentialWarning) -> BoxFuture<'_, ()> {
        self.events().push(Event::Error(warning.message));
        Box::pin(std::future::ready(()))
    }

    fn secret<'a>(&'a self, id: &'a str, _: bool) -> BoxFuture<'a, Result<Value, StoreError>> {
        let message = format!("the harness has no platform, so it has no secret {id}");
        Box::pin(std::future::ready(Err(StoreError::transient(message))))
    }
}
