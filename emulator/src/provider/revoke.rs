//! The revocation endpoint (RFC 7009): tokens that are unknown are revoked as well as others.

use super::{
    answer::OAuthError,
    log::Kind,
    request::{Client, Parameters, required},
    script::Target,
    shared::{MAX_BODY, Shared},
};
use crate::cut::Switch;
use axum::{
    body::to_bytes,
    extract::{ConnectInfo, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use std::sync::Arc;

pub(super) async fn revoke(
    State(shared): State<Arc<Shared>>,
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
    shared.remember(&parts.headers, &form);
    let token = form.get("token").cloned().unwrap_or_default();
    let place = shared.log.arrived(Kind::RevokeCall {
        token,
        status: None,
    });
    let act = move |shared: &Shared| {
        let revoked = parameters.once().and_then(|form| {
            Client::read(&parts.headers, &form).check(&form, &shared.config, &knobs)?;
            let token = required(&form, "token")?;
            if shared.state().grants.revoke(token) {
                shared.log.happened(Kind::Revoked {
                    token: token.to_owned(),
                });
            }
            Ok::<_, OAuthError>(())
        });
        let response = match revoked {
            Ok(()) => StatusCode::OK.into_response(),
            Err(error) => error.response(&knobs, &parts.headers),
        };
        (response, ())
    };
    shared.perform(switch, Target::Revoke, place, act).await
}
