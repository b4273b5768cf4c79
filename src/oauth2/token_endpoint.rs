//! The provider's endpoints: refreshing tokens, exchanging codes, revoking tokens.
//!
//! A request is sent once, or twice if the endpoint refuses the client. Redirects are not followed. An error contains
//! nothing that was sent or received, except error names.

use super::{
    client_auth::{AcceptedAuth, ClientAuth},
    exchange_error::{ExchangeError, classify, diagnostic, is_known},
    profile::{BodyFormat, ErrorClass, Profile, ScopePolicy},
    resolve::{ClientRegistration, ResolvedConfig},
    token_record::TokenResponse,
    token_response::TokenResponseError,
};
use crate::{
    clients::http::{self, CutOff, ErrorBody, basic_auth, form_encoded, with_query},
    codes,
};
use reqwest::{
    RequestBuilder, Url,
    header::{ACCEPT, AUTHORIZATION},
};
use secrecy::ExposeSecret;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// The time limit for one exchange, from connecting to the last byte.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(15);
/// If less of it is left after a refusal of the client, there is no other attempt.
const MIN_TIME_LEFT: Duration = Duration::from_secs(10);
/// The largest response that is read.
const SIZE_LIMIT: usize = 1024 * 1024;
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

type Params = BTreeMap<String, String>;

/// The provider's endpoints for one client.
pub(crate) struct TokenEndpoint {
    http: reqwest::Client,
    client: ClientRegistration,
    profile: Profile,
    accepted_auth: AcceptedAuth,
}

/// One request to an endpoint, without the client's authentication.
struct Call<'a> {
    /// The operation, and where, for errors.
    operation: String,
    url: &'a Url,
    params: Params,
}

/// A response, or the part of it that arrived.
struct RawResponse {
    status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
    /// Why the rest of the body is missing.
    incomplete: Option<ExchangeError>,
}

