//! What happened at the provider, in order: every call, and every token issued, spent and reused.

use axum::http::HeaderMap;
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};

/// One thing that happened. `Debug` and `Display` name tokens by their numbers; the fields hold them in full.
#[derive(Clone)]
pub struct Entry {
    /// When, on tokio's clock.
    pub at: Instant,
    /// What.
    pub kind: Kind,
}

/// What happened.
#[derive(Clone)]
#[non_exhaustive]
pub enum Kind {
    /// The token endpoint was called.
    TokenCall(TokenCall),
    /// The API was called.
    ApiCall(ApiCall),
    /// The revocation endpoint was called, for this token.
    RevokeCall {
        /// The token that shall end.
        token: String,
        /// What was answered; none while it is under way, or when nothing was.
        status: Option<u16>,
    },
    /// Somebody came to the authorization endpoint.
    AuthorizeCall {
        /// The parameters of the request.
        parameters: BTreeMap<String, String>,
    },
    /// Tokens were issued.
    Issued {
        /// The access token.
        access: String,
        /// The refresh token, where there is a new one.
        refresh: Option<String>,
        /// The grant that they belong to.
        family: usize,
    },
    /// A refresh token was used for the first time since its rotation was asked for, or is used again and again where
    /// nothing rotates.
    Spent {
        /// The refresh token.
        refresh: String,
    },
    /// A refresh token that was spent was used again, within the grace period: that is allowed.
    GraceUsed {
        /// The refresh token.
        refresh: String,
    },
    /// A refresh token that was spent was used again: that is refused.
    Reused {
        /// The refresh token.
        refresh: String,
    },
    /// Because of a reuse, all tokens of a grant are dead.
    FamilyKilled {
        /// The grant.
        family: usize,
    },
    /// A token was revoked.
    Revoked {
        /// The token.
        token: String,
    },
}

/// One call of the token endpoint.
#[derive(Clone)]
pub struct TokenCall {
    /// `grant_type` as it came; empty when there was none.
    pub grant: String,
    /// All parameters, wherever they stood. Of a name that came twice, the last.
    pub form: BTreeMap<String, String>,
    /// The names of all parameters, in their order, as often as they came.
    pub names: Vec<String>,
    /// Where the client's credentials stood.
    pub credentials: Credentials,
    /// The headers.
    pub headers: HeaderMap,
    /// The query of the request as it came.
    pub query: String,
    /// The body as it came.
    pub body: Bytes,
    /// What was answered; none while the call is under way, or when nothing was.
    pub status: Option<u16>,
}

/// Where a client's credentials stood in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// There were none, or nothing but a client id.
    None,
    /// Among the parameters.
    Parameters,
    /// In the `Authorization` header.
    Basic,
    /// In both places, which is one too many (RFC 6749 §2.3).
    Both,
}

/// One call of the API.
#[derive(Clone)]
pub struct ApiCall {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, percent encoded as it came.
    pub path: String,
    /// The query as it came; empty when there is none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The `Authorization` header as it came.
    pub authorization: Option<String>,
    /// The token in it.
    pub token: Option<String>,
    /// What was answered; none while the call is under way, or when nothing was.
    pub status: Option<u16>,
}

