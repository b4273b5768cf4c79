//! Reads the store. A credential counts as gone only if several reads agree: a proxy may return 404 while the platform is
//! unavailable.

use super::super::{CredentialStore, StoreError, TokenRecord};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

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

/// Reads the stored configuration. `None` if the platform does not let this process ask. A missing credential is looked
/// for after each of `pauses`.
pub(super) async fn stored(
    store: &dyn CredentialStore,
    field: &[String],
    pauses: &[Duration],
) -> Result<Option<Value>, StoreError> {
    let looks = async {
        let mut found = store.reload().await;
        for pause in pauses {
            if !is_gone(&found, field) {
                break;
            }
            sleep(*pause).await;
            found = store.reload().await;
        }
        found
    };
    let late = |_| Err(StoreError::transient("the platform does not respond"));
    timeout(READ, looks).await.unwrap_or_else(late)
}

/// Returns whether all checks agree that the credential is gone. A stopping process skips them, for lack of time.
pub(super) async fn stays_gone(
    store: &dyn CredentialStore,
    field: &[String],
    stopping: &CancellationToken,
) -> bool {
    let looks = async {
        for pause in [Duration::ZERO].into_iter().chain(UNTIL_GONE) {
            let is_stopping = timeout(pause, stopping.cancelled()).await.is_ok();
            if is_stopping || !is_gone(&store.reload().await, field) {
                return false;
            }
        }
        true
    };
    timeout(CONFIRMATION, looks).await.unwrap_or(false)
}

/// Whether this says that the credential is gone.
fn is_gone(found: &Result<Option<Value>, StoreError>, field: &[String]) -> bool {
    match found {
        Ok(found) => found
            .as_ref()
            .is_some_and(|config| TokenRecord::find(config, field).is_none()),
        Err(error) => error.is_not_found(),
    }
}
