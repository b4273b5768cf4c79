//! One message that is being processed, and the events that it emits.
//!
//! All events of a module reach the transport through [`InFlightMessage::emit`]. Its confirm resolves when the broker
//! has confirmed the event, or after a failure was reported to the user. [`InFlightMessage::finish`] waits for all
//! confirms and returns the verdict.

use super::{
    Engine, bodies, decode,
    deduplication::{ContentHash, EventIds, content_hash},
    ending::Ending,
    event_room::TakenRoom,
    hooks,
    ids::{message_id_text, new_message_id, write_ids},
    keys, now_ms,
    original::Original,
    pending::{PendingGuard, WaitingEvents},
    spans,
};
use crate::{
    broker::transport::{Confirm, ReboundLimitExceeded, Route, Transport, Verdict},
    codes::{self, Code, Coded},
    component::{
        context::BoxFuture,
        emitter::{Event, EventSink, invalid},
        error::{AlreadyReported, code_of},
        message::HttpReply,
    },
    monitoring::{EventLabel, trace},
    protocol::{Encoding, ErrorReport, Headers, IncomingHeaders, Json, Object, Outgoing},
};
use anyhow::Context as _;
use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::{Map, Value};
use std::sync::{
    Arc, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tokio::{runtime::Handle, sync::OnceCell};
use tokio_util::task::TaskTracker;
use tracing::Span;

/// A message that is being processed: what its events have in common, and its verdict.
pub(super) struct InFlightMessage<T: Transport> {
    pub(super) engine: Arc<Engine<T>>,
    number: u64,
    /// The message in its trace, if it has one.
    pub(super) span: Span,
    /// The message in the log.
    pub(super) log_span: Span,
    pub(super) incoming: IncomingHeaders,
    /// The headers that every event has.
    base_headers: Headers,
    /// The ids of its events, with `DEDUPLICATE`. Otherwise they are random.
    event_ids: Option<Arc<EventIds>>,
    /// The message as it was delivered, for error events and rebounds; set when it is read.
    original: OnceLock<Original>,
    /// The passthrough of every data event; set once the message is read. Bodies may be references.
    passthrough: OnceLock<Object>,
    /// The same passthrough with all bodies inlined, downloaded once for all events.
    inlined_passthrough: OnceCell<Object>,
    /// Set once the message has failed. Otherwise it is acknowledged.
    verdict: OnceLock<Verdict>,
    finished: AtomicBool,
    /// The module took too long: it can emit nothing more for this message.
    expired: AtomicBool,
    /// Tracks every event that was emitted before the end and is not confirmed yet.
    pending: TaskTracker,
    /// How many events were emitted and are not published: they wait for a rate limit, for room or for an upload.
    waiting: WaitingEvents,
}

impl<T: Transport> InFlightMessage<T> {
    pub(super) fn new(
        engine: Arc<Engine<T>>,
        number: u64,
        incoming: IncomingHeaders,
        event_ids: Option<Arc<EventIds>>,
    ) -> Arc<Self> {
        let base_headers =
            incoming.base_headers(&engine.identity, &engine.additional_headers, now_ms());
        Arc::new(Self {
            engine,
            number,
            span: trace::current(),
            log_span: Span::current(),
            incoming,
            base_headers,
            event_ids,
            original: OnceLock::new(),
            passthrough: OnceLock::new(),
            inlined_passthrough: OnceCell::new(),
            verdict: OnceLock::new(),
            finished: AtomicBool::new(false),
            expired: AtomicBool::new(false),
            pending: TaskTracker::new(),
            waiting: WaitingEvents::default(),
        })
    }

    pub(super) fn set_original(&self, original: Original) {
        let _ = self.original.set(original);
    }

    pub(super) fn original(&self) -> &Original {
        self.original.get().unwrap_or(&Original::Withheld)
    }

    pub(super) fn incoming_encoding(&self) -> Encoding {
        Encoding::of(self.incoming.protocol_version)
    }

    /// Builds the passthrough of data events from the incoming message.
    pub(super) fn set_passthrough(&self, input: &Object) {
        if !self.engine.step.is_passthrough {
            return;
        }
        let mut steps = bodies::passthrough_of(input).unwrap_or_default();
        if let (true, Some(step)) = (
            self.engine.settings.no_self_passthrough,
            &self.incoming.step_id,
        ) {
            let mut entry = input.clone();
            entry.remove("passthrough");
            steps.set(step, entry.to_json());
        }
        let _ = self.passthrough.set(steps);
    }

    /// Waits until every event that was emitted so far is confirmed. Later events do not count for this message.
    ///
    /// The engine limits the wait: it drops this future when the time to shut down is over.
    pub(super) async fn finish(&self) -> Verdict {
        self.finished.store(true, Ordering::SeqCst);
        self.pending.close();
        if !self.pending.is_empty() {
            let slow = "Events of this message have been waiting for minutes for the broker to confirm them";
            hooks::warn_while_slow(codes::CONFIRMS_SLOW, slow, self.pending.wait()).await;
        }
        *self.verdict.get().unwrap_or(&Verdict::Acknowledged)
    }

    /// Returns whether the broker has not confirmed all events that were emitted so far.
    pub(super) fn has_waiting_events(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The module took too long. What its remaining tasks emit for this message is refused.
    pub(super) fn expire(&self) {
        self.expired.store(true, Ordering::SeqCst);
    }

    /// The message has failed: it will be rejected.
    pub(super) fn reject(&self) {
        let _ = self.verdict.set(Verdict::Rejected);
    }

    /// Returns an error after the time of the module is over.
    fn check_time(&self) -> anyhow::Result<()> {
        if self.expired.load(Ordering::SeqCst) {
            let text = "the module took too long for this message (ELASTICIO_PROCESS_TIMEOUT); nothing more can be emitted for it";
            return Err(Coded::new(codes::MODULE_TIMEOUT, text).into());
        }
        Ok(())
    }

    /// Publishes an event. Events are published in the order in which these calls resolve. The confirm resolves when
    /// the broker has taken the event, or after a failure was reported to the user.
    pub(super) async fn emit(self: &Arc<Self>, event: Event) -> anyhow::Result<Confirm> {
        self.check_time()?;
        let guard = self.track_event();
        let message = self.clone();
        let _waiting = self.waiting.enter();
        let (ending, confirm) = Ending::reported(self, &guard);
        match event {
            Event::Data(data) => {
                if let Err(error) = self.publish_data(data, ending).await {
                    let reporting = guard.spawn(async move { message.report_error(error).await });
                    return Err(reporting.await.context("reporting an error")?);
                }
            }
            Event::Snapshot(state) => self.publish_snapshot(state, ending).await?,
            Event::UpdateSnapshot(members) => {
                self.publish_snapshot_update(members, ending).await?;
            }
            Event::HttpReply(reply) => self.publish_reply(&reply, ending).await?,
            Event::Rebound(reason) => {
                if let Err(limit) = self.publish_rebound(&*self.handle()?, &reason, ending) {
                    let reporting = async move { message.report_rebound_limit(&limit).await };
                    return guard.finish(reporting).await;
                }
            }
            Event::Error(report) => {
                return guard
                    .finish(async move { message.report(&report).await })
                    .await;
            }
            Event::UpdateKeys(keys) => {
                return guard
                    .finish(async move { message.save_emitted_keys(keys).await })
                    .await;
            }
        }
        Ok(confirm)
    }

    /// Publishes an event as [`emit`](Self::emit) does. The caller reports a failure to publish data.
    async fn emit_unreported(self: &Arc<Self>, event: Event) -> anyhow::Result<Confirm> {
        let Event::Data(data) = event else {
            return self.emit(event).await;
        };
        self.check_time()?;
        let guard = self.track_event();
        let _waiting = self.waiting.enter();
        let (ending, confirm) = Ending::unreported(self, &guard);
        self.publish_data(data, ending).await?;
        Ok(confirm)
    }

    /// Reports the failure of an outcome in a task. Without a runtime there is no way to publish: then the log has it.
    fn report_failure(self: &Arc<Self>, outcome: BoxFuture<'static, anyhow::Result<()>>) {
        let (guard, message) = (self.track_event(), self.clone());
        if Handle::try_current().is_ok() {
            guard.spawn(async move {
                if let Err(error) = outcome.await {
                    message.report_error(error).await;
                }
            });
        } else if let Some(Err(error)) = outcome.now_or_never() {
            self.reject();
            tracing::error!(code = %codes::EVENT_NOT_PUBLISHED, "A message could not be emitted: {error:#}");
        }
    }

    /// Keeps the message from finishing until the guard is dropped. If the message has finished already, the guard
    /// keeps the process from stopping.
    ///
    /// An event belongs to the message if it was emitted before the end, so this is called once for each event.
    fn track_event(&self) -> PendingGuard {
        let guard = PendingGuard::new(&self.pending);
        // The guard is created before the flag is read: `finish` sets the flag first, and then waits for the guards
        // that exist.
        if self.finished.load(Ordering::SeqCst) {
            PendingGuard::new(&self.engine.late_events)
        } else {
            guard
        }
    }

    /// Reports that an event could not be published.
    pub(super) async fn report_error(&self, error: anyhow::Error) -> anyhow::Error {
        let code = code_of(&error).unwrap_or(codes::EVENT_NOT_PUBLISHED);
        self.report_as(code, &error).await
    }

    /// Publishes an error event at once, because the module may ignore the error.
    async fn report_as(&self, code: Code, error: &anyhow::Error) -> anyhow::Error {
        let report = ErrorReport::from_error(error).with_code(code);
        // An error event that cannot be published has been logged.
        let _ = self.report(&report).await;
        AlreadyReported(report.message).into()
    }

    async fn save_emitted_keys(self: &Arc<Self>, keys: Map<String, Value>) -> anyhow::Result<()> {
        match keys::update_keys(self.clone(), keys).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.report_as(codes::KEYS_NOT_SAVED, &error).await),
        }
    }

    async fn publish_data(&self, mut data: Object, ending: Ending<T>) -> anyhow::Result<()> {
        let derived = self.derived_id("data", || content_hash(&data));
        let mut own_headers = decode::headers_of(&data);
        data.set("headers", Json::of(&own_headers)?);
        let (mut data, uploaded) = self.with_passthrough(data).await?;
        if uploaded {
            own_headers = decode::headers_of(&data.message);
        }
        let count = own_headers.len();
        let custom_key = decode::take_routing_key(&mut own_headers);
        if own_headers.len() < count {
            data.message.set("headers", Json::of(&own_headers)?);
        }
        let id = data.message.get("id").and_then(message_id_text);
        let settings = &self.engine.settings;
        let encoding = Encoding::of(settings.protocol_version);
        bodies::check_size_before_encoding(&data, encoding, settings.outgoing_size_limit)?;
        self.engine.rate_limiters.data.acquire().await;
        let room = self.room(encoding.encrypted_len(data.least_len())).await;
        let body = self.encrypt(data.to_vec(), encoding)?;
        drop(data);
        let mut headers = self.base_headers.clone();
        write_ids(&mut headers, id, derived);
        headers.insert("end".into(), now_ms().into());
        let version = settings.protocol_version;
        headers.insert("protocolVersion".into(), version.into());
        self.engine.metrics.events.of(EventLabel::Data).inc();
        let route = custom_key.map_or(Route::Data, Route::Custom);
        self.publish_to(ending.into_sender(room), route, headers, body);
        Ok(())
    }

    /// Adds the passthrough, and uploads or inlines bodies (wire-contract: Passthrough and lightweight messages).
    /// Returns true if the message's own body was uploaded, which changes its headers.
    async fn with_passthrough(&self, mut data: Object) -> anyhow::Result<(Outgoing, bool)> {
        let Engine {
            step,
            bodies,
            settings,
            identity,
            ..
        } = &*self.engine;
        let limit = settings.outgoing_size_limit;
        let mut passthrough = self.passthrough.get().cloned().unwrap_or_default();
        if step.is_passthrough {
            data.remove("passthrough");
        }
        let mut uploaded = false;
        if settings.emit_lightweight {
            let threshold = settings.lightweight_threshold;
            uploaded = bodies
                .upload_bodies(&mut data, &mut passthrough, threshold)
                .await?;
        } else if step.is_passthrough {
            let inlined = self.inlined_passthrough.get_or_try_init(async || {
                bodies.inline_bodies(&mut passthrough, limit).await?;
                anyhow::Ok(passthrough)
            });
            passthrough = inlined.await?.clone();
        } else {
            bodies.inline_own_passthrough(&mut data, limit).await?;
        }
        if !step.is_passthrough {
            return Ok((Outgoing::new(data), uploaded));
        }
        let own = (!settings.no_self_passthrough).then_some(&*identity.step_id);
        let outgoing = Outgoing::with_passthrough(data, passthrough, own);
        Ok((outgoing, uploaded))
    }

    /// Waits for the memory of an event. Nothing may be awaited between this and the publish: a future that holds room and
    /// is not polled would keep others waiting.
    async fn room(&self, body: usize) -> Option<TakenRoom> {
        Some(self.engine.event_room.take(body).await)
    }

    fn encrypt(&self, plain: Vec<u8>, encoding: Encoding) -> anyhow::Result<Bytes> {
        let body = self.engine.cipher.encrypt(plain, encoding);
        bodies::check_size(body.len(), self.engine.settings.outgoing_size_limit)?;
        Ok(body.into())
    }

    async fn publish_snapshot(&self, state: Json, ending: Ending<T>) -> anyhow::Result<()> {
        let value = state.parse().context("reading the snapshot back")?;
        let change = |snapshot: &mut Value| *snapshot = value;
        self.change_snapshot("snapshot", state, change, ending)
            .await;
        Ok(())
    }

    async fn publish_snapshot_update(
        &self,
        members: Map<String, Value>,
        ending: Ending<T>,
    ) -> anyhow::Result<()> {
        if members.contains_key("$set") {
            let text = "`$set` is not supported in a snapshot update: give the members themselves";
            return Err(invalid(text).into());
        }
        let update = Json::of(&members)?;
        let merge = |snapshot: &mut Value| match snapshot {
            Value::Object(snapshot) => snapshot.extend(members),
            other => *other = Value::Object(members),
        };
        self.change_snapshot("updateSnapshot", update, merge, ending)
            .await;
        Ok(())
    }

    async fn change_snapshot(
        &self,
        event: &str,
        body: Json,
        change: impl FnOnce(&mut Value),
        ending: Ending<T>,
    ) {
        self.engine.rate_limiters.snapshot.acquire().await;
        let room = self.room(body.as_bytes().len()).await;
        let mut headers = self.new_headers();
        headers.insert("snapshotEvent".into(), event.into());
        self.engine.metrics.events.of(EventLabel::Snapshot).inc();
        // Locked until the event is queued, so that the platform sees changes in the order in which they are made.
        let mut snapshot = self
            .engine
            .step
            .snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut snapshot);
        let sender = ending.into_sender(room);
        self.publish_to(sender, Route::Snapshot, headers, body.bytes());
    }

    async fn publish_reply(&self, reply: &HttpReply, ending: Ending<T>) -> anyhow::Result<()> {
        let key = self.incoming.reply_to.clone().context(invalid(
            "Component emitted 'httpReply' event but 'reply_to' was not found in AMQP headers",
        ))?;
        let mut body = serde_json::to_value(reply)?;
        if let Some(Value::Object(own_headers)) = body.get_mut("headers") {
            decode::take_routing_key(own_headers);
        }
        let plain = serde_json::to_vec(&body)?;
        let room = self.room(Encoding::Base64.encrypted_len(plain.len())).await;
        let body = self.encrypt(plain, Encoding::Base64)?;
        let mut headers = self.new_headers();
        headers.insert("protocolVersion".into(), 1.into());
        self.publish_to(ending.into_sender(room), Route::Reply(key), headers, body);
        Ok(())
    }

    fn publish_rebound(
        &self,
        handle: &T::Handle,
        reason: &str,
        ending: Ending<T>,
    ) -> Result<(), ReboundLimitExceeded> {
        let transport = &self.engine.transport;
        let body = self
            .original()
            .body(&self.engine.cipher, self.incoming_encoding());
        transport.rebound_to(handle, body, reason, || ending.into_sender(None))?;
        self.engine.metrics.events.of(EventLabel::Rebound).inc();
        self.span.record(spans::REBOUNDED, true);
        Ok(())
    }

    /// The handle of the delivery that this message will settle: the one it started with, or a redelivery.
    fn handle(&self) -> anyhow::Result<Arc<T::Handle>> {
        self.engine
            .in_flight
            .current(self.number)
            .context(invalid("a settled message cannot be rebounded"))
    }

    /// Returns the id that the next event with this content has whenever the message is processed. Returns none if its id is
    /// random.
    pub(super) fn derived_id(
        &self,
        kind: &str,
        content: impl FnOnce() -> ContentHash,
    ) -> Option<String> {
        let ids = self.event_ids.as_ref()?;
        ids.next(kind, &content())
    }

    /// Returns the headers of an event with a new id.
    pub(super) fn new_headers(&self) -> Headers {
        let mut headers = self.base_headers.clone();
        headers.insert("messageId".into(), new_message_id().into());
        headers
    }
}

/// The sink of a module's emitter.
pub(super) struct MessageSink<T: Transport>(pub(super) Arc<InFlightMessage<T>>);

impl<T: Transport> EventSink for MessageSink<T> {
    fn emit(&self, event: Event) -> BoxFuture<'_, anyhow::Result<Confirm>> {
        Box::pin(self.0.emit(event))
    }

    fn emit_unreported(&self, event: Event) -> BoxFuture<'_, anyhow::Result<Confirm>> {
        Box::pin(self.0.emit_unreported(event))
    }

    fn report_failure(&self, outcome: BoxFuture<'static, anyhow::Result<()>>) {
        self.0.report_failure(outcome);
    }
}
