//! Routing keys that lead nowhere: whether a flow ends there, or a binding is missing.
//!
//! The platform binds a step's queue to the data key of the step before it, so nothing is ever bound to the data key of
//! a flow's last step (wire-contract: Queues and bindings). A message that the broker returns under such a key is not lost: the flow is over.
//! Under a key that has led somewhere before, it would be lost. So this module remembers which keys have carried an
//! event, and what an absent binding means for each kind of event.

use super::publisher::{Job, Purpose, RetryPolicy};
use lapin::types::ShortString;
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use tokio::time::Instant;

/// Tries before a missing binding counts as absent. The pauses between them take 1.5 s at most.
const TRIES: u32 = 5;
/// The pause after the first of these tries; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between tries while a binding is waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often it is worth a warning that snapshots are kept nowhere.
const SNAPSHOT_WARNING: Duration = Duration::from_secs(60);
/// Keys to remember, of those that have carried an event and of those that lead nowhere. A component may make up keys of
/// its own without end; a forgotten one is tried again as a new one.
const KEYS: usize = 16 * 1024;

/// What becomes of a job whose message came back from the broker, and of those that waited for it.
pub(super) enum Returned {
    /// Tried like a message that the broker has refused: the binding was there and is lost.
    Lost(Job),
    /// Tried again after this pause.
    Again(Job, Duration),
    /// Kept until it is known whether the key leads anywhere.
    Parked,
    /// Nothing is bound, and nothing has to be: these count as delivered.
    EndOfFlow(Returns),
    /// Nothing is bound, and that is an error for these.
    Unbound(Returns),
}

/// Jobs under a key that turns out to lead nowhere.
#[derive(Default)]
pub(super) struct Returns {
    /// The broker has returned their messages.
    pub(super) returned: Vec<Job>,
    /// They have waited before their first try, and have it now.
    pub(super) untried: Vec<Job>,
}

impl From<Job> for Returns {
    fn from(job: Job) -> Self {
        Self {
            returned: vec![job],
            untried: Vec::new(),
        }
    }
}

/// A key that has carried no event so far.
enum State {
    /// One job finds out whether it leads anywhere; the others wait for it.
    Probed {
        since: Instant,
        tries: u32,
        parked: Vec<Job>,
    },
    Absent,
}

/// What is known of this process's routing keys.
pub(super) struct RoutingKeys {
    exchange: ShortString,
    /// A missing binding is an error for data and snapshots too.
    unbound_is_error: bool,
    /// How long a binding for rebounds and error events is waited for, where there has been none.
    wait: Duration,
    /// Those of the step itself, which are never forgotten.
    configured: [ShortString; 4],
    carried: HashSet<ShortString>,
    others: HashMap<(ShortString, Purpose), State>,
    /// How many of these are being probed: seldom any, so that other events need no look-up.
    probed: usize,
    snapshots_warned: Option<Instant>,
}

impl RoutingKeys {
    /// `configured` are the step's own routing keys.
    pub(super) fn new(
        exchange: ShortString,
        configured: [ShortString; 4],
        unbound_is_error: bool,
        wait: Duration,
    ) -> Self {
        Self {
            configured,
            exchange,
            unbound_is_error,
            wait,
            carried: HashSet::new(),
            others: HashMap::new(),
            probed: 0,
            snapshots_warned: None,
        }
    }

    /// Takes a job that has to wait until it is known whether its key leads anywhere; gives any other one back.
    pub(super) fn park(&mut self, job: Job) -> Option<Job> {
        if self.probed == 0 || job.is_probe {
            return Some(job);
        }
        match self
            .others
            .get_mut(&(job.mark.routing_key.clone(), job.purpose))
        {
            Some(State::Probed { parked, .. }) => {
                parked.push(job);
                None
            }
            Some(State::Absent) | None => Some(job),
        }
    }

