//! The token endpoint: codes and refresh tokens become access tokens (RFC 6749 §4.1.3, §6).

use super::{
    answer::{self, OAuthError},
    grants::{Minted, Redeemed, is_past},
    knobs::Knobs,
    log::{Kind, TokenCall},
    request::{Client, Parameters, required},
    script::Target,
    shared::{MAX_BODY, Shared, State},
};
use crate::cut::Switch;
use axum::{
    body::to_bytes,
    extract::{ConnectInfo, Request, State as Extracted},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc};

type Form = BTreeMap<String, String>;

pub(super) async fn token(
    Extracted(shared): Extracted<Arc<Shared>>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let knobs = shared.state().knobs.clone();
    let parameters = Parameters::read(&parts, &body, knobs.body);
    let form = parameters.map();
    let client = Client::read(&parts.headers, &form);
    shared.remember(&parts.headers, &form);
    let headers = parts.headers.clone();
    let place = shared.log.arrived(Kind::TokenCall(TokenCall {
        grant: form.get("grant_type").cloned().unwrap_or_default(),
        names: parameters.names(),
        form,
        credentials: client.credentials,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body,
        status: None,
    }));
    let parameters = parameters.once();
    let refresh = parameters
        .as_ref()
        .ok()
        .and_then(|form| form.get("refresh_token"))
        .cloned();
    let (under_way, alone) = UnderWay::begin(&shared, refresh);
    if knobs.concurrent_refresh_fails && !alone {
        let response = OAuthError::bad("invalid_grant", "expired authorization code")
            .response(&knobs, &headers);
        shared.log.answered(place, Some(response.status().as_u16()));
        return response;
    }
    let act = move |shared: &Shared| {
        // Not the knobs of the arrival: they may have been changed while the call was held.
        let mut state = shared.state();
        let knobs = state.knobs.clone();
        let exchanged = parameters.and_then(|form| {
            client.check(&form, &shared.config, &knobs)?;
            exchange(shared, &mut state, &knobs, &form)
        });
        let response = match exchanged {
            Ok((minted, first)) => {
                let members = answer::members(&minted, first, &knobs, &shared.url());
                answer::write(StatusCode::OK, &members, knobs.content, &headers)
            }
            Err(error) => error.response(&knobs, &headers),
        };
        (response, under_way)
    };
    shared.perform(switch, Target::Token, place, act).await
}

/// A refresh that is under way, up to when this is dropped.
struct UnderWay {
    shared: Arc<Shared>,
    refresh: Option<String>,
}

impl UnderWay {
    /// Also whether it is the only one of its token.
    fn begin(shared: &Arc<Shared>, refresh: Option<String>) -> (Self, bool) {
        let mut alone = true;
        if let Some(refresh) = &refresh {
            let mut state = shared.state();
            let count = state.under_way.entry(refresh.clone()).or_default();
            *count += 1;
            alone = *count == 1;
        }
        (
            Self {
                shared: shared.clone(),
                refresh,
            },
            alone,
        )
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(refresh) = &self.refresh {
            let mut state = self.shared.state();
            if let Some(count) = state.under_way.get_mut(refresh) {
                *count -= 1;
            }
            state.under_way.retain(|_, count| *count > 0);
        }
    }
}

