//! One message's events on their way out: header tables, passthrough, limits, encryption, and who waits for what.

use super::{
    Engine, bodies, decode, now_ms,
    step::{Account, Nowhere, store_error},
};
use crate::{
    broker::transport::{Confirm, Publication, Route, Transport},
    component::{
        context::{BoxFuture, Event, EventSink, Taken},
        error::AlreadyReported,
        message::HttpReply,
    },
    oauth2::{CredentialStore, CredentialWarning, StoreError},
    protocol::{Encoding, ErrorReport, Headers, IncomingHeaders, Json, Object},
};
use anyhow::Context as _;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::sync::{
    Arc, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::OnceCell;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tracing::Instrument;

/// Which of its two kinds an error event is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The message fails with it: who waits for a reply is told too.
    Fails,
    /// The message goes on.
    GoesOn,
}

/// An event that is on its way, and who waits for it.
struct Hold {
    tracker: TaskTracker,
    _token: TaskTrackerToken,
}

impl Hold {
    fn on(tracker: &TaskTracker) -> Self {
        Self {
            tracker: tracker.clone(),
            _token: tracker.token(),
        }
    }

    /// Does what has to be waited for in a task of its own: it goes on whether or not the module waits.
    fn spawn(&self, work: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> Taken {
        let done = self.tracker.spawn(work.in_current_span());
        Box::pin(async move { done.await.context("waiting for an event to be taken")? })
    }
}

/// A message being worked on: what its events have in common, and whether one of them has failed it.
pub(super) struct Flight<T: Transport> {
    pub(super) engine: Arc<Engine<T>>,
    pub(super) number: u64,
    pub(super) incoming: IncomingHeaders,
    /// The headers that every event carries.
    base: Headers,
    /// The message as it came, for error events and rebounds.
    pub(super) body: Bytes,
    /// What every data event hands on; known once the message is read. Bodies may be references.
    passthrough: OnceLock<Object>,
    /// The same with the bodies themselves, fetched once for all events.
    whole_passthrough: OnceCell<Object>,
    pub(super) failed: AtomicBool,
    ended: AtomicBool,
    /// Everything that was emitted before the end and is not confirmed yet.
    pending: TaskTracker,
}

impl<T: Transport> Flight<T> {
    pub(super) fn new(
        engine: Arc<Engine<T>>,
        number: u64,
        incoming: IncomingHeaders,
        body: Bytes,
    ) -> Arc<Self> {
        let base = incoming.base_table(&engine.identity, &engine.additional_headers, now_ms());
        Arc::new(Self {
            engine,
            number,
            incoming,
            base,
            body,
            passthrough: OnceLock::new(),
            whole_passthrough: OnceCell::new(),
            failed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            pending: TaskTracker::new(),
        })
    }

    /// Decides what data events hand on of the message as it came in.
    pub(super) fn set_passthrough(&self, message: &Object) {
        if !self.engine.step.is_passthrough {
            return;
        }
        let mut steps = bodies::passthrough_of(message).unwrap_or_default();
        if let (true, Some(step)) = (
            self.engine.settings.no_self_passthrough,
            &self.incoming.step_id,
        ) {
            let mut entry = message.clone();
            entry.remove("passthrough");
            steps.set(step, entry.to_json());
        }
        let _ = self.passthrough.set(steps);
    }

    /// No more events count for this message. Waits until all that were emitted are confirmed, and tells whether the
    /// message has failed.
    ///
    /// Bounded by the engine: when the time to shut down is over, the message is abandoned here.
    pub(super) async fn end(&self) -> bool {
        self.ended.store(true, Ordering::SeqCst);
        self.pending.close();
        self.pending.wait().await;
        self.failed.load(Ordering::SeqCst)
    }

    /// A failure that the module may not look at: it is reported where it happens.
    async fn reported(&self, error: anyhow::Error) -> anyhow::Error {
        let report = ErrorReport::of(&error);
        // Where even this fails, it has been logged.
        let _ = self.report(&report).await;
        AlreadyReported(report.message).into()
    }

