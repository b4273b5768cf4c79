//! What is promised, and what breaks a promise that nobody can keep. docs/oauth2.md explains each by its name here.

use std::fmt;

/// What must hold in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Property {
    /// A rotated refresh token that reached a living process is saved or still held.
    Kept,
    /// A rotated token is used only after it was saved, or after its save failed.
    SavedFirst,
    /// No older record overwrites a newer one.
    NoOlder,
    /// Who was rejected with a generation gets a token of a later one, or an error.
    Later,
    /// At most one exchange per credential and process.
    OneExchange,
    /// With the lock, no two processes spend one refresh token, unless the holder is cut off during its exchange.
    OneSpender,
    /// Every waiter gets one answer.
    Answered,
    /// The stored record can be spent whenever nothing is under way.
    Spendable,
}

/// What breaks a promise that nobody can keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// (a) A process was killed between the exchange and the end of the save.
    Killed,
    /// (b) The provider's answer was lost, and no grace period repeated it.
    AnswerLost,
    /// (c) A one-time call, which takes no lock, refreshed beside a replica.
    OneTimeCall,
    /// (d) Two replicas refreshed at the same time without the lock.
    NoLock,
    /// (e) A replica lost the lock between its exchange and the end of the save.
    CutOff,
    /// (f) The store returned an older record than it had.
    StaleRead,
    /// (g) A request arrived after its sender had given it up, or was killed.
    Late,
    /// (h) A process stopped while the store refused its record.
    Stopped,
    /// (i) The user connected or disconnected between a look at the store and the save.
    User,
}

impl Cause {
    const ALL: [Self; 9] = [
        Self::Killed,
        Self::AnswerLost,
        Self::OneTimeCall,
        Self::NoLock,
        Self::CutOff,
        Self::StaleRead,
        Self::Late,
        Self::Stopped,
        Self::User,
    ];
}

/// A set of causes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Causes(u16);

impl From<Cause> for Causes {
    fn from(cause: Cause) -> Self {
        Self(1 << cause as u16)
    }
}

impl Causes {
    pub(super) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(super) fn has(self, cause: Cause) -> bool {
        self.0 & Self::from(cause).0 != 0
    }
}

impl fmt::Debug for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let causes = Cause::ALL.into_iter().filter(|cause| self.has(*cause));
        f.debug_set().entries(causes).finish()
    }
}

/// A property that does not hold, and what has happened before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    pub(super) property: Property,
    pub(super) causes: Causes,
}

/// A property that does not hold after this cause alone.
pub(super) type Counterexample = (Property, Cause);

impl Finding {
    /// Returns whether one of the counterexamples explains this.
    pub(super) fn is_explained(self, by: &[Counterexample]) -> bool {
        by.iter()
            .any(|(property, cause)| *property == self.property && self.causes.has(*cause))
    }

    pub(super) fn is(self, (property, cause): Counterexample) -> bool {
        self.property == property && self.causes == cause.into()
    }
}
