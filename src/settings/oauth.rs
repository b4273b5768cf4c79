//! The settings of OAuth2 credentials: when to refresh, and whether replicas use a lock. Both variables are our own.

use super::{env_reader::EnvReader, variables as vars};
use std::{fmt, str::FromStr};

/// The variable of [`OAuthMode`].
pub(crate) const MODE_VARIABLE: &str = vars::OAUTH_MODE.name;

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
    /// `expiry`: before the token expires, and when the API rejects it.
    Expiry,
    /// `platform-secret`: by the platform; the component reads its secret.
    PlatformSecret,
}

/// The text is not the name of an [`OAuthMode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of every-access, on-401, expiry, platform-secret")]
pub struct UnknownOAuthMode;

impl OAuthMode {
    const ALL: [Self; 4] = [
        Self::EveryAccess,
        Self::On401,
        Self::Expiry,
        Self::PlatformSecret,
    ];

    /// The name that [`FromStr`] reads.
    ///
    /// ```
    /// use sailor::oauth2::Mode;
    ///
    /// assert_eq!(Mode::EveryAccess.name(), "every-access");
    /// assert_eq!("every-access".parse(), Ok(Mode::EveryAccess));
    /// assert!("always".parse::<Mode>().is_err());
    /// ```
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

impl<G: Fn(&str) -> Option<String>> EnvReader<G> {
    /// Reads `OAUTH_MODE`. Without it, the component's choice applies.
    pub(super) fn oauth_mode(&self) -> Result<Option<OAuthMode>, UnknownOAuthMode> {
        self.text(&vars::OAUTH_MODE)
            .map(|text| text.parse())
            .transpose()
    }

    /// Reads `OAUTH_MODE`, and records a problem if it is unknown.
    pub(super) fn oauth_mode_or_problem(&mut self) -> Option<OAuthMode> {
        self.oauth_mode().unwrap_or_else(|unknown| {
            self.problem(&vars::OAUTH_MODE, &unknown.to_string());
            None
        })
    }

    /// Reads `OAUTH_LOCK`: whether replicas use the lock on the broker. A typing error is a problem rather than one of
    /// both: without the lock, replicas could lose rotating tokens.
    pub(super) fn oauth_lock(&mut self) -> bool {
        match self.text(&vars::OAUTH_LOCK).as_deref() {
            None | Some("broker") => true,
            Some("off") => false,
            Some(_) => {
                self.problem(
                    &vars::OAUTH_LOCK,
                    "must be `broker` (the same as not set) or `off`",
                );
                true
            }
        }
    }
}
