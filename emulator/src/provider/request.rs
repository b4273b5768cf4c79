//! Requests to the token and revocation endpoints, and client authentication. Both are read strictly.

use super::{
    ProviderConfig,
    event::Credentials,
    form,
    knobs::{BodyFormat, ClientAuth, Knobs},
    response::OAuthError,
};
use axum::http::{HeaderMap, Method, StatusCode, header, request::Parts};
use bytes::Bytes;
use serde_json::Value;
use std::collections::BTreeMap;

/// The parameters as received, or why they cannot be read.
pub(super) struct Parameters {
    pairs: Result<Vec<(String, String)>, OAuthError>,
}

impl Parameters {
    pub(super) fn read(parts: &Parts, body: &Bytes, format: BodyFormat) -> Self {
        Self {
            pairs: pairs(parts, body, format),
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.pairs
            .iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect()
    }

    pub(super) fn map(&self) -> BTreeMap<String, String> {
        self.pairs.iter().flatten().cloned().collect()
    }

    /// The parameters, if none is repeated.
    pub(super) fn once(self) -> Result<BTreeMap<String, String>, OAuthError> {
        let mut map = BTreeMap::new();
        for (name, value) in self.pairs? {
            if map.contains_key(&name) {
                return Err(OAuthError::invalid_request(format!(
                    "the parameter {name} came twice"
                )));
            }
            map.insert(name, value);
        }
        Ok(map)
    }
}

fn pairs(
    parts: &Parts,
    body: &Bytes,
    format: BodyFormat,
) -> Result<Vec<(String, String)>, OAuthError> {
    let query = parts.uri.query().unwrap_or_default();
    if format == BodyFormat::Query {
        return form::read(query).map_err(OAuthError::invalid_request);
    }
    if parts.method != Method::POST {
        let reason = format!("the method must be POST, it is {}", parts.method);
        return Err(OAuthError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request",
            reason,
        ));
    }
    if !query.is_empty() {
        return Err(OAuthError::invalid_request(
            "the URL must not have a query: parameters belong in the body",
        ));
    }
    check_content_type(&parts.headers, format)?;
    if format == BodyFormat::Json {
        return json_pairs(body);
    }
    let text = std::str::from_utf8(body)
        .map_err(|_| OAuthError::invalid_request("the body is not UTF-8"))?;
    form::read(text).map_err(OAuthError::invalid_request)
}

fn check_content_type(headers: &HeaderMap, format: BodyFormat) -> Result<(), OAuthError> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let wanted = if format == BodyFormat::Json {
        "application/json"
    } else {
        "application/x-www-form-urlencoded"
    };
    if media_type.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(OAuthError::invalid_request(format!(
        "the content type must be {wanted}, it is {content_type:?}"
    )))
}

fn json_pairs(body: &Bytes) -> Result<Vec<(String, String)>, OAuthError> {
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        return Err(OAuthError::invalid_request("the body is not a JSON object"));
    };
    let pair = |(name, value)| match value {
        Value::String(value) => Ok((name, value)),
        _ => Err(OAuthError::invalid_request(format!(
            "the member {name} must be a text"
        ))),
    };
    members.into_iter().map(pair).collect()
}

/// A client's id and secret, and their place in the request.
pub(super) struct Client {
    pub(super) credentials: Credentials,
    basic: Option<(String, String)>,
}

impl Client {
    pub(super) fn read(headers: &HeaderMap, parameters: &BTreeMap<String, String>) -> Self {
        let basic = headers.get(header::AUTHORIZATION).map(|value| {
            let base64 = value.as_bytes().strip_prefix(b"Basic ").unwrap_or_default();
            let text = base64_simd::STANDARD
                .decode_to_vec(base64.trim_ascii())
                .unwrap_or_default();
            let text = String::from_utf8(text).unwrap_or_default();
            text.split_once(':')
                .map_or_else(Default::default, |(id, secret)| {
                    (id.to_owned(), secret.to_owned())
                })
        });
        let credentials = match (basic.is_some(), parameters.contains_key("client_secret")) {
            (false, false) => Credentials::None,
            (false, true) => Credentials::Parameters,
            (true, false) => Credentials::Basic,
            (true, true) => Credentials::Both,
        };
        Self { credentials, basic }
    }

    /// Whether this is the provider's client, authenticated as the provider requires (RFC 6749 §2.3, §3.2.1).
    pub(super) fn check(
        &self,
        parameters: &BTreeMap<String, String>,
        config: &ProviderConfig,
        knobs: &Knobs,
    ) -> Result<(), OAuthError> {
        if self.credentials == Credentials::Both {
            return Err(OAuthError::invalid_request(
                "the client's credentials came in the header and in the parameters",
            ));
        }
        let id = parameters.get("client_id");
        if id.is_some_and(|id| *id != config.client_id) {
            return Err(self.invalid_client("this client is unknown"));
        }
        self.check_method(knobs.client_auth)?;
        if knobs.client_auth == ClientAuth::None {
            return required(parameters, "client_id").map(drop);
        }
        let (id, secret) = self.id_and_secret(parameters, knobs.client_auth)?;
        if id != config.client_id {
            return Err(self.invalid_client("this client is unknown"));
        }
        if secret != config.client_secret {
            return Err(self.invalid_client("the client's secret is wrong"));
        }
        Ok(())
    }

    /// Whether the credentials are in the place that the provider requires.
    fn check_method(&self, wanted: ClientAuth) -> Result<(), OAuthError> {
        let reason = match (wanted, self.credentials) {
            (ClientAuth::None, Credentials::None) => return Ok(()),
            (ClientAuth::None, _) => "this is a public client, which has no secret",
            (_, Credentials::None) => "the client's credentials are missing",
            (ClientAuth::Post, Credentials::Basic) => "the credentials must be parameters",
            (ClientAuth::Basic | ClientAuth::BasicRaw, Credentials::Parameters) => {
                "the credentials must come by HTTP Basic"
            }
            _ => return Ok(()),
        };
        Err(self.invalid_client(reason))
    }

    fn id_and_secret(
        &self,
        parameters: &BTreeMap<String, String>,
        wanted: ClientAuth,
    ) -> Result<(String, String), OAuthError> {
        let Some((id, secret)) = &self.basic else {
            let id = required(parameters, "client_id")?.to_owned();
            let secret = parameters.get("client_secret").cloned();
            return Ok((id, secret.unwrap_or_default()));
        };
        if wanted == ClientAuth::BasicRaw {
            return Ok((id.clone(), secret.clone()));
        }
        match (form::decoded(id), form::decoded(secret)) {
            (Ok(id), Ok(secret)) => Ok((id, secret)),
            _ => Err(self.invalid_client(
                "id and secret in the header must be form-encoded (RFC 6749 §2.3.1)",
            )),
        }
    }

    fn invalid_client(&self, reason: &str) -> OAuthError {
        let error = OAuthError::new(StatusCode::UNAUTHORIZED, "invalid_client", reason);
        if self.basic.is_some() {
            error.header("www-authenticate", "Basic realm=\"emulator\"")
        } else {
            error
        }
    }
}

/// A parameter that must be present and not empty.
pub(super) fn required<'a>(
    parameters: &'a BTreeMap<String, String>,
    name: &str,
) -> Result<&'a str, OAuthError> {
    let value = parameters.get(name).filter(|value| !value.is_empty());
    value
        .map(String::as_str)
        .ok_or_else(|| OAuthError::invalid_request(format!("the parameter {name} is missing")))
}
