//! The token endpoint: codes and refresh tokens become access tokens (RFC 6749 §4.1.3, §6).

use super::{
    event::{ProviderEventKind, TokenCall},
    grants::{Code, NewTokens, RedeemResult, is_expired},
    hold::Endpoint,
    knobs::Knobs,
    request::{Client, Parameters, required},
    response::{self, OAuthError, ProviderErrors},
    shared::{Shared, State},
};
use axum::{
    extract::{ConnectInfo, Request, State as Extracted},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use http_double::{Disconnect, RecordedCall, read_request};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc};

type Form = BTreeMap<String, String>;

/// New tokens, and whether they are the first of their grant.
type Exchanged = Result<(NewTokens, bool), OAuthError>;

pub(super) async fn token(
    Extracted(shared): Extracted<Arc<Shared>>,
    ConnectInfo(disconnect): ConnectInfo<Disconnect>,
    request: Request,
) -> Response {
    let (parts, body) = match read_request::<ProviderErrors>(request).await {
        Ok(request) => request,
        Err(response) => return response,
    };
    let knobs = shared.state().knobs.clone();
    let parameters = Parameters::read(&parts, &body, knobs.body);
    let form = parameters.map();
    let client = Client::read(&parts.headers, &form);
    shared.remember(&parts.headers, &form);
    let request = RecordedCall::new(&parts, body, "Bearer");
    let (line, headers) = (request.line(), parts.headers);
    let call = TokenCall {
        grant_type: form.get("grant_type").cloned().unwrap_or_default(),
        names: parameters.names(),
        form,
        credentials: client.credentials,
        request,
    };
    let arrival = shared.arrived(Endpoint::Token, line, ProviderEventKind::TokenCall(call));
    let parameters = parameters.once();
    let refresh = parameters
        .as_ref()
        .ok()
        .and_then(|form| form.get("refresh_token"))
        .cloned();
    let (in_progress, alone) = RefreshInProgress::begin(&shared, refresh);
    if knobs.concurrent_refresh_fails && !alone {
        let error = OAuthError::bad_request("invalid_grant", "expired authorization code");
        let response = error.response(&knobs, &headers);
        shared.finished(&arrival, Some(&response));
        return response;
    }
    let act = move |shared: &Shared| {
        let response = respond(shared, &client, parameters, &headers);
        (response, in_progress)
    };
    shared.perform(disconnect, arrival, act).await
}

fn respond(
    shared: &Shared,
    client: &Client,
    parameters: Result<Form, OAuthError>,
    headers: &HeaderMap,
) -> Response {
    // Read the knobs now: they may have changed while the call was held.
    let mut state = shared.state();
    let knobs = state.knobs.clone();
    let exchanged = parameters.and_then(|form| {
        client.check(&form, &shared.config, &knobs)?;
        exchange(shared, &mut state, &knobs, &form)
    });
    match exchanged {
        Ok((tokens, first)) => {
            let members = response::members(&tokens, first, &knobs, &shared.url());
            response::write(StatusCode::OK, &members, knobs.content, headers)
        }
        Err(error) => error.response(&knobs, headers),
    }
}

/// A refresh in progress; it ends when this is dropped.
struct RefreshInProgress {
    shared: Arc<Shared>,
    refresh: Option<String>,
}

impl RefreshInProgress {
    /// Also returns whether it is the only one of its token.
    fn begin(shared: &Arc<Shared>, refresh: Option<String>) -> (Self, bool) {
        let mut alone = true;
        if let Some(refresh) = &refresh {
            let mut state = shared.state();
            let count = state.in_progress.entry(refresh.clone()).or_default();
            *count += 1;
            alone = *count == 1;
        }
        let shared = shared.clone();
        (Self { shared, refresh }, alone)
    }
}

impl Drop for RefreshInProgress {
    fn drop(&mut self) {
        if let Some(refresh) = &self.refresh {
            let mut state = self.shared.state();
            if let Some(count) = state.in_progress.get_mut(refresh) {
                *count -= 1;
            }
            state.in_progress.retain(|_, count| *count > 0);
        }
    }
}

fn exchange(shared: &Shared, state: &mut State, knobs: &Knobs, form: &Form) -> Exchanged {
    for (name, value) in &knobs.require_param {
        if form.get(name) != Some(value) {
            return Err(OAuthError::invalid_request(format!(
                "the parameter {name} must be {value:?}"
            )));
        }
    }
    match required(form, "grant_type")? {
        "refresh_token" => refresh(shared, state, knobs, form).map(|tokens| (tokens, false)),
        "authorization_code" => code(shared, state, knobs, form).map(|tokens| (tokens, true)),
        other => Err(OAuthError::bad_request(
            "unsupported_grant_type",
            format!("there is no grant type {other:?} here"),
        )),
    }
}

