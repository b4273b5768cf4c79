//! Tracks which routing keys have a queue bound, and decides what an unbound key means for an event.
//!
//! The platform binds a step's queue to the data key of the step before it, so no queue is ever bound to the data key of
//! a flow's last step (wire-contract: Queues and bindings). If the broker returns a message with such a key, nothing is
//! lost: the flow ends there. If a queue was bound to the key before, the message would be lost. So this module remembers
//! the keys that had a queue bound, and decides what a return means for each kind of event.

#![expect(
    clippy::vec_box,
    reason = "publishes move from one list to another, and stay in their boxes"
)]

use super::pending_publish::{EventKind, PendingPublish};
use crate::{clients::retry::RetryPolicy, codes, monitoring::KeyLabel};
use lapin::types::ShortString;
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use tokio::time::Instant;

/// Attempts before a key counts as unbound. The delays between them add up to 1.5 s.
const ATTEMPTS: u32 = 5;
/// The delays between attempts while an event waits for a binding. They do not follow the settings, because the
/// decision after the last attempt must not depend on the pace of other retries.
const DELAYS: RetryPolicy =
    RetryPolicy::doubling(Duration::from_millis(100), Duration::from_secs(5));
/// The interval between warnings that snapshots are not stored.
const SNAPSHOT_WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// How many bound keys and how many unbound keys to remember. A component can use any number of keys. A forgotten key
/// is treated as new.
const MAX_KEYS: usize = 16 * 1024;

/// The variables of the step's own routing keys, in their order.
const CONFIGURED: [KeyLabel; 4] = [
    KeyLabel::Data,
    KeyLabel::Error,
    KeyLabel::Snapshot,
    KeyLabel::Rebound,
];

/// What to do with a returned message, and with the messages that waited for its outcome.
pub(super) enum ReturnAction {
    /// A queue was bound before. Retry it like a message that a queue did not accept.
    BindingLost(Box<PendingPublish>),
    RetryAfter(Box<PendingPublish>, Duration),
    /// The message is kept here until it is known whether a queue is bound.
    Parked,
    /// No queue is bound, and none is needed: the returned messages count as published.
    EndOfFlow(UnroutableBatch),
    /// No queue is bound, and the returned messages fail.
    Unbound(UnroutableBatch),
}

/// The messages that were waiting when their key turned out to be unbound.
pub(super) struct UnroutableBatch {
    /// Messages that the broker has returned.
    pub(super) returned: Vec<Box<PendingPublish>>,
    /// Messages that have not been sent yet, and are sent now.
    pub(super) untried: Vec<Box<PendingPublish>>,
}

impl From<Box<PendingPublish>> for UnroutableBatch {
    fn from(pending: Box<PendingPublish>) -> Self {
        Self {
            returned: vec![pending],
            untried: Vec::new(),
        }
    }
}

/// A key without a bound queue so far.
enum KeyState {
    /// One message probes whether a queue is bound; the others are parked.
    Probing {
        since: Instant,
        attempts: u32,
        parked: Vec<Box<PendingPublish>>,
    },
    Unbound,
}

impl KeyState {
    fn into_parked(self) -> Vec<Box<PendingPublish>> {
        match self {
            Self::Probing { parked, .. } => parked,
            Self::Unbound => Vec::new(),
        }
    }
}

/// The state of this process's routing keys.
pub(super) struct RoutingKeys {
    exchange: ShortString,
    /// An unbound key is an error for data and snapshots too.
    unbound_is_error: bool,
    /// How long rebounds and error events wait for a binding if no queue was bound before.
    binding_timeout: Duration,
    /// The keys of the step itself, which are never forgotten.
    configured: [ShortString; 4],
    bound_keys: HashSet<ShortString>,
    unbound_keys: HashMap<(ShortString, EventKind), KeyState>,
    /// How many of these keys are being probed. It is mostly zero, and then other events skip the lookup.
    probing_count: usize,
    snapshots_warned_at: Option<Instant>,
}

impl RoutingKeys {
    /// Creates the state. `configured` are the step's own routing keys.
    pub(super) fn new(
        exchange: ShortString,
        configured: [ShortString; 4],
        unbound_is_error: bool,
        binding_timeout: Duration,
    ) -> Self {
        Self {
            configured,
            exchange,
            unbound_is_error,
            binding_timeout,
            bound_keys: HashSet::new(),
            unbound_keys: HashMap::new(),
            probing_count: 0,
            snapshots_warned_at: None,
        }
    }

    /// Returns the variable that a key is from. If two have the same key, it is the first.
    pub(super) fn label_of(&self, key: &ShortString) -> KeyLabel {
        let configured = self.configured.iter().position(|known| known == key);
        configured.map_or(KeyLabel::Other, |index| CONFIGURED[index])
    }

