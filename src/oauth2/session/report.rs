//! What the operator and the user learn: log lines, metrics, and a warning about unsaved tokens.

use super::{
    super::{CredentialWarning, Profile, TokenRecord, token_response::TokenResponse},
    credential::{Credential, Store},
    machine::Report,
};
use std::time::{Duration, SystemTime};
use tracing::Instrument;

/// The operator is warned if the refresh token expires within this time.
const ENDS_SOON: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) fn report(credential: &Credential, report: Report<TokenRecord, Store>) {
    match report {
        Report::Adopted => {
            credential.metrics.update(|metrics| metrics.adopted += 1);
            tracing::info!("Another process refreshed the access token; its token is used");
        }
        Report::ReplacedDuringRefresh => {
            tracing::warn!(
                "The stored credential changed during the refresh; the stored one is used"
            );
        }
        Report::NoLock(error) => tracing::warn!(
            "The credential's lock is not available, and the work goes on without it: {error}"
        ),
        Report::NotRead(reason) => {
            tracing::warn!("The stored credential cannot be read before the refresh: {reason}");
        }
        Report::Retried(failure) => {
            tracing::warn!("The request to the token endpoint is retried: {failure}");
        }
        Report::Refreshed { rotated, record } => {
            warn_of_end(&record);
            tracing::info!(rotated, "The access token was refreshed");
        }
        Report::Failed(error) => {
            credential.metrics.update(|metrics| metrics.failures += 1);
            tracing::warn!("The access token could not be refreshed: {error}");
        }
        Report::RejectedOften(time, error) => {
            tracing::error!(pause_s = time.as_secs(), "{error}");
        }
        Report::Unsaved {
            store,
            rotated,
            reason,
        } => unsaved(credential, store, rotated, &reason),
        Report::QueuedOnly(reason) => tracing::warn!(
            "The refreshed credential was saved through the platform's queue only: {reason}"
        ),
        Report::SavedLater => {
            tracing::info!("The credential is saved now, after an earlier save failed");
        }
        Report::Discarded => {
            tracing::info!("The unsaved credential is discarded: the platform has a newer one");
        }
        Report::Lost { rotated, reason } => lost(rotated, &reason),
    }
}

fn lost(rotated: bool, reason: &str) {
    if rotated {
        tracing::error!(
            "A credential is lost because this process ends before it could be saved: {reason}"
        );
    } else {
        tracing::warn!(
            "The new access token could not be saved before this process ends; the stored refresh token is still valid: \
             {reason}"
        );
    }
}

/// Reports that a refreshed record is only in memory (token-failures: T9). Callers do not wait for the report.
fn unsaved(credential: &Credential, store: Store, rotated: bool, reason: &str) {
    if !rotated {
        tracing::warn!(
            "The new access token could not be saved; the stored refresh token is still valid: {reason}"
        );
        return;
    }
    credential.metrics.update(|metrics| metrics.unsaved += 1);
    tracing::error!("The new refresh token could not be saved; only this process has it: {reason}");
    let message = format!(
        "The provider has replaced the refresh token, and the new one could not be saved: {reason}. This process \
         continues with it. If the process ends before it is saved, the account must be connected again."
    );
    let warning = CredentialWarning {
        name: "UnsavedCredentials",
        message,
    };
    let stopping = credential.stopping.clone();
    let report = async move {
        tokio::select! {
            // Polled first, so that the publish at least begins.
            biased;
            () = store.warn(warning) => {}
            // A queue can block forever, so a stop ends the wait. The log has the warning too.
            () = stopping.cancelled() => {}
        }
    };
    credential.tasks.spawn(report.in_current_span());
}

/// Reports what is unusual about the provider's response.
pub(super) fn response(
    credential: &Credential,
    base: &TokenRecord,
    response: &TokenResponse,
    profile: &Profile,
) {
    credential.metrics.update(|metrics| metrics.refreshes += 1);
    warn_of_narrower_scope(credential, base.scope(), response.scope.as_deref());
    if let Some(kind) = response.unknown_type(profile) {
        credential.unknown_type.call_once(|| {
            tracing::warn!(
                "The token type {kind} is not listed in the provider's profile; the token is sent as the profile says. \
                 `token_types` of a profile lists the expected types"
            );
        });
    }
}

fn warn_of_narrower_scope(credential: &Credential, before: Option<&str>, now: Option<&str>) {
    let (Some(before), Some(now)) = (before, now) else {
        return;
    };
    let now: Vec<_> = now.split([' ', ',']).collect();
    let lost: Vec<_> = before
        .split([' ', ','])
        .filter(|scope| !now.contains(scope))
        .collect();
    if !lost.is_empty() {
        credential.metrics.update(|metrics| metrics.narrowed += 1);
        tracing::warn!(
            "The new access token lacks scopes of the previous one: {}",
            lost.join(" ")
        );
    }
}

fn warn_of_end(record: &TokenRecord) {
    let left = record
        .refresh_expires_at()
        .and_then(|end| end.duration_since(SystemTime::now()).ok());
    if left.is_some_and(|left| left < ENDS_SOON) {
        tracing::warn!(
            "The refresh token expires within 7 days; without a refresh before then the user must connect again"
        );
    }
}
