//! What the operator can say about OAuth2 beside the component: when to refresh, and whether replicas lock each other
//! out meanwhile. Both variables are our own.

use super::reader::Reader;
use std::{fmt, str::FromStr};

/// When access tokens are refreshed.
///
/// ```
/// use sailor::oauth2::{Mode, OAuth2};
///
/// let oauth2 = OAuth2::new().mode(Mode::On401);
/// assert_eq!("on-401".parse(), Ok(Mode::On401));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuthMode {
    /// `every-access`: before every request.
    EveryAccess,
    /// `on-401`: when the API rejects the token.
    On401,
    /// `expiry`: ahead of the token's expiry, and when the API rejects it.
    Expiry,
    /// `platform-secret`: by the platform; the component reads its secret.
    PlatformSecret,
}

/// A text that names no [`OAuthMode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is none of every-access, on-401, expiry and platform-secret")]
pub struct UnknownOAuthMode;

impl OAuthMode {
    const ALL: [Self; 4] = [
        Self::EveryAccess,
        Self::On401,
        Self::Expiry,
        Self::PlatformSecret,
    ];

    /// The name that [`FromStr`] reads.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EveryAccess => "every-access",
            Self::On401 => "on-401",
            Self::Expiry => "expiry",
            Self::PlatformSecret => "platform-secret",
        }
    }
}

impl FromStr for OAuthMode {
    type Err = UnknownOAuthMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or(UnknownOAuthMode)
    }
}

impl fmt::Display for OAuthMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<G: Fn(&str) -> Option<String>> Reader<G> {
    /// `OAUTH_MODE`; none where the component's choice holds.
    pub(super) fn oauth_mode(&self) -> Result<Option<OAuthMode>, UnknownOAuthMode> {
        self.text(MODE).map(|text| text.parse()).transpose()
    }

    pub(super) fn checked_oauth_mode(&mut self) -> Option<OAuthMode> {
        self.oauth_mode().unwrap_or_else(|unknown| {
            self.problem(MODE, &unknown.to_string());
            None
        })
    }

    /// `OAUTH_LOCK`. A typing error must not leave rotating tokens without the lock that was wanted.
    pub(super) fn oauth_lock(&mut self) -> bool {
        match self.text("OAUTH_LOCK").as_deref() {
            None => false,
            Some("broker") => true,
            Some(_) => {
                self.problem(
                    "OAUTH_LOCK",
                    "is not `broker`, the one kind of lock there is; without it there is none",
                );
                false
            }
        }
    }
}

/// The variable's name without its prefix.
pub(super) const MODE: &str = "OAUTH_MODE";