impl RawResponse {
    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A gateway that timed out, or a server that failed, may have processed the request.
    fn outcome_is_unknown(&self) -> bool {
        self.status >= 500 && self.status != 503
    }
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
        let params = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
        ];
        let operation = "refreshing the access token";
        let mut call = Call::new(operation, &self.client.refresh_url, &params);
        if let Some(scope) = self.refresh_scope(granted_scope) {
            set(&mut call.params, "scope", &scope);
        }
        for (name, value) in &self.profile.refresh_params {
            if !RESERVED_PARAMS.contains(&name.as_str()) {
                let param = call.params.entry(name.clone());
                param.or_insert_with(|| value.clone());
            }
        }
        self.exchange(&call, Self::tokens).await
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
        let grant = ("grant_type", "authorization_code");
        let params = [grant, ("code", code), ("redirect_uri", redirect_uri)];
        let operation = "exchanging the authorization code";
        let mut call = Call::new(operation, &self.client.token_url, &params);
        if let Some(verifier) = verifier {
            set(&mut call.params, "code_verifier", verifier);
        }
        self.exchange(&call, Self::tokens).await
    }

    /// Revokes a token (RFC 7009). A token that the provider does not know counts as revoked. `hint` is `refresh_token`
    /// or `access_token`.
    pub(crate) async fn revoke(&self, token: &str, hint: &str) -> Result<(), ExchangeError> {
        let revoke_url = self.client.revoke_url.as_ref();
        let url = revoke_url.unwrap_or(&self.client.token_url);
        let params = [("token", token), ("token_type_hint", hint)];
        let call = Call::new("revoking the token", url, &params);
        if revoke_url.is_none() {
            let reason = "the provider's profile has no `revoke_uri`";
            return Err(call.error(ErrorClass::Config, None, reason));
        }
        match self.exchange(&call, Self::done).await {
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
                let more = (is_configured && !is_granted).then_some(OFFLINE_ACCESS);
                let all: Vec<_> = [granted].into_iter().chain(more).collect();
                Some(all.join(" "))
            }
        }
    }

    // --- One exchange ------------------------------------------------------------------------------------------------

    /// Sends the request and reads its response. An endpoint that refuses the client has not looked at the token (RFC
    /// 6749 section 5.2). So the same request is sent once more, with the client's secret in the other place, and the way
    /// that works is kept (token-failures: T33).
    async fn exchange<T>(
        &self,
        call: &Call<'_>,
        read: fn(&Self, &Call<'_>, RawResponse) -> Result<T, ExchangeError>,
    ) -> Result<T, ExchangeError> {
        let ClientRegistration { id, token_url, .. } = &self.client;
        let (started, configured) = (Instant::now(), self.profile.client_auth);
        let accepted = self.accepted_auth.get(token_url, id);
        let accepted = accepted.filter(|_| configured != ClientAuth::None);
        let auth = accepted.unwrap_or(configured);
        let response = self.send(call, auth, TIME_LIMIT).await;
        let refused = match response.and_then(|response| read(self, call, response)) {
            Err(error) if error.refuses_client() => error,
            result => return result,
        };
        let time_left = TIME_LIMIT.saturating_sub(started.elapsed());
        let may_retry = time_left >= MIN_TIME_LEFT && self.client.secret.is_some();
        let Some(other) = auth.other().filter(|_| may_retry) else {
            return Err(refused);
        };
        let response = self.send(call, other, time_left).await;
        let result = response.and_then(|response| read(self, call, response));
        if result.is_ok() {
            tracing::warn!(
                code = %codes::CLIENT_AUTH_CHANGED,
                accepted = ?other,
                "The token endpoint refused the configured way to authenticate the client and accepted the other one; \
                 `client_auth` sets it"
            );
            self.accepted_auth.set(token_url.clone(), id.clone(), other);
        }
        result.map_err(|error| match error.class {
            ErrorClass::Config => ExchangeError {
                reason: "the provider refused the client, with its secret as a parameter and with HTTP Basic".into(),
                ..refused
            },
            _ => error,
        })
    }

    async fn send(
        &self,
        call: &Call<'_>,
        auth: ClientAuth,
        limit: Duration,
    ) -> Result<RawResponse, ExchangeError> {
        let request = self.build(call, auth).timeout(limit);
        let sent = http::send_traced(request).await;
        let response = sent.map_err(|error| call.no_response(&error))?;
        let mut raw = RawResponse {
            status: response.status().as_u16(),
            retry_after: http::retry_after(response.headers()),
            body: Vec::new(),
            incomplete: None,
        };
        if response.status().is_redirection() {
            let reason =
                "the endpoint redirects to another address; client secrets are not sent there";
            return Err(call.error(ErrorClass::Config, Some(&raw), reason));
        }
        if let Err(cut_off) = http::read_into(&mut raw.body, response, SIZE_LIMIT).await {
            let (class, reason) = match cut_off {
                CutOff::Ended => (ErrorClass::Transient, "the response ended early".to_owned()),
                CutOff::TimedOut => (ErrorClass::Transient, timed_out()),
                CutOff::TooLong => (
                    ErrorClass::Malformed,
                    "the response is larger than 1 MiB".to_owned(),
                ),
            };
            raw.incomplete = Some(ExchangeError {
                outcome_unknown: raw.is_success() || raw.outcome_is_unknown(),
                ..call.error(class, Some(&raw), reason)
            });
        }
        Ok(raw)
    }

    /// The request, with exactly one way to authenticate the client.
    fn build(&self, call: &Call<'_>, auth: ClientAuth) -> RequestBuilder {
        let (id, mut params) = (&self.client.id, call.params.clone());
        let secret = self.client.secret.as_ref().map(ExposeSecret::expose_secret);
        let basic = match (auth, secret) {
            (ClientAuth::Basic, Some(secret)) => {
                basic_auth(&form_encoded(id), &form_encoded(secret))
            }
            (ClientAuth::BasicRaw, Some(secret)) => basic_auth(id, secret),
            (ClientAuth::Post | ClientAuth::None, _) | (_, None) => {
                set(&mut params, "client_id", id);
                if let (ClientAuth::Post, Some(secret)) = (auth, secret) {
                    set(&mut params, "client_secret", secret);
                }
                None
            }
        };
        let mut request = match self.profile.body {
            BodyFormat::Form => self.http.post(call.url.clone()).form(&params),
            BodyFormat::Json => self.http.post(call.url.clone()).json(&params),
            BodyFormat::Query => self.http.post(with_query(call.url, &params)).body(""),
        };
        if let Some(value) = basic {
            request = request.header(AUTHORIZATION, value);
        }
        request.header(ACCEPT, "application/json")
    }

    // --- What a response says ----------------------------------------------------------------------------------------

    /// Any successful status is accepted.
    fn done(&self, call: &Call<'_>, response: RawResponse) -> Result<(), ExchangeError> {
        match response.incomplete {
            Some(error) => Err(error),
            None if response.is_success() => Ok(()),
            None => Err(self.error_response(call, &response, &ErrorBody::read(&response.body))),
        }
    }

    fn tokens(
        &self,
        call: &Call<'_>,
        mut response: RawResponse,
    ) -> Result<TokenResponse, ExchangeError> {
        if let Some(error) = response.incomplete.take() {
            return self.tokens_of_incomplete(&response).ok_or(error);
        }
        let read = || TokenResponse::read(&response.body, &self.profile);
        let error = match response.is_success().then(read) {
            Some(Ok(tokens)) => return Ok(tokens),
            read => read.and_then(Result::err),
        };
        let body = ErrorBody::read(&response.body);
        let is_known = |code: &str| is_known(&self.profile, code);
        let Some(error) = error.filter(|_| !body.is_error(is_known)) else {
            return Err(self.error_response(call, &response, &body));
        };
        // The provider considers the request successful.
        let is_page = error == TokenResponseError::Unreadable && body.is_page();
        let class = if is_page {
            ErrorClass::Transient
        } else {
            ErrorClass::Malformed
        };
        Err(ExchangeError {
            outcome_unknown: true,
            ..call.error(class, Some(&response), error.to_string())
        })
    }

    /// Reads the tokens of an incomplete response. They are used because the refresh token was spent for them, unless
    /// the missing part may contain its successor.
    fn tokens_of_incomplete(&self, response: &RawResponse) -> Option<TokenResponse> {
        let is_too_long = response.body.len() > SIZE_LIMIT;
        let read = || TokenResponse::read_truncated(&response.body, &self.profile);
        let tokens = response.is_success().then(read)??;
        (tokens.record.refresh_token().is_some() || is_too_long).then_some(tokens)
    }

    /// Returns the error of a response with an error status, or of an error that was sent with a successful status.
    fn error_response(
        &self,
        call: &Call<'_>,
        response: &RawResponse,
        body: &ErrorBody,
    ) -> ExchangeError {
        let code = body.code(|code| is_known(&self.profile, code));
        let class = classify(&self.profile, response.status, code.as_deref(), body);
        ExchangeError {
            outcome_unknown: response.outcome_is_unknown(),
            diagnostic: diagnostic(body).filter(|text| !self.has_secret(text)),
            code: code.filter(|code| !self.has_secret(code)),
            ..call.error(class, Some(response), "the provider refused the request")
        }
    }

    /// Returns whether a word in a list is the client's secret, which can look like an error name.
    fn has_secret(&self, list: &str) -> bool {
        let secret = self.client.secret.as_ref().map(ExposeSecret::expose_secret);
        list.split(", ").any(|word| Some(word) == secret)
    }
}

