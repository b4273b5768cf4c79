//! The state of a session: the current token, earlier ones, the running refresh, and what prevents the next one.

use super::super::{Error, TokenRecord};
use crate::clients::retry::RetryPolicy;
use futures_util::future::{BoxFuture, Shared};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// How many earlier tokens are remembered, to recognize an outdated response of the store. The latest are kept, and
/// those that the store still returns.
const PAST: usize = 64;
/// The first delay after a failed refresh; it doubles with each further one.
const FIRST_COOLDOWN: Duration = Duration::from_secs(5);
/// The longest of these delays, and how often a dead credential is checked again.
const COOLDOWN: Duration = Duration::from_secs(30);
/// The limits of a delay that the provider asks for.
const SHORTEST_COOLDOWN: Duration = Duration::from_secs(1);
const LONGEST_COOLDOWN: Duration = Duration::from_secs(600);

/// A token record with its generation. The generation shows whether a request was sent with the current token.
pub(crate) struct Token {
    pub(super) generation: u64,
    pub(crate) record: TokenRecord,
    pub(super) times: Times,
    /// Read from the store or the configuration, not refreshed by this process: its age is unknown.
    pub(crate) adopted: bool,
}

/// When a token was received, and how long it is valid. On a monotonic clock: the wall clock is used only across
/// restarts (token-failures: T52).
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) received: Instant,
    pub(super) expires: Option<Instant>,
    /// From this time on the token is refreshed, before it expires.
    pub(super) refresh: Option<Instant>,
}

impl Times {
    /// The times of a token that was requested at `asked`, with its `lifetime` if that is known. It is refreshed
    /// `margin` before it expires, but not in the first half of its lifetime, and replicas refresh at different times
    /// (token-failures: T50).
    pub(super) fn new(asked: Instant, lifetime: Option<Duration>, margin: Duration) -> Self {
        let expires = lifetime.and_then(|lifetime| asked.checked_add(lifetime));
        let ahead = lifetime.map(|lifetime| {
            margin
                .min(lifetime / 2)
                .mul_f64(0.8 + 0.2 * fastrand::f64())
        });
        let refresh = expires
            .zip(ahead)
            .and_then(|(expires, ahead)| expires.checked_sub(ahead));
        Self {
            received: asked,
            expires,
            refresh,
        }
    }

    /// The times of a record that another process, or an earlier run, has stored.
    pub(super) fn stored(record: &TokenRecord, margin: Duration) -> Self {
        let left = record
            .expires_at()
            .map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
        Self::new(Instant::now(), left, margin)
    }
}

impl Token {
    pub(super) fn is_expired(&self) -> bool {
        self.times.expires.is_some_and(|at| at <= Instant::now())
    }

    pub(super) fn is_due(&self) -> bool {
        self.times.refresh.is_some_and(|at| at <= Instant::now())
    }
}

/// A running refresh that several callers can wait for.
pub(super) type Refreshing = Shared<BoxFuture<'static, Result<Arc<Token>, Error>>>;

/// Why no refresh may start before `until`.
struct Bar {
    until: Instant,
    error: Error,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) token: Option<Arc<Token>>,
    pub(super) refreshing: Option<Refreshing>,
    /// The configuration that was read last.
    pub(super) seen: Option<Arc<Value>>,
    /// Whether the last exchange returned a new refresh token.
    pub(super) rotates: Option<bool>,
    /// How many refreshes in a row did not help the request that needed them.
    pub(super) rejections: u32,
    /// Rejected tokens are not refreshed before this time, because too many refreshes did not help.
    pub(super) refused_until: Option<Instant>,
    /// The latest generation that the API has accepted.
    pub(super) accepted: u64,
    /// The tokens that are being saved. The store may return them before they become the current ones.
    coming: Option<[u8; 32]>,
    past: VecDeque<[u8; 32]>,
    generation: u64,
    bar: Option<Bar>,
    failures: u32,
    /// The pair of tokens that the provider has refused for good.
    dead: Option<([u8; 32], Error)>,
}

