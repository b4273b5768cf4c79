//! Grants and their tokens: what is good, what is spent, what is dead. No HTTP here.

use super::knobs::Knobs;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;
use uuid::Uuid;

/// All grants. A grant (or family) is what one authorization brought, with all tokens that came of it since.
#[derive(Default)]
pub(super) struct Grants {
    families: Vec<Family>,
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
    codes: HashMap<String, Code>,
    minted: usize,
}

struct Family {
    dead: bool,
    scope: String,
}

struct Access {
    family: usize,
    expires: Option<Instant>,
    dead: bool,
}

struct Refresh {
    family: usize,
    expires: Option<Instant>,
    first_used: Option<Instant>,
    /// Another one has taken its place.
    rotated: bool,
    dead: bool,
    presented: usize,
}

/// What an authorization brought, to be exchanged once.
pub(super) struct Code {
    pub(super) redirect_uri: String,
    /// The S256 challenge of PKCE.
    pub(super) challenge: Option<String>,
    pub(super) scope: String,
    pub(super) expires: Option<Instant>,
    /// The grant that it was exchanged for.
    pub(super) exchanged: Option<usize>,
}

/// New tokens.
pub(super) struct Minted {
    pub(super) family: usize,
    pub(super) access: String,
    /// The refresh token that is good from now on.
    pub(super) refresh: Option<String>,
    /// Whether it is a new one.
    pub(super) rotated: bool,
    pub(super) scope: String,
}

/// What comes of using a refresh token.
pub(super) enum Redeemed {
    Good { family: usize, grace: bool },
    Dead(&'static str),
    Reused { family: usize },
}

impl Grants {
    pub(super) fn authorize(&mut self, scope: &str) -> usize {
        self.families.push(Family {
            dead: false,
            scope: scope.to_owned(),
        });
        self.families.len() - 1
    }

    pub(super) fn scope(&self, family: usize) -> &str {
        &self.families[family].scope
    }

    pub(super) fn family_of(&self, refresh: &str) -> Option<usize> {
        self.refresh.get(refresh).map(|token| token.family)
    }

    /// The first tokens of a grant.
    pub(super) fn first(&mut self, family: usize, knobs: &Knobs) -> Minted {
        let refresh = knobs
            .issue_refresh_token
            .then(|| self.mint_refresh(family, knobs));
        self.minted(family, refresh, true, knobs)
    }

    /// Uses a refresh token. Whoever is answered that it is good must be given the tokens of [`Self::refreshed`].
    pub(super) fn redeem(&mut self, token: &str, knobs: &Knobs) -> Redeemed {
        let Some(refresh) = self.refresh.get_mut(token) else {
            return Redeemed::Dead("this refresh token was never issued here");
        };
        refresh.presented += 1;
        if refresh.dead || self.families[refresh.family].dead {
            return Redeemed::Dead("this refresh token is revoked");
        }
        if is_past(refresh.expires) {
            return Redeemed::Dead("this refresh token is expired");
        }
        let family = refresh.family;
        match refresh.first_used.filter(|_| refresh.rotated) {
            Some(used) if used.elapsed() >= knobs.grace => Redeemed::Reused { family },
            Some(_) => Redeemed::Good {
                family,
                grace: true,
            },
            None => {
                refresh.first_used = Some(Instant::now());
                Redeemed::Good {
                    family,
                    grace: false,
                }
            }
        }
    }

    /// The tokens that a good refresh token brings.
    pub(super) fn refreshed(&mut self, token: &str, family: usize, knobs: &Knobs) -> Minted {
        if let Some(scope) = &knobs.narrow_scope {
            self.families[family].scope.clone_from(scope);
        }
        if !knobs.rotate {
            return self.minted(family, Some(token.to_owned()), false, knobs);
        }
        if let Some(old) = self.refresh.get_mut(token) {
            old.rotated = true;
        }
        let new = self.mint_refresh(family, knobs);
        self.minted(family, Some(new), true, knobs)
    }

