//! One request to the provider, and the interpretation of its response.
//!
//! Redirects are not followed. An error contains nothing that was sent or received, except error names.

use super::{
    auth_attempts::AuthAttempts,
    client_auth::{AcceptedAuth, ClientAuth},
    client_registration::ClientRegistration,
    exchange_error::{ExchangeError, classify, is_html_or_xml, is_known},
    profile::{BodyFormat, ErrorClass, Profile},
    refusal::Refusal,
    token_response::{TokenResponse, TokenResponseError},
};
use crate::clients::http;
use base64_simd::STANDARD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    RequestBuilder, Response, Url,
    header::{ACCEPT, AUTHORIZATION, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use std::{collections::BTreeMap, ops::ControlFlow, time::Duration};

pub(super) use super::auth_attempts::TIME_LIMIT;

/// The largest response that is read.
const SIZE_LIMIT: usize = 1024 * 1024;
/// What stays unescaped in a form.
const FORM_ENCODE_SET: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');

pub(super) type Params = BTreeMap<String, String>;

pub(super) fn set(params: &mut Params, name: &str, value: &str) {
    params.insert(name.to_owned(), value.to_owned());
}

/// One request.
pub(super) struct TokenRequest<'a> {
    pub(super) http: &'a reqwest::Client,
    pub(super) client: &'a ClientRegistration,
    pub(super) profile: &'a Profile,
    pub(super) accepted_auth: &'a AcceptedAuth,
    /// The operation, for errors.
    pub(super) operation: &'static str,
    pub(super) url: &'a Url,
}

/// A response, or the part of it that arrived.
pub(super) struct RawResponse {
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
}

