//! The states, and the work that is under way.

use super::{
    event::{Emit, Why},
    record::{Life, Moment, Record, SharedToken},
};
use crate::oauth2::ExchangeError;

/// A refresh, and what it has tried so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Refresh<R, S> {
    pub(super) store: S,
    pub(super) why: Why,
    /// The token that it replaces.
    pub(super) before: Option<SharedToken<R>>,
    /// When the last look at the store began.
    pub(super) looked: Moment,
    /// Whether the last look was repeated because it took long.
    pub(super) looked_again: bool,
    pub(super) exchanges: u32,
    /// An answer was lost, and perhaps a token with it.
    pub(super) lost: bool,
    pub(super) doubt: Option<Doubt<R>>,
}

/// A refused refresh token, until it is clear that no other process has replaced it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Doubt<R> {
    pub(super) base: SharedToken<R>,
    pub(super) failure: ExchangeError,
    pub(super) looks: usize,
}

/// A record that is being saved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Save<R: Record, S> {
    pub(super) store: S,
    pub(super) record: R,
    pub(super) life: Life,
    /// Its refresh token differs from the stored one.
    pub(super) rotated: bool,
    /// The tokens that it was refreshed from.
    pub(super) base: R::Id,
    /// An earlier save has failed, and the record is in use.
    pub(super) is_again: bool,
    pub(super) attempts: u32,
    pub(super) began: Moment,
    /// The platform's queue has taken it.
    pub(super) queued: bool,
    /// Several looks agree that the credential is gone.
    pub(super) is_gone: bool,
}

/// A record that is not in the store yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Unsaved<R: Record, S> {
    /// How it is saved again.
    pub(super) save: Save<R, S>,
    /// Whether there is a place for it.
    pub(super) retries: bool,
    /// How often saving it has failed. It is the number of the alarm that counts.
    pub(super) failures: u32,
    /// The alarm has come.
    pub(super) is_due: bool,
}

/// Work that begins with the lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Work<R: Record, S> {
    Refresh(Refresh<R, S>),
    /// Saves an unsaved record again.
    Save(Save<R, S>),
    /// Saves a module's keys.
    Emit(Emit<R, S>),
}

/// What the machine waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum State<R: Record, S> {
    /// For something to do.
    Idle,
    /// For the lock.
    Locking(Work<R, S>),
    /// For the stored record, before the refresh token is spent or given up.
    Looking(Refresh<R, S>),
    /// For the provider's answer to this record's refresh token.
    Exchanging(Refresh<R, S>, SharedToken<R>),
    /// For the end of a pause, before the stored record is read again.
    Pausing(Refresh<R, S>),
    /// For the stored record, before it is replaced.
    SaveLooking(Save<R, S>),
    /// For the end of a save.
    Saving(Save<R, S>),
    /// For the end of a pause, before a save is tried again.
    SavePausing(Save<R, S>),
    /// Whether the credential is really gone.
    Confirming(Save<R, S>),
    /// For the stored record, into which a module's keys are merged.
    EmitLooking(Emit<R, S>),
    /// For the end of the save of a module's keys, with these tokens in them.
    SavingKeys(Option<(R, Life)>),
    /// For the platform's secret. With `true`, the platform was asked to refresh it.
    ReadingSecret(S, Why, bool),
}

impl<R: Record, S> State<R, S> {
    /// Returns whether the work ends with a token or an error for those who wait.
    pub(super) fn is_refresh(&self) -> bool {
        match self {
            Self::Locking(work) => matches!(work, Work::Refresh(_)),
            Self::Looking(_) | Self::Exchanging(..) | Self::Pausing(_) => true,
            Self::SaveLooking(save)
            | Self::Saving(save)
            | Self::SavePausing(save)
            | Self::Confirming(save) => !save.is_again,
            Self::ReadingSecret(..) => true,
            Self::Idle | Self::EmitLooking(_) | Self::SavingKeys(_) => false,
        }
    }
}