    pub(super) fn kill(&mut self, family: usize) {
        self.families[family].dead = true;
    }

    pub(super) fn kill_all(&mut self) {
        self.families
            .iter_mut()
            .for_each(|family| family.dead = true);
    }

    /// Ends a token; a refresh token takes all of its grant with it (RFC 7009 §2.1). False when it is unknown.
    pub(super) fn revoke(&mut self, token: &str) -> bool {
        if let Some(family) = self.family_of(token) {
            self.kill(family);
            return true;
        }
        self.access
            .get_mut(token)
            .map(|access| access.dead = true)
            .is_some()
    }

    pub(super) fn expire(&mut self, access: &str) {
        if let Some(access) = self.access.get_mut(access) {
            access.expires = Some(Instant::now());
        }
    }

    pub(super) fn expire_all(&mut self) {
        self.access
            .values_mut()
            .for_each(|access| access.expires = Some(Instant::now()));
    }

    pub(super) fn is_good(&self, access: &str) -> bool {
        self.access.get(access).is_some_and(|access| {
            !access.dead && !is_past(access.expires) && !self.families[access.family].dead
        })
    }

    pub(super) fn is_spendable(&self, refresh: &str, knobs: &Knobs) -> bool {
        self.refresh.get(refresh).is_some_and(|token| {
            let spent = token.rotated
                && token
                    .first_used
                    .is_some_and(|used| used.elapsed() >= knobs.grace);
            !token.dead && !is_past(token.expires) && !spent && !self.families[token.family].dead
        })
    }

    /// How often a refresh token was used or tried.
    pub(super) fn presented(&self, refresh: &str) -> usize {
        self.refresh.get(refresh).map_or(0, |token| token.presented)
    }

    /// For how long the best access token of a grant is still good; none for ever.
    pub(super) fn remaining(&self, family: usize) -> Option<Duration> {
        let is_dead = self.families[family].dead;
        let good = self
            .access
            .values()
            .filter(|access| access.family == family && !access.dead && !is_dead);
        good.map(|access| {
            access.expires.map_or(Duration::MAX, |at| {
                at.saturating_duration_since(Instant::now())
            })
        })
        .max()
    }

    pub(super) fn add_code(&mut self, code: Code) -> String {
        let text = self.next("code", "");
        self.codes.insert(text.clone(), code);
        text
    }

    pub(super) fn code(&mut self, code: &str) -> Option<&mut Code> {
        self.codes.get_mut(code)
    }

    fn minted(
        &mut self,
        family: usize,
        refresh: Option<String>,
        rotated: bool,
        knobs: &Knobs,
    ) -> Minted {
        if knobs.one_access_token {
            self.access
                .values_mut()
                .filter(|access| access.family == family)
                .for_each(|access| access.dead = true);
        }
        let access = self.next("at", "");
        self.access.insert(
            access.clone(),
            Access {
                family,
                expires: after(knobs.access_lifetime),
                dead: false,
            },
        );
        Minted {
            family,
            access,
            refresh,
            rotated,
            scope: self.families[family].scope.clone(),
        }
    }

    fn mint_refresh(&mut self, family: usize, knobs: &Knobs) -> String {
        // Its end must be encoded in a form: a client that forgets to do so is found out.
        let token = self.next("rt", "+/=");
        let expires = knobs.refresh_lifetime.and_then(after);
        let refresh = Refresh {
            family,
            expires,
            first_used: None,
            rotated: false,
            dead: false,
            presented: 0,
        };
        self.refresh.insert(token.clone(), refresh);
        token
    }

    fn next(&mut self, kind: &str, end: &str) -> String {
        self.minted += 1;
        format!("{kind}-{}.{}{end}", self.minted, Uuid::new_v4().simple())
    }
}

/// None is never.
pub(super) fn after(lifetime: Duration) -> Option<Instant> {
    Instant::now().checked_add(lifetime)
}

pub(super) fn is_past(expires: Option<Instant>) -> bool {
    expires.is_some_and(|at| at <= Instant::now())
}
