//! What one exploration is about: who takes part, what the provider does, and what can go wrong how often.

use super::{findings::Counterexample, provider::Rules};
use crate::oauth2::Mode;
use std::ops::{Index, IndexMut};

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) name: &'static str,
    pub(super) replicas: usize,
    pub(super) call: Call,
    pub(super) lock: Lock,
    pub(super) rules: Rules,
    pub(super) mode: Mode,
    /// An access token survives one expiry, and is refreshed between the first and the second.
    pub(super) is_long: bool,
    pub(super) has_account: bool,
    /// How many requests each replica makes, and how many of them at the same time.
    pub(super) requests: u8,
    pub(super) parallel: usize,
    pub(super) chances: &'static [(Chance, u8)],
    pub(super) sabotage: Option<Sabotage>,
    /// What is found. Every other property holds.
    pub(super) expected: &'static [Counterexample],
}

/// Which lock there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    None,
    Shared,
    /// The broker has no locks.
    Unsupported,
}

/// A one-time call that runs beside the replicas, without the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    None,
    /// It reads the account.
    Asks,
    /// The platform does not let it read the account.
    NotAllowed,
}

/// An effect that is swallowed on its way from the machine to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    /// The store is not read: the process gets back what it knows.
    Reread,
    /// Only the provider's response is saved.
    Merge,
    /// Nobody asks whether the lock is still held.
    Fence,
}

/// What can happen a limited number of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Chance {
    /// All access tokens expire, and all grace periods end.
    Expiry,
    /// Ten minutes pass, so that every pause is over.
    Wait,
    /// A process is killed. It can start again at any time.
    Kill,
    /// A process is told to stop.
    Stop,
    /// The provider's answer is lost.
    LostAnswer,
    /// A process gives up a request that may still arrive.
    LateRequest,
    /// The provider cannot answer at the moment.
    BusyProvider,
    /// The configuration does not define the credential at the moment.
    Misconfigured,
    /// The store refuses a save.
    RefusedSave,
    /// The store takes a save, and its answer is lost.
    LostSave,
    /// The store says once that the account does not exist.
    NotFound,
    /// Only the platform's queue takes a save.
    QueuedOnly,
    /// The store cannot be read.
    FailedRead,
    /// The store returns the record before the current one.
    StaleRead,
    /// A holder loses the lock.
    LostLock,
    /// A process does not get the lock.
    DeniedLock,
    /// The API rejects a valid token.
    Rejection,
    /// A module emits the tokens that its process had first.
    EmitOld,
    /// A module emits tokens that it obtained itself.
    EmitOwn,
    /// A module emits keys without tokens.
    EmitOther,
    /// The user disconnects.
    Disconnect,
    /// The user deletes the account.
    Delete,
    /// The user connects again.
    Reconnect,
    /// The platform refreshes its secret.
    PlatformRefresh,
}

const CHANCES: usize = Chance::PlatformRefresh as usize + 1;

/// How often each chance is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Chances([u8; CHANCES]);

impl Index<Chance> for Chances {
    type Output = u8;

    fn index(&self, chance: Chance) -> &u8 {
        &self.0[chance as usize]
    }
}

impl IndexMut<Chance> for Chances {
    fn index_mut(&mut self, chance: Chance) -> &mut u8 {
        &mut self.0[chance as usize]
    }
}

impl Chances {
    pub(super) fn of(list: &[(Chance, u8)]) -> Self {
        let mut chances = Self::default();
        for (chance, times) in list {
            chances[*chance] = *times;
        }
        chances
    }
}
