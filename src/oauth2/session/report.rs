//! What the operator and the user learn: metrics, log lines, and a warning about unsaved tokens.

use super::{
    super::{CredentialWarning, Profile, TokenRecord, token_record::TokenResponse},
    Session,
    credential::{Shared, Store},
    machine::Report,
};
use crate::codes;
use std::time::{Duration, SystemTime};
use tracing::Instrument;

/// The operator is warned if the refresh token expires within this time.
const ENDS_SOON: Duration = Duration::from_secs(7 * 24 * 3600);

impl Session {
    pub(super) fn report(&self, shared: &mut Shared, report: Report<TokenRecord, Store>) {
        match report {
            Report::Adopted => {
                shared.metrics.adopted += 1;
                tracing::info!("Another process refreshed the access token; its token is used");
            }
            Report::Refreshed(record, rotated) => {
                if ends_soon(&record) {
                    self.warn_of_end();
                }
                tracing::info!(rotated, "The access token was refreshed");
            }
            Report::Failed(error) => {
                shared.metrics.failures += 1;
                tracing::warn!(code = %error.code(), "The access token could not be refreshed: {error}");
            }
            Report::Unsaved(store, reason) => {
                shared.metrics.unsaved += 1;
                self.warn_of_unsaved(store, &reason);
            }
        }
    }

    /// Reports that a rotated refresh token is only in memory (token-failures: T9). Callers do not wait for the report.
    fn warn_of_unsaved(&self, store: Store, reason: &str) {
        tracing::error!(
            code = %codes::REFRESH_TOKEN_NOT_SAVED,
            "The new refresh token could not be saved; only this process has it: {reason}"
        );
        let message = format!(
            "The provider has replaced the refresh token, and the new one could not be saved: {reason}. This process \
             continues with it. If the process ends before it is saved, the account must be connected again."
        );
        let name = "UnsavedCredentials";
        let stopping = self.0.stopping.clone();
        let report = async move {
            tokio::select! {
                // Polled first, so that the publish at least begins.
                biased;
                () = store.warn(CredentialWarning { name, message }) => {}
                // A queue can block forever, so a stop ends the wait. The log has the warning too.
                () = stopping.cancelled() => {}
            }
        };
        self.0.tasks.spawn(report.in_current_span());
    }

    fn warn_of_end(&self) {
        self.0.ends_soon.call_once(|| {
            tracing::warn!(
                code = %codes::REFRESH_TOKEN_ENDS,
                "The refresh token expires within 7 days; without a refresh before then the user must connect again"
            );
        });
    }

    /// Reports what is unusual about the provider's response.
    pub(super) fn report_response(
        &self,
        base: &TokenRecord,
        response: &TokenResponse,
        profile: &Profile,
    ) {
        let missing = missing_scopes(base.scope(), response.record.scope());
        {
            let mut shared = self.0.shared();
            shared.metrics.refreshes += 1;
            shared.metrics.narrowed += u64::from(!missing.is_empty());
        }
        if !missing.is_empty() {
            tracing::warn!(code = %codes::SCOPES_NARROWED, "The new access token lacks scopes of the previous one: {missing}");
        }
        if let Some(kind) = response.unknown_type(profile) {
            self.0.unknown_type.call_once(|| {
                tracing::warn!(
                    code = %codes::TOKEN_TYPE_UNKNOWN,
                    "The token type {kind} is not listed in the provider's profile; the token is sent as the profile \
                     says. `token_types` of a profile lists the expected types"
                );
            });
        }
    }
}

/// The scopes that were granted before and are not any more, if the provider names both.
fn missing_scopes(before: Option<&str>, now: Option<&str>) -> String {
    let (Some(before), Some(now)) = (before, now) else {
        return String::new();
    };
    let now: Vec<_> = now.split([' ', ',']).collect();
    let before = before.split([' ', ',']);
    let missing: Vec<_> = before.filter(|scope| !now.contains(scope)).collect();
    missing.join(" ")
}

/// Returns whether the refresh token expires within [`ENDS_SOON`].
fn ends_soon(record: &TokenRecord) -> bool {
    let end = record.refresh_expires_at();
    let left = end.and_then(|end| end.duration_since(SystemTime::now()).ok());
    left.is_some_and(|left| left < ENDS_SOON)
}
