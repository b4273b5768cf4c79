//! The token endpoint: one request, one answer, and what it means for the credential.
//!
//! Nothing is tried again in here, no redirect is followed, and nothing that was sent or that came back stands in an
//! error, but for the name of a refusal.

use super::{
    answer::{self, TokenResponse, TokenResponseError},
    profile::{BodyFormat, ClientAuth, ErrorClass, Profile, ScopePolicy},
    refusal::{ExchangeError, classify, is_page},
    resolve::{Client, ResolvedConfig},
};
use crate::clients::http;
use base64_simd::STANDARD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    RequestBuilder, Url,
    header::{ACCEPT, AUTHORIZATION, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use std::{collections::BTreeMap, time::Duration};

/// For one request, from connecting to the last byte.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(15);
/// No answer with a token is longer than this.
const SIZE_LIMIT: usize = 1024 * 1024;
/// What may stand in a form as it is.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');
/// What a profile's parameters cannot say.
const OURS: [&str; 7] = [
    "grant_type",
    "refresh_token",
    "code",
    "redirect_uri",
    "code_verifier",
    "client_id",
    "client_secret",
];

/// The scope that asks for a refresh token (OpenID Connect Core §11).
const OFFLINE: &str = "offline_access";

type Params = BTreeMap<String, String>;

/// The provider's endpoints for one client.
pub(crate) struct TokenEndpoint {
    http: reqwest::Client,
    client: Client,
    profile: Profile,
}

impl TokenEndpoint {
    /// `http` must follow no redirects. `None` when the platform renews the tokens.
    pub(crate) fn new(http: reqwest::Client, resolved: &ResolvedConfig) -> Option<Self> {
        Some(Self {
            http,
            client: resolved.client.clone()?,
            profile: resolved.profile.clone(),
        })
    }

    /// Spends a refresh token (RFC 6749 §6).
    ///
    /// # Cancel safety
    /// None: a dropped call may have spent the token.
    pub(crate) async fn refresh(
        &self,
        refresh_token: &str,
        granted_scope: Option<&str>,
    ) -> Result<TokenResponse, ExchangeError> {
        let mut params = self.profile.refresh_params.clone();
        params.retain(|name, _| !OURS.contains(&name.as_str()));
        params.extend(
            self.refresh_scope(granted_scope)
                .map(|scope| ("scope".to_owned(), scope)),
        );
        set(
            &mut params,
            [
                ("grant_type", "refresh_token"),
                ("refresh_token", refresh_token),
            ],
        );
        self.call("refreshing the access token", &self.client.refresh_url)
            .tokens(params)
            .await
    }

    /// Spends an authorization code (RFC 6749 §4.1.3, RFC 7636 §4.5).
    ///
    /// # Cancel safety
    /// None: a dropped call may have spent the code.
    pub(crate) async fn exchange_code(
        &self,
        code: &str,
        redirect_uri: &str,
        verifier: Option<&str>,
    ) -> Result<TokenResponse, ExchangeError> {
        let mut params = Params::new();
        set(
            &mut params,
            [
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", redirect_uri),
            ],
        );
        set(
            &mut params,
            verifier.map(|verifier| ("code_verifier", verifier)),
        );
        self.call("exchanging the authorization code", &self.client.token_url)
            .tokens(params)
            .await
    }

    /// Revokes a token (RFC 7009); one that is not known is revoked already. `hint` is `refresh_token` or
    /// `access_token`.
    pub(crate) async fn revoke(&self, token: &str, hint: &str) -> Result<(), ExchangeError> {
        let doing = "revoking the token";
        let Some(url) = &self.client.revoke_url else {
            let reason = "the provider's profile names no address for it (revoke_uri)";
            return Err(self.call(doing, &self.client.token_url).error(
                ErrorClass::Config,
                None,
                reason,
            ));
        };
        let mut params = Params::new();
        set(&mut params, [("token", token), ("token_type_hint", hint)]);
        let call = self.call(doing, url);
        let answer = call.send(params).await?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        match call.refusal(&answer) {
            error if error.code.as_deref() == Some("invalid_token") => Ok(()),
            error => Err(error),
        }
    }

    fn refresh_scope(&self, granted: Option<&str>) -> Option<String> {
        let configured = &self.client.scopes;
        let all_configured = (!configured.is_empty()).then(|| configured.join(" "));
        match (self.profile.refresh_scope, granted) {
            (ScopePolicy::None, _) => None,
            (ScopePolicy::Configured, _) | (ScopePolicy::Granted, None) => all_configured,
            // Providers do not list this one among what they grant, and without it some give no next refresh token.
            (ScopePolicy::Granted, Some(granted)) => {
                let asks_for_refreshes = configured.iter().any(|scope| scope == OFFLINE);
                let is_listed = granted.split_whitespace().any(|scope| scope == OFFLINE);
                let added = (asks_for_refreshes && !is_listed).then_some(OFFLINE);
                Some(
                    [granted]
                        .into_iter()
                        .chain(added)
                        .collect::<Vec<_>>()
                        .join(" "),
                )
            }
        }
    }

    fn call<'a>(&'a self, doing: &'static str, url: &'a Url) -> Call<'a> {
        Call {
            endpoint: self,
            doing,
            url,
        }
    }
}

