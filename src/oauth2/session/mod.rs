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
mod life;
mod look;
mod machine;
mod metrics;
mod record;
mod redact;
mod report;
mod secret;
mod setup;
mod tasks;
mod turn;

pub use config::{Environment, SessionConfig};
pub use metrics::SessionMetrics;
pub(super) use record::Token;
pub(super) use setup::CredentialSetup;

use super::{AuthorizedClient, CredentialStore, Error, OAuth2};
use crate::settings::descriptor::Descriptor;
use credential::Credential;
use machine::{Event, Keeper, Need, Supply, Why};
use redact::without_tokens;
use serde_json::{Map, Value};
use std::{fmt, sync::Arc};
use turn::PreparedKeys;

/// A token, and the configuration that it belongs to.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) setup: Arc<CredentialSetup>,
    pub(super) token: Arc<Token>,
}

/// One credential in this process, with its current token and its refreshes. Clones are handles to the same session.
#[derive(Clone)]
pub struct Session(Arc<Credential>);

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("config", self.config())
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
        self.0.metrics.get()
    }

    /// Returns true while a rotated refresh token is not saved yet, so that only this process has it.
    #[must_use]
    pub fn has_unsaved_rotation(&self) -> bool {
        self.0.shared().machine.has_unsaved_rotation()
    }

    /// Waits for running refreshes, and tries once more to save an unsaved token. A closed session does not refresh.
    ///
    /// # Cancel safety
    /// Cancel safe: the tasks continue, and another call waits for them.
    pub async fn close(&self) {
        self.0.close().await;
    }

    /// Turns the keys that a module emits into the keys to store. Accepts each of the usual shapes (token-failures:
    /// Tokens on the platform). Waits until no other process and no refresh can change the stored credential.
    ///
    /// # Cancel safety
    /// Cancel safe: if the future is dropped, nothing is saved.
    pub(crate) async fn prepare_keys(
        &self,
        keys: Map<String, Value>,
        store: Arc<dyn CredentialStore>,
    ) -> PreparedKeys {
        keys::prepare(&self.0, keys, store).await
    }

    /// The names of the credential's fields in component.json.
    pub(crate) fn credential_fields(&self) -> Vec<&str> {
        self.0.resolver.credential_fields()
    }

    pub(super) fn setup(&self, store: &dyn CredentialStore) -> Result<Arc<CredentialSetup>, Error> {
        self.0.setup(store)
    }

    pub(super) fn config(&self) -> &SessionConfig {
        &self.0.config
    }

    /// Returns the current token if it is known without waiting. `None` if the platform keeps the token and this
    /// process has not read it yet.
    pub(super) fn current_token(
        &self,
        store: &Arc<dyn CredentialStore>,
        setup: &CredentialSetup,
    ) -> Result<Option<Arc<Token>>, Error> {
        let mut shared = self.0.shared();
        shared.observe(self.0.now(), &**store, setup);
        let current = shared.machine.current().cloned();
        if current.is_none() && setup.keeper() == Keeper::Process {
            return Err(Error::ReauthRequired(format!(
                "the configuration field `{}` contains no tokens",
                setup.resolved.field.join(".")
            )));
        }
        Ok(current)
    }

    /// Removes tokens from a text of the API, which may repeat them: the current tokens and those of the request.
    pub(super) fn redacted(&self, text: String, sent: &Token) -> String {
        let current = self.0.shared().machine.current().cloned();
        let current = current.iter().map(|token| &token.record);
        without_tokens(text, current.chain([&sent.record]))
    }

    /// Returns the token to send a request with: the current token, or a new one if it has expired.
    pub(super) async fn usable_token(
        &self,
        store: &Arc<dyn CredentialStore>,
        setup: Arc<CredentialSetup>,
    ) -> Result<Access, Error> {
        let supply = self
            .0
            .shared()
            .machine
            .supply(self.0.now(), setup.resolved.mode);
        let (why, known) = match supply {
            Supply::Use(token) => return Ok(Access { setup, token }),
            Supply::UseAndRefresh(token) => {
                self.0.handle(Event::Needed(Need {
                    waiter: None,
                    why: Why::Expiry,
                    known: Some(token.generation),
                    keeper: setup.keeper(),
                    store: store.clone(),
                }));
                return Ok(Access { setup, token });
            }
            Supply::Wait { why, known } => (why, known),
        };
        let token = self.0.token(store, setup.keeper(), why, known).await?;
        self.access(store, token)
    }

    /// Returns a token later than `rejected`, which the API has rejected.
    pub(super) async fn refresh_rejected(
        &self,
        store: &Arc<dyn CredentialStore>,
        rejected: &Token,
    ) -> Result<Access, Error> {
        // The configuration may contain another token by now.
        let setup = self.setup(&**store)?;
        self.current_token(store, &setup)?;
        let known = Some(rejected.generation);
        let token = self
            .0
            .token(store, setup.keeper(), Why::Rejected, known)
            .await?;
        self.access(store, token)
    }

    /// Reads the setup again: other fields, such as the API's address, can have changed together with the token.
    fn access(&self, store: &Arc<dyn CredentialStore>, token: Arc<Token>) -> Result<Access, Error> {
        let setup = self.setup(&**store)?;
        Ok(Access { setup, token })
    }

    /// Notes that the API accepted this token. `after_refresh` says that it had rejected the request's first token.
    pub(super) fn token_accepted(&self, token: &Token, after_refresh: bool) {
        let mut shared = self.0.shared();
        shared.machine.accepted(token.generation, after_refresh);
    }
}
