//! Grants and their tokens: which are valid, spent, or revoked. No HTTP here.

use super::knobs::Knobs;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;
use uuid::Uuid;

/// All grants. A grant is the result of one authorization, with all tokens that descend from it.
#[derive(Default)]
pub(super) struct Grants {
    grants: Vec<Grant>,
    access: HashMap<String, AccessToken>,
    refresh: HashMap<String, RefreshToken>,
    codes: HashMap<String, Code>,
    issued: usize,
}

struct Grant {
    revoked: bool,
    scope: String,
}

struct AccessToken {
    grant: usize,
    expires: Option<Instant>,
    revoked: bool,
}

struct RefreshToken {
    grant: usize,
    expires: Option<Instant>,
    first_used: Option<Instant>,
    /// Another refresh token has replaced it.
    rotated: bool,
    revoked: bool,
    uses: usize,
}

/// An authorization code, to be exchanged once.
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
pub(super) struct NewTokens {
    pub(super) grant: usize,
    pub(super) access: String,
    /// The refresh token that is valid from now on.
    pub(super) refresh: Option<String>,
    /// Whether it is a new one.
    pub(super) rotated: bool,
    pub(super) scope: String,
}

/// The result of using a refresh token.
pub(super) enum RedeemResult {
    Valid { grant: usize, grace: bool },
    Invalid(&'static str),
    Reused { grant: usize },
}

impl Grants {
    pub(super) fn authorize(&mut self, scope: &str) -> usize {
        self.grants.push(Grant {
            revoked: false,
            scope: scope.to_owned(),
        });
        self.grants.len() - 1
    }

    pub(super) fn scope(&self, grant: usize) -> &str {
        &self.grants[grant].scope
    }

    pub(super) fn grant_of(&self, refresh: &str) -> Option<usize> {
        self.refresh.get(refresh).map(|token| token.grant)
    }

    /// The first tokens of a grant.
    pub(super) fn first(&mut self, grant: usize, knobs: &Knobs) -> NewTokens {
        let refresh = knobs
            .issue_refresh_token
            .then(|| self.new_refresh_token(grant, knobs));
        self.new_tokens(grant, refresh, true, knobs)
    }

    /// Uses a refresh token. When it is valid, [`Self::refreshed`] must follow.
    pub(super) fn redeem(&mut self, token: &str, knobs: &Knobs) -> RedeemResult {
        let Some(refresh) = self.refresh.get_mut(token) else {
            return RedeemResult::Invalid("this refresh token was never issued here");
        };
        refresh.uses += 1;
        if refresh.revoked || self.grants[refresh.grant].revoked {
            return RedeemResult::Invalid("this refresh token is revoked");
        }
        if is_expired(refresh.expires) {
            return RedeemResult::Invalid("this refresh token is expired");
        }
        let grant = refresh.grant;
        match refresh.first_used.filter(|_| refresh.rotated) {
            Some(used) if used.elapsed() >= knobs.grace => RedeemResult::Reused { grant },
            Some(_) => RedeemResult::Valid { grant, grace: true },
            None => {
                refresh.first_used = Some(Instant::now());
                RedeemResult::Valid {
                    grant,
                    grace: false,
                }
            }
        }
    }

    /// The tokens that a valid refresh token gives.
    pub(super) fn refreshed(&mut self, token: &str, grant: usize, knobs: &Knobs) -> NewTokens {
        if let Some(scope) = &knobs.narrow_scope {
            self.grants[grant].scope.clone_from(scope);
        }
        if !knobs.rotate {
            return self.new_tokens(grant, Some(token.to_owned()), false, knobs);
        }
        if let Some(old) = self.refresh.get_mut(token) {
            old.rotated = true;
        }
        let new = self.new_refresh_token(grant, knobs);
        self.new_tokens(grant, Some(new), true, knobs)
    }

    pub(super) fn revoke_grant(&mut self, grant: usize) {
        self.grants[grant].revoked = true;
    }

