//! What happened at the provider, in order: every call, and every token issued, spent and reused.

use http_double::RecordedCall;
use std::{collections::BTreeMap, fmt};
use tokio::time::Instant;

/// One thing that happened. `Debug` and `Display` show only the numbers of tokens; the fields hold them in full.
#[derive(Clone)]
pub struct ProviderEvent {
    /// When, on tokio's clock; the arrival of a call.
    pub at: Instant,
    /// What.
    pub kind: ProviderEventKind,
}

/// What happened.
#[derive(Clone)]
#[non_exhaustive]
pub enum ProviderEventKind {
    /// The token endpoint was called.
    TokenCall(TokenCall),
    /// The API was called.
    ApiCall(RecordedCall),
    /// The revocation endpoint was called, for this token.
    RevokeCall {
        /// The token to be revoked.
        token: String,
        /// The status of the response; none while the call is open, and when there was no response.
        status: Option<u16>,
    },
    /// The authorization endpoint was called.
    AuthorizeCall {
        /// The parameters of the request.
        parameters: BTreeMap<String, String>,
    },
    /// Tokens were issued.
    Issued {
        /// The access token.
        access: String,
        /// The refresh token, where there is a new one.
        refresh: Option<String>,
        /// The grant that they belong to.
        grant: usize,
    },
    /// A refresh token was used for the first time, or again where nothing rotates.
    Spent {
        /// The refresh token.
        refresh: String,
    },
    /// A spent refresh token was used again within the grace period, which is allowed.
    GraceUsed {
        /// The refresh token.
        refresh: String,
    },
    /// A spent refresh token was used again, which is refused.
    Reused {
        /// The refresh token.
        refresh: String,
    },
    /// Because of a reuse, all tokens of a grant are revoked.
    GrantRevoked {
        /// The grant.
        grant: usize,
    },
    /// A token was revoked.
    Revoked {
        /// The token.
        token: String,
    },
}

/// One call of the token endpoint. `Debug` and `Display` show only the numbers of tokens.
#[derive(Clone)]
pub struct TokenCall {
    /// The parameter `grant_type`; empty when there was none.
    pub grant_type: String,
    /// All parameters of query and body. For a repeated name, the last value.
    pub form: BTreeMap<String, String>,
    /// The names of all parameters in order, with repetitions.
    pub names: Vec<String>,
    /// Where the client's credentials were.
    pub credentials: Credentials,
    /// The request as received, and the status of its response.
    pub request: RecordedCall,
}

/// The place of a client's credentials in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// There were none, or only a client id.
    None,
    /// Among the parameters.
    Parameters,
    /// In the `Authorization` header.
    Basic,
    /// In both places, which is not allowed (RFC 6749 §2.3).
    Both,
}

impl ProviderEvent {
    pub(super) fn now(kind: ProviderEventKind) -> Self {
        let at = Instant::now();
        Self { at, kind }
    }
}

impl ProviderEventKind {
    /// Records the end of a call.
    pub(super) fn finish(&mut self, response: Option<u16>) {
        match self {
            Self::TokenCall(TokenCall { request, .. }) | Self::ApiCall(request) => {
                request.finish(response);
            }
            Self::RevokeCall { status, .. } => *status = response,
            _ => {}
        }
    }
}

impl fmt::Display for ProviderEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TokenCall(call) => fmt::Display::fmt(call, f),
            Self::ApiCall(call) => {
                let RecordedCall { method, path, .. } = call;
                let token = call.token.as_deref().map_or("no token".into(), short);
                write!(
                    f,
                    "{method} {path} with {token} → {}",
                    StatusCode(call.status)
                )
            }
            Self::RevokeCall { token, status } => {
                write!(
                    f,
                    "revocation of {} → {}",
                    short(token),
                    StatusCode(*status)
                )
            }
            Self::AuthorizeCall { parameters } => {
                let scope = parameters.get("scope").map_or("no scope", String::as_str);
                write!(f, "authorization for {scope}")
            }
            Self::Issued {
                access,
                refresh,
                grant,
            } => {
                write!(f, "issued {}", short(access))?;
                if let Some(refresh) = refresh {
                    write!(f, " and {}", short(refresh))?;
                }
                write!(f, " (grant {grant})")
            }
            Self::Spent { refresh } => write!(f, "spent {}", short(refresh)),
            Self::GraceUsed { refresh } => {
                write!(f, "spent {} again, within the grace period", short(refresh))
            }
            Self::Reused { refresh } => write!(f, "reuse of {}: refused", short(refresh)),
            Self::GrantRevoked { grant } => write!(f, "all tokens of grant {grant} are revoked"),
            Self::Revoked { token } => write!(f, "revoked {}", short(token)),
        }
    }
}

impl fmt::Debug for ProviderEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for ProviderEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.kind, f)
    }
}

impl fmt::Display for TokenCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.grant_type)?;
        if let Some(token) = self.form.get("refresh_token") {
            write!(f, " of {}", short(token))?;
        }
        write!(f, " → {}", StatusCode(self.request.status))
    }
}

impl fmt::Debug for TokenCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct StatusCode(Option<u16>);

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(status) => status.fmt(f),
            None => f.write_str("no response"),
        }
    }
}

/// A token's number, which is not secret. Tokens of other issuers have no number.
pub(super) fn short(token: &str) -> String {
    match token.split_once('.') {
        Some((number, _))
            if ["at-", "rt-", "code-"]
                .iter()
                .any(|kind| number.starts_with(kind)) =>
        {
            number.to_owned()
        }
        _ => "an unknown token".into(),
    }
}