fn refresh(
    shared: &Shared,
    state: &mut State,
    knobs: &Knobs,
    form: &Form,
) -> Result<NewTokens, OAuthError> {
    let token = required(form, "refresh_token")?;
    let grants = &mut state.grants;
    let grant = grants.grant_of(token);
    let granted = grant.map(|grant| grants.scope(grant));
    check_scope(knobs, form.get("scope").map(String::as_str), granted)?;
    if let (Some(limit), Some(grant)) = (knobs.refuse_early, grant)
        && grants
            .remaining(grant)
            .is_some_and(|remaining| remaining > limit)
    {
        return Err(OAuthError::invalid_request("access_token not expired"));
    }
    let refresh = token.to_owned();
    match grants.redeem(token, knobs) {
        RedeemResult::Valid { grant, grace } => {
            shared.happened(if grace {
                ProviderEventKind::GraceUsed { refresh }
            } else {
                ProviderEventKind::Spent { refresh }
            });
            let tokens = grants.refreshed(token, grant, knobs);
            issued(shared, &tokens);
            Ok(tokens)
        }
        RedeemResult::Reused { grant } => {
            shared.happened(ProviderEventKind::Reused { refresh });
            if knobs.kill_family_on_reuse {
                grants.revoke_grant(grant);
                shared.happened(ProviderEventKind::GrantRevoked { grant });
            }
            let reason = "this refresh token was used already";
            Err(OAuthError::invalid_token(&knobs.dead_token, reason))
        }
        RedeemResult::Invalid(reason) => Err(OAuthError::invalid_token(&knobs.dead_token, reason)),
    }
}

/// Whether a refresh may ask for this scope. `granted` is that of the grant, when the refresh token is known.
fn check_scope(
    knobs: &Knobs,
    asked: Option<&str>,
    granted: Option<&str>,
) -> Result<(), OAuthError> {
    let invalid = |reason: &str| Err(OAuthError::bad_request("invalid_scope", reason));
    let Some(asked) = asked else {
        if knobs.require_scope {
            return Err(OAuthError::invalid_request(
                "the parameter scope is missing",
            ));
        }
        return Ok(());
    };
    if knobs.forbid_scope {
        return invalid("the parameter scope is not allowed on refresh");
    }
    let is_granted = |scope: &str| {
        granted.is_none_or(|granted| granted.split_whitespace().any(|known| known == scope))
    };
    if asked.split_whitespace().all(is_granted) {
        Ok(())
    } else {
        invalid("the scope is larger than what was granted")
    }
}

fn code(
    shared: &Shared,
    state: &mut State,
    knobs: &Knobs,
    form: &Form,
) -> Result<NewTokens, OAuthError> {
    let text = required(form, "code")?;
    let redirect_uri = required(form, "redirect_uri")?;
    let code = state
        .grants
        .code(text)
        .ok_or_else(|| invalid_grant("this code was never issued here"))?;
    if let Some(grant) = code.exchanged {
        // Somebody may have stolen the code: its tokens are not safe any more (RFC 6749 §4.1.2).
        state.grants.revoke_grant(grant);
        shared.happened(ProviderEventKind::GrantRevoked { grant });
        return Err(invalid_grant("this code was exchanged already"));
    }
    if is_expired(code.expires) {
        return Err(invalid_grant("this code is expired"));
    }
    if code.redirect_uri != redirect_uri {
        return Err(invalid_grant(
            "redirect_uri is not the one of the authorization",
        ));
    }
    check_verifier(code, form.get("code_verifier"))?;
    let scope = code.scope.clone();
    let grant = state.grants.authorize(&scope);
    if let Some(code) = state.grants.code(text) {
        code.exchanged = Some(grant);
    }
    let tokens = state.grants.first(grant, knobs);
    issued(shared, &tokens);
    Ok(tokens)
}

/// PKCE (RFC 7636 §4.6).
fn check_verifier(code: &Code, verifier: Option<&String>) -> Result<(), OAuthError> {
    let (challenge, verifier) = match (&code.challenge, verifier) {
        (Some(challenge), Some(verifier)) => (challenge, verifier),
        (None, None) => return Ok(()),
        (None, Some(_)) => {
            return Err(invalid_grant(
                "there is a code_verifier, but there was no code_challenge",
            ));
        }
        (Some(_), None) => {
            return Err(OAuthError::invalid_request(
                "the parameter code_verifier is missing",
            ));
        }
    };
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
        return Err(OAuthError::invalid_request(
            "code_verifier must be 43 to 128 letters, digits or -._~",
        ));
    }
    let hash = base64_simd::URL_SAFE_NO_PAD.encode_to_string(Sha256::digest(verifier));
    if hash == *challenge {
        Ok(())
    } else {
        Err(invalid_grant(
            "code_verifier does not match the code_challenge",
        ))
    }
}

fn invalid_grant(reason: &str) -> OAuthError {
    OAuthError::bad_request("invalid_grant", reason)
}

/// Records that tokens were issued.
pub(super) fn issued(shared: &Shared, tokens: &NewTokens) {
    shared.secret(&tokens.access);
    if let Some(refresh) = &tokens.refresh {
        shared.secret(refresh);
    }
    shared.happened(ProviderEventKind::Issued {
        access: tokens.access.clone(),
        refresh: tokens.refresh.clone().filter(|_| tokens.rotated),
        grant: tokens.grant,
    });
}
