//! A session: one OAuth2 credential in this process, with its current token and its refreshes.
//!
//! `machine` decides, and `driver` carries out what it decides. At most one refresh runs at a time, in tasks of its own. A
//! caller that is dropped does not stop it, and all callers that need a token wait for the same refresh. A request knows
//! the generation of its token. After a rejection it gets a token of a later generation or an error, never the rejected
//! token (token-failures: T15, T16, T44).

mod config;
mod credential;
mod driver;
mod keys;
mod look;
mod machine;
mod record;
mod report;
mod secret;
mod streams;
mod tasks;

pub use config::{Environment, SessionConfig, SessionMetrics};
pub(super) use record::Token;

use super::{AuthorizedClient, CredentialStore, Error, OAuth2, ResolvedConfig, TokenRecord};
use crate::{
    clients::http::{RetryBudget, without_tokens},
    settings::descriptor::Descriptor,
};
use credential::{Credential, Store};
use machine::{Event, Need, Why};
use std::{
    fmt,
    sync::{Arc, Weak, atomic::Ordering},
};
use streams::RefusedStreams;
use tokio::sync::oneshot;

/// A token, and the configuration that it belongs to.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) resolved: Arc<ResolvedConfig>,
    pub(super) token: Arc<Token>,
}

/// One credential in this process, with its current token and its refreshes. Clones are handles to the same session.
#[derive(Clone)]
pub struct Session(Arc<Credential>);

/// A handle to a session that does not keep it.
#[derive(Clone)]
pub(crate) struct WeakSession(Weak<Credential>);

impl WeakSession {
    pub(crate) fn upgrade(&self) -> Option<Session> {
        self.0.upgrade().map(Session)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Creates a session for the credential that `definition` and component.json describe. It reads and sends nothing
    /// before the first request.
    #[must_use]
    pub fn new(definition: OAuth2, descriptor: Descriptor, config: SessionConfig) -> Self {
        Self(Arc::new(Credential::new(definition, descriptor, config)))
    }

    /// Returns a client for the requests of one message or call. Refreshed tokens are saved in `store`.
    #[must_use]
    pub fn client(&self, store: Arc<dyn CredentialStore>) -> AuthorizedClient {
        AuthorizedClient::new(self.clone(), store)
    }

    /// Returns what the session has done so far.
    #[must_use]
    pub fn metrics(&self) -> SessionMetrics {
        self.0.shared().metrics
    }

    /// Returns true while a rotated refresh token is not saved yet, so that only this process has it.
    #[must_use]
    pub fn has_unsaved_rotation(&self) -> bool {
        self.0.shared().machine.has_unsaved_rotation()
    }

    /// Returns a handle that does not keep the session.
    pub(crate) fn downgrade(&self) -> WeakSession {
        WeakSession(Arc::downgrade(&self.0))
    }

    /// Waits for running refreshes, and tries once more to save an unsaved token. A closed session does not refresh.
    ///
    /// # Cancel safety
    /// Cancel safe: the tasks continue, and another call waits for them.
    pub async fn close(&self) {
        self.0.stopping.cancel();
        self.handle(Event::Stop);
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// The names of the credential's fields in component.json.
    pub(crate) fn credential_fields(&self) -> Vec<&str> {
        self.0.descriptor.credential_fields()
    }

    /// The retries that all requests with this credential share.
    pub(super) fn retries(&self) -> &RetryBudget {
        &self.0.retries
    }

    /// The requests that cannot be sent again with another token.
    pub(super) fn streams(&self) -> &RefusedStreams {
        &self.0.streams
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.0.config.http
    }

    /// Removes tokens from a text of the API, which may repeat them: the current tokens and those of the request.
    pub(super) fn redacted(&self, text: String, sent: &Token) -> String {
        let current = self.0.shared().machine.current().cloned();
        let records = current.iter().map(|token| &token.record);
        let records = records.chain([&sent.record]);
        without_tokens(text, records.flat_map(TokenRecord::tokens))
    }

    /// Notes that the API accepted this token. `after_refresh` says that it had rejected the request's first token.
    pub(super) fn token_accepted(&self, token: &Token, after_refresh: bool) {
        let accepted = &self.0.accepted;
        let noted = accepted.fetch_max(token.generation, Ordering::Relaxed);
        // Most requests say nothing new.
        if after_refresh || noted < token.generation {
            let mut shared = self.0.shared();
            shared.machine.accepted(token.generation, after_refresh);
        }
    }

    /// Returns the token to send a request with: the current one, or a new one if it has expired or is `rejected`. If
    /// `check` fails with the current token, that is the result, so that a request that cannot be sent causes no refresh.
    ///
    /// # Cancel safety
    /// Cancel safe: a refresh goes on.
    pub(super) async fn access(
        &self,
        store: &Store,
        rejected: Option<&Token>,
        check: impl FnOnce(&Access) -> Result<(), Error>,
    ) -> Result<Access, Error> {
        let new_token = {
            let mut shared = self.0.shared();
            let resolved = self.0.observe(&mut shared, &**store)?;
            match shared.machine.current().cloned() {
                Some(token) => check(&Access {
                    resolved: resolved.clone(),
                    token,
                })?,
                None if resolved.is_of_platform() => {}
                None => return Err(no_tokens(&resolved)),
            }
            let (token, refresh) = match rejected {
                None => shared.machine.supply(self.0.now(), resolved.mode),
                Some(rejected) => (None, Some((Why::Rejected, Some(rejected.generation)))),
            };
            let (sender, new_token) = oneshot::channel();
            if let Some((why, known)) = refresh {
                // A refresh ahead of the expiry runs beside the request.
                let waiter = token.is_none().then(|| shared.next_waiter());
                shared.tokens.extend(waiter.map(|waiter| (waiter, sender)));
                let need = Need {
                    waiter,
                    why,
                    known,
                    of_platform: resolved.is_of_platform(),
                    store: store.clone(),
                };
                self.handle_in(&mut shared, Event::Needed(need));
            }
            if let Some(token) = token {
                return Ok(Access { resolved, token });
            }
            new_token
        };
        let ended = |_| Err(Error::unavailable("the session has ended"));
        let token = new_token.await.unwrap_or_else(ended)?;
        // Other fields, such as the API's address, can have changed together with the token.
        let resolved = self.0.resolved(&**store)?;
        Ok(Access { resolved, token })
    }
}

fn no_tokens(resolved: &ResolvedConfig) -> Error {
    let field = resolved.field.join(".");
    Error::ReauthRequired(format!(
        "the configuration field `{field}` contains no tokens"
    ))
}