    pub(super) fn headers(&self) -> Headers {
        let mut headers = self.base.clone();
        headers.insert("messageId".into(), uuid::Uuid::new_v4().to_string().into());
        headers
    }

    /// Keeps the message from ending while an event is on its way, up to its confirmation; after the end, the process.
    /// It is asked once for each event: an event that began before the end is part of the message.
    fn hold(&self) -> Hold {
        let hold = Hold::on(&self.pending);
        // In this order: an end that comes between waits for what is held.
        if self.ended.load(Ordering::SeqCst) {
            Hold::on(&self.engine.late)
        } else {
            hold
        }
    }

    /// Waits for a confirmation. Where there is none, the message has failed.
    fn confirm(self: &Arc<Self>, hold: &Hold, receipt: Confirm) -> Taken {
        let flight = self.clone();
        hold.spawn(async move {
            match receipt.await {
                Ok(()) => Ok(()),
                Err(error) => Err(flight.reported(error.into()).await),
            }
        })
    }

    /// Reports a failure in a task of its own; the module gets an error that says it is reported.
    async fn fail(self: &Arc<Self>, hold: &Hold, error: anyhow::Error) -> anyhow::Error {
        let flight = self.clone();
        match hold
            .spawn(async move { Err(flight.reported(error).await) })
            .await
        {
            Ok(()) => anyhow::anyhow!("a failure was reported"),
            Err(reported) => reported,
        }
    }

    fn publish(&self, route: Route, headers: Headers, body: impl Into<Bytes>) -> Confirm {
        self.engine.transport.publish(Publication {
            route,
            headers,
            body: body.into(),
        })
    }

    async fn data(&self, mut message: Object) -> anyhow::Result<Confirm> {
        let engine = &self.engine;
        let mut own_headers = decode::headers_of(&message);
        let mut passthrough = self.passthrough.get().cloned().unwrap_or_default();
        message.set("headers", Json::of(&own_headers)?);
        if engine.step.is_passthrough {
            message.remove("passthrough");
        }
        if engine.settings.emit_lightweight {
            let threshold = engine.settings.lightweight_threshold;
            if engine
                .bodies
                .externalize(&mut message, &mut passthrough, threshold)
                .await?
            {
                own_headers = decode::headers_of(&message);
            }
        } else if engine.step.is_passthrough {
            let limit = engine.settings.outgoing_size_limit;
            let whole = self.whole_passthrough.get_or_try_init(async || {
                engine.bodies.internalize(&mut passthrough, limit).await?;
                anyhow::Ok(passthrough)
            });
            passthrough = whole.await?.clone();
        } else {
            engine
                .bodies
                .internalize_own(&mut message, engine.settings.outgoing_size_limit)
                .await?;
        }
        if engine.step.is_passthrough {
            if !engine.settings.no_self_passthrough {
                passthrough.set(&engine.identity.step_id, message.to_json());
            }
            message.set("passthrough", passthrough.to_json());
        }
        let count = own_headers.len();
        let custom_key = decode::take_routing_key(&mut own_headers);
        if own_headers.len() < count {
            message.set("headers", Json::of(&own_headers)?);
        }
        let id = message.get("id").and_then(id_text);
        let version = engine.settings.protocol_version;
        bodies::fits_whole(
            &message,
            Encoding::of(version),
            engine.settings.outgoing_size_limit,
        )?;
        let body = self.sealed(message.to_vec(), Encoding::of(version))?;
        // It may have to wait for its turn: once is enough.
        drop((message, passthrough));
        engine.throttles.data.turn().await;
        let mut headers = self.base.clone();
        headers.insert(
            "messageId".into(),
            id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string())
                .into(),
        );
        headers.insert("end".into(), now_ms().into());
        headers.insert("protocolVersion".into(), version.into());
        engine.metrics.data.add(1);
        Ok(self.publish(custom_key.map_or(Route::Data, Route::Custom), headers, body))
    }

