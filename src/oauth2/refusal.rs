//! What a failed exchange at the token endpoint means for the credential.
//!
//! The table is that of RFC 6749 §5.2 with what providers say beside it; a profile's own rules go before it.

use super::profile::{ErrorClass, Profile};
use std::{fmt, time::Duration};

/// An exchange that failed. Holds nothing of what was sent, and of the answer only names of errors.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExchangeError {
    /// What it means.
    pub class: ErrorClass,
    /// The provider's name for it, as `invalid_grant`.
    pub code: Option<String>,
    /// What narrows it down for people, as `AADSTS50076`; nothing to decide by.
    pub diagnostic: Option<String>,
    /// The status, when there was an answer.
    pub status: Option<u16>,
    /// How long the provider asks to wait, at most a minute.
    pub retry_after: Option<Duration>,
    /// The request may have been carried out: a refresh token that can be used once may be spent, its successor lost.
    pub outcome_unknown: bool,
    pub(super) doing: &'static str,
    pub(super) address: String,
    pub(super) reason: String,
}

impl std::error::Error for ExchangeError {}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {} failed: {}",
            self.doing, self.address, self.reason
        )?;
        let status = self.status.map(|status| format!("status {status}"));
        let details: Vec<_> = [self.code.clone(), self.diagnostic.clone(), status]
            .into_iter()
            .flatten()
            .collect();
        if !details.is_empty() {
            write!(f, " ({})", details.join(", "))?;
        }
        f.write_str(match self.class {
            ErrorClass::Reauth => ". A user has to connect the account again",
            ErrorClass::Config => {
                ". Check what credentials.oauth2 of component.json and its variables say; the stored tokens are as \
                 good as before"
            }
            ErrorClass::Transient if self.code.is_none() && self.status.is_some_and(may_be_meant) => {
                ". It can be tried again; if it goes on, check what credentials.oauth2 of component.json and its \
                 variables say"
            }
            ErrorClass::Transient => ". It can be tried again",
            ErrorClass::Malformed => {
                ". The provider's answer is not one this profile knows. It can be tried again; if it goes on, connect \
                 the account again"
            }
        })
    }
}

/// What a refusal means: `code` is its name and `text` the whole of it.
pub(super) fn classify(
    profile: &Profile,
    status: u16,
    code: Option<&str>,
    text: &str,
) -> ErrorClass {
    if let Some(class) = profile.class_of(status, code, text) {
        return class;
    }
    if matches!(status, 408 | 425 | 429 | 500..) {
        return ErrorClass::Transient;
    }
    match (code.map(str::to_ascii_lowercase).as_deref(), status) {
        (
            Some(
                "invalid_grant"
                | "interaction_required"
                | "consent_required"
                | "login_required"
                | "access_denied"
                | "expired_token"
                | "invalid_refresh_token"
                | "bad_refresh_token",
            ),
            _,
        ) => ErrorClass::Reauth,
        (
            Some(
                "invalid_client"
                | "unauthorized_client"
                | "invalid_scope"
                | "invalid_request"
                | "invalid_target"
                | "unsupported_grant_type",
            ),
            _,
        ) => ErrorClass::Config,
        (Some("temporarily_unavailable" | "server_error" | "slow_down"), _) => {
            ErrorClass::Transient
        }
        (Some(_), _) => ErrorClass::Malformed,
        // A page for people comes from something that stands before the provider.
        (None, _) if is_page(text) => ErrorClass::Transient,
        // Without a name for it, it may come from there as well.
        (None, status) if may_be_meant(status) => ErrorClass::Transient,
        (None, _) => ErrorClass::Malformed,
    }
}

/// Statuses that a gateway gives while the provider is away, and a provider to who asks the wrong address or is none of
/// its clients.
fn may_be_meant(status: u16) -> bool {
    matches!(status, 401 | 403 | 404 | 405 | 410)
}

/// HTML or XML.
pub(super) fn is_page(text: &str) -> bool {
    text.trim_start_matches('\u{feff}')
        .trim_start()
        .starts_with('<')
}
