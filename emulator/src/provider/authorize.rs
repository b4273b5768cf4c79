//! The authorization endpoint. It approves immediately, like a signed-in user who always agrees.

use super::{
    event::ProviderEventKind,
    form,
    grants::{Code, after},
    shared::Shared,
};
use axum::{
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

pub(super) async fn authorize(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    let pairs = match form::read(uri.query().unwrap_or_default()) {
        Ok(pairs) => pairs,
        Err(reason) => return refuse(&reason),
    };
    let parameters: BTreeMap<String, String> = pairs.iter().cloned().collect();
    shared.happened(ProviderEventKind::AuthorizeCall {
        parameters: parameters.clone(),
    });
    if parameters.len() < pairs.len() {
        return refuse("a parameter came twice");
    }
    // An unknown client is not redirected: that would make this an open redirector (RFC 6749 §4.1.2.1).
    if parameters.get("client_id") != Some(&shared.config.client_id) {
        return refuse("this client is unknown");
    }
    let Some(redirect_uri) = parameters
        .get("redirect_uri")
        .filter(|uri| may_return_to(uri))
    else {
        return refuse(
            "redirect_uri must be http://127.0.0.1:PORT/…, http://[::1]:PORT/… or https://…, without a fragment",
        );
    };
    let mut response = match decide(&shared, &parameters, redirect_uri) {
        Ok(code) => vec![("code", code)],
        Err((error, description)) => vec![
            ("error", error),
            ("error_description", description.to_owned()),
        ],
    };
    let knobs = shared.state().knobs.clone();
    response.extend(
        knobs
            .state
            .or_else(|| parameters.get("state").cloned())
            .map(|state| ("state", state)),
    );
    let iss = knobs.iss.unwrap_or_else(|| shared.url());
    response.extend(
        Some(iss)
            .filter(|iss| !iss.is_empty())
            .map(|iss| ("iss", iss)),
    );
    let separator = if redirect_uri.contains('?') { '&' } else { '?' };
    let location = format!("{redirect_uri}{separator}{}", form::write(response));
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

/// The error of a response, and its description.
type Denied = (String, &'static str);

fn invalid_request(reason: &'static str) -> Denied {
    ("invalid_request".to_owned(), reason)
}

/// Returns a code, unless the request is invalid or the user says no.
fn decide(
    shared: &Shared,
    parameters: &BTreeMap<String, String>,
    redirect_uri: &str,
) -> Result<String, Denied> {
    let mut state = shared.state();
    match parameters.get("response_type").map(String::as_str) {
        Some("code") => {}
        Some(_) => {
            return Err((
                "unsupported_response_type".into(),
                "response_type must be code",
            ));
        }
        None => return Err(invalid_request("the parameter response_type is missing")),
    }
    if parameters.get("state").is_none_or(String::is_empty) {
        return Err(invalid_request("the parameter state is missing"));
    }
    let challenge = challenge(parameters, state.knobs.require_pkce)?;
    if let Some(error) = state.knobs.deny.clone() {
        return Err((error, "the user said no"));
    }
    let scope = parameters
        .get("scope")
        .filter(|scope| !scope.is_empty())
        .unwrap_or(&state.knobs.scope)
        .clone();
    let expires = after(state.knobs.code_lifetime);
    let code = state.grants.add_code(Code {
        redirect_uri: redirect_uri.to_owned(),
        challenge,
        scope,
        expires,
        exchanged: None,
    });
    shared.secret(&code);
    Ok(code)
}

/// The code challenge (RFC 7636 §4.3).
fn challenge(
    parameters: &BTreeMap<String, String>,
    required: bool,
) -> Result<Option<String>, Denied> {
    let challenge = parameters.get("code_challenge");
    let method = parameters.get("code_challenge_method").map(String::as_str);
    let wrong = match (challenge, method) {
        (Some(challenge), Some("S256")) if challenge.len() == 43 => None,
        (Some(_), Some("S256")) => {
            Some("code_challenge must be 43 characters: base64url of SHA-256")
        }
        (Some(_), _) => Some("code_challenge_method must be S256"),
        (None, None) if !required => None,
        (None, _) => Some("the parameter code_challenge is missing"),
    };
    match wrong {
        Some(reason) => Err(invalid_request(reason)),
        None => Ok(challenge.cloned()),
    }
}

/// A loopback address with any port (RFC 8252 §7.3), or HTTPS.
fn may_return_to(uri: &str) -> bool {
    if uri.contains('#') {
        return false;
    }
    let Ok(uri) = uri.parse::<Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => {
            host.parse::<Ipv4Addr>()
                .is_ok_and(|host| host.is_loopback())
                || host
                    .parse::<Ipv6Addr>()
                    .is_ok_and(|host| host.is_loopback())
        }
        _ => false,
    }
}

/// Shown in the browser instead of a redirect.
fn refuse(reason: &str) -> Response {
    (
        StatusCode::BAD_REQUEST,
        format!("The emulated provider cannot continue: {reason}.\n"),
    )
        .into_response()
}
