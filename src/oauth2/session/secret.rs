//! Reads a secret of the platform (token-failures: Secrets of the platform).

use super::{
    super::{CredentialStore, Error, StoreError, StoreErrorKind, TokenRecord},
    machine::LOOKS,
};
use crate::clients::http::{error_message, without_tokens};
use serde_json::Value;
use tokio::time::sleep;

/// How many characters of the platform's text are shown.
const MAX_TEXT_LEN: usize = 500;

/// Reads the tokens of the secret that the configuration names. With `refresh`, the platform refreshes it first.
pub(super) async fn read(store: &dyn CredentialStore, refresh: bool) -> Result<TokenRecord, Error> {
    let config = store.config();
    let id = config.get("secretId").and_then(Value::as_str);
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| {
        let reason = "mode platform-secret needs `secretId` in the step's configuration";
        Error::Config(reason.into())
    })?;
    let mut answer = store.secret(id, refresh).await;
    for pause in LOOKS {
        // Only repeated responses prove that the secret was removed.
        if !answer.as_ref().is_err_and(StoreError::is_not_found) {
            break;
        }
        sleep(pause).await;
        answer = store.secret(id, refresh).await;
    }
    let secret = answer.map_err(|error| not_read(id, refresh, &error))?;
    tokens(id, &secret)
}

fn not_read(id: &str, refresh: bool, error: &StoreError) -> Error {
    let (reauth, config) = (Error::ReauthRequired, Error::Config);
    match error.kind {
        StoreErrorKind::NotFound => reauth(format!("its secret was removed ({error})")),
        StoreErrorKind::Refused if refresh => reauth(format!(
            "the platform could not refresh the secret {id} ({error})"
        )),
        StoreErrorKind::Refused => config(format!(
            "the platform does not allow reading the secret {id}: {error}"
        )),
        StoreErrorKind::NoAccount | StoreErrorKind::Transient => {
            Error::unavailable(error.to_string())
        }
    }
}

fn tokens(id: &str, secret: &Value) -> Result<TokenRecord, Error> {
    let field = ["attributes".to_owned(), "credentials".to_owned()];
    let found = TokenRecord::find(secret, &field);
    if secret.pointer("/attributes/state").and_then(Value::as_str) == Some("error") {
        let error = secret.pointer("/attributes/error");
        let says = error.and_then(error_message).map(|text| {
            let text = without_tokens(text.to_owned(), found.iter().flat_map(TokenRecord::tokens));
            format!(" ({})", text.chars().take(MAX_TEXT_LEN).collect::<String>())
        });
        let says = says.unwrap_or_default();
        return Err(Error::ReauthRequired(format!(
            "the platform marks the secret {id} as failed{says}; see its page on the platform"
        )));
    }
    let no_token = || format!("the platform's secret {id} has no access token");
    let found = found.filter(|record| record.access_token().is_some());
    found.ok_or_else(|| Error::ReauthRequired(no_token()))
}
