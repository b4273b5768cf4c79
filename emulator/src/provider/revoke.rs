//! The revocation endpoint (RFC 7009). Revoking an unknown token succeeds too.

use super::{
    event::ProviderEventKind,
    hold::Endpoint,
    knobs::Knobs,
    request::{Client, Parameters, required},
    response::{OAuthError, ProviderErrors},
    shared::Shared,
};
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use http_double::{Disconnect, RecordedCall, read_request};
use std::sync::Arc;

pub(super) async fn revoke(
    State(shared): State<Arc<Shared>>,
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
    shared.remember(&parts.headers, &form);
    let line = RecordedCall::new(&parts, body, "").line();
    let call = ProviderEventKind::RevokeCall {
        token: form.get("token").cloned().unwrap_or_default(),
        status: None,
    };
    let arrival = shared.arrived(Endpoint::Revoke, line, call);
    let act = move |shared: &Shared| {
        let response = match revoke_token(shared, parameters, &parts.headers, &knobs) {
            Ok(()) => StatusCode::OK.into_response(),
            Err(error) => error.response(&knobs, &parts.headers),
        };
        (response, ())
    };
    shared.perform(disconnect, arrival, act).await
}

fn revoke_token(
    shared: &Shared,
    parameters: Parameters,
    headers: &HeaderMap,
    knobs: &Knobs,
) -> Result<(), OAuthError> {
    let form = parameters.once()?;
    Client::read(headers, &form).check(&form, &shared.config, knobs)?;
    let token = required(&form, "token")?;
    let is_known = shared.state().grants.revoke(token);
    if is_known {
        let token = token.to_owned();
        shared.happened(ProviderEventKind::Revoked { token });
    }
    Ok(())
}
