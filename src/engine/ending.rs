//! The end of an event: its confirm, or its failure.

use super::{emit::InFlightMessage, event_room::TakenRoom, pending::PendingGuard};
use crate::broker::transport::{Confirm, ConfirmSender, PublishError, Transport};
use std::sync::Arc;
use tracing::Instrument;

/// What happens when it is known what became of an event: its memory is given back, its message no longer waits for it, and
/// its confirm resolves. That is done where the broker's confirm arrives: no task waits for it.
pub(super) struct Ending<T: Transport> {
    message: Arc<InFlightMessage<T>>,
    guard: PendingGuard,
    sender: ConfirmSender,
    is_reported: bool,
}

impl<T: Transport> Ending<T> {
    /// A failure is reported before the confirm resolves, even if the module does not wait for it.
    pub(super) fn reported(
        message: &Arc<InFlightMessage<T>>,
        guard: &PendingGuard,
    ) -> (Self, Confirm) {
        Self::new(message, guard, true)
    }

    /// Whoever drops the confirm has a failure reported.
    pub(super) fn unreported(
        message: &Arc<InFlightMessage<T>>,
        guard: &PendingGuard,
    ) -> (Self, Confirm) {
        Self::new(message, guard, false)
    }

    fn new(
        message: &Arc<InFlightMessage<T>>,
        guard: &PendingGuard,
        is_reported: bool,
    ) -> (Self, Confirm) {
        let (sender, confirm) = Confirm::channel();
        let ending = Self {
            message: message.clone(),
            guard: guard.clone(),
            sender,
            is_reported,
        };
        (ending, confirm)
    }

    pub(super) fn into_sender(self, room: Option<TakenRoom>) -> ConfirmSender {
        ConfirmSender::calling(move |result| {
            drop(room);
            match result {
                Err(error) if self.is_reported => self.report(error),
                result => self.sender.send(result),
            }
        })
    }

    fn report(self, error: PublishError) {
        let Self {
            message,
            guard,
            sender,
            ..
        } = self;
        // Not only in the task, which may never run.
        message.reject();
        let engine = message.engine.clone();
        let log_span = message.log_span.clone();
        let reporting = async move {
            message.report_error(error.clone().into()).await;
            sender.send(Err(error));
        };
        guard.spawn_on(reporting.instrument(log_span), &engine.runtime);
    }
}
