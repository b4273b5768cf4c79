//! Drops messages that the step has finished before, and gives events the same ids when a message is processed again
//! (`ELASTICIO_DEDUPLICATE`).
//!
//! A process that is killed between publishing an event and acknowledging its message publishes the event again. The next
//! step must recognise the second one. So each event has an id that is derived from its message and its content
//! ([`EventIds`]), and each step remembers which messages it has finished. It does so in memory, and in a
//! [`FinishedLog`] that outlives the process and that all replicas read.
//!
//! The rule: **a message is dropped only if it is known to be a repeat.** Two messages can be equal, with one `messageId`:
//! the Node sailor gives it to all events of a message. So what a repeat is depends on the sender:
//!
//! - **A message with a `deduplicationId`** comes from this runtime, and no other message has the same one. It is dropped
//!   if the step has finished it. If this process is still working on it, the repeat waits for the result.
//! - **Any other message with a `messageId`** is dropped only if the broker delivers it again (it says so), and another
//!   process has finished it. Repeats within one process are the business of [`in_flight`](super::in_flight). An equal
//!   message that arrives besides is another message. It is processed, and its events have random ids, so that
//!   no later step takes them for those of the first one.
//! - **A message without an id**, and one that a user has sent again, is always processed, with random ids.

mod content;
mod finished;
mod identity;

pub(super) use content::{ContentHash, content_hash};
pub(super) use identity::{DEDUPLICATION_ID, EventIds};

use crate::{
    broker::{
        finished_log::{FinishedLog, LogReader, MessageKey},
        transport::{Delivery, Verdict},
    },
    codes,
    protocol::StepIdentity,
};
use finished::{FinishedBy, FinishedMessages};
use identity::Identity;
use secrecy::{ExposeSecret, SecretString};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long the start waits until the whole log is read.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a redelivered message waits until what other replicas have finished is read.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(5);

/// What the step has finished, and what this process is working on.
pub(super) struct Deduplication {
    step: StepIdentity,
    /// All steps of the platform have it, and nobody who only reads headers and logs.
    secret: ContentHash,
    state: SharedState,
    log: Option<Arc<dyn FinishedLog>>,
}

type SharedState = Arc<Mutex<State>>;

struct State {
    finished: FinishedMessages,
    /// The tokens are cancelled when the work ends.
    running: HashMap<MessageKey, CancellationToken>,
}

/// What becomes of a delivery.
pub(super) enum Claim {
    Process(ClaimedMessage),
    /// The step has finished the message before.
    Drop,
}

/// A message that this process works on. Dropping it ends the work without a result.
pub(super) struct ClaimedMessage {
    /// None if the message cannot be told from others.
    running: Option<RunningMessage>,
}

struct RunningMessage {
    key: MessageKey,
    state: SharedState,
    ids: Arc<EventIds>,
    _ended: DropGuard,
}

impl Drop for RunningMessage {
    fn drop(&mut self) {
        lock(&self.state).running.remove(&self.key);
    }
}

impl ClaimedMessage {
    const UNKNOWN: Self = Self { running: None };

    /// The ids of the message's events; none if they are random.
    pub(super) fn event_ids(&self) -> Option<Arc<EventIds>> {
        self.running.as_ref().map(|running| running.ids.clone())
    }
}

impl Deduplication {
    /// Remembers in memory, and in the log that `open_log` returns. The log gets the function that takes what it reads.
    pub(super) fn new(
        step: &StepIdentity,
        crypto_password: &SecretString,
        open_log: impl FnOnce(LogReader) -> Option<Arc<dyn FinishedLog>>,
    ) -> Self {
        let state = Arc::new(Mutex::new(State {
            finished: FinishedMessages::new(),
            running: HashMap::new(),
        }));
        let read = state.clone();
        let log = open_log(Arc::new(move |key| {
            lock(&read).finished.add(key, FinishedBy::Another);
        }));
        Self {
            step: step.clone(),
            secret: content::hash(b's', &[crypto_password.expose_secret().as_bytes()]),
            state,
            log,
        }
    }

    /// Reads the log to its end, before the first message is processed.
    pub(super) async fn read_log(&self) {
        if let Some(log) = &self.log
            && !log.catch_up(START_LIMIT).await
        {
            tracing::warn!(
                code = %codes::FINISHED_LOG_LATE,
                seconds = START_LIMIT.as_secs(),
                "The log of finished messages is not read: what earlier processes and other replicas have finished may be \
                 processed again, and its events have the same ids"
            );
        }
    }

    /// Decides whether a delivery has to be processed.
    pub(super) async fn claim<H>(&self, delivery: &Delivery<H>) -> Claim {
        let Some(identity) = Identity::of(&self.step, &delivery.headers, &delivery.body) else {
            return Claim::Process(ClaimedMessage::UNKNOWN);
        };
        // A body that was not read identifies nothing.
        if delivery.withheld.is_some() && !identity.is_unique {
            return Claim::Process(ClaimedMessage::UNKNOWN);
        }
        // Another replica may have finished it just before it was killed.
        if delivery.redelivered
            && let Some(log) = &self.log
            && !log.catch_up(CATCH_UP_LIMIT).await
        {
            tracing::warn!(
                code = %codes::FINISHED_LOG_LATE,
                seconds = CATCH_UP_LIMIT.as_secs(),
                "The log of finished messages is not read in time for a message that arrived again. It is processed: if \
                 another replica has finished it, its events have the same ids"
            );
        }
        loop {
            match self.try_claim(identity, delivery.redelivered) {
                Ok(claim) => return claim,
                Err(running) => running.cancelled().await,
            }
        }
    }

    /// Returns an error while this process works on the same message: a token that is cancelled at its end.
    fn try_claim(&self, identity: Identity, redelivered: bool) -> Result<Claim, CancellationToken> {
        let Identity { key, is_unique } = identity;
        let mut state = lock(&self.state);
        let finished = state.finished.get(key);
        let is_repeat = match finished {
            Some(FinishedBy::Another) => is_unique || redelivered,
            Some(FinishedBy::ThisProcess) => is_unique,
            None => false,
        };
        if is_repeat {
            return Ok(Claim::Drop);
        }
        let running = state.running.get(&key);
        if finished.is_some() || (running.is_some() && !is_unique) {
            return Ok(Claim::Process(ClaimedMessage::UNKNOWN));
        }
        if let Some(running) = running {
            return Err(running.clone());
        }
        let ended = CancellationToken::new();
        state.running.insert(key, ended.clone());
        Ok(Claim::Process(ClaimedMessage {
            running: Some(RunningMessage {
                key,
                state: self.state.clone(),
                ids: Arc::new(EventIds::new(key, self.secret)),
                _ended: ended.drop_guard(),
            }),
        }))
    }

    /// Ends the work on a message, before its verdict is sent. It is finished if it is acknowledged: a rejected message may be
    /// sent again to be processed.
    pub(super) async fn end(&self, message: ClaimedMessage, verdict: Verdict) {
        let Some(running) = message.running else {
            return;
        };
        if verdict == Verdict::Rejected {
            return;
        }
        let key = running.key;
        lock(&self.state).finished.add(key, FinishedBy::ThisProcess);
        drop(running);
        if let Some(log) = &self.log {
            log.append(key).await;
        }
    }
}

fn lock(state: &SharedState) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