fn exchange(
    shared: &Shared,
    state: &mut State,
    knobs: &Knobs,
    form: &Form,
) -> Result<(Minted, bool), OAuthError> {
    for (name, value) in &knobs.require_param {
        if form.get(name) != Some(value) {
            return Err(OAuthError::request(format!(
                "the parameter {name} must be {value:?}"
            )));
        }
    }
    match required(form, "grant_type")? {
        "refresh_token" => refresh(shared, state, knobs, form).map(|minted| (minted, false)),
        "authorization_code" => code(shared, state, knobs, form).map(|minted| (minted, true)),
        other => Err(OAuthError::bad(
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
) -> Result<Minted, OAuthError> {
    let token = required(form, "refresh_token")?;
    let grants = &mut state.grants;
    match form
        .get("scope")
        .map(|scope| scope.split_whitespace().collect::<Vec<_>>())
    {
        None if knobs.require_scope => {
            return Err(OAuthError::request("the parameter scope is missing"));
        }
        Some(_) if knobs.forbid_scope => {
            return Err(OAuthError::bad(
                "invalid_scope",
                "the parameter scope must not be there on refresh",
            ));
        }
        Some(asked) => {
            let granted = grants
                .family_of(token)
                .map(|family| grants.scope(family))
                .unwrap_or_default();
            let granted: Vec<&str> = granted.split_whitespace().collect();
            if grants.family_of(token).is_some()
                && !asked.iter().all(|scope| granted.contains(scope))
            {
                return Err(OAuthError::bad(
                    "invalid_scope",
                    "more scope is asked for than was granted",
                ));
            }
        }
        None => {}
    }
    if let (Some(limit), Some(family)) = (knobs.refuse_early, grants.family_of(token))
        && grants
            .remaining(family)
            .is_some_and(|remaining| remaining > limit)
    {
        return Err(OAuthError::request("access_token not expired"));
    }
    let refresh = || token.to_owned();
    match grants.redeem(token, knobs) {
        Redeemed::Good { family, grace } => {
            let refresh = refresh();
            shared.log.happened(if grace {
                Kind::GraceUsed { refresh }
            } else {
                Kind::Spent { refresh }
            });
            let minted = grants.refreshed(token, family, knobs);
            issued(shared, &minted);
            Ok(minted)
        }
        Redeemed::Reused { family } => {
            shared.log.happened(Kind::Reused { refresh: refresh() });
            if knobs.kill_family_on_reuse {
                grants.kill(family);
                shared.log.happened(Kind::FamilyKilled { family });
            }
            Err(OAuthError::dead(
                &knobs.dead_token,
                "this refresh token was used already",
            ))
        }
        Redeemed::Dead(reason) => Err(OAuthError::dead(&knobs.dead_token, reason)),
    }
}

fn code(
    shared: &Shared,
    state: &mut State,
    knobs: &Knobs,
    form: &Form,
) -> Result<Minted, OAuthError> {
    let text = required(form, "code")?;
    let redirect_uri = required(form, "redirect_uri")?;
    let invalid = |reason: &str| OAuthError::bad("invalid_grant", reason);
    let code = state
        .grants
        .code(text)
        .ok_or_else(|| invalid("this code was never issued here"))?;
    if let Some(family) = code.exchanged {
        // Somebody has stolen it, or is about to: what it brought is not safe any more (RFC 6749 §4.1.2).
        state.grants.kill(family);
        shared.log.happened(Kind::FamilyKilled { family });
        return Err(invalid("this code was exchanged already"));
    }
    if is_past(code.expires) {
        return Err(invalid("this code is expired"));
    }
    if code.redirect_uri != redirect_uri {
        return Err(invalid("redirect_uri is not the one of the authorization"));
    }
    match (&code.challenge, form.get("code_verifier")) {
        (None, None) => {}
        (None, Some(_)) => {
            return Err(invalid(
                "there is a code_verifier, but there was no code_challenge",
            ));
        }
        (Some(_), None) => {
            return Err(OAuthError::request(
                "the parameter code_verifier is missing",
            ));
        }
        (Some(challenge), Some(verifier)) => {
            let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
                return Err(OAuthError::request(
                    "code_verifier must be 43 to 128 letters, digits or -._~",
                ));
            }
            if base64_simd::URL_SAFE_NO_PAD.encode_to_string(Sha256::digest(verifier)) != *challenge
            {
                return Err(invalid(
                    "code_verifier does not belong to the code_challenge",
                ));
            }
        }
    }
    let scope = code.scope.clone();
    let family = state.grants.authorize(&scope);
    if let Some(code) = state.grants.code(text) {
        code.exchanged = Some(family);
    }
    let minted = state.grants.first(family, knobs);
    issued(shared, &minted);
    Ok(minted)
}

/// Writes down that tokens were issued.
pub(super) fn issued(shared: &Shared, minted: &Minted) {
    shared.secret(&minted.access);
    minted
        .refresh
        .iter()
        .for_each(|refresh| shared.secret(refresh));
    let refresh = minted.refresh.clone().filter(|_| minted.rotated);
    shared.log.happened(Kind::Issued {
        access: minted.access.clone(),
        refresh,
        family: minted.family,
    });
}