impl State {
    /// Returns whether these tokens are current, were current once, or are being saved.
    pub(super) fn knows(&mut self, record: &TokenRecord) -> bool {
        let fingerprint = fingerprint(record);
        if self.coming == Some(fingerprint)
            || self
                .token
                .as_ref()
                .is_some_and(|token| token.record.same_tokens(record))
        {
            return true;
        }
        let Some(at) = self.past.iter().position(|past| *past == fingerprint) else {
            return false;
        };
        // Tokens that the store still returns are kept, even if many refreshes cannot be saved.
        self.past.remove(at);
        self.past.push_front(fingerprint);
        true
    }

    /// Notes that these tokens are about to be saved.
    pub(super) fn expect(&mut self, record: &TokenRecord) {
        self.coming = Some(fingerprint(record));
    }

    /// Returns whether these tokens are earlier ones and no longer current.
    pub(super) fn is_past(&self, record: &TokenRecord) -> bool {
        self.token
            .as_ref()
            .is_none_or(|token| !token.record.same_tokens(record))
            && self.past.contains(&fingerprint(record))
    }

    /// Makes a record the current one, as the next generation.
    pub(super) fn put(&mut self, record: TokenRecord, times: Times) -> Arc<Token> {
        self.replace(record, times, false)
    }

    fn replace(&mut self, record: TokenRecord, times: Times, adopted: bool) -> Arc<Token> {
        if let Some(old) = &self.token
            && !old.record.same_tokens(&record)
        {
            self.past.push_front(fingerprint(&old.record));
            self.past.truncate(PAST);
        }
        self.coming = None;
        self.generation += 1;
        let token = Arc::new(Token {
            generation: self.generation,
            record,
            times,
            adopted,
        });
        self.token = Some(token.clone());
        token
    }

    /// Makes another process's token the current one. It can be refreshed at any time.
    pub(super) fn adopt(&mut self, record: TokenRecord, margin: Duration) -> Arc<Token> {
        self.trust();
        self.unbar();
        let times = Times::stored(&record, margin);
        self.replace(record, times, true)
    }

    /// Notes that refreshes help again.
    pub(super) fn trust(&mut self) {
        (self.rejections, self.refused_until) = (0, None);
    }

    /// Returns why no refresh may start at the moment.
    pub(super) fn barred(&self) -> Option<Error> {
        self.bar
            .as_ref()
            .filter(|bar| bar.until > Instant::now())
            .map(|bar| bar.error.clone())
    }

    pub(super) fn unbar(&mut self) {
        (self.bar, self.failures) = (None, 0);
    }

    /// Notes that a refresh failed. All callers get this error for a while.
    pub(super) fn bar(&mut self, error: &Error) {
        let asked = match error {
            Error::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        };
        let own = match error {
            Error::Unavailable { .. } => {
                RetryPolicy::doubling(FIRST_COOLDOWN, COOLDOWN).delay_after(self.failures + 1)
            }
            _ => COOLDOWN,
        };
        self.failures = self.failures.saturating_add(1).min(u32::MAX - 1);
        self.bar_for(
            asked.map_or(own, |asked| {
                asked.clamp(SHORTEST_COOLDOWN, LONGEST_COOLDOWN)
            }),
            error,
        );
    }

    pub(super) fn bar_for(&mut self, time: Duration, error: &Error) {
        self.bar = Some(Bar {
            until: Instant::now() + time,
            error: error.clone(),
        });
    }

    /// Notes that the provider refuses these tokens for good.
    pub(super) fn bury(&mut self, record: &TokenRecord, error: &Error) {
        self.dead = Some((fingerprint(record), error.clone()));
    }

    /// Returns the error with which the provider refused these tokens for good.
    pub(super) fn is_dead(&self, record: &TokenRecord) -> Option<Error> {
        self.dead
            .as_ref()
            .filter(|(dead, _)| *dead == fingerprint(record))
            .map(|(_, error)| error.clone())
    }
}

/// Identifies a pair of tokens without keeping them.
fn fingerprint(record: &TokenRecord) -> [u8; 32] {
    let mut hash = Sha256::new();
    for token in [record.access_token(), record.refresh_token()] {
        let token = token.unwrap_or_default();
        hash.update((token.len() as u64).to_le_bytes());
        hash.update(token);
    }
    hash.finalize().into()
}
