//! The provider's endpoints: refreshing tokens, exchanging codes, revoking tokens.
//!
//! Nothing is retried here.

use super::{
    client_auth::AcceptedAuth,
    client_registration::ClientRegistration,
    exchange_error::ExchangeError,
    profile::{ErrorClass, Profile, ScopePolicy},
    resolve::ResolvedConfig,
    token_request::{Params, TokenRequest, set},
    token_response::TokenResponse,
};
use reqwest::Url;

/// Parameters that a profile cannot set.
const RESERVED_PARAMS: [&str; 7] = [
    "grant_type",
    "refresh_token",
    "code",
    "redirect_uri",
    "code_verifier",
    "client_id",
    "client_secret",
];

/// The scope that asks for a refresh token (OpenID Connect Core section 11).
const OFFLINE_ACCESS: &str = "offline_access";

/// The provider's endpoints for one client.
pub(crate) struct TokenEndpoint {
    http: reqwest::Client,
    client: ClientRegistration,
    profile: Profile,
    accepted_auth: AcceptedAuth,
}

impl TokenEndpoint {
    /// Creates the endpoint. `http` must not follow redirects. Returns `None` if the platform refreshes the tokens.
    pub(crate) fn new(http: reqwest::Client, resolved: &ResolvedConfig) -> Option<Self> {
        Some(Self {
            http,
            client: resolved.client.clone()?,
            profile: resolved.profile.clone(),
            accepted_auth: resolved.accepted_auth.clone(),
        })
    }

    /// Spends a refresh token (RFC 6749 section 6).
    ///
    /// # Cancel safety
    /// Not cancel safe: a dropped call may have spent the token.
    pub(crate) async fn refresh(
        &self,
        refresh_token: &str,
        granted_scope: Option<&str>,
    ) -> Result<TokenResponse, ExchangeError> {
        let mut params = self.profile.refresh_params.clone();
        params.retain(|name, _| !RESERVED_PARAMS.contains(&name.as_str()));
        if let Some(scope) = self.refresh_scope(granted_scope) {
            params.insert("scope".to_owned(), scope);
        }
        set(&mut params, "grant_type", "refresh_token");
        set(&mut params, "refresh_token", refresh_token);
        self.request("refreshing the access token", &self.client.refresh_url)
            .request_tokens(&params)
            .await
    }

    /// Spends an authorization code (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
    ///
    /// # Cancel safety
    /// Not cancel safe: a dropped call may have spent the code.
    pub(crate) async fn exchange_code(
        &self,
        code: &str,
        redirect_uri: &str,
        verifier: Option<&str>,
    ) -> Result<TokenResponse, ExchangeError> {
        let mut params = Params::new();
        set(&mut params, "grant_type", "authorization_code");
        set(&mut params, "code", code);
        set(&mut params, "redirect_uri", redirect_uri);
        if let Some(verifier) = verifier {
            set(&mut params, "code_verifier", verifier);
        }
        self.request("exchanging the authorization code", &self.client.token_url)
            .request_tokens(&params)
            .await
    }

    /// Revokes a token (RFC 7009). A token that the provider does not know counts as revoked. `hint` is `refresh_token`
    /// or `access_token`.
    pub(crate) async fn revoke(&self, token: &str, hint: &str) -> Result<(), ExchangeError> {
        let operation = "revoking the token";
        let Some(url) = &self.client.revoke_url else {
            let reason = "the provider's profile has no `revoke_uri`";
            let request = self.request(operation, &self.client.token_url);
            return Err(request.error(ErrorClass::Config, None, reason));
        };
        let mut params = Params::new();
        set(&mut params, "token", token);
        set(&mut params, "token_type_hint", hint);
        match self.request(operation, url).send(&params).await {
            Err(error) if error.code.as_deref() == Some("invalid_token") => Ok(()),
            result => result,
        }
    }

    /// Returns the scopes that a refresh names, by the profile's policy.
    fn refresh_scope(&self, granted: Option<&str>) -> Option<String> {
        let configured = &self.client.scopes;
        let all_configured = (!configured.is_empty()).then(|| configured.join(" "));
        match (self.profile.refresh_scope, granted) {
            (ScopePolicy::None, _) => None,
            (ScopePolicy::Configured, _) | (ScopePolicy::Granted, None) => all_configured,
            (ScopePolicy::Granted, Some(granted)) => {
                // Providers do not list this scope among the granted ones. Without it, some issue no further refresh
                // token.
                let is_configured = configured.iter().any(|scope| scope == OFFLINE_ACCESS);
                let is_granted = granted.split_whitespace().any(|s| s == OFFLINE_ACCESS);
                Some(if is_configured && !is_granted {
                    format!("{granted} {OFFLINE_ACCESS}")
                } else {
                    granted.to_owned()
                })
            }
        }
    }

    fn request<'a>(&'a self, operation: &'static str, url: &'a Url) -> TokenRequest<'a> {
        TokenRequest {
            http: &self.http,
            client: &self.client,
            profile: &self.profile,
            accepted_auth: &self.accepted_auth,
            operation,
            url,
        }
    }
}
