//! A failed exchange at the token endpoint, and what it means for the credential.
//!
//! A profile's own rules take precedence over the codes of RFC 6749 section 5.2.

use super::profile::{ErrorClass, Profile};
use std::{fmt, time::Duration};

/// A failed exchange. It contains nothing of the request, and only error names of the response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ExchangeError {
    pub(crate) class: ErrorClass,
    /// The provider's name for the error, such as `invalid_grant`.
    pub(crate) code: Option<String>,
    /// A detail for people, such as `AADSTS50076`. No decision depends on it.
    pub(crate) diagnostic: Option<String>,
    /// The status, if there was a response.
    pub(crate) status: Option<u16>,
    /// How long the provider asks to wait, at most a minute.
    pub(crate) retry_after: Option<Duration>,
    /// The provider may have processed the request: a single-use refresh token may be spent, and its successor lost.
    pub(crate) outcome_unknown: bool,
    /// The operation that failed.
    pub(super) operation: &'static str,
    pub(super) address: String,
    pub(super) reason: String,
}

impl std::error::Error for ExchangeError {}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {} failed: {}",
            self.operation, self.address, self.reason
        )?;
        let status = self.status.map(|status| format!("status {status}"));
        let details: Vec<_> = [self.code.clone(), self.diagnostic.clone(), status]
            .into_iter()
            .flatten()
            .collect();
        if !details.is_empty() {
            write!(f, " ({})", details.join(", "))?;
        }
        f.write_str(self.advice())
    }
}

impl ExchangeError {
    /// An exchange whose outcome is unknown, because something in this process went wrong.
    pub(super) fn unknown(reason: &str) -> Self {
        Self {
            class: ErrorClass::Transient,
            code: None,
            diagnostic: None,
            status: None,
            retry_after: None,
            outcome_unknown: true,
            operation: "refreshing the token",
            address: "the token endpoint".to_owned(),
            reason: reason.to_owned(),
        }
    }

    /// Returns advice on how to fix it.
    fn advice(&self) -> &'static str {
        match self.class {
            ErrorClass::Reauth => ". A user must connect the account again",
            ErrorClass::Config => {
                ". Check credentials.oauth2 in component.json and its variables; the stored tokens remain valid"
            }
            ErrorClass::Transient
                if self.code.is_none() && self.status.is_some_and(is_ambiguous_status) =>
            {
                ". It can be retried; if it persists, check credentials.oauth2 in component.json and its variables"
            }
            ErrorClass::Transient => ". It can be retried",
            ErrorClass::Malformed => {
                ". The provider's profile does not know this response. It can be retried; if it persists, connect the \
                 account again"
            }
        }
    }
}

/// Classifies an error response of the token endpoint: `code` is the name of the error, `text` the whole body.
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
    match code {
        Some(code) => class_of_code(&code.to_ascii_lowercase()),
        // A gateway in front of the provider can send an error page, or a status without an error name.
        None if is_html_or_xml(text) || is_ambiguous_status(status) => ErrorClass::Transient,
        None => ErrorClass::Malformed,
    }
}

/// Classifies a code (RFC 6749 section 5.2, OpenID Connect Core section 3.1.2.6, and codes that providers use).
fn class_of_code(code: &str) -> ErrorClass {
    match code {
        "invalid_grant"
        | "interaction_required"
        | "consent_required"
        | "login_required"
        | "access_denied"
        | "expired_token"
        | "invalid_refresh_token"
        | "bad_refresh_token" => ErrorClass::Reauth,
        "invalid_client"
        | "unauthorized_client"
        | "invalid_scope"
        | "invalid_request"
        | "invalid_target"
        | "unsupported_grant_type" => ErrorClass::Config,
        "temporarily_unavailable" | "server_error" | "slow_down" => ErrorClass::Transient,
        _ => ErrorClass::Malformed,
    }
}

/// Statuses that a gateway returns while the provider is unavailable, and that a provider returns for a wrong address
/// or an unknown client.
fn is_ambiguous_status(status: u16) -> bool {
    matches!(status, 401 | 403 | 404 | 405 | 410)
}

pub(super) fn is_html_or_xml(text: &str) -> bool {
    text.trim_start_matches('\u{feff}')
        .trim_start()
        .starts_with('<')
}
