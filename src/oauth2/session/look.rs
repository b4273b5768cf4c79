//! Reads the store. A credential counts as gone only if several reads agree: a proxy may return 404 while the platform is
//! unavailable.

use super::{
    super::{CredentialStore, StoreError, TokenRecord},
    Session,
    credential::{Store, TokenEvent},
    machine::{Event, Look},
    record::stored_life,
};
use crate::codes;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The longest time for reading the store, with all checks.
pub(super) const READ: Duration = Duration::from_secs(15);
/// Delays between the checks that a credential is gone. All must agree before its new tokens are revoked.
const UNTIL_GONE: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
];
/// The time limit of these checks.
pub(super) const CONFIRMATION: Duration = Duration::from_secs(40);

/// The stored configuration; `None` if the platform does not let this process ask.
type Found = Result<Option<Value>, StoreError>;

impl Session {
    /// Reads the stored record. A missing credential is looked for after each of `pauses`.
    pub(super) async fn look(self, store: Store, pauses: &'static [Duration]) -> TokenEvent {
        self.0.shared().read = None;
        let resolved = match self.0.resolved(&*store) {
            Ok(resolved) => resolved,
            Err(error) => return Event::Looked(Look::NotConfigured(error)),
        };
        let field = &resolved.field;
        let late = |_| {
            let seconds = READ.as_secs();
            let reason = format!("the platform did not respond within {seconds} s");
            Err(StoreError::transient(reason))
        };
        let found = timeout(READ, read(&*store, field, pauses)).await;
        let found = found.unwrap_or_else(late);
        let look = match &found {
            Ok(None) => Look::NotAsked,
            Ok(Some(config)) => match TokenRecord::find(config, field) {
                Some(record) => {
                    let life = stored_life(self.0.now(), &record, &resolved.profile);
                    Look::Found(record, life)
                }
                None => Look::NoTokens,
            },
            Err(error) => Look::Failed(error.clone()),
        };
        self.0.shared().read = found.ok().flatten();
        Event::Looked(look)
    }

    /// Returns whether all checks agree that the credential is gone. A stopping process skips them, for lack of time.
    pub(super) async fn confirm_gone(self, store: Store) -> TokenEvent {
        let Ok(resolved) = self.0.resolved(&*store) else {
            return Event::Confirmed(false);
        };
        let field = &resolved.field;
        let found = tokio::select! {
            biased;
            () = self.0.stopping.cancelled() => return Event::Confirmed(false),
            found = timeout(CONFIRMATION, read(&*store, field, &UNTIL_GONE)) => found,
        };
        if found.is_err() {
            tracing::warn!(
                code = %codes::CREDENTIAL_CHECK_TIMEOUT,
                seconds = CONFIRMATION.as_secs(),
                "The platform did not say in time whether the credential is gone; it counts as present"
            );
        }
        Event::Confirmed(found.is_ok_and(|found| is_gone(&found, field)))
    }
}

/// Reads the stored configuration, and again after each of `pauses` while the credential seems to be gone.
async fn read(store: &dyn CredentialStore, field: &[String], pauses: &[Duration]) -> Found {
    let mut found = store.reload().await;
    for pause in pauses {
        if !is_gone(&found, field) {
            break;
        }
        sleep(*pause).await;
        found = store.reload().await;
    }
    found
}

/// Whether this says that the credential is gone.
fn is_gone(found: &Found, field: &[String]) -> bool {
    match found {
        Ok(Some(config)) => TokenRecord::find(config, field).is_none(),
        Ok(None) => false,
        Err(error) => error.is_not_found(),
    }
}
