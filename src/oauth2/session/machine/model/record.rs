//! Token records of the model: two serial numbers that the provider hands out. A larger number is newer.

use super::super::record::Record;

/// A token record, and also a provider's response. 0 stands for a token that is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Tokens {
    pub(super) access: u8,
    pub(super) refresh: u8,
}

impl Tokens {
    /// The tokens of one exchange, with a refresh token.
    pub(super) fn both(serial: u8) -> Self {
        Self {
            access: serial,
            refresh: serial,
        }
    }
}

impl std::fmt::Display for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a{}/r{}", self.access, self.refresh)
    }
}

impl Record for Tokens {
    type Id = Self;
    type Secret = u8;

    fn id(&self) -> Self {
        *self
    }

    fn access_token(&self) -> Option<&u8> {
        Some(&self.access).filter(|serial| **serial != 0)
    }

    fn refresh_token(&self) -> Option<&u8> {
        Some(&self.refresh).filter(|serial| **serial != 0)
    }

    fn with_emitted(&self, emitted: &Self) -> Self {
        let newer = |new, old| if new == 0 { old } else { new };
        Self {
            access: newer(emitted.access, self.access),
            refresh: newer(emitted.refresh, self.refresh),
        }
    }
}

/// A set of serial numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Serials(u32);

impl Serials {
    pub(super) fn of(serial: u8) -> Self {
        Self(if serial == 0 { 0 } else { 1 << serial })
    }

    pub(super) fn has(self, serial: u8) -> bool {
        self.0 & Self::of(serial).0 != 0
    }

    pub(super) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    #[must_use]
    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn any(self, matches: impl Fn(u8) -> bool) -> bool {
        (1..32).any(|serial| self.has(serial) && matches(serial))
    }
}