impl TokenRequest<'_> {
    /// Sends the request and reads the tokens from its response.
    pub(super) async fn request_tokens(
        &self,
        params: &Params,
    ) -> Result<TokenResponse, ExchangeError> {
        self.exchange(params, Self::tokens).await
    }

    /// Sends the request. Any successful status is accepted.
    pub(super) async fn send(&self, params: &Params) -> Result<(), ExchangeError> {
        self.exchange(params, Self::done).await
    }

    /// Sends the request, with another way to authenticate the client if that is necessary, and reads the response.
    async fn exchange<T>(
        &self,
        params: &Params,
        read: fn(&Self, RawResponse) -> Result<T, ExchangeError>,
    ) -> Result<T, ExchangeError> {
        let configured = self.profile.client_auth;
        let mut attempts = AuthAttempts::new(self.client, configured, self.accepted_auth);
        loop {
            let response = self.send_and_read(params, &attempts).await;
            let result = response.and_then(|response| read(self, response));
            if let ControlFlow::Break(result) = attempts.after(result) {
                return result;
            }
        }
    }

    fn done(&self, response: RawResponse) -> Result<(), ExchangeError> {
        match response.incomplete {
            Some(error) => Err(error),
            None if response.is_success() => Ok(()),
            None => Err(self.error_response(&response)),
        }
    }

    fn tokens(&self, mut response: RawResponse) -> Result<TokenResponse, ExchangeError> {
        if let Some(error) = response.incomplete.take() {
            return self.tokens_of_incomplete(&response).ok_or(error);
        }
        if !response.is_success() {
            return Err(self.error_response(&response));
        }
        TokenResponse::read(&response.body, self.profile)
            .map_err(|error| self.useless_success(&response, &error))
    }

    async fn send_and_read(
        &self,
        params: &Params,
        attempts: &AuthAttempts<'_>,
    ) -> Result<RawResponse, ExchangeError> {
        let request = self.build(params.clone(), attempts.auth());
        let sent = request.timeout(attempts.time_left()).send().await;
        let response = sent.map_err(|e| self.no_response(&e))?;
        let mut raw = RawResponse {
            status: response.status().as_u16(),
            retry_after: http::retry_after(response.headers()),
            body: Vec::new(),
            incomplete: None,
        };
        if response.status().is_redirection() {
            let reason =
                "the endpoint redirects to another address; client secrets are not sent there";
            return Err(self.error(ErrorClass::Config, Some(&raw), reason));
        }
        if let Err((class, reason)) = read_body(response, &mut raw.body).await {
            raw.incomplete = Some(ExchangeError {
                outcome_unknown: raw.is_success() || outcome_is_unknown(raw.status),
                ..self.error(class, Some(&raw), reason)
            });
        }
        Ok(raw)
    }

    /// Reads the tokens of an incomplete response. They are used because the refresh token was spent for them, unless
    /// the missing part may contain its successor.
    fn tokens_of_incomplete(&self, response: &RawResponse) -> Option<TokenResponse> {
        if !response.is_success() {
            return None;
        }
        let tokens = TokenResponse::read_truncated(&response.body, self.profile)?;
        let is_too_long = response.body.len() > SIZE_LIMIT;
        (tokens.refresh_token.is_some() || is_too_long).then_some(tokens)
    }

    /// The request, with exactly one way to authenticate the client.
    fn build(&self, mut params: Params, auth: ClientAuth) -> RequestBuilder {
        let Self { http, client, .. } = self;
        let secret = client.secret.as_ref().map(ExposeSecret::expose_secret);
        let mut basic = None;
        match (auth, secret) {
            (ClientAuth::Basic, Some(secret)) => {
                basic = Some(format!("{}:{}", encoded(&client.id), encoded(secret)));
            }
            (ClientAuth::BasicRaw, Some(secret)) => basic = Some(format!("{}:{secret}", client.id)),
            (ClientAuth::Post, Some(secret)) => {
                set(&mut params, "client_id", &client.id);
                set(&mut params, "client_secret", secret);
            }
            (ClientAuth::None, _) | (_, None) => set(&mut params, "client_id", &client.id),
        }
        let mut request = match self.profile.body {
            BodyFormat::Form => http.post(self.url.clone()).form(&params),
            BodyFormat::Json => http.post(self.url.clone()).json(&params),
            BodyFormat::Query => http.post(with_query(self.url, &params)).body(""),
        };
        if let Some(value) = basic.map(SecretString::from).and_then(|s| basic_auth(&s)) {
            request = request.header(AUTHORIZATION, value);
        }
        request.header(ACCEPT, "application/json")
    }

    /// Returns the error of a response with an error status, or of an error that was sent with a successful status.
    fn error_response(&self, response: &RawResponse) -> ExchangeError {
        let refusal = Refusal::read(&response.body);
        let code = refusal.code(|code| is_known(self.profile, code));
        let class = classify(self.profile, response.status, code.as_deref(), &refusal);
        ExchangeError {
            outcome_unknown: outcome_is_unknown(response.status),
            diagnostic: refusal.diagnostic().filter(|text| !self.has_secret(text)),
            code: code.filter(|code| !self.has_secret(code)),
            ..self.error(class, Some(response), "the provider refused the request")
        }
    }

    /// Returns the error of a response without tokens but with a successful status. Unless it is an error, the provider
    /// considers the request successful.
    fn useless_success(&self, response: &RawResponse, error: &TokenResponseError) -> ExchangeError {
        let refusal = Refusal::read(&response.body);
        if refusal.is_error(|code| is_known(self.profile, code)) {
            return self.error_response(response);
        }
        let class = match error {
            TokenResponseError::Unreadable if is_html_or_xml(&refusal.text) => {
                ErrorClass::Transient
            }
            TokenResponseError::Unreadable | TokenResponseError::NoAccessToken => {
                ErrorClass::Malformed
            }
        };
        ExchangeError {
            outcome_unknown: true,
            ..self.error(class, Some(response), error.to_string())
        }
    }

    /// Returns whether a word in a list is the client's secret, which can look like an error name.
    fn has_secret(&self, list: &str) -> bool {
        let Some(secret) = &self.client.secret else {
            return false;
        };
        list.split(", ").any(|word| word == secret.expose_secret())
    }

    fn no_response(&self, error: &reqwest::Error) -> ExchangeError {
        let (class, reason) = match error {
            e if e.is_redirect() => (ErrorClass::Config, "the endpoint redirects"),
            e if e.is_builder() => (ErrorClass::Config, "the request is invalid"),
            e if e.is_connect() => (ErrorClass::Transient, "no connection"),
            e if e.is_timeout() => (ErrorClass::Transient, "timed out"),
            _ => (
                ErrorClass::Transient,
                "the connection was lost before the response",
            ),
        };
        ExchangeError {
            outcome_unknown: !error.is_connect() && !error.is_builder(),
            ..self.error(class, None, reason)
        }
    }

    pub(super) fn error(
        &self,
        class: ErrorClass,
        response: Option<&RawResponse>,
        reason: impl Into<Box<str>>,
    ) -> ExchangeError {
        ExchangeError {
            class,
            code: None,
            diagnostic: None,
            status: response.map(|response| response.status),
            retry_after: response.and_then(|response| response.retry_after),
            outcome_unknown: false,
            operation: self.operation,
            address: http::redacted_url(self.url).into(),
            reason: reason.into(),
        }
    }
}

/// Reads a body into `body`. The error says why the rest is missing.
async fn read_body(
    mut response: Response,
    body: &mut Vec<u8>,
) -> Result<(), (ErrorClass, &'static str)> {
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(()),
            Err(_) => return Err((ErrorClass::Transient, "the response ended early")),
        }
        if body.len() > SIZE_LIMIT {
            return Err((ErrorClass::Malformed, "the response is larger than 1 MiB"));
        }
    }
}

/// A gateway that timed out, or a server that failed, may have processed the request.
fn outcome_is_unknown(status: u16) -> bool {
    status >= 500 && status != 503
}

/// Encodes as in a form (RFC 6749 section 2.3.1).
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, FORM_ENCODE_SET)
        .to_string()
        .replace("%20", "+")
}

fn basic_auth(credentials: &SecretString) -> Option<HeaderValue> {
    let encoded = BASE64.encode_to_string(credentials.expose_secret());
    let mut value = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Returns the URL with these parameters in its query, each of them once.
fn with_query(url: &Url, params: &Params) -> Url {
    let kept: Vec<_> = url
        .query_pairs()
        .into_owned()
        .filter(|(name, _)| !params.contains_key(name))
        .collect();
    let mut url = url.clone();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(kept)
        .extend_pairs(params);
    url
}
