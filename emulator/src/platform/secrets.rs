//! Secrets: credentials that the platform refreshes, in JSON:API (wire-contract: Secrets).

use super::{error::ErrorResponse, shared::Shared};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Value, json};
use std::sync::Arc;

type Platform = State<Arc<Shared>>;
type SecretPath = Path<(String, String)>;

pub(super) async fn get_secret(
    State(shared): Platform,
    Path((workspace, id)): SecretPath,
) -> Result<Json<Value>, ErrorResponse> {
    let credentials = shared
        .state()
        .secret(&workspace, &id)
        .ok_or_else(|| unknown(&workspace, &id))?;
    Ok(Json(
        json!({"data": resource(&workspace, &id, &credentials)}),
    ))
}

/// The resource is in a list, as in the platform's documentation, unless a test asks for a bare one.
pub(super) async fn refresh_secret(
    State(shared): Platform,
    Path((workspace, id)): SecretPath,
) -> Result<Json<Value>, ErrorResponse> {
    let mut state = shared.state();
    let bare = state.bare_refreshes;
    let secret = state
        .secret_mut(&workspace, &id)
        .ok_or_else(|| unknown(&workspace, &id))?;
    secret.refresh().ok_or_else(|| {
        let reason = format!("secret {id:?} cannot be refreshed: the emulator was given no further credentials for it");
        ErrorResponse::new(StatusCode::UNPROCESSABLE_ENTITY, reason)
    })?;
    let resource = resource(&workspace, &id, &secret.credentials);
    Ok(Json(if bare {
        json!({"data": resource})
    } else {
        json!({"data": [resource]})
    }))
}

fn unknown(workspace: &str, id: &str) -> ErrorResponse {
    ErrorResponse::not_found(format!("secret {id:?} in workspace {workspace:?}"))
}

fn resource(workspace: &str, id: &str, credentials: &Value) -> Value {
    json!({
        "id": id,
        "type": "auth-secret",
        "attributes": {"name": "Emulated secret", "state": "ready", "credentials": credentials},
        "relationships": {"workspace": {"data": {"id": workspace, "type": "workspace"}}},
    })
}
