//! One delivery, from its arrival to its settlement.

use super::{
    Engine, Shutdown, decode,
    deduplication::Claim,
    emit::{InFlightMessage, MessageSink},
    hooks,
    in_flight::Arrival,
    original::Original,
    spans,
};
use crate::{
    broker::{
        message_memory::BodyRoom,
        transport::{Deliveries, Delivery, SettleOutcome, Transport, TransportError, Verdict},
    },
    clients::object_storage::NoMemory,
    codes::{self, Coded},
    component::{
        context::ContextParts,
        emitter::{Emitter, Event},
        error::{ModuleOutcome, code_of, report_of},
    },
    monitoring::{Outcome, Skipped, WaitReason, trace},
    oauth2::AuthorizedClient,
    protocol::{Encoding, ErrorReport, IncomingHeaders, MAX_LOGGED_ID, Object, truncated},
};
use futures_util::FutureExt;
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::sync::SemaphorePermit;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// The memory of a message beside that of its delivery: for a downloaded body, and for its values. All is given back before
/// the message is settled.
type TakenMemory<'a> = (Option<BodyRoom>, Option<SemaphorePermit<'a>>);

impl<T: Transport> Engine<T> {
    /// Processes deliveries, each in a task of its own, until there are no more or the process is asked to stop.
    pub(super) async fn run(
        self: Arc<Self>,
        deliveries: Deliveries<T::Handle>,
        shutdown: &Shutdown,
    ) -> Result<(), TransportError> {
        let tasks = TaskTracker::new();
        let _abandon = AbandonOnDrop(&self);
        // In a task, because this future may run on a thread of its own. The task of a message begins on the thread that
        // has accepted it, so that its delivery wakes one thread and not two.
        let mut accepting =
            TaskTracker::new().spawn(self.clone().accept_all(deliveries, tasks.clone()));
        let broker_error = tokio::select! {
            biased;
            () = shutdown.graceful.cancelled() => None,
            ended = &mut accepting => match ended {
                Ok(error) => error,
                Err(panic) => Some(TransportError(format!("accepting messages: {panic}"))),
            },
        };
        self.clone().stop(accepting, tasks, broker_error).await
    }

    /// Accepts deliveries until there are no more. Returns the broker's error that has ended them.
    async fn accept_all(
        self: Arc<Self>,
        mut deliveries: Deliveries<T::Handle>,
        tasks: TaskTracker,
    ) -> Option<TransportError> {
        let abandoned = self.abandoned.clone();
        let accepting = async {
            loop {
                match deliveries.recv().await? {
                    Ok(delivery) => self.accept(delivery, &tasks),
                    Err(error) => return Some(error),
                }
            }
        };
        tokio::select! {
            biased;
            () = abandoned.cancelled() => None,
            error = accepting => error,
        }
    }

    /// Starts a task for a delivery.
    pub(super) fn accept(self: &Arc<Self>, delivery: Delivery<T::Handle>, tasks: &TaskTracker) {
        let delivery = delivery.shared();
        // Registered outside the task: tasks start in any order, and a redelivery must not overtake the first delivery.
        let arrival = self.in_flight.arrive(&delivery);
        let engine = self.clone();
        tasks.spawn(async move {
            let abandoned = engine.abandoned.clone();
            // Biased: once abandoned, no verdict is sent.
            tokio::select! {
                biased;
                () = abandoned.cancelled() => {}
                () = engine.execute(delivery, arrival) => {}
            }
        });
    }

    /// Takes a delivery to its verdict, and settles it exactly once. If this future is dropped first, it settles
    /// nothing, and the broker delivers the message again.
    async fn execute(self: Arc<Self>, delivery: Delivery<Arc<T::Handle>>, arrival: Arrival) {
        self.metrics.received.inc();
        let incoming = IncomingHeaders::read(&delivery.headers);
        let span = tracing::info_span!(
            "message",
            threadId = incoming.thread_id,
            messageId = incoming.message_id,
            parentMessageId = incoming.parent_message_id,
        );
        let span = spans::of_message(span, &delivery, &incoming, &self);
        async {
            match arrival {
                Arrival::New(number) => self.process_once(number, incoming, delivery).await,
                Arrival::Adopted => tracing::info!(
                    "A message that is being processed was delivered again; processing continues"
                ),
                Arrival::AlreadySettled(number, verdict) => {
                    self.metrics.skipped.of(Skipped::Repeat).inc();
                    tracing::info!(
                        "A message that is already processed was delivered again; it gets the same verdict"
                    );
                    self.settle(number, verdict);
                }
            }
            trace::end(&trace::current());
        }
        .instrument(span)
        .await;
    }

