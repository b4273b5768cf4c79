//! What token endpoint and revocation endpoint answer, in all the ways that providers write it.

use super::{
    form,
    grants::Minted,
    knobs::{Content, ExpiresIn, Knobs, Refused},
};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::{Map, Value, json};

/// What stands for the provider's address in [`Knobs::extra`].
const URL_PLACEHOLDER: &str = "{{PROVIDER_URL}}";

/// An error as RFC 6749 §5.2 has it.
#[derive(Clone, Debug)]
pub(super) struct OAuthError {
    status: StatusCode,
    body: Map<String, Value>,
    headers: Vec<(&'static str, &'static str)>,
}

impl OAuthError {
    pub(super) fn new(status: StatusCode, error: &str, description: impl Into<String>) -> Self {
        let mut body = Map::new();
        body.insert("error".into(), error.into());
        body.insert("error_description".into(), description.into().into());
        Self {
            status,
            body,
            headers: Vec::new(),
        }
    }

    pub(super) fn bad(error: &str, description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, description)
    }

    pub(super) fn request(description: impl Into<String>) -> Self {
        Self::bad("invalid_request", description)
    }

    /// A refresh token or code that is not good (any more), refused in the provider's way.
    pub(super) fn dead(refused: &Refused, reason: &str) -> Self {
        let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut error = Self::new(
            status,
            &refused.error,
            refused.description.as_deref().unwrap_or(reason),
        );
        error.body.extend(refused.extra.clone());
        error
    }

    pub(super) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn response(self, knobs: &Knobs, accept: &HeaderMap) -> Response {
        let status = if knobs.errors_as_200 {
            StatusCode::OK
        } else {
            self.status
        };
        let mut response = write(status, &self.body, knobs.content, accept);
        for (name, value) in self.headers {
            response.headers_mut().insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        response
    }
}

/// The members of a token answer. `first`: after an authorization, which brings a refresh token in any case.
pub(super) fn members(
    minted: &Minted,
    first: bool,
    knobs: &Knobs,
    url: &str,
) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("access_token".into(), minted.access.clone().into());
    if let Some(token_type) = &knobs.token_type {
        members.insert("token_type".into(), token_type.clone().into());
    }
    let lifetime = knobs.access_lifetime.as_secs_f64();
    // Whole seconds, as they are meant to be; a test that wants half of one has `Raw`.
    let seconds = knobs.access_lifetime.as_secs();
    let expires_in = match &knobs.expires_in {
        ExpiresIn::Number => Some(json!(seconds)),
        ExpiresIn::Text => Some(seconds.to_string().into()),
        ExpiresIn::Float => Some(json!(lifetime.floor() + 0.5)),
        ExpiresIn::FloatText => Some(format!("{lifetime:.1}").into()),
        ExpiresIn::Millis => Some(json!(seconds.saturating_mul(1000))),
        ExpiresIn::Missing => None,
        ExpiresIn::Null => Some(Value::Null),
        ExpiresIn::Raw(value) => Some(value.clone()),
    };
    members.extend(expires_in.map(|value| ("expires_in".to_owned(), value)));
    if let Some(refresh) = minted
        .refresh
        .as_ref()
        .filter(|_| first || minted.rotated || !knobs.omit_refresh_token)
    {
        members.insert("refresh_token".into(), refresh.clone().into());
        if let Some(lifetime) = knobs.refresh_lifetime {
            members.insert("refresh_token_expires_in".into(), lifetime.as_secs().into());
        }
    }
    members.insert("scope".into(), minted.scope.clone().into());
    for (name, value) in &knobs.extra {
        let value = match value {
            Value::String(text) => text.replace(URL_PLACEHOLDER, url).into(),
            other => other.clone(),
        };
        members.insert(name.clone(), value);
    }
    members
}

/// Writes an answer of the token endpoint.
pub(super) fn write(
    status: StatusCode,
    members: &Map<String, Value>,
    content: Content,
    request: &HeaderMap,
) -> Response {
    let json = Value::Object(members.clone()).to_string();
    let form =
        || {
            form::write(members.iter().filter(|(_, value)| !value.is_null()).map(
                |(name, value)| {
                    (
                        name.as_str(),
                        value
                            .as_str()
                            .map_or_else(|| value.to_string(), str::to_owned),
                    )
                },
            ))
        };
    let accepts_json = || {
        let accept = request
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        accept.contains("application/json")
    };
    let (content_type, body) = match content {
        Content::AsAccepted if accepts_json() => ("application/json", json),
        Content::Json => ("application/json", json),
        Content::TextJson => ("text/plain", json),
        Content::Form | Content::AsAccepted => ("application/x-www-form-urlencoded", form()),
        Content::TextForm => ("text/plain", form()),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