impl Kind {
    fn answered(&mut self, with: Option<u16>) {
        match self {
            Self::TokenCall(TokenCall { status, .. })
            | Self::ApiCall(ApiCall { status, .. })
            | Self::RevokeCall { status, .. } => *status = with,
            _ => {}
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TokenCall(call) => {
                let of = call
                    .form
                    .get("refresh_token")
                    .map(|token| format!(" of {}", short(token)))
                    .unwrap_or_default();
                write!(f, "{}{of} → {}", call.grant, Status(call.status))
            }
            Self::ApiCall(call) => {
                let token = call.token.as_deref().map_or("no token".into(), short);
                write!(
                    f,
                    "{} {} with {token} → {}",
                    call.method,
                    call.path,
                    Status(call.status)
                )
            }
            Self::RevokeCall { token, status } => {
                write!(f, "revocation of {} → {}", short(token), Status(*status))
            }
            Self::AuthorizeCall { parameters } => {
                write!(
                    f,
                    "authorization for {}",
                    parameters.get("scope").map_or("no scope", String::as_str)
                )
            }
            Self::Issued {
                access,
                refresh: Some(refresh),
                family,
            } => {
                write!(
                    f,
                    "issued {} and {} (grant {family})",
                    short(access),
                    short(refresh)
                )
            }
            Self::Issued {
                access,
                refresh: None,
                family,
            } => write!(f, "issued {} (grant {family})", short(access)),
            Self::Spent { refresh } => write!(f, "spent {}", short(refresh)),
            Self::GraceUsed { refresh } => {
                write!(f, "spent {} again, within the grace period", short(refresh))
            }
            Self::Reused { refresh } => write!(f, "reuse of {}: refused", short(refresh)),
            Self::FamilyKilled { family } => write!(f, "all tokens of grant {family} are dead"),
            Self::Revoked { token } => write!(f, "revoked {}", short(token)),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.kind, f)
    }
}

impl fmt::Debug for TokenCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Kind::TokenCall(self.clone()).fmt(f)
    }
}

impl fmt::Debug for ApiCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Kind::ApiCall(self.clone()).fmt(f)
    }
}

struct Status(Option<u16>);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(status) => status.fmt(f),
            None => f.write_str("no answer"),
        }
    }
}

/// A token's number, which is no secret; of tokens that are not from here only that.
pub(super) fn short(token: &str) -> String {
    match token.split_once('.') {
        Some((number, _))
            if ["at-", "rt-", "code-"]
                .iter()
                .any(|kind| number.starts_with(kind)) =>
        {
            number.to_owned()
        }
        _ => "an unknown token".into(),
    }
}

/// All entries so far. Calls enter when they arrive, and are told to watchers when they are over.
pub(super) struct Log {
    entries: Mutex<Vec<Entry>>,
    changed: watch::Sender<()>,
    told: broadcast::Sender<Entry>,
}

/// Where a call stands.
#[derive(Clone, Copy)]
pub(super) struct Place(usize);

impl Log {
    pub(super) fn new() -> Self {
        Self {
            entries: Mutex::default(),
            changed: watch::Sender::new(()),
            told: broadcast::Sender::new(4096),
        }
    }

    /// Something that is over as soon as it happens.
    pub(super) fn happened(&self, kind: Kind) {
        let mut entries = self.lock();
        entries.push(Entry {
            at: Instant::now(),
            kind,
        });
        // Within the lock, so that watchers hear things in their order. It does not matter whether there are any.
        let _ = self.told.send(entries[entries.len() - 1].clone());
        drop(entries);
        self.changed.send_replace(());
    }

    pub(super) fn arrived(&self, kind: Kind) -> Place {
        let mut entries = self.lock();
        entries.push(Entry {
            at: Instant::now(),
            kind,
        });
        let place = Place(entries.len() - 1);
        drop(entries);
        self.changed.send_replace(());
        place
    }

    pub(super) fn at(&self, Place(at): Place) -> Instant {
        self.lock()[at].at
    }

    pub(super) fn answered(&self, Place(at): Place, status: Option<u16>) {
        let mut entries = self.lock();
        entries[at].kind.answered(status);
        let _ = self.told.send(Entry {
            at: Instant::now(),
            kind: entries[at].kind.clone(),
        });
        drop(entries);
        self.changed.send_replace(());
    }

    pub(super) fn all(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    pub(super) fn watch(&self) -> broadcast::Receiver<Entry> {
        self.told.subscribe()
    }

    pub(super) fn count(&self, what: impl Fn(&Kind) -> bool) -> usize {
        self.lock().iter().filter(|entry| what(&entry.kind)).count()
    }

    /// Waits until `count` entries are `what`. Cancel safe.
    pub(super) async fn wait(&self, count: usize, what: impl Fn(&Kind) -> bool) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if self.count(&what) >= count {
                return;
            }
            // The sender lives as long as `self`.
            let _ = changed.changed().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
