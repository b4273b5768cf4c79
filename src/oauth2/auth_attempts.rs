//! The ways to authenticate the client that one exchange tries (token-failures: T33).
//!
//! A token endpoint that refuses the client has not looked at the token (RFC 6749 section 5.2). So the same request is
//! sent once more, with the client's secret in the other place. The way that works is kept.

use super::{
    client_auth::{AcceptedAuth, ClientAuth},
    client_registration::ClientRegistration,
    exchange_error::ExchangeError,
    profile::ErrorClass,
};
use std::{ops::ControlFlow, time::Duration};
use tokio::time::Instant;

/// The time limit for one exchange, from connecting to the last byte.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(15);
/// After a later refusal, too little of this time would be left for another attempt.
const LATEST_REFUSAL: Duration = Duration::from_secs(5);

/// The attempts of one exchange: the way that the endpoint is known to accept, or else the configured one, and after a
/// refusal of the client the other one.
pub(super) struct AuthAttempts<'a> {
    client: &'a ClientRegistration,
    accepted: &'a AcceptedAuth,
    started: Instant,
    auth: ClientAuth,
    /// The refusal of the first attempt.
    refused: Option<ExchangeError>,
}

impl<'a> AuthAttempts<'a> {
    pub(super) fn new(
        client: &'a ClientRegistration,
        configured: ClientAuth,
        accepted: &'a AcceptedAuth,
    ) -> Self {
        let known = configured
            .other()
            .and_then(|_| accepted.get(&client.token_url, &client.id));
        Self {
            client,
            accepted,
            started: Instant::now(),
            auth: known.unwrap_or(configured),
            refused: None,
        }
    }

    /// The way to authenticate in the next attempt.
    pub(super) fn auth(&self) -> ClientAuth {
        self.auth
    }

    pub(super) fn time_left(&self) -> Duration {
        TIME_LIMIT.saturating_sub(self.started.elapsed())
    }

    /// Takes the result of an attempt. `Break` has the result of the exchange; otherwise there is another attempt.
    pub(super) fn after<T>(
        &mut self,
        result: Result<T, ExchangeError>,
    ) -> ControlFlow<Result<T, ExchangeError>> {
        match (result, self.refused.take()) {
            (Err(error), None) if error.refuses_client() => match self.other_auth() {
                Some(other) => {
                    (self.auth, self.refused) = (other, Some(error));
                    ControlFlow::Continue(())
                }
                None => ControlFlow::Break(Err(error)),
            },
            (Err(error), Some(refused)) if error.class == ErrorClass::Config => {
                ControlFlow::Break(Err(refused.in_both_ways()))
            }
            (Ok(done), Some(_)) => {
                self.keep_accepted();
                ControlFlow::Break(Ok(done))
            }
            (result, _) => ControlFlow::Break(result),
        }
    }

    fn other_auth(&self) -> Option<ClientAuth> {
        let is_soon = self.started.elapsed() <= LATEST_REFUSAL;
        let other = self.auth.other();
        other.filter(|_| is_soon && self.client.secret.is_some())
    }

    fn keep_accepted(&self) {
        tracing::warn!(
            accepted = ?self.auth,
            "The token endpoint refused the configured way to authenticate the client and accepted the other one; \
             `client_auth` sets it"
        );
        let (token_url, id) = (self.client.token_url.clone(), self.client.id.clone());
        self.accepted.set(token_url, id, self.auth);
    }
}