    /// A queue is bound to this job's key: it has taken the message, or refused it. Gives the jobs that have waited to
    /// know.
    pub(super) fn carried(&mut self, job: &Job) -> Vec<Job> {
        let key = &job.mark.routing_key;
        // Nothing is asked of keys for answers, and whoever sends a message can make one up.
        if job.purpose == Purpose::Answer || self.carried.contains(key) {
            return Vec::new();
        }
        if self.carried.len() >= KEYS {
            self.carried.retain(|key| self.configured.contains(key));
        }
        self.carried.insert(key.clone());
        let mut freed = Vec::new();
        for purpose in [Purpose::Data, Purpose::Snapshot, Purpose::Error] {
            match self.forget(key, purpose) {
                Some(State::Probed { parked, .. }) => freed.extend(parked),
                Some(State::Absent) => tracing::info!(
                    routing_key = key.as_str(),
                    exchange = self.exchange.as_str(),
                    "A queue is bound now where none was before: events go there."
                ),
                None => {}
            }
        }
        freed
    }

    /// A job has ended without its key having carried it. Gives the jobs that have waited for it.
    pub(super) fn ended(&mut self, job: &Job) -> Vec<Job> {
        if !job.is_probe {
            return Vec::new();
        }
        match self.forget(&job.mark.routing_key, job.purpose) {
            Some(State::Probed { parked, .. }) => parked,
            Some(State::Absent) | None => Vec::new(),
        }
    }

    /// The broker has returned this job's message: no queue is bound to its key.
    pub(super) fn returned(&mut self, mut job: Job, policy: &RetryPolicy) -> Returned {
        if job.purpose != Purpose::Answer && self.carried.contains(&job.mark.routing_key) {
            return Returned::Lost(job);
        }
        job.count_try();
        job.returns += 1;
        match job.purpose {
            Purpose::Answer => few_tries(job, policy),
            Purpose::Rebound => self.wait_for(job),
            Purpose::Data | Purpose::Snapshot if self.unbound_is_error => few_tries(job, policy),
            Purpose::Data | Purpose::Snapshot | Purpose::Error => self.probe(job),
        }
    }

    /// Each job waits for itself.
    fn wait_for(&self, mut job: Job) -> Returned {
        if job.returned_since.is_none() {
            self.warn_of_waiting(&job);
        }
        let since = *job.returned_since.get_or_insert_with(Instant::now);
        match self.next_look(since, job.returns) {
            Some(pause) => Returned::Again(job, pause),
            None => Returned::Unbound(job.into()),
        }
    }

    /// One job finds out for all.
    fn probe(&mut self, mut job: Job) -> Returned {
        let key = (job.mark.routing_key.clone(), job.purpose);
        let (since, tries) = match self.others.get_mut(&key) {
            Some(State::Absent) => return self.absent(job, Vec::new()),
            Some(State::Probed { parked, .. }) if !job.is_probe => {
                parked.push(job);
                return Returned::Parked;
            }
            Some(State::Probed { since, tries, .. }) => {
                *tries += 1;
                (*since, *tries)
            }
            None => {
                if job.purpose == Purpose::Error {
                    self.warn_of_waiting(&job);
                }
                job.is_probe = true;
                self.probed += 1;
                let since = Instant::now();
                self.others.insert(
                    key.clone(),
                    State::Probed {
                        since,
                        tries: 1,
                        parked: Vec::new(),
                    },
                );
                (since, 1)
            }
        };
        let next = match job.purpose {
            Purpose::Error => self.next_look(since, tries),
            _ => (tries < TRIES).then(|| pause(tries)),
        };
        if let Some(pause) = next {
            return Returned::Again(job, pause);
        }
        let parked = self.ended(&job);
        job.is_probe = false;
        self.limit_absent_keys();
        self.others.insert(key, State::Absent);
        self.tell_of_absence(&job);
        self.absent(job, parked)
    }

    /// All jobs that wait to know where their key leads.
    pub(super) fn into_parked(self) -> impl Iterator<Item = Job> {
        self.others.into_values().flat_map(|state| match state {
            State::Probed { parked, .. } => parked,
            State::Absent => Vec::new(),
        })
    }

