//! What all requests share, and what happens to every call besides what it is for.

use super::{
    ProviderConfig,
    grants::Grants,
    knobs::Knobs,
    log::{Log, Place},
    sample::Sample,
    script::{Orders, Scripted, Stage, Target, cut_in_the_middle, status_answer},
};
use crate::cut::Switch;
use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Bodies of requests may be as large as this.
pub(super) const MAX_BODY: usize = 64 * 1024 * 1024;
/// Shorter texts would be found where they are not meant.
const SHORTEST_SECRET: usize = 8;

/// What all requests share.
pub(super) struct Shared {
    pub(super) config: ProviderConfig,
    pub(super) addr: SocketAddr,
    pub(super) log: Log,
    pub(super) orders: Orders,
    pub(super) state: Mutex<State>,
    pub(super) secrets: Mutex<BTreeSet<String>>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// What changes.
pub(super) struct State {
    pub(super) knobs: Knobs,
    pub(super) grants: Grants,
    /// How many refreshes of a token are under way.
    pub(super) under_way: HashMap<String, usize>,
    pub(super) sample: Sample,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Remembers a text that must not turn up anywhere.
    pub(super) fn secret(&self, text: &str) {
        if text.len() >= SHORTEST_SECRET {
            self.secrets
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(text.to_owned());
        }
        // Of the provider's own tokens also the random part, which no encoding changes.
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

    /// Everything in a request that must not turn up in a log.
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

    /// Carries a call out as it is ordered, to its end even when the client goes away: `act` is what the endpoint does.
    /// What `act` returns beside the answer lives until the call is over.
    pub(super) async fn perform<T: Send + 'static>(
        self: Arc<Self>,
        switch: Switch,
        target: Target,
        place: Place,
        act: impl FnOnce(&Self) -> (Response, T) + Send + 'static,
    ) -> Response {
        let shared = self.clone();
        let order = self.orders.take(target);
        let task = self
            .tasks
            .spawn(self.stop.clone().run_until_cancelled_owned(async move {
                let response = shared
                    .ordered(target, order, shared.log.at(place), act)
                    .await;
                shared.log.answered(
                    place,
                    response.as_ref().map(|response| response.status().as_u16()),
                );
                response
            }));
        match task.await {
            Ok(Some(Some(response))) => response,
            _ => {
                switch.cut();
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            }
        }
    }

    /// None: the connection is to be cut. Delays count from the call's arrival or its exchange, which tests can see, so that
    /// a test that then moves the clock is never too early.
    async fn ordered<T>(
        &self,
        target: Target,
        order: Scripted,
        arrival: Instant,
        act: impl FnOnce(&Self) -> (Response, T),
    ) -> Option<Response> {
        if let Some(response) = order.instead() {
            return Some(response);
        }
        match &order {
            Scripted::DropBefore => return None,
            Scripted::DelayBefore(time) => sleep_until(arrival + *time).await,
            _ => {}
        }
        if target == Target::Token {
            let latency = self.state().knobs.latency;
            if !latency.is_zero() {
                sleep_until(arrival + latency).await;
            }
        }
        self.orders.pass(target, Stage::Before).await;
        let exchange = Instant::now();
        let (response, _guard) = act(self);
        self.orders.pass(target, Stage::After).await;
        match order {
            Scripted::DelayAfterCommit(time) => sleep_until(exchange + time).await,
            Scripted::DropAfterCommit => return None,
            Scripted::DropMidAnswer => return Some(cut_in_the_middle(response).await),
            Scripted::StatusAfterCommit(status, body) => return Some(status_answer(status, &body)),
            _ => {}
        }
        Some(response)
    }
}