    fn sealed(&self, plain: Vec<u8>, encoding: Encoding) -> anyhow::Result<Bytes> {
        let body = self.engine.cipher.encrypt(plain, encoding);
        let limit = self.engine.settings.outgoing_size_limit;
        bodies::fits(body.len(), limit)?;
        Ok(body.into())
    }

    async fn snapshot(&self, kind: &str, body: Json, apply: impl FnOnce(&mut Value)) -> Confirm {
        self.engine.throttles.snapshot.turn().await;
        let mut headers = self.headers();
        headers.insert("snapshotEvent".into(), kind.into());
        self.engine.metrics.snapshots.add(1);
        let mut snapshot = self
            .engine
            .step
            .snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        apply(&mut snapshot);
        self.publish(Route::Snapshot, headers, body.bytes())
    }

    /// Every configured way takes the keys, the platform's queue and its REST API at once. One that has taken them is
    /// enough for the next message to begin with them.
    async fn update_keys(&self, keys: &Map<String, Value>) -> anyhow::Result<()> {
        self.offer_keys(&self.engine.account, keys, &AtomicBool::new(false))
            .await
    }

    /// The same with an account's patience. The queue is asked only where it has not `taken` these keys already; that it
    /// has is known even where this future is dropped.
    async fn offer_keys(
        &self,
        rest: &Account,
        keys: &Map<String, Value>,
        taken: &AtomicBool,
    ) -> anyhow::Result<()> {
        let engine = &self.engine;
        let _saving = engine.step.saving.lock().await;
        let account = engine.step.account();
        let by_queue = engine.settings.amqp.update_keys_key.is_some();
        if account.is_none() && !by_queue {
            let why = "the step's configuration has no `_account`, and ELASTICIO_UPDATE_KEYS_ROUTING_KEY is not set";
            return Err(Nowhere(why).into());
        }
        let queue = async {
            if by_queue && !taken.load(Ordering::SeqCst) {
                let version = engine.settings.protocol_version;
                let plain = serde_json::to_vec(&json!({ "accountId": account, "keys": keys }))?;
                let mut headers = self.headers();
                headers.insert("end".into(), now_ms().into());
                headers.insert("protocolVersion".into(), version.into());
                let body = engine.cipher.encrypt(plain, Encoding::of(version));
                self.publish(Route::UpdateKeys, headers, body).await?;
                taken.store(true, Ordering::SeqCst);
                engine.step.merge_keys(keys);
            }
            anyhow::Ok(())
        };
        let rest = async {
            if let Some(account) = &account {
                rest.put(account, keys).await?;
                engine.step.merge_keys(keys);
            }
            anyhow::Ok(())
        };
        let (queue, rest) = tokio::join!(queue, rest);
        rest.and(queue)
    }

    fn http_reply(&self, reply: &HttpReply) -> anyhow::Result<Confirm> {
        let key = self.incoming.reply_to.clone().context(
            "Component emitted 'httpReply' event but 'reply_to' was not found in AMQP headers",
        )?;
        let mut body = serde_json::to_value(reply)?;
        if let Some(Value::Object(own_headers)) = body.get_mut("headers") {
            decode::take_routing_key(own_headers);
        }
        let body = self.sealed(serde_json::to_vec(&body)?, Encoding::Base64)?;
        let mut headers = self.headers();
        headers.insert("protocolVersion".into(), 1.into());
        Ok(self.publish(Route::Reply(key), headers, body))
    }

    fn rebound(self: &Arc<Self>, hold: &Hold, reason: &str) -> anyhow::Result<Taken> {
        let handle = self
            .engine
            .in_flight
            .current(self.number)
            .context("a message cannot be rebounded once it is settled")?;
        Ok(
            match self
                .engine
                .transport
                .rebound(&handle, self.body.clone(), reason)
            {
                Ok(receipt) => {
                    self.engine.metrics.rebounds.add(1);
                    self.confirm(hold, receipt)
                }
                Err(limit) => {
                    // As the platform knows it: an error event without an end, and the message is still acknowledged.
                    let flight = self.clone();
                    let report = ErrorReport::new(limit.to_string());
                    hold.spawn(async move {
                        flight
                            .publish_error(&report, flight.headers(), Fate::Fails)
                            .await
                    })
                }
            },
        )
    }