    /// Parks a message that must wait until its key is probed. Returns any other message.
    pub(super) fn park(&mut self, pending: Box<PendingPublish>) -> Option<Box<PendingPublish>> {
        if self.probing_count == 0 || pending.is_probe {
            return Some(pending);
        }
        match self.unbound_keys.get_mut(&key_of(&pending)) {
            Some(KeyState::Probing { parked, .. }) => {
                parked.push(pending);
                None
            }
            Some(KeyState::Unbound) | None => Some(pending),
        }
    }

    /// Records that a queue is bound to the message's key: the queue accepted or refused the message. Returns the
    /// parked messages.
    pub(super) fn mark_bound(&mut self, pending: &PendingPublish) -> Vec<Box<PendingPublish>> {
        let key = &pending.routing_key;
        // The decision for replies does not depend on earlier results, and their keys are chosen outside of this
        // process, without a limit on their number.
        if pending.kind == EventKind::Reply || self.bound_keys.contains(key) {
            return Vec::new();
        }
        if self.bound_keys.len() >= MAX_KEYS {
            self.bound_keys.retain(|key| self.configured.contains(key));
        }
        self.bound_keys.insert(key.clone());
        let mut unparked = Vec::new();
        for kind in [EventKind::Data, EventKind::Snapshot, EventKind::Error] {
            let Some(state) = self.forget(key, kind) else {
                continue;
            };
            if let KeyState::Unbound = state {
                tracing::info!(
                    routing_key = key.as_str(),
                    exchange = self.exchange.as_str(),
                    "A queue is now bound to this routing key; events are delivered to it."
                );
            }
            unparked.extend(state.into_parked());
        }
        unparked
    }

    /// Records that a message has ended and its key is still not known to be bound. Returns the messages that were
    /// parked for it.
    pub(super) fn probe_ended(&mut self, pending: &PendingPublish) -> Vec<Box<PendingPublish>> {
        if !pending.is_probe {
            return Vec::new();
        }
        self.forget(&pending.routing_key, pending.kind)
            .map(KeyState::into_parked)
            .unwrap_or_default()
    }

    /// Decides what to do with a message that the broker has returned.
    pub(super) fn resolve_return(
        &mut self,
        mut pending: Box<PendingPublish>,
        policy: &RetryPolicy,
    ) -> ReturnAction {
        let kind = pending.kind;
        if kind != EventKind::Reply && self.bound_keys.contains(&pending.routing_key) {
            return ReturnAction::BindingLost(pending);
        }
        pending.record_attempt();
        pending.returns += 1;
        match kind {
            EventKind::Reply => retry_few_times(pending, policy),
            EventKind::Rebound => self.wait_for_binding(pending),
            EventKind::Data | EventKind::Snapshot if self.unbound_is_error => {
                retry_few_times(pending, policy)
            }
            EventKind::Data | EventKind::Snapshot | EventKind::Error => self.probe(pending),
        }
    }

    /// Handles events that wait for a binding one by one.
    fn wait_for_binding(&self, mut pending: Box<PendingPublish>) -> ReturnAction {
        if pending.first_returned_at.is_none() {
            self.warn_waiting(&pending);
        }
        let since = *pending.first_returned_at.get_or_insert_with(Instant::now);
        match self.next_delay(since, pending.returns) {
            Some(delay) => ReturnAction::RetryAfter(pending, delay),
            None => ReturnAction::Unbound(pending.into()),
        }
    }

    /// Handles events of which one probes for all with the same key.
    fn probe(&mut self, mut pending: Box<PendingPublish>) -> ReturnAction {
        let key = key_of(&pending);
        let (since, attempts) = match self.unbound_keys.get_mut(&key) {
            Some(KeyState::Unbound) => return self.resolve_unbound(pending, Vec::new()),
            Some(KeyState::Probing { parked, .. }) if !pending.is_probe => {
                parked.push(pending);
                return ReturnAction::Parked;
            }
            Some(KeyState::Probing {
                since, attempts, ..
            }) => {
                *attempts += 1;
                (*since, *attempts)
            }
            None => (self.begin_probe(key.clone(), &mut pending), 1),
        };
        let delay = match pending.kind {
            EventKind::Error => self.next_delay(since, attempts),
            _ => (attempts < ATTEMPTS).then(|| DELAYS.delay_after(attempts)),
        };
        if let Some(delay) = delay {
            return ReturnAction::RetryAfter(pending, delay);
        }
        let parked = self.probe_ended(&pending);
        pending.is_probe = false;
        self.limit_unbound_keys();
        self.unbound_keys.insert(key, KeyState::Unbound);
        self.log_unbound(&pending);
        self.resolve_unbound(pending, parked)
    }

    /// Makes the message the one that probes the key. Returns when the probe began.
    fn begin_probe(
        &mut self,
        key: (ShortString, EventKind),
        pending: &mut PendingPublish,
    ) -> Instant {
        if pending.kind == EventKind::Error {
            self.warn_waiting(pending);
        }
        pending.is_probe = true;
        self.probing_count += 1;
        let since = Instant::now();
        let state = KeyState::Probing {
            since,
            attempts: 1,
            parked: Vec::new(),
        };
        self.unbound_keys.insert(key, state);
        since
    }