impl<'a> Call<'a> {
    fn new(operation: &str, url: &'a Url, params: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let params = params.iter().map(owned).collect();
        Self {
            operation: format!("{operation} at {}", http::redacted_url(url)),
            url,
            params,
        }
    }

    fn no_response(&self, error: &reqwest::Error) -> ExchangeError {
        let (class, reason) = match error {
            e if e.is_redirect() => (ErrorClass::Config, "the endpoint redirects".into()),
            e if e.is_builder() => (ErrorClass::Config, "the request is invalid".into()),
            e if e.is_connect() => (ErrorClass::Transient, "no connection".into()),
            e if e.is_timeout() => (ErrorClass::Transient, timed_out()),
            _ => {
                let reason = "the connection was lost before the response";
                (ErrorClass::Transient, reason.to_owned())
            }
        };
        ExchangeError {
            outcome_unknown: !error.is_connect() && !error.is_builder(),
            ..self.error(class, None, reason)
        }
    }

    fn error(
        &self,
        class: ErrorClass,
        response: Option<&RawResponse>,
        reason: impl Into<Box<str>>,
    ) -> ExchangeError {
        ExchangeError {
            status: response.map(|response| response.status),
            retry_after: response.and_then(|response| response.retry_after),
            ..ExchangeError::new(&self.operation, class, reason)
        }
    }
}

fn timed_out() -> String {
    format!("timed out after {} s", TIME_LIMIT.as_secs())
}

fn set(params: &mut Params, name: &str, value: &str) {
    params.insert(name.to_owned(), value.to_owned());
}
