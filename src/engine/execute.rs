//! One message, from delivery to settlement.

use super::{
    Engine, decode,
    emit::{Flight, Sink},
    hooks,
    in_flight::Arrival,
};
use crate::{
    broker::transport::{Delivery, SettleOutcome, Transport, Verdict},
    component::{
        context::{ContextParts, Emitter, Event},
        error::ModuleOutcome,
    },
    oauth2::AuthorizedClient,
    protocol::{ErrorReport, IncomingHeaders, Object},
};
use std::{sync::Arc, time::Duration};
use tracing::Instrument;

/// After this long a message is worth a line in the log: the broker will take it back after 30 minutes.
const SLOW: Duration = Duration::from_secs(300);

impl<T: Transport> Engine<T> {
    /// Works on a delivery and settles it, exactly once. Dropped before its end, it settles nothing: the broker
    /// delivers the message again.
    pub(super) async fn execute(
        self: Arc<Self>,
        delivery: Delivery<Arc<T::Handle>>,
        arrival: Arrival,
    ) {
        self.metrics.received.add(1);
        let incoming = IncomingHeaders::read(&delivery.headers);
        let span = tracing::info_span!(
            "message",
            threadId = incoming.thread_id,
            messageId = incoming.message_id,
            parentMessageId = incoming.parent_message_id,
        );
        async {
            match arrival {
                Arrival::New(number) => {
                    let body = delivery.body.clone();
                    let flight = Flight::new(self.clone(), number, incoming, body);
                    let verdict = if self.work(&flight, &delivery).await {
                        Verdict::Rejected
                    } else {
                        Verdict::Acknowledged
                    };
                    self.settle(number, verdict).await;
                }
                Arrival::Adopted => {
                    tracing::info!(
                        "A message that is being worked on was delivered again; the work goes on"
                    );
                }
                Arrival::Finished(number, verdict) => {
                    self.metrics.repeats.add(1);
                    tracing::info!(
                        "A message that is finished was delivered again; it is settled as before"
                    );
                    self.settle(number, verdict).await;
                }
            }
        }
        .instrument(span)
        .await;
    }

    /// True when the message has failed.
    async fn work(&self, flight: &Arc<Flight<T>>, delivery: &Delivery<Arc<T::Handle>>) -> bool {
        match self.read(flight, delivery).await {
            Ok(message) => {
                let result = self.process(flight, message).await;
                self.report_outcome(flight, result).await;
            }
            Err(error) => {
                tracing::error!("The incoming message could not be read: {error:#}");
                // Where even this fails, it has been logged.
                let _ = flight.report_unthrottled(&ErrorReport::of(&error)).await;
            }
        }
        flight.end().await
    }

    async fn read(
        &self,
        flight: &Flight<T>,
        delivery: &Delivery<Arc<T::Handle>>,
    ) -> anyhow::Result<Object> {
        let mut message = if self.settings.input_is_error {
            decode::error_event(&self.cipher, &delivery.headers, &delivery.body)?
        } else {
            decode::message(&self.cipher, &flight.incoming, &delivery.body)?
        };
        if self.resolves_references {
            self.bodies.resolve(&mut message).await?;
        }
        flight.set_passthrough(&message);
        Ok(message)
    }

    /// Runs the module. A panic is an error like any other.
    async fn process(&self, flight: &Arc<Flight<T>>, message: Object) -> anyhow::Result<()> {
        let run = ContextParts {
            config: self.step.config(),
            snapshot: self.step.snapshot(),
            variables: self.step.variables.clone(),
            emitter: Emitter(Arc::new(Sink(flight.clone()))),
            cancelled: self.stopping.child_token(),
            clients: self.clients.clone(),
            oauth: match &self.session {
                Some(session) => session.client(flight.clone()),
                None => AuthorizedClient::unconfigured(),
            },
        };
        let processed = hooks::caught(async { self.module.process(message, run).await });
        let mut processed = std::pin::pin!(processed);
        loop {
            match tokio::time::timeout(SLOW, &mut processed).await {
                Ok(result) => break result,
                Err(_) => tracing::warn!("The module has been working on this message for minutes"),
            }
        }
    }

    async fn report_outcome(&self, flight: &Arc<Flight<T>>, result: anyhow::Result<()>) {
        let Err(error) = &result else { return };
        match ModuleOutcome::from(&result) {
            ModuleOutcome::Done => {}
            ModuleOutcome::AlreadyReported => {
                tracing::error!("The module failed after an error that it was told of");
            }
            ModuleOutcome::Failed => {
                // The text is for the user: it may tell of message contents, so it is not logged.
                tracing::error!("The module failed; its error event says why");
                // Where even this fails, it has been logged.
                let _ = flight.report(&ErrorReport::of(error)).await;
            }
            ModuleOutcome::Rebound(reason) => {
                tracing::info!("The message is to come again later");
                // Likewise.
                let _ = async { flight.emit(Event::Rebound(reason)).await?.await }.await;
            }
        }
    }

    async fn settle(&self, number: u64, verdict: Verdict) {
        let Some(work) = self.in_flight.settling(number, verdict) else {
            return;
        };
        let settled = self.transport.settle(&work.handle, verdict).await;
        self.in_flight.settled(work, settled);
        match (settled, verdict) {
            (SettleOutcome::Sent, Verdict::Acknowledged) => self.metrics.acknowledged.add(1),
            (SettleOutcome::Sent, Verdict::Rejected) => self.metrics.rejected.add(1),
            (SettleOutcome::NotSent | SettleOutcome::Unknown, _) => {
                self.metrics.unsettled.add(1);
                tracing::info!(
                    "The connection went before the message was settled; it will come again"
                );
            }
        }
    }
}
