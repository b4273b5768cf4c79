//! A refresh as a span of the trace of the message that needs the token. The request to the token endpoint is a span below it.

use super::{exchange_error::ExchangeError, profile::ErrorClass};
use crate::monitoring::trace;
use tracing::{Instrument, field::Empty};

/// Runs a refresh in a span of its own.
pub(super) async fn in_span<T>(
    refresh: impl Future<Output = Result<T, ExchangeError>>,
) -> Result<T, ExchangeError> {
    if trace::current().is_none() {
        return refresh.await;
    }
    // Below the current span; those that are not in the trace are passed over.
    let span = tracing::debug_span!(
        target: trace::TARGET,
        "refresh",
        "otel.name" = "refresh access token",
        "otel.status_code" = Empty,
        "error.type" = Empty,
    );
    let result = refresh.instrument(span.clone()).await;
    if let Err(error) = &result {
        trace::fail(&span, name(error.class));
    }
    result
}

fn name(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Reauth => "reauth",
        ErrorClass::Config => "config",
        ErrorClass::Transient => "transient",
        ErrorClass::Malformed => "malformed",
    }
}