    pub(super) fn revoke_all(&mut self) {
        self.grants
            .iter_mut()
            .for_each(|grant| grant.revoked = true);
    }

    /// Revokes a token, and with a refresh token its whole grant (RFC 7009 §2.1). False when it is unknown.
    pub(super) fn revoke(&mut self, token: &str) -> bool {
        if let Some(grant) = self.grant_of(token) {
            self.revoke_grant(grant);
            return true;
        }
        self.access
            .get_mut(token)
            .map(|access| access.revoked = true)
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

    pub(super) fn is_valid(&self, access: &str) -> bool {
        self.access.get(access).is_some_and(|access| {
            !access.revoked && !is_expired(access.expires) && !self.grants[access.grant].revoked
        })
    }

    pub(super) fn is_spendable(&self, refresh: &str, knobs: &Knobs) -> bool {
        self.refresh.get(refresh).is_some_and(|token| {
            let spent = token.rotated
                && token
                    .first_used
                    .is_some_and(|used| used.elapsed() >= knobs.grace);
            !token.revoked
                && !is_expired(token.expires)
                && !spent
                && !self.grants[token.grant].revoked
        })
    }

    /// How often a refresh token was used, valid or not.
    pub(super) fn uses(&self, refresh: &str) -> usize {
        self.refresh.get(refresh).map_or(0, |token| token.uses)
    }

    /// How long the latest access token of a grant remains valid; none when it has no valid one.
    pub(super) fn remaining(&self, grant: usize) -> Option<Duration> {
        let is_revoked = self.grants[grant].revoked;
        let valid = self
            .access
            .values()
            .filter(|access| access.grant == grant && !access.revoked && !is_revoked);
        valid
            .map(|access| {
                access.expires.map_or(Duration::MAX, |at| {
                    at.saturating_duration_since(Instant::now())
                })
            })
            .max()
    }

    pub(super) fn add_code(&mut self, code: Code) -> String {
        let text = self.new_text("code", "");
        self.codes.insert(text.clone(), code);
        text
    }

    pub(super) fn code(&mut self, code: &str) -> Option<&mut Code> {
        self.codes.get_mut(code)
    }

    fn new_tokens(
        &mut self,
        grant: usize,
        refresh: Option<String>,
        rotated: bool,
        knobs: &Knobs,
    ) -> NewTokens {
        if knobs.one_access_token {
            self.access
                .values_mut()
                .filter(|access| access.grant == grant)
                .for_each(|access| access.revoked = true);
        }
        let access = self.new_text("at", "");
        self.access.insert(
            access.clone(),
            AccessToken {
                grant,
                expires: after(knobs.access_lifetime),
                revoked: false,
            },
        );
        NewTokens {
            grant,
            access,
            refresh,
            rotated,
            scope: self.grants[grant].scope.clone(),
        }
    }

    fn new_refresh_token(&mut self, grant: usize, knobs: &Knobs) -> String {
        // The end of the token must be encoded in a form, which reveals a client that does not encode.
        let token = self.new_text("rt", "+/=");
        let expires = knobs.refresh_lifetime.and_then(after);
        let refresh = RefreshToken {
            grant,
            expires,
            first_used: None,
            rotated: false,
            revoked: false,
            uses: 0,
        };
        self.refresh.insert(token.clone(), refresh);
        token
    }

    fn new_text(&mut self, kind: &str, end: &str) -> String {
        self.issued += 1;
        format!("{kind}-{}.{}{end}", self.issued, Uuid::new_v4().simple())
    }
}

/// Returns the time after this lifetime, or `None` if the lifetime never ends.
pub(super) fn after(lifetime: Duration) -> Option<Instant> {
    Instant::now().checked_add(lifetime)
}

pub(super) fn is_expired(expires: Option<Instant>) -> bool {
    expires.is_some_and(|at| at <= Instant::now())
}
