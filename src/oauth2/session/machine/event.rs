//! What the machine is told, and what it asks for.

use super::record::{Life, Record, SharedToken};
use crate::oauth2::{Error, ExchangeError, LockError};
use std::time::Duration;

/// Identifies somebody who waits for an answer: a request for a token, or a module that saves keys.
pub(crate) type WaiterId = u64;

/// Why a request needs another token than the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    /// No token is known yet.
    First,
    /// Every request gets a new token.
    Access,
    /// The current token expires soon, or has expired.
    Expiry,
    /// The API rejected the current token.
    Rejected,
}

/// Who keeps the tokens fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Keeper {
    /// This process: it spends the refresh token in the account.
    Process,
    /// The platform: this process reads its secret.
    Platform,
}

/// Somebody needs a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Need<S> {
    /// Who waits for it; `None` for a refresh ahead of the expiry, which nobody waits for.
    pub(crate) waiter: Option<WaiterId>,
    pub(crate) why: Why,
    /// The generation that does not help; `None` if every token helps that comes from now on.
    pub(crate) known: Option<u64>,
    pub(crate) keeper: Keeper,
    pub(crate) store: S,
}

/// A module saves keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Emit<R, S> {
    pub(crate) waiter: WaiterId,
    /// The tokens among the keys.
    pub(crate) sent: Option<(R, Life)>,
    pub(crate) keeper: Keeper,
    pub(crate) store: S,
}

/// What the store says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Look<R> {
    /// The stored record, and its life if this process does not know it better.
    Found(R, Life),
    /// The account has no tokens: the user has disconnected.
    NoTokens,
    /// The platform says that the account does not exist.
    Removed(String),
    /// The platform does not let this process ask.
    NotAsked,
    /// The store did not answer.
    Failed(String),
    /// The configuration does not define the credential.
    NotConfigured(Error),
}

/// Why the provider returned no token.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The refresh token was not sent.
    NotSent(Error),
    /// The provider refused it, or did not answer.
    Refused(ExchangeError),
}

/// What became of a save.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SaveResult {
    Saved,
    /// There is no place to save it.
    NoAccount(String),
    /// The platform says that the account does not exist. Its queue may have taken the record nevertheless.
    NotFound {
        reason: String,
        queued: bool,
    },
    Failed(String),
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Event<R: Record, S> {
    /// A request needs a token.
    Needed(Need<S>),
    /// A module saves keys.
    Emitted(Emit<R, S>),
    /// The process's configuration contains this record now.
    Configured(R, Life),
    /// It is time to save an unsaved record again. The number is that of the alarm.
    Alarm(u32),
    /// The process stops: no refresh begins any more.
    Stop,
    /// The answer to [`Effect::Lock`].
    Locked(Result<(), LockError>),
    /// The answer to [`Effect::Fence`]: whether the lock is still held.
    Fenced(bool),
    /// The answer to [`Effect::Look`] and [`Effect::LookOnce`].
    Looked(Look<R>),
    /// The answer to [`Effect::Exchange`].
    Exchanged(Result<(R::Response, Life), Failure>),
    /// The answer to [`Effect::Pause`].
    Woke,
    /// The answer to [`Effect::Save`].
    Saved(SaveResult),
    /// The answer to [`Effect::ConfirmGone`].
    Confirmed(bool),
    /// The answer to [`Effect::SaveKeys`]: whether they are saved.
    KeysSaved(bool),
    /// The answer to [`Effect::ReadSecret`].
    Secret(Result<(R, Life), Error>),
}

/// What the driver is to do. Those with an answer in [`Event`] get exactly one.
#[derive(Clone, Debug)]
pub(crate) enum Effect<R: Record, S> {
    /// Waits for the lock, for about this time at most.
    Lock(S, Duration),
    /// Releases the lock.
    Unlock,
    /// Asks whether the lock is still held.
    Fence,
    /// Reads the store. A credential that is missing is looked for several times.
    Look(S),
    /// Reads the store once.
    LookOnce(S),
    /// Sends the refresh token of this record to the provider.
    Exchange(S, SharedToken<R>),
    /// Waits for this time or a little longer.
    Pause(Duration),
    /// Sends [`Event::Alarm`] later, or at the stop.
    Alarm(Duration, u32),
    /// Saves the record, with the credential's other fields as they were read last.
    Save(S, R),
    /// Asks the store several times whether the credential is gone.
    ConfirmGone(S),
    /// Revokes tokens that nobody will use.
    Revoke(S, R),
    /// Adds the record to this process's configuration.
    Share(S, R),
    /// Saves a module's keys with this record in them; `None` if they contain no tokens.
    SaveKeys(S, WaiterId, Option<R>),
    /// Reads the platform's secret. With `true`, the platform refreshes it first.
    ReadSecret(S, bool),
    /// Answers those who wait for a token.
    Answer(Vec<WaiterId>, Result<SharedToken<R>, Error>),
    /// Tells the operator, and for some reports the user.
    Report(Report<R, S>),
}

/// What the operator should know.
#[derive(Clone, Debug)]
pub(crate) enum Report<R, S> {
    /// A token of another process is used.
    Adopted,
    /// A token of another process is used, although this process has just got one.
    ReplacedDuringRefresh,
    /// The lock is not available, and the work goes on without it.
    NoLock(LockError),
    /// The store cannot be read, and the refresh goes on.
    NotRead(String),
    /// The exchange is tried again.
    Retried(ExchangeError),
    /// A token was refreshed and saved.
    Refreshed { rotated: bool, record: R },
    /// No token was obtained.
    Failed(Error),
    /// The API rejects new tokens, so that they are not refreshed for this time.
    RejectedOften(Duration, Error),
    /// A record is only in this process.
    Unsaved {
        store: S,
        rotated: bool,
        reason: String,
    },
    /// Only the platform's queue has taken a record.
    QueuedOnly(String),
    /// An unsaved record is saved now.
    SavedLater,
    /// An unsaved record is not needed any more: the store has a newer one.
    Discarded,
    /// The process ends with an unsaved record.
    Lost { rotated: bool, reason: String },
}
