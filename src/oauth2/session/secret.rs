//! `platform-secret`: the platform refreshes, this process only asks (token-failures: Secrets of the platform). Nothing is exchanged or saved here.

use super::{
    super::TokenRecord, CredentialStore, Error, Inner, Token, Why, refresh::LOOKS, state::Times,
};
use serde_json::Value;
use std::sync::{Arc, atomic::Ordering};
use tokio::time::{Instant, sleep};

impl Inner {
    /// Reads the secret; when it still has the token that was rejected, has the platform refresh it, once.
    pub(super) async fn refresh_secret(
        &self,
        store: &Arc<dyn CredentialStore>,
        why: Why,
    ) -> Result<Arc<Token>, Error> {
        let config = store.config();
        let id = config.get("secretId").and_then(Value::as_str).filter(|id| !id.is_empty()).ok_or_else(|| {
            Error::Config(
                "mode platform-secret needs the `secretId` of the step's configuration, which has none".into(),
            )
        })?;
        let before = self.state().token.clone();
        let mut record = self.read_secret(store, id, false).await?;
        let is_known = before
            .as_ref()
            .is_some_and(|token| token.record.access_token() == record.access_token());
        if is_known && why == Why::Rejected {
            self.counters.refreshes.fetch_add(1, Ordering::Relaxed);
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
            // One answer that it is not there is no verdict.
            if !answer.as_ref().is_err_and(|error| error.gone) {
                break;
            }
            sleep(pause).await;
            answer = store.secret(id, refresh).await;
        }
        let secret = answer.map_err(|error| match error {
            error if error.gone => {
                Error::ReauthRequired(format!("its secret was removed ({error})"))
            }
            error if error.refused && refresh => Error::ReauthRequired(format!(
                "the platform could not refresh its secret {id} ({error})"
            )),
            error if error.refused => Error::Config(format!(
                "the platform's secret {id} may not be read: {error}"
            )),
            error => Error::Unavailable {
                reason: error.to_string(),
                retry_after: None,
            },
        })?;
        if secret.pointer("/attributes/state").and_then(Value::as_str) == Some("error") {
            let reason =
                format!("the platform marks its secret {id} as failed; its page there tells why");
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
