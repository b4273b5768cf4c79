//! Responses of the token and the revocation endpoint, in all the ways that providers write them.

use super::{
    form,
    grants::NewTokens,
    knobs::{Content, ExpiresIn, Knobs, TokenErrorStyle},
};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use http_double::{ErrorFormat, json_response};
use serde_json::{Map, Value, json};

/// The placeholder for the provider's address in [`Knobs::extra`].
const URL_PLACEHOLDER: &str = "{{PROVIDER_URL}}";

/// An OAuth2 error (RFC 6749 §5.2).
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

    pub(super) fn bad_request(error: &str, description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, description)
    }

    pub(super) fn invalid_request(description: impl Into<String>) -> Self {
        Self::bad_request("invalid_request", description)
    }

    /// The error for a refresh token that is not valid, written in the provider's style.
    pub(super) fn invalid_token(style: &TokenErrorStyle, reason: &str) -> Self {
        let status = StatusCode::from_u16(style.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut error = Self::new(
            status,
            &style.error,
            style.description.as_deref().unwrap_or(reason),
        );
        error.body.extend(style.extra.clone());
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

/// The members of a token response. `first`: after an authorization, which always returns the refresh token.
pub(super) fn members(
    tokens: &NewTokens,
    first: bool,
    knobs: &Knobs,
    url: &str,
) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("access_token".into(), tokens.access.clone().into());
    if let Some(token_type) = &knobs.token_type {
        members.insert("token_type".into(), token_type.clone().into());
    }
    members.extend(expires_in(knobs).map(|value| ("expires_in".to_owned(), value)));
    if let Some(refresh) = tokens
        .refresh
        .as_ref()
        .filter(|_| first || tokens.rotated || !knobs.omit_refresh_token)
    {
        members.insert("refresh_token".into(), refresh.clone().into());
        if let Some(lifetime) = knobs.refresh_lifetime {
            members.insert("refresh_token_expires_in".into(), lifetime.as_secs().into());
        }
    }
    members.insert("scope".into(), tokens.scope.clone().into());
    for (name, value) in &knobs.extra {
        let value = match value {
            Value::String(text) => text.replace(URL_PLACEHOLDER, url).into(),
            other => other.clone(),
        };
        members.insert(name.clone(), value);
    }
    members
}

fn expires_in(knobs: &Knobs) -> Option<Value> {
    let lifetime = knobs.access_lifetime.as_secs_f64();
    // Whole seconds, as in the RFC; a test can set fractions with `Raw`.
    let seconds = knobs.access_lifetime.as_secs();
    match &knobs.expires_in {
        ExpiresIn::Number => Some(json!(seconds)),
        ExpiresIn::Text => Some(seconds.to_string().into()),
        ExpiresIn::Float => Some(json!(lifetime.floor() + 0.5)),
        ExpiresIn::FloatText => Some(format!("{lifetime:.1}").into()),
        ExpiresIn::Millis => Some(json!(seconds.saturating_mul(1000))),
        ExpiresIn::Missing => None,
        ExpiresIn::Null => Some(Value::Null),
        ExpiresIn::Raw(value) => Some(value.clone()),
    }
}

/// Writes a response of the token endpoint.
pub(super) fn write(
    status: StatusCode,
    members: &Map<String, Value>,
    content: Content,
    request: &HeaderMap,
) -> Response {
    let accept = request
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let (content_type, is_json) = match content {
        Content::AsAccepted if accept.contains("application/json") => ("application/json", true),
        Content::Json => ("application/json", true),
        Content::TextJson => ("text/plain", true),
        Content::Form | Content::AsAccepted => ("application/x-www-form-urlencoded", false),
        Content::TextForm => ("text/plain", false),
    };
    let body = if is_json {
        Value::Object(members.clone()).to_string()
    } else {
        form_body(members)
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn form_body(members: &Map<String, Value>) -> String {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let present = members.iter().filter(|(_, value)| !value.is_null());
    form::write(present.map(|(name, value)| (name.as_str(), text(value))))
}

/// How faults write errors.
pub(super) struct ProviderErrors;

impl ErrorFormat for ProviderErrors {
    fn error(status: u16, code: &str, message: &str) -> Response {
        json_response(
            status,
            &json!({"error": code, "error_description": message}),
        )
    }
}
