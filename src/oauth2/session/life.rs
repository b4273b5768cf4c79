//! How long tokens live, on the session's monotonic clock.

use super::{
    super::{Profile, TokenRecord},
    machine::{Life, Moment},
};
use std::time::{Duration, SystemTime};

/// The life of a token that was requested at `asked`, with its `lifetime` if that is known. It is refreshed `margin`
/// before it expires, but not in the first half of its lifetime, and replicas refresh at different times
/// (token-failures: T50).
pub(super) fn requested(asked: Moment, lifetime: Option<Duration>, margin: Duration) -> Life {
    let expires = lifetime.and_then(|lifetime| asked.checked_add(lifetime));
    let ahead = lifetime.map(|lifetime| {
        margin
            .min(lifetime / 2)
            .mul_f64(0.8 + 0.2 * fastrand::f64())
    });
    Life {
        received: asked,
        expires,
        refresh: expires
            .zip(ahead)
            .map(|(expires, ahead)| expires.saturating_sub(ahead)),
    }
}

/// The life of a record that another process, or an earlier run, has stored. Its writer's clock may differ from ours, so
/// the token lives no longer than the provider said, seen from now.
pub(super) fn stored(now: Moment, record: &TokenRecord, profile: &Profile) -> Life {
    let left = record
        .expires_at()
        .map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
    let longest = record.lifetime(profile).unwrap_or(Duration::MAX);
    requested(now, left.map(|left| left.min(longest)), profile.margin)
}

/// The life of a token whose end is unknown.
pub(super) fn unknown(now: Moment) -> Life {
    Life {
        received: now,
        expires: None,
        refresh: None,
    }
}
