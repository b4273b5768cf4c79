//! What is logged when the process ends, and the metrics that are read at each scrape.

use super::in_flight::InFlight;
use crate::{
    monitoring::{EventLabel, Metrics, Outcome, Skipped},
    oauth2::{Session, SessionMetrics},
};
use std::{sync::Arc, time::Duration};

/// Adds the metrics of the messages that are being processed, and of the session if there is one.
pub(super) fn add<H: Send + Sync + 'static>(
    metrics: &Metrics,
    in_flight: &Arc<InFlight<H>>,
    session: Option<&Session>,
) {
    // What is read must not live as long as the metrics.
    let in_flight = Arc::downgrade(in_flight);
    let unsettled = move || {
        let in_flight = in_flight.upgrade();
        in_flight.map_or((0, Duration::ZERO), |in_flight| in_flight.unsettled())
    };
    let count = unsettled.clone();
    metrics.add_gauge(
        "messages_in_flight",
        "Messages that are being processed or whose events are not confirmed yet",
        move || count().0 as f64,
    );
    metrics.add_gauge(
        "oldest_message_age_seconds",
        "Time since the oldest message in flight was delivered, or 0 without one",
        move || unsettled().1.as_secs_f64(),
    );
    if let Some(session) = session {
        add_session(metrics, session);
    }
}

fn add_session(metrics: &Metrics, session: &Session) {
    let session = session.downgrade();
    let is_unsaved = session.clone();
    metrics.add_gauge(
        "refresh_token_unsaved",
        "Whether only this process has the current refresh token (1) or it is saved (0)",
        move || {
            let session = is_unsaved.upgrade();
            f64::from(session.is_some_and(|session| session.has_unsaved_rotation()))
        },
    );
    let counter = |name, help, read: fn(SessionMetrics) -> u64| {
        let session = session.clone();
        metrics.add_counter(name, help, move || {
            let session = session.upgrade();
            session.map_or(0, |session| read(session.metrics()))
        });
    };
    counter(
        "token_refreshes",
        "Token refreshes that got a token",
        |done| done.refreshes,
    );
    counter(
        "token_refresh_failures",
        "Token refreshes that failed",
        |done| done.failures,
    );
    counter(
        "tokens_adopted",
        "Tokens that another replica or the user had saved",
        |done| done.adopted,
    );
    counter(
        "tokens_narrowed",
        "Tokens with fewer scopes than the one before",
        |done| done.narrowed,
    );
    counter(
        "refresh_token_save_failures",
        "Rotated refresh tokens whose first save failed",
        |done| done.unsaved,
    );
}

/// Logs the counters, and those of OAuth2 if the component uses it.
pub(super) fn log(metrics: &Metrics, oauth: Option<SessionMetrics>) {
    if let Some(oauth) = oauth {
        tracing::info!(
            refreshes = oauth.refreshes,
            failures = oauth.failures,
            adopted = oauth.adopted,
            unsaved = oauth.unsaved,
            narrowed = oauth.narrowed,
            "What this process has done with access tokens"
        );
    }
    let outcome = |outcome| metrics.outcomes.of(outcome).get();
    let skipped = |reason| metrics.skipped.of(reason).get();
    let event = |kind| metrics.events.of(kind).get();
    tracing::info!(
        received = metrics.received.get(),
        acknowledged = outcome(Outcome::Acknowledged),
        rejected = outcome(Outcome::Rejected),
        repeats = skipped(Skipped::Repeat),
        duplicates = skipped(Skipped::Duplicate),
        unsettled = outcome(Outcome::Unsettled),
        data = event(EventLabel::Data),
        errors = event(EventLabel::Error),
        rebounds = event(EventLabel::Rebound),
        snapshots = event(EventLabel::Snapshot),
        "What this process has done"
    );
}