    /// Processes a message and settles it. With `DEDUPLICATE`, a message that the step has finished is only settled.
    async fn process_once(
        self: &Arc<Self>,
        number: u64,
        incoming: IncomingHeaders,
        delivery: Delivery<Arc<T::Handle>>,
    ) {
        let Some(deduplication) = &self.deduplication else {
            let message = InFlightMessage::new(self.clone(), number, incoming, None);
            let verdict = self.process_message(message, delivery).await;
            return self.settle(number, verdict);
        };
        let Claim::Process(claimed) = deduplication.claim(&delivery).await else {
            self.metrics.skipped.of(Skipped::Duplicate).inc();
            tracing::info!(
                "A message that the step has finished before arrived again; it is acknowledged without processing"
            );
            return self.settle(number, Verdict::Acknowledged);
        };
        let ids = claimed.event_ids();
        let message = InFlightMessage::new(self.clone(), number, incoming, ids);
        let verdict = self.process_message(message, delivery).await;
        deduplication.end(claimed, verdict).await;
        self.settle(number, verdict);
    }

    /// Runs the module on a message, and waits until all its events are confirmed. The message is dropped at the end: the
    /// broker may send the next one as soon as this one is settled.
    async fn process_message(
        &self,
        message: Arc<InFlightMessage<T>>,
        delivery: Delivery<Arc<T::Handle>>,
    ) -> Verdict {
        // The memory of the body is kept until the events are confirmed: they may hold parts of it.
        let _body = match self.read(&message, delivery).await {
            Ok((input, (body, _values))) => {
                let start = self.metrics.clock.now();
                let result = self.run_module(&message, input).await;
                self.metrics.module_time.observe_since(start);
                self.handle_result(&message, result).await;
                body
            }
            Err(error) => {
                let code = code_of(&error).unwrap_or(codes::MESSAGE_UNREADABLE);
                tracing::error!(%code, "The incoming message could not be read: {error:#}");
                let report = ErrorReport::from_error(&error).with_code(code);
                // An error event that cannot be published has been logged.
                let _ = message.report_without_rate_limit(&report).await;
                None
            }
        };
        message.finish().await
    }

    /// Reads a message, and takes the memory that its body and its module need.
    async fn read(
        &self,
        message: &InFlightMessage<T>,
        delivery: Delivery<Arc<T::Handle>>,
    ) -> anyhow::Result<(Object, TakenMemory<'_>)> {
        if let Some(size) = delivery.withheld {
            message.set_original(Original::Withheld);
            return Err(self.too_large(message, size));
        }
        let Delivery { headers, body, .. } = delivery;
        let mut input = if self.settings.input_is_error {
            message.set_original(Original::Body(body.clone()));
            decode::error_event(&self.cipher, &headers, &body)?
        } else {
            let encoding = Encoding::of(message.incoming.protocol_version);
            let (original, payload) = Original::open(&self.cipher, body, encoding);
            message.set_original(original);
            decode::message(&message.incoming, payload)?
        };
        let mut fetched = None;
        if self.resolves_references
            && let Some(id) = decode::object_id(&input)
        {
            fetched = Some(self.fetch_body(&mut input, &id).await?);
        }
        message.set_passthrough(&input);
        let values = self.value_room(&input).await?;
        Ok((input, (fetched, values)))
    }

    /// Downloads the body of a message from object storage, and returns the memory that it takes. Waits if there is none.
    async fn fetch_body(&self, input: &mut Object, id: &str) -> anyhow::Result<BodyRoom> {
        const SLOW: &str = "The message has been waiting for minutes for memory to download its body; give the container more memory";
        let memory = self.transport.memory();
        let mut room = BodyRoom::empty(memory);
        while let Err(NoMemory(size)) = self.bodies.fetch_body(input, id, &room).await? {
            // Not to wait for what it has itself.
            drop(room);
            let waits = self.metrics.waits.of(WaitReason::BodyMemory);
            let wait = memory.room_for_body(size);
            room = waits
                .count(hooks::warn_while_slow(codes::MEMORY_FULL, SLOW, wait))
                .await;
        }
        Ok(room)
    }

