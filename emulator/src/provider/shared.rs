//! What all requests share, and how every call is carried out.

use super::{
    ProviderConfig,
    event::{ProviderEvent, ProviderEventKind},
    grants::Grants,
    hold::{Endpoint, HoldPoint, Holds},
    knobs::Knobs,
    response::ProviderErrors,
    sample::Sample,
};
use axum::{
    http::{HeaderMap, header},
    response::Response,
};
use http_double::{Disconnect, EntryId, Fault, Log, OpenCalls, Rules, Scripts, Troublemaker};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::time::{Instant, sleep_until};

/// Shorter texts would be found by chance, where they mean something else.
const SHORTEST_SECRET: usize = 8;

/// What all requests share.
pub(super) struct Shared {
    pub(super) config: ProviderConfig,
    pub(super) addr: SocketAddr,
    pub(super) log: Log<ProviderEvent>,
    pub(super) faults: Rules<Fault>,
    pub(super) trouble: Troublemaker,
    pub(super) holds: Holds,
    pub(super) own_routes: OwnRoutes,
    pub(super) state: Mutex<State>,
    pub(super) secrets: Mutex<BTreeSet<String>>,
    pub(super) calls: OpenCalls,
}

/// The routes that a test has added to the API.
#[derive(Default)]
pub(super) struct OwnRoutes {
    /// Those whose calls need a valid token.
    pub(super) guarded: Scripts,
    /// Those whose calls need none.
    pub(super) open: Scripts,
}

/// What changes.
pub(super) struct State {
    pub(super) knobs: Knobs,
    pub(super) grants: Grants,
    /// How many refreshes of a token are in progress.
    pub(super) in_progress: HashMap<String, usize>,
    pub(super) sample: Sample,
}

/// A call that has arrived and is not carried out yet.
pub(super) struct Arrival {
    id: EntryId,
    at: Instant,
    endpoint: Endpoint,
    /// `METHOD /path?query`
    line: String,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Records something that is complete as soon as it happens.
    pub(super) fn happened(&self, kind: ProviderEventKind) {
        self.log.push(ProviderEvent::now(kind));
    }

    /// Records a call that has arrived.
    pub(super) fn arrived(
        &self,
        endpoint: Endpoint,
        line: String,
        kind: ProviderEventKind,
    ) -> Arrival {
        let event = ProviderEvent::now(kind);
        let at = event.at;
        let id = self.log.open(event);
        Arrival {
            id,
            at,
            endpoint,
            line,
        }
    }

    /// Records the end of a call; no response when the connection is cut.
    pub(super) fn finished(&self, arrival: &Arrival, response: Option<&Response>) {
        let status = response.map(|response| response.status().as_u16());
        self.log
            .finish(arrival.id, |event| event.kind.finish(status));
    }

    /// Remembers a text that must not be found in any output.
    pub(super) fn secret(&self, text: &str) {
        if text.len() >= SHORTEST_SECRET {
            self.secrets
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(text.to_owned());
        }
        // For the provider's own tokens, also the random part, which no encoding changes.
        if let Some((_, random)) = text.split_once('.') {
            let random: String = random
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            if random.len() >= 32 {
                self.secrets
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(random);
            }
        }
    }

    /// Remembers everything in a request that must not be found in any output.
    pub(super) fn remember(&self, headers: &HeaderMap, form: &BTreeMap<String, String>) {
        for name in [
            "refresh_token",
            "code",
            "code_verifier",
            "client_secret",
            "token",
        ] {
            form.get(name)
                .into_iter()
                .for_each(|text| self.secret(text));
        }
        if let Some(value) = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
        {
            value
                .split_once(' ')
                .into_iter()
                .for_each(|(_, credentials)| self.secret(credentials));
        }
    }

    pub(super) fn secrets(&self) -> Vec<String> {
        self.secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    /// Carries a call out with the fault that was injected for it, to its end even when the client goes away. `act` is
    /// what the endpoint does; its second result is kept until the call is finished.
    pub(super) async fn perform<T: Send + 'static>(
        self: Arc<Self>,
        disconnect: Disconnect,
        arrival: Arrival,
        act: impl FnOnce(&Self) -> (Response, T) + Send + 'static,
    ) -> Response {
        let shared = self.clone();
        let fault = self.faults.next(&arrival.line).unwrap_or(Fault::Normal);
        let call = async move {
            let response = shared.carry_out(&arrival, fault, act).await;
            shared.finished(&arrival, response.as_ref());
            response
        };
        disconnect.unless(self.calls.run_to_end(call).await.flatten())
    }

    /// Returns no response when the connection is to be cut. Delays count from the arrival or from the exchange: tests see
    /// both, so a test that then moves the clock is never too early.
    async fn carry_out<T>(
        &self,
        arrival: &Arrival,
        fault: Fault,
        act: impl FnOnce(&Self) -> (Response, T),
    ) -> Option<Response> {
        if let ControlFlow::Break(response) = fault.before::<ProviderErrors>(arrival.at).await {
            return response;
        }
        if arrival.endpoint == Endpoint::Token {
            let latency = self.state().knobs.latency;
            if !latency.is_zero() {
                sleep_until(arrival.at + latency).await;
            }
        }
        self.holds.pass(arrival.endpoint, HoldPoint::Before).await;
        let exchanged = Instant::now();
        let (response, _guard) = act(self);
        self.holds.pass(arrival.endpoint, HoldPoint::After).await;
        fault.after(exchanged, response).await
    }
}
