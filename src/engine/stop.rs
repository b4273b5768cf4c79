//! The end of a running step: finishes what it can in time, and abandons the rest.

use super::{Engine, metrics};
use crate::{
    broker::transport::{Transport, TransportError},
    codes,
    oauth2::Session,
};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::task::TaskTracker;

/// How long abandoned tasks may take to end: each ends at its next await.
pub(super) const ABANDON_TIMEOUT: Duration = Duration::from_secs(1);

impl<T: Transport> Engine<T> {
    /// Stops the step. Running messages are finished first, within `SHUTDOWN_TIMEOUT`, unless the broker has failed so
    /// that they cannot publish.
    pub(super) async fn stop(
        self: Arc<Self>,
        accepting: JoinHandle<Option<TransportError>>,
        tasks: TaskTracker,
        broker_error: Option<TransportError>,
    ) -> Result<(), TransportError> {
        self.stopping.cancel();
        self.metrics.stopping();
        let shutdown_timeout = self.settings.shutdown_timeout;
        // If the broker has failed, no stop was requested, so there is time to save a refreshed token.
        let mut session_timeout = shutdown_timeout;
        if broker_error.is_none() {
            session_timeout = ABANDON_TIMEOUT;
        }
        if broker_error.is_none() || self.transport.can_publish() {
            tracing::info!(
                messages = tasks.len(),
                seconds = shutdown_timeout.as_secs(),
                "Stopping: running messages are finished"
            );
            let finished = timeout(shutdown_timeout, self.finish(accepting, &tasks));
            if finished.await.is_err() {
                tracing::warn!(
                    code = %codes::SHUTDOWN_TIMEOUT,
                    seconds = shutdown_timeout.as_secs(),
                    "The time to finish running messages is over (ELASTICIO_SHUTDOWN_TIMEOUT)"
                );
            }
        }
        self.abandon(&tasks).await;
        close_session(self.session.as_ref(), session_timeout).await;
        self.transport.close().await;
        metrics::log(&self.metrics, self.session.as_ref().map(Session::metrics));
        broker_error.map_or(Ok(()), Err)
    }

    /// Finishes the messages that were delivered, and the events that were emitted for earlier ones.
    async fn finish(&self, accepting: JoinHandle<Option<TransportError>>, tasks: &TaskTracker) {
        self.transport.stop_consuming().await;
        if !accepting.is_finished() {
            // An error of the broker comes after the last delivery.
            let _ = accepting.await;
        }
        tasks.close();
        tasks.wait().await;
        self.late_events.close();
        self.late_events.wait().await;
        close_session(self.session.as_ref(), self.settings.shutdown_timeout).await;
    }

    /// Ends the remaining tasks. Nothing more is settled: unfinished messages return to the queue when the channel
    /// closes.
    pub(super) async fn abandon(&self, tasks: &TaskTracker) {
        self.abandoned.cancel();
        if !tasks.is_empty() || !self.late_events.is_empty() {
            tracing::warn!(
                code = %codes::MESSAGES_RETURNED,
                messages = tasks.len(),
                events = self.late_events.len(),
                "Unfinished messages return to the queue; events emitted after their message was settled are dropped"
            );
        }
        tasks.close();
        if timeout(ABANDON_TIMEOUT, tasks.wait()).await.is_err() {
            tracing::warn!(
                code = %codes::MODULE_NOT_AWAITING,
                seconds = ABANDON_TIMEOUT.as_secs(),
                "A module computes without awaiting; the process ends anyway"
            );
        }
    }
}

/// Saves a refreshed token before the process ends.
pub(super) async fn close_session(session: Option<&Session>, limit: Duration) {
    if let Some(session) = session
        && timeout(limit, session.close()).await.is_err()
    {
        tracing::error!(
            code = %codes::REFRESH_INTERRUPTED,
            seconds = limit.as_secs(),
            "A token was being refreshed when the time to stop was over; it may be lost"
        );
    }
}