    /// Waits for memory to parse the body. Usually there is some, and then no clock is needed.
    async fn value_room(&self, input: &Object) -> anyhow::Result<Option<SemaphorePermit<'_>>> {
        const SLOW: &str = "The message has been waiting for minutes for memory to parse its body; give the container more memory";
        let mut room = pin!(self.values.room_for(input, &*self.module));
        if let Some(values) = room.as_mut().now_or_never() {
            return values;
        }
        let waits = self.metrics.waits.of(WaitReason::ValueMemory);
        waits
            .count(hooks::warn_while_slow(codes::MEMORY_FULL, SLOW, room))
            .await
    }

    /// The error of a message whose body was not read.
    fn too_large(&self, message: &InFlightMessage<T>, size: usize) -> anyhow::Error {
        let id = message.incoming.message_id.as_deref().unwrap_or_default();
        let memory = &self.settings.amqp.memory;
        let text = format!(
            "message {} has a body of {size} bytes, which does not fit in memory: with a memory limit of {} MB, a body may \
             have {} bytes. Give the container more memory, or send smaller messages",
            truncated(id, MAX_LOGGED_ID),
            memory.limit >> 20,
            memory.largest_body(),
        );
        Coded::new(codes::MESSAGE_TOO_LARGE, text).into()
    }

    /// Runs the module. A panic becomes an error. After `PROCESS_TIMEOUT` the module's future is dropped.
    async fn run_module(
        &self,
        message: &Arc<InFlightMessage<T>>,
        input: Object,
    ) -> anyhow::Result<()> {
        let cancelled = self.stopping.child_token();
        let parts = ContextParts {
            config: self.step.config(),
            snapshot: self.step.snapshot(),
            variables: self.step.variables.clone(),
            emitter: Emitter(Arc::new(MessageSink(message.clone()))),
            cancelled: cancelled.clone(),
            clients: self.clients.clone(),
            oauth: match &self.session {
                Some(session) => session.client(message.clone()),
                None => AuthorizedClient::unconfigured(),
            },
        };
        let module = hooks::catch_panic(async { self.module.process(input, parts).await });
        let slow = || {
            if message.has_waiting_events() {
                let text =
                    "The module has been waiting for minutes for the broker to take what it emits";
                return (codes::CONFIRMS_SLOW, text);
            }
            let text = "The module has been processing this message for minutes; ELASTICIO_PROCESS_TIMEOUT can limit that";
            (codes::MODULE_SLOW, text)
        };
        let module = hooks::tell_while_slow(slow, module);
        let Some(limit) = self.settings.process_timeout else {
            return module.await;
        };
        tokio::time::timeout(limit, module)
            .await
            .unwrap_or_else(|_| {
                tracing::error!(
                    code = %codes::MODULE_TIMEOUT,
                    milliseconds = limit.as_millis(),
                    "The module took longer than ELASTICIO_PROCESS_TIMEOUT and is stopped"
                );
                message.expire();
                cancelled.cancel();
                Err(module_timeout(limit))
            })
    }

    /// Publishes what the module's result requires: nothing, an error event or a rebound.
    async fn handle_result(&self, message: &Arc<InFlightMessage<T>>, result: anyhow::Result<()>) {
        let Err(error) = &result else { return };
        match ModuleOutcome::from(&result) {
            ModuleOutcome::Done => {}
            ModuleOutcome::AlreadyReported => {
                tracing::error!(code = %codes::MODULE_FAILED, "The module failed after an error that is already reported");
            }
            ModuleOutcome::Failed => {
                // The text is for the user. It may contain parts of the message, so it is not logged.
                let cause = code_of(error).map(tracing::field::display);
                tracing::error!(code = %codes::MODULE_FAILED, cause, "The module failed; its error event says why");
                // An error event that cannot be published has been logged.
                let _ = message.report(&report_of(error)).await;
            }
            ModuleOutcome::Rebound(reason) => {
                tracing::info!("The message is rebounded");
                // A rebound that cannot be published has been reported.
                if let Ok(confirm) = message.emit(Event::Rebound(reason)).await {
                    let _ = confirm.await;
                }
            }
        }
    }

    fn settle(&self, number: u64, verdict: Verdict) {
        let Some(settling) = self.in_flight.begin_settle(number, verdict) else {
            return;
        };
        let outcome = self.transport.settle(&settling.handle, verdict);
        self.in_flight.end_settle(settling, outcome);
        let counted = match (outcome, verdict) {
            (SettleOutcome::Sent, Verdict::Acknowledged) => Outcome::Acknowledged,
            (SettleOutcome::Sent, Verdict::Rejected) => Outcome::Rejected,
            (SettleOutcome::NotSent, _) => {
                tracing::info!(
                    "The connection was lost before the message was settled; the broker will redeliver it"
                );
                Outcome::Unsettled
            }
        };
        self.metrics.outcomes.of(counted).inc();
        spans::note_outcome(counted);
    }
}

/// Abandons the tasks when the future of [`Engine::run`] is dropped. The events that they have emitted hold the engine, so
/// the connections would stay open until the last one is confirmed.
struct AbandonOnDrop<'a, T: Transport>(&'a Engine<T>);

impl<T: Transport> Drop for AbandonOnDrop<'_, T> {
    fn drop(&mut self) {
        self.0.abandoned.cancel();
        self.0.transport.disconnect();
    }
}

/// The error of a module that took longer than `PROCESS_TIMEOUT`, for the user.
fn module_timeout(limit: Duration) -> anyhow::Error {
    let text = format!(
        "The component took longer than {} ms for this message (ELASTICIO_PROCESS_TIMEOUT) and was stopped. Give it less \
         work per message, or raise the limit",
        limit.as_millis()
    );
    Coded::new(codes::MODULE_TIMEOUT, text).into()
}
