//! The states, and the work that is under way.

use super::{
    event::{Emit, Event, Keeper, Why},
    record::{Life, Moment, Record, SharedToken},
};
use crate::oauth2::ExchangeError;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Work {
    /// Refreshes the token.
    Refresh(Why),
    /// Reads the platform's secret.
    Secret(Why),
    /// Saves an unsaved record again.
    SaveAgain,
    /// Saves a module's keys.
    Emit(Keeper),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Job<R, S> {
    pub(super) work: Work,
    pub(super) store: S,
    /// The token that a refresh replaces.
    pub(super) before: Option<SharedToken<R>>,
}

impl<R, S> Job<R, S> {
    pub(super) fn new(work: Work, store: S) -> Self {
        Self {
            work,
            store,
            before: None,
        }
    }
}

/// A module's keys that are being saved, and the tokens in them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Keys<R, S> {
    pub(super) store: S,
    pub(super) record: Option<(R, Life)>,
}

/// What a refresh has tried so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Tries {
    /// When the last look at the store began.
    pub(super) looked: Moment,
    /// Whether the last look was repeated because it took long.
    pub(super) looked_again: bool,
    pub(super) exchanges: u32,
    /// An answer was lost, and perhaps a token with it.
    pub(super) lost: bool,
}

impl Tries {
    /// What counts after a look at the store. With another refresh token, the refresh begins again.
    pub(super) fn after(self, is_new: bool) -> Self {
        let (exchanges, lost) = if is_new {
            (0, false)
        } else {
            (self.exchanges, self.lost)
        };
        Self {
            exchanges,
            lost,
            ..self
        }
    }
}

/// A refused refresh token, until it is clear that no other process has replaced it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Doubt<R> {
    pub(super) base: SharedToken<R>,
    pub(super) failure: ExchangeError,
    pub(super) looks: usize,
    pub(super) tries: Tries,
}

/// A record that is being saved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Save<R: Record> {
    pub(super) record: R,
    pub(super) life: Life,
    /// Its refresh token differs from the stored one.
    pub(super) rotated: bool,
    /// The tokens that it was refreshed from.
    pub(super) base: R::Id,
    pub(super) attempts: u32,
    pub(super) began: Moment,
    /// Several looks agree that the credential is gone.
    pub(super) is_gone: bool,
}

impl<R: Record> Save<R> {
    pub(super) fn new(record: R, life: Life, rotated: bool, base: R::Id, now: Moment) -> Self {
        Self {
            record,
            life,
            rotated,
            base,
            attempts: 0,
            began: now,
            is_gone: false,
        }
    }
}

/// A record that is not in the store yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Unsaved<R: Record, S> {
    pub(super) record: R,
    pub(super) rotated: bool,
    /// Where it is saved again; `None` if there is no place for it.
    pub(super) store: Option<S>,
    pub(super) life: Life,
    pub(super) base: R::Id,
    /// How often saving it has failed. It is the number of the alarm that counts.
    pub(super) failures: u32,
    /// The alarm has come.
    pub(super) is_due: bool,
}

impl<R: Record, S> Unsaved<R, S> {
    /// Returns the store if it is time to save the record again. A stopping process tries at once.
    pub(super) fn wanted(&self, stopping: bool) -> Option<&S> {
        self.store.as_ref().filter(|_| self.is_due || stopping)
    }
}

/// What the machine waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum State<R: Record, S> {
    /// For something to do.
    Idle,
    /// For the lock.
    Locking(Job<R, S>),
    /// For the stored record, before the refresh token is spent.
    Looking(Job<R, S>, Tries),
    /// Whether the lock is still held.
    Fencing(Job<R, S>, Tries, SharedToken<R>),
    /// For the provider's answer to this record's refresh token.
    Exchanging(Job<R, S>, Tries, SharedToken<R>),
    /// For the end of a pause, before the refresh token is sent again.
    Retrying(Job<R, S>, Tries),
    /// For the end of a pause, after the provider refused the refresh token.
    Doubting(Job<R, S>, Doubt<R>),
    /// For the stored record: another process may have saved the replacement of the refused refresh token.
    DoubtLooking(Job<R, S>, Doubt<R>),
    /// For the stored record, before it is replaced.
    SaveLooking(Job<R, S>, Save<R>),
    /// For the end of a save.
    Saving(Job<R, S>, Save<R>),
    /// For the end of a pause, before a save is tried again.
    SavePausing(Job<R, S>, Save<R>),
    /// Whether the credential is really gone.
    Confirming(Job<R, S>, Save<R>),
    /// For the stored record, into which a module's keys are merged.
    EmitLooking(Emit<R, S>),
    /// For the end of the save of a module's keys.
    SavingKeys(Keys<R, S>),
    /// For the platform's secret. With `true`, the platform was asked to refresh it.
    ReadingSecret(Job<R, S>, bool),
}

impl<R: Record, S> State<R, S> {
    /// Returns whether the work ends with a token or an error for those who wait.
    pub(super) fn is_refresh(&self) -> bool {
        match self {
            Self::Idle | Self::EmitLooking(_) | Self::SavingKeys(_) => false,
            Self::Locking(job)
            | Self::Looking(job, _)
            | Self::Fencing(job, ..)
            | Self::Exchanging(job, ..)
            | Self::Retrying(job, _)
            | Self::Doubting(job, _)
            | Self::DoubtLooking(job, _)
            | Self::SaveLooking(job, _)
            | Self::Saving(job, _)
            | Self::SavePausing(job, _)
            | Self::Confirming(job, _)
            | Self::ReadingSecret(job, _) => {
                matches!(job.work, Work::Refresh(_) | Work::Secret(_))
            }
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Locking(_) => "Locking",
            Self::Looking(..) => "Looking",
            Self::Fencing(..) => "Fencing",
            Self::Exchanging(..) => "Exchanging",
            Self::Retrying(..) => "Retrying",
            Self::Doubting(..) => "Doubting",
            Self::DoubtLooking(..) => "DoubtLooking",
            Self::SaveLooking(..) => "SaveLooking",
            Self::Saving(..) => "Saving",
            Self::SavePausing(..) => "SavePausing",
            Self::Confirming(..) => "Confirming",
            Self::EmitLooking(_) => "EmitLooking",
            Self::SavingKeys(_) => "SavingKeys",
            Self::ReadingSecret(..) => "ReadingSecret",
        }
    }
}

impl<R: Record, S> Event<R, S> {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Needed(_) => "Needed",
            Self::Emitted(_) => "Emitted",
            Self::Configured(..) => "Configured",
            Self::Alarm(_) => "Alarm",
            Self::Stop => "Stop",
            Self::Locked(_) => "Locked",
            Self::Fenced(_) => "Fenced",
            Self::Looked(_) => "Looked",
            Self::Exchanged(_) => "Exchanged",
            Self::Woke => "Woke",
            Self::Saved(_) => "Saved",
            Self::Confirmed(_) => "Confirmed",
            Self::KeysSaved(_) => "KeysSaved",
            Self::Secret(_) => "Secret",
        }
    }
}

/// How far apart two moments are.
pub(super) fn elapsed(now: Moment, since: Moment) -> Moment {
    now.saturating_sub(since)
}