    /// Returns all parked messages.
    pub(super) fn into_parked(self) -> impl Iterator<Item = Box<PendingPublish>> {
        let states = self.unbound_keys.into_values();
        states.flat_map(KeyState::into_parked)
    }

    /// Handles an unbound key: decides what to do with a returned message and with those that were parked for it.
    fn resolve_unbound(
        &mut self,
        pending: Box<PendingPublish>,
        parked: Vec<Box<PendingPublish>>,
    ) -> ReturnAction {
        let kind = pending.kind;
        if kind == EventKind::Snapshot {
            self.warn_snapshots(&pending);
        }
        let (untried, mut returned): (Vec<_>, Vec<_>) =
            parked.into_iter().partition(|parked| parked.returns == 0);
        returned.insert(0, pending);
        let batch = UnroutableBatch { returned, untried };
        if kind == EventKind::Error {
            ReturnAction::Unbound(batch)
        } else {
            ReturnAction::EndOfFlow(batch)
        }
    }

    /// Returns the delay before the next attempt while waiting for a binding. The last attempt is at the end of the
    /// wait.
    fn next_delay(&self, since: Instant, attempts: u32) -> Option<Duration> {
        let left = self.binding_timeout.checked_sub(since.elapsed())?;
        (!left.is_zero()).then(|| DELAYS.delay_after(attempts).min(left))
    }

    fn forget(&mut self, key: &ShortString, kind: EventKind) -> Option<KeyState> {
        let state = self.unbound_keys.remove(&(key.clone(), kind))?;
        if matches!(state, KeyState::Probing { .. }) {
            self.probing_count -= 1;
        }
        Some(state)
    }

    fn limit_unbound_keys(&mut self) {
        if self.unbound_keys.len() - self.probing_count >= MAX_KEYS {
            let configured = &self.configured;
            self.unbound_keys.retain(|(key, _), state| {
                matches!(state, KeyState::Probing { .. }) || configured.contains(key)
            });
        }
    }

    fn warn_waiting(&self, pending: &PendingPublish) {
        tracing::warn!(
            code = %codes::BINDING_AWAITED,
            routing_key = pending.routing_key.as_str(),
            exchange = self.exchange.as_str(),
            seconds = self.binding_timeout.as_secs(),
            "No queue is bound to this routing key. Waiting for a binding; without one the message fails."
        );
    }

    /// Logs once that a key is unbound.
    fn log_unbound(&self, pending: &PendingPublish) {
        let (routing_key, exchange) = (pending.routing_key.as_str(), self.exchange.as_str());
        match pending.kind {
            EventKind::Data => tracing::info!(
                routing_key,
                exchange,
                "No queue is bound to this routing key: it counts as the end of the flow. Set \
                 ELASTICIO_UNBOUND_ROUTING_KEYS=error if that is an error here."
            ),
            EventKind::Error => tracing::error!(
                code = %codes::ERROR_KEY_UNBOUND,
                routing_key,
                exchange,
                "No queue is bound to the routing key for error events. From now on, errors are only written to this \
                 log. Bind a queue to it."
            ),
            // Snapshots have their own warning. Other kinds are never remembered as unbound.
            EventKind::Snapshot | EventKind::Rebound | EventKind::Reply => {}
        }
    }

    fn warn_snapshots(&mut self, pending: &PendingPublish) {
        let warned_at = self.snapshots_warned_at;
        if warned_at.is_some_and(|at| at.elapsed() < SNAPSHOT_WARNING_INTERVAL) {
            return;
        }
        self.snapshots_warned_at = Some(Instant::now());
        tracing::warn!(
            code = %codes::SNAPSHOT_KEY_UNBOUND,
            routing_key = pending.routing_key.as_str(),
            exchange = self.exchange.as_str(),
            "No queue is bound to the routing key for snapshots. They are not stored, and polling starts over with the \
             next start. Bind a queue to it, or set ELASTICIO_UNBOUND_ROUTING_KEYS=error to make this an error."
        );
    }
}

fn key_of(pending: &PendingPublish) -> (ShortString, EventKind) {
    (pending.routing_key.clone(), pending.kind)
}

/// Each message has its own attempts, at most [`ATTEMPTS`].
fn retry_few_times(pending: Box<PendingPublish>, policy: &RetryPolicy) -> ReturnAction {
    let limit = policy.attempts.unwrap_or(ATTEMPTS).min(ATTEMPTS);
    if pending.returns >= limit {
        return ReturnAction::Unbound(pending.into());
    }
    let delay = policy.delay_after(pending.returns);
    ReturnAction::RetryAfter(pending, delay)
}
