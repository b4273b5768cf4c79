//! Mode `platform-secret`: the platform refreshes the token, and this process only reads it (token-failures: Secrets of
//! the platform). Nothing is exchanged or saved here.

use super::{
    super::{StoreError, StoreErrorKind, TokenRecord},
    CredentialStore, Error, Inner, Token, Why,
    refresh::LOOKS,
    state::Times,
};
use serde_json::Value;
use std::sync::Arc;
use tokio::time::{Instant, sleep};

impl Inner {
    /// Reads the secret. If it still contains the rejected token, asks the platform once to refresh it.
    pub(super) async fn refresh_secret(
        &self,
        store: &Arc<dyn CredentialStore>,
        why: Why,
    ) -> Result<Arc<Token>, Error> {
        let config = store.config();
        let id = config
            .get("secretId")
            .and_then(Value::as_str)
            .filter(|id| !id.is_empty())
            .ok_or_else(|| {
                Error::Config(
                    "mode platform-secret needs `secretId` in the step's configuration".into(),
                )
            })?;
        let before = self.state().token.clone();
        let mut record = self.read_secret(store, id, false).await?;
        let is_known = before
            .as_ref()
            .is_some_and(|token| token.record.access_token() == record.access_token());
        if is_known && why == Why::Rejected {
            self.metrics.update(|metrics| metrics.refreshes += 1);
            record = self.read_secret(store, id, true).await?;
        }
        let times = Times {
            received: Instant::now(),
            expires: None,
            refresh: None,
        };
        let mut state = self.state();
        match &state.token {
            Some(token) if token.record.access_token() == record.access_token() => {
                Ok(token.clone())
            }
            _ => Ok(state.put(record, times)),
        }
    }

    async fn read_secret(
        &self,
        store: &Arc<dyn CredentialStore>,
        id: &str,
        refresh: bool,
    ) -> Result<TokenRecord, Error> {
        let mut answer = store.secret(id, refresh).await;
        for pause in LOOKS {
            // Only repeated responses prove that the secret was removed.
            if !answer.as_ref().is_err_and(StoreError::is_not_found) {
                break;
            }
            sleep(pause).await;
            answer = store.secret(id, refresh).await;
        }
        let secret = answer.map_err(|error| match error {
            error if error.is_not_found() => {
                Error::ReauthRequired(format!("its secret was removed ({error})"))
            }
            error if error.kind == StoreErrorKind::Refused && refresh => Error::ReauthRequired(
                format!("the platform could not refresh the secret {id} ({error})"),
            ),
            error if error.kind == StoreErrorKind::Refused => Error::Config(format!(
                "the platform does not allow reading the secret {id}: {error}"
            )),
            error => Error::Unavailable {
                reason: error.to_string(),
                retry_after: None,
            },
        })?;
        if secret.pointer("/attributes/state").and_then(Value::as_str) == Some("error") {
            let reason = format!(
                "the platform marks the secret {id} as failed; see its page on the platform"
            );
            return Err(Error::ReauthRequired(reason));
        }
        TokenRecord::find(
            &secret,
            &["attributes".to_owned(), "credentials".to_owned()],
        )
        .filter(|record| record.access_token().is_some())
        .ok_or_else(|| {
            Error::ReauthRequired(format!("the platform's secret {id} has no access token"))
        })
    }
}
