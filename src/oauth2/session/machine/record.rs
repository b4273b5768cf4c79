//! What the machine knows of a token record, and of the token that it is used as.

use std::{fmt::Debug, hash::Hash, sync::Arc, time::Duration};

/// A time on the driver's monotonic clock, as the distance from the session's creation.
pub(crate) type Moment = Duration;

/// A stored credential, as far as the machine looks at it.
pub(crate) trait Record: Clone + Default {
    /// Identifies a pair of tokens without containing them.
    type Id: Copy + Debug + Default + Eq + Hash;
    type Secret: Eq + ?Sized;

    /// Identifies the tokens of this record.
    fn id(&self) -> Self::Id;
    fn access_token(&self) -> Option<&Self::Secret>;
    fn refresh_token(&self) -> Option<&Self::Secret>;
    /// This record with the members that a module emits on top.
    fn with_emitted(&self, emitted: &Self) -> Self;
}

/// A token record with its generation. The generation shows whether a request was sent with the current token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token<R> {
    pub(crate) generation: u64,
    pub(crate) record: R,
    pub(crate) life: Life,
    /// Read from the store or the configuration, not refreshed by this process: its age is unknown.
    pub(crate) adopted: bool,
}

pub(crate) type SharedToken<R> = Arc<Token<R>>;

/// When a token was received, and how long it is valid. On a monotonic clock: the wall clock is used only across
/// restarts (token-failures: T52).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Life {
    pub(crate) received: Moment,
    /// `None` if the end is unknown: the token is used until it is rejected.
    pub(crate) expires: Option<Moment>,
    /// From this time on the token is refreshed, before it expires.
    pub(crate) refresh: Option<Moment>,
}

impl<R: Record> Token<R> {
    pub(crate) fn is_expired(&self, now: Moment) -> bool {
        self.life.expires.is_some_and(|at| at <= now)
    }

    pub(crate) fn is_due(&self, now: Moment) -> bool {
        self.life.refresh.is_some_and(|at| at <= now)
    }

    /// Returns whether this token cannot replace `before`: it is missing, has expired, or is the same.
    pub(super) fn is_spent(&self, now: Moment, before: Option<&Self>) -> bool {
        let token = self.record.access_token();
        let is_same = before.is_some_and(|before| before.record.access_token() == token);
        token.is_none() || self.is_expired(now) || is_same
    }
}