    /// Sends an event on its way. What comes back waits for the platform to have taken it.
    pub(super) async fn emit(self: &Arc<Self>, event: Event) -> anyhow::Result<Taken> {
        let hold = self.hold();
        let flight = self.clone();
        match event {
            Event::Data(message) => match self.data(message).await {
                Ok(receipt) => Ok(self.confirm(&hold, receipt)),
                Err(error) => Err(self.fail(&hold, error).await),
            },
            Event::Error(report) => Ok(hold.spawn(async move { flight.report(&report).await })),
            Event::Rebound(reason) => self.rebound(&hold, &reason),
            Event::Snapshot(state) => {
                let value = state.parse().context("reading the snapshot back")?;
                Ok(self.confirm(
                    &hold,
                    self.snapshot("snapshot", state, |kept| *kept = value).await,
                ))
            }
            Event::UpdateSnapshot(members) => {
                anyhow::ensure!(
                    !members.contains_key("$set"),
                    "`$set` is not supported in a snapshot update: give the members themselves"
                );
                let body = Json::of(&members)?;
                let merge = |kept: &mut Value| match kept {
                    Value::Object(kept) => kept.extend(members),
                    other => *other = Value::Object(members),
                };
                Ok(self.confirm(&hold, self.snapshot("updateSnapshot", body, merge).await))
            }
            Event::UpdateKeys(keys) => Ok(hold.spawn(async move {
                let saved = match &flight.engine.session {
                    Some(session) => {
                        let (keys, _turn) = session.normalised(keys, &*flight).await;
                        flight.update_keys(&keys).await
                    }
                    None => flight.update_keys(&keys).await,
                };
                match saved {
                    Ok(()) => Ok(()),
                    Err(error) => Err(flight.reported(error).await),
                }
            })),
            Event::HttpReply(reply) => Ok(self.confirm(&hold, self.http_reply(&reply)?)),
        }
    }
}

/// Tokens that were refreshed for this message.
impl<T: Transport> CredentialStore for Flight<T> {
    fn config(&self) -> Arc<Value> {
        self.engine.step.config()
    }

    fn reread(&self) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(async { self.engine.account.quickly().reread().await })
    }

    fn save<'a>(
        &'a self,
        keys: Map<String, Value>,
        taken: &'a AtomicBool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let saved = self
                .offer_keys(&self.engine.account.quickly(), &keys, taken)
                .await;
            saved.map_err(|error| store_error(&error))
        })
    }

    fn remember(&self, keys: &Map<String, Value>) {
        self.engine.step.merge_keys(keys);
    }

    /// An error event without an end: the message goes on, and its own reply comes.
    fn report(&self, trouble: CredentialWarning) -> BoxFuture<'_, ()> {
        let report = ErrorReport {
            name: trouble.name.to_owned(),
            ..ErrorReport::new(trouble.message)
        };
        Box::pin(async move {
            // Where even this fails, it has been logged.
            let _ = self
                .publish_error(&report, self.headers(), Fate::GoesOn)
                .await;
        })
    }

    fn secret<'a>(
        &'a self,
        id: &'a str,
        refresh: bool,
    ) -> BoxFuture<'a, Result<Value, StoreError>> {
        Box::pin(async move { self.engine.account.quickly().secret(id, refresh).await })
    }
}

/// Where a module's emitter leads to.
pub(super) struct Sink<T: Transport>(pub(super) Arc<Flight<T>>);

impl<T: Transport> EventSink for Sink<T> {
    fn emit(&self, event: Event) -> BoxFuture<'_, anyhow::Result<Taken>> {
        Box::pin(self.0.emit(event))
    }
}

/// A message's own id as a header: text, or a number as text.
fn id_text(id: &Json) -> Option<String> {
    match id.parse().ok()? {
        Value::String(id) if !id.is_empty() => Some(id),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}
