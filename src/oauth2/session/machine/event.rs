//! What the machine is told, and what it asks for.

use super::record::{Life, SharedToken};
use crate::{
    codes::Code,
    oauth2::{Error, ExchangeError, LockError, StoreError},
};
use std::time::Duration;
use tracing::Level;

/// Identifies somebody who waits for an answer: a request for a token, or a module that saves keys.
pub(crate) type WaiterId = u64;

/// Why a request needs another token than the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    /// Every request gets a new token.
    Access,
    /// No token is known yet, or the current one expires soon or has expired.
    Expiry,
    /// The API rejected the current token.
    Rejected,
}

/// Somebody needs a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Need<S> {
    /// Who waits for it; `None` for a refresh ahead of the expiry, which nobody waits for.
    pub(crate) waiter: Option<WaiterId>,
    pub(crate) why: Why,
    /// The generation that does not help; `None` if every token helps that comes from now on.
    pub(crate) known: Option<u64>,
    /// The platform keeps the tokens fresh, and this process reads its secret.
    pub(crate) of_platform: bool,
    pub(crate) store: S,
}

/// A module saves keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Emit<R, S> {
    pub(crate) waiter: WaiterId,
    /// The tokens among the keys.
    pub(crate) sent: Option<(R, Life)>,
    /// The platform keeps the tokens fresh, and the keys are saved beside its secret.
    pub(crate) of_platform: bool,
    pub(crate) store: S,
}

/// What the store says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Look<R> {
    /// The stored record, and its life if this process does not know it better.
    Found(R, Life),
    /// The account has no tokens: the user has disconnected.
    NoTokens,
    /// The platform does not let this process ask.
    NotAsked,
    /// The store did not answer, or says that the account does not exist.
    Failed(StoreError),
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

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Event<R, S> {
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
    /// The answer to [`Effect::Lock`]. Each of the following is the answer to the effect of the same meaning.
    Locked(Result<(), LockError>),
    Looked(Look<R>),
    /// The record merged with the provider's response.
    Exchanged(Result<(R, Life), Failure>),
    Woke,
    /// The second member says whether the platform's queue has taken the record.
    Saved(Result<(), StoreError>, bool),
    Confirmed(bool),
    KeysSaved(bool),
    Secret(Result<(R, Life), Error>),
}

/// What the driver is to do. Those with an answer in [`Event`] get exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect<R, S> {
    /// Waits for the lock, for about this time at most. If it is still held, the answer comes at once.
    Lock(S, Duration),
    /// Releases the lock.
    Unlock,
    /// Reads the store. A credential that is missing is looked for again after each of these pauses.
    Look(S, &'static [Duration]),
    /// Sends the refresh token of this record to the provider, unless the lock was held and is lost by now.
    Exchange(S, SharedToken<R>),
    /// Waits for this time or a little longer.
    Pause(Duration),
    /// Sends [`Event::Alarm`] later, or at the stop.
    Alarm(Duration, u32),
    /// Saves the record, with the credential's other fields as they were read last. With `true`, the platform's queue has
    /// it already.
    Save(S, R, bool),
    /// Asks the store several times whether the credential is gone.
    ConfirmGone(S),
    /// Revokes tokens that nobody will use.
    Revoke(S, R),
    /// Adds the record to this process's configuration.
    Share(S, R),
    /// Saves a module's keys with this record in them; `None` if they contain no tokens.
    SaveKeys(WaiterId, Option<R>),
    /// Reads the platform's secret. With `true`, the platform refreshes it first.
    ReadSecret(S, bool),
    /// Answers somebody who waits for a token.
    Answer(WaiterId, Result<SharedToken<R>, Error>),
    /// Tells the operator that something went as it should.
    Inform(&'static str),
    /// Tells the operator that something went wrong.
    Warn(Level, Code, String),
    /// Counts what happened, and tells the operator, and for an unsaved record the user.
    Report(Report<R, S>),
}

/// What is counted, beside a line in the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Report<R, S> {
    /// A token of another process is used.
    Adopted,
    /// A token was refreshed and saved. With `true`, its refresh token is new.
    Refreshed(R, bool),
    /// No token was obtained.
    Failed(Error),
    /// A rotated refresh token is only in this process, for this reason.
    Unsaved(S, String),
}