    fn absent(&mut self, job: Job, parked: Vec<Job>) -> Returned {
        let purpose = job.purpose;
        if purpose == Purpose::Snapshot {
            self.warn_of_snapshots(&job);
        }
        let (untried, mut returned): (Vec<_>, Vec<_>) =
            parked.into_iter().partition(|job| job.returns == 0);
        returned.insert(0, job);
        let jobs = Returns { returned, untried };
        if purpose == Purpose::Error {
            Returned::Unbound(jobs)
        } else {
            Returned::EndOfFlow(jobs)
        }
    }

    /// The pause before the next look for a binding that is waited for; the last one is at the end of the wait.
    fn next_look(&self, since: Instant, tries: u32) -> Option<Duration> {
        let left = self
            .wait
            .checked_sub(since.elapsed())
            .filter(|left| !left.is_zero())?;
        Some(pause(tries).min(left))
    }

    fn forget(&mut self, key: &ShortString, purpose: Purpose) -> Option<State> {
        let state = self.others.remove(&(key.clone(), purpose))?;
        if matches!(state, State::Probed { .. }) {
            self.probed -= 1;
        }
        Some(state)
    }

    fn limit_absent_keys(&mut self) {
        if self.others.len() - self.probed >= KEYS {
            let configured = &self.configured;
            self.others.retain(|(key, _), state| {
                matches!(state, State::Probed { .. }) || configured.contains(key)
            });
        }
    }

    fn warn_of_waiting(&self, job: &Job) {
        tracing::warn!(
            routing_key = job.mark.routing_key.as_str(),
            exchange = self.exchange.as_str(),
            seconds = self.wait.as_secs(),
            "No queue is bound to this routing key; waiting for one. Bind one: without it the message fails."
        );
    }

    fn tell_of_absence(&self, job: &Job) {
        let (routing_key, exchange) = (job.mark.routing_key.as_str(), self.exchange.as_str());
        match job.purpose {
            Purpose::Data => tracing::info!(
                routing_key,
                exchange,
                "No queue is bound to this routing key: it counts as the end of the flow. Set \
                 ELASTICIO_UNBOUND_ROUTING_KEYS=error if that is an error here."
            ),
            Purpose::Error => tracing::error!(
                routing_key,
                exchange,
                "No queue is bound to the routing key for error events: from now on errors are written to this log only. \
                 Bind a queue to it."
            ),
            // Told once a minute, with the events.
            Purpose::Snapshot | Purpose::Rebound | Purpose::Answer => {}
        }
    }

    fn warn_of_snapshots(&mut self, job: &Job) {
        if self
            .snapshots_warned
            .is_some_and(|warned| warned.elapsed() < SNAPSHOT_WARNING)
        {
            return;
        }
        self.snapshots_warned = Some(Instant::now());
        tracing::warn!(
            routing_key = job.mark.routing_key.as_str(),
            exchange = self.exchange.as_str(),
            "No queue is bound to the routing key for snapshots: they are not kept, and what polls begins anew with the \
             next start. Bind a queue to it, or set ELASTICIO_UNBOUND_ROUTING_KEYS=error to make this an error."
        );
    }
}

/// Each job has its own tries.
fn few_tries(job: Job, policy: &RetryPolicy) -> Returned {
    let exhausted = policy
        .attempts
        .is_some_and(|attempts| job.returns >= attempts);
    if job.returns >= TRIES || exhausted {
        return Returned::Unbound(job.into());
    }
    let pause = policy.pause(job.returns);
    Returned::Again(job, pause)
}

/// The pause after so many returns. It is none of the settings' business: what is decided after the last one is not to
/// depend on how fast other tries are made.
fn pause(returns: u32) -> Duration {
    crate::clients::retry::RetryPolicy::doubling(FIRST_PAUSE, LONGEST_PAUSE).delay_after(returns)
}
