//! The provider of the model: which tokens it has issued, and which of them still count.

use super::record::{Serials, Tokens};

/// What the provider does with a refresh token that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rules {
    /// An exchange returns a new refresh token and ends the old one.
    pub(super) rotates: bool,
    /// The old one works until the access tokens expire next.
    pub(super) has_grace: bool,
    /// A later use of the old one ends all tokens of its grant.
    pub(super) kills_family: bool,
}

impl Rules {
    pub(super) const STATIC: Self = Self {
        rotates: false,
        has_grace: false,
        kills_family: false,
    };
    pub(super) const ROTATING: Self = Self {
        rotates: true,
        ..Self::STATIC
    };
    pub(super) const KILLING: Self = Self {
        kills_family: true,
        ..Self::ROTATING
    };
    /// Within the grace period, each use of the old refresh token returns new tokens, and all of them work. After it,
    /// a use ends all tokens of the grant.
    pub(super) const GRACE: Self = Self {
        has_grace: true,
        ..Self::KILLING
    };
}

/// How many grants there can be: the first, and those of a user or a module who connects again.
const GRANTS: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Provider {
    rules: Rules,
    issued: u8,
    grants: [Serials; GRANTS],
    /// The refresh tokens that were not used yet, or do not rotate.
    unspent: Serials,
    /// The refresh tokens that were used and still work.
    in_grace: Serials,
    /// The access tokens that the API accepts until the next expiry, and those that it accepts until the one after.
    valid: Serials,
    young: Serials,
    /// How many expiries an access token survives, less one.
    is_long: bool,
}

impl Provider {
    /// Creates a provider, with a first grant.
    pub(super) fn new(rules: Rules, is_long: bool) -> (Self, Tokens) {
        let mut provider = Self {
            rules,
            issued: 0,
            grants: [Serials::default(); GRANTS],
            unspent: Serials::default(),
            in_grace: Serials::default(),
            valid: Serials::default(),
            young: Serials::default(),
            is_long,
        };
        let first = provider.authorize();
        (provider, first)
    }

    /// Issues the tokens of a new grant.
    pub(super) fn authorize(&mut self) -> Tokens {
        let free = self.grants.iter().position(|grant| grant.is_empty());
        self.issue(free.expect("there is a grant left"))
    }

    fn issue(&mut self, grant: usize) -> Tokens {
        self.issued += 1;
        let new = Serials::of(self.issued);
        self.grants[grant].add(new);
        self.unspent.add(new);
        self.valid.add(new);
        if self.is_long {
            self.young.add(new);
        }
        Tokens::both(self.issued)
    }

    /// Answers an exchange; `None` if the provider refuses it.
    pub(super) fn exchange(&mut self, refresh: u8) -> Option<Tokens> {
        let grant = self.grants.iter().position(|grant| grant.has(refresh))?;
        if !self.takes(refresh) {
            if self.rules.kills_family {
                self.revoke(refresh);
            }
            return None;
        }
        let new = self.issue(grant);
        if !self.rules.rotates {
            self.unspent = self.unspent.without(Serials::of(new.refresh));
            return Some(Tokens { refresh: 0, ..new });
        }
        let spent = Serials::of(refresh);
        self.unspent = self.unspent.without(spent);
        if self.rules.has_grace {
            self.in_grace.add(spent);
        }
        Some(new)
    }

    /// Ends all tokens of the grant of this refresh token.
    pub(super) fn revoke(&mut self, refresh: u8) {
        for grant in self.grants.into_iter().filter(|grant| grant.has(refresh)) {
            for tokens in [
                &mut self.unspent,
                &mut self.in_grace,
                &mut self.valid,
                &mut self.young,
            ] {
                *tokens = tokens.without(grant);
            }
        }
    }

    /// The access tokens expire, and the grace periods end.
    pub(super) fn expire(&mut self) {
        self.valid = std::mem::take(&mut self.young);
        self.in_grace = Serials::default();
    }

    /// Returns whether an exchange with this refresh token would succeed.
    pub(super) fn takes(&self, refresh: u8) -> bool {
        self.unspent.has(refresh) || self.in_grace.has(refresh)
    }

    /// Orders access tokens by their age: those of a later grant are newer.
    pub(super) fn age(&self, access: u8) -> (Option<usize>, u8) {
        let grant = self.grants.iter().position(|grant| grant.has(access));
        (grant, access)
    }

    /// Returns whether this refresh token was not used yet, or does not rotate.
    pub(super) fn is_unspent(&self, refresh: u8) -> bool {
        self.unspent.has(refresh)
    }

    /// Returns whether the API accepts this access token.
    pub(super) fn accepts(&self, access: u8) -> bool {
        self.valid.has(access)
    }

    /// Returns whether the API accepts this access token even after the next expiry.
    pub(super) fn is_young(&self, access: u8) -> bool {
        self.young.has(access)
    }

    pub(super) fn rules(&self) -> Rules {
        self.rules
    }
}