fn set<'a>(params: &mut Params, more: impl IntoIterator<Item = (&'a str, &'a str)>) {
    params.extend(
        more.into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
}

/// One request.
struct Call<'a> {
    endpoint: &'a TokenEndpoint,
    doing: &'static str,
    url: &'a Url,
}

/// An answer, whatever it says.
struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Call<'_> {
    async fn tokens(&self, params: Params) -> Result<TokenResponse, ExchangeError> {
        let (answer, end) = self.start(params).await?;
        let is_success = (200..300).contains(&answer.status);
        if let Err(trouble) = end {
            // The refresh token is spent for what has come, unless its successor is in the part that has not.
            let may_have_more = trouble.class == ErrorClass::Transient;
            let read = TokenResponse::read_cut(&answer.body, &self.endpoint.profile)
                .filter(|_| is_success);
            return read
                .filter(|read| read.refresh_token.is_some() || !may_have_more)
                .ok_or(trouble);
        }
        if !is_success {
            return Err(self.refusal(&answer));
        }
        TokenResponse::read(&answer.body, &self.endpoint.profile).map_err(|error| {
            let class = match error {
                TokenResponseError::Error(_) => return self.refusal(&answer),
                TokenResponseError::Unreadable if is_page(&answer.text()) => ErrorClass::Transient,
                TokenResponseError::Unreadable | TokenResponseError::NoAccessToken => {
                    ErrorClass::Malformed
                }
            };
            // The provider thinks that it has worked.
            ExchangeError {
                outcome_unknown: true,
                ..self.error(class, Some(&answer), error.to_string())
            }
        })
    }

    async fn send(&self, params: Params) -> Result<Answer, ExchangeError> {
        let (answer, end) = self.start(params).await?;
        end.map(|()| answer)
    }

    /// What has come of an answer, and whether that is all of it.
    async fn start(
        &self,
        params: Params,
    ) -> Result<(Answer, Result<(), ExchangeError>), ExchangeError> {
        let mut response = self
            .request(params)
            .send()
            .await
            .map_err(|e| self.no_answer(&e))?;
        let mut answer = Answer {
            status: response.status().as_u16(),
            retry_after: http::retry_after(response.headers()),
            body: Vec::new(),
        };
        if response.status().is_redirection() {
            let reason =
                "the endpoint redirects to another address, where a client's secrets are not sent";
            return Err(self.error(ErrorClass::Config, Some(&answer), reason));
        }
        let outcome_unknown = response.status().is_success() || may_have_been_done(answer.status);
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => answer.body.extend_from_slice(&chunk),
                Ok(None) => return Ok((answer, Ok(()))),
                Err(_) => {
                    let reason = "the answer broke off";
                    let error = self.error(ErrorClass::Transient, Some(&answer), reason);
                    return Ok((
                        answer,
                        Err(ExchangeError {
                            outcome_unknown,
                            ..error
                        }),
                    ));
                }
            }
            if answer.body.len() > SIZE_LIMIT {
                let reason = "the answer is longer than any with a token (1 MiB)";
                let error = self.error(ErrorClass::Malformed, Some(&answer), reason);
                return Ok((
                    answer,
                    Err(ExchangeError {
                        outcome_unknown,
                        ..error
                    }),
                ));
            }
        }
    }

    /// The request, with exactly one way to say who the client is.
    fn request(&self, mut params: Params) -> RequestBuilder {
        let TokenEndpoint {
            http,
            client,
            profile,
        } = self.endpoint;
        let secret = client.secret.as_ref().map(ExposeSecret::expose_secret);
        let mut basic = None;
        match (profile.client_auth, secret) {
            (ClientAuth::Basic, Some(secret)) => {
                basic = Some(format!("{}:{}", encoded(&client.id), encoded(secret)));
            }
            (ClientAuth::BasicRaw, Some(secret)) => basic = Some(format!("{}:{secret}", client.id)),
            (ClientAuth::Post, Some(secret)) => {
                set(
                    &mut params,
                    [("client_id", client.id.as_str()), ("client_secret", secret)],
                );
            }
            (ClientAuth::None, _) | (_, None) => {
                set(&mut params, [("client_id", client.id.as_str())]);
            }
        }
        let mut request = match profile.body {
            BodyFormat::Form => http.post(self.url.clone()).form(&params),
            BodyFormat::Json => http.post(self.url.clone()).json(&params),
            BodyFormat::Query => http.post(with_query(self.url, &params)).body(""),
        };
        if let Some(basic) = basic.map(SecretString::from) {
            let text = format!("Basic {}", BASE64.encode_to_string(basic.expose_secret()));
            if let Ok(mut value) = HeaderValue::try_from(text) {
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
        }
        request
            .header(ACCEPT, "application/json")
            .timeout(TIME_LIMIT)
    }

    fn refusal(&self, answer: &Answer) -> ExchangeError {
        let text = answer.text();
        let members = answer::members(&answer.body).unwrap_or_default();
        let code = answer::code(&members);
        let class = classify(
            &self.endpoint.profile,
            answer.status,
            code.as_deref(),
            &text,
        );
        ExchangeError {
            outcome_unknown: may_have_been_done(answer.status),
            diagnostic: answer::diagnostic(&members)
                .filter(|text| !text.split(", ").any(|word| self.is_secret(word))),
            code: code.filter(|code| !self.is_secret(code)),
            ..self.error(class, Some(answer), "the provider refused")
        }
    }

    /// Whether a word of the provider's is the client's secret, which can look like the name of an error.
    fn is_secret(&self, word: &str) -> bool {
        self.endpoint
            .client
            .secret
            .as_ref()
            .is_some_and(|secret| secret.expose_secret() == word)
    }

    fn no_answer(&self, error: &reqwest::Error) -> ExchangeError {
        let (class, reason) = match error {
            e if e.is_redirect() => (ErrorClass::Config, "the endpoint redirects"),
            e if e.is_builder() => (ErrorClass::Config, "the request cannot be made"),
            e if e.is_connect() => (ErrorClass::Transient, "no connection"),
            e if e.is_timeout() => (ErrorClass::Transient, "no answer in time"),
            _ => (
                ErrorClass::Transient,
                "the connection was lost before the answer",
            ),
        };
        let outcome_unknown = !error.is_connect() && !error.is_builder();
        ExchangeError {
            outcome_unknown,
            ..self.error(class, None, reason)
        }
    }

    fn error(
        &self,
        class: ErrorClass,
        answer: Option<&Answer>,
        reason: impl Into<String>,
    ) -> ExchangeError {
        ExchangeError {
            class,
            code: None,
            diagnostic: None,
            status: answer.map(|answer| answer.status),
            retry_after: answer.and_then(|answer| answer.retry_after),
            outcome_unknown: false,
            doing: self.doing,
            address: http::redacted_url(self.url),
            reason: reason.into(),
        }
    }
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A gateway that has waited in vain, and a server that failed on its way, may have been too late to undo anything.
fn may_have_been_done(status: u16) -> bool {
    status >= 500 && status != 503
}

/// As in a form (RFC 6749 §2.3.1).
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, FORM)
        .to_string()
        .replace("%20", "+")
}

/// The address with these parameters in its query, each of them once.
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
