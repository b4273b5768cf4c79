//! The token record as the machine sees it, and how long its token lives on the session's monotonic clock.

use super::{
    super::{Profile, TokenRecord},
    machine::{self, Life, Moment, Record},
};
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime};

/// A token record with its generation.
pub(in crate::oauth2) type Token = machine::Token<TokenRecord>;

impl Record for TokenRecord {
    type Id = [u8; 32];
    type Secret = str;

    fn id(&self) -> Self::Id {
        let mut hash = Sha256::new();
        for token in [self.access_token(), self.refresh_token()] {
            let token = token.unwrap_or_default();
            hash.update((token.len() as u64).to_le_bytes());
            hash.update(token);
        }
        hash.finalize().into()
    }

    fn access_token(&self) -> Option<&str> {
        TokenRecord::access_token(self)
    }

    fn refresh_token(&self) -> Option<&str> {
        TokenRecord::refresh_token(self)
    }

    fn with_emitted(&self, emitted: &Self) -> Self {
        TokenRecord::with_emitted(self, emitted)
    }
}

/// The life of a token that was requested at `asked`, with its `lifetime` if that is known. It is refreshed `margin`
/// before it expires, but not in the first half of its lifetime, and replicas refresh at different times
/// (token-failures: T50).
pub(super) fn life(asked: Moment, lifetime: Option<Duration>, margin: Duration) -> Life {
    let expires = lifetime.and_then(|lifetime| asked.checked_add(lifetime));
    let ahead = margin.min(lifetime.unwrap_or_default() / 2);
    let ahead = ahead.mul_f64(0.8 + 0.2 * fastrand::f64());
    Life {
        received: asked,
        expires,
        refresh: expires.map(|expires| expires.saturating_sub(ahead)),
    }
}

/// The life of a record that another process, or an earlier run, has stored. Its writer's clock may differ from ours, so
/// the token lives no longer than the provider said, seen from now.
pub(super) fn stored_life(now: Moment, record: &TokenRecord, profile: &Profile) -> Life {
    let longest = record.lifetime(profile).unwrap_or(Duration::MAX);
    let left = record.expires_at().map(|at| {
        let left = at.duration_since(SystemTime::now()).unwrap_or_default();
        left.min(longest)
    });
    life(now, left, Duration::from_secs(profile.margin))
}
