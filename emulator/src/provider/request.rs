//! Requests to token and revocation endpoint: read strictly, client authentication included.

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

/// The parameters as they came, before anything is said about them.
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

    /// The parameters, if each came once.
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
            "the address must not have a query: parameters belong in the body",
        ));
    }
    let content_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let wanted = if format == BodyFormat::Json {
        "application/json"
    } else {
        "application/x-www-form-urlencoded"
    };
    if kind != wanted {
        return Err(OAuthError::invalid_request(format!(
            "the content type must be {wanted}, it is {content_type:?}"
        )));
    }
    if format == BodyFormat::Form {
        let text = std::str::from_utf8(body)
            .map_err(|_| OAuthError::invalid_request("the body is not UTF-8"))?;
        return form::read(text).map_err(OAuthError::invalid_request);
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => members
            .into_iter()
            .map(|(name, value)| match value {
                Value::String(value) => Ok((name, value)),
                _ => Err(OAuthError::invalid_request(format!(
                    "the member {name} must be a text"
                ))),
            })
            .collect(),
        _ => Err(OAuthError::invalid_request("the body is not a JSON object")),
    }
}

/// A client's id and secret, and where they stood.
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

    /// Whether this is the provider's client, in the way the provider wants it (RFC 6749 §2.3, §3.2.1).
    pub(super) fn check(
        &self,
        parameters: &BTreeMap<String, String>,
        config: &ProviderConfig,
        knobs: &Knobs,
    ) -> Result<(), OAuthError> {
        use {ClientAuth as Wanted, Credentials as Came};
        let client = |reason: &str| {
            let error = OAuthError::new(StatusCode::UNAUTHORIZED, "invalid_client", reason);
            if self.basic.is_some() {
                error.header("www-authenticate", "Basic realm=\"emulator\"")
            } else {
                error
            }
        };
        let id = parameters.get("client_id");
        if self.credentials == Came::Both {
            return Err(OAuthError::invalid_request(
                "the client's credentials came in the header and in the parameters",
            ));
        }
        if id.is_some_and(|id| *id != config.client_id) {
            return Err(client("this client is unknown"));
        }
        match (knobs.client_auth, self.credentials) {
            (Wanted::None, Came::None) if id.is_some() => return Ok(()),
            (Wanted::None, Came::None) => {
                return Err(OAuthError::invalid_request(
                    "the parameter client_id is missing",
                ));
            }
            (Wanted::None, _) => {
                return Err(client("this is a public client, which has no secret"));
            }
            (_, Came::None) => return Err(client("the client's credentials are missing")),
            (Wanted::Post, Came::Basic) => {
                return Err(client("the credentials must be parameters"));
            }
            (Wanted::Basic | Wanted::BasicRaw, Came::Parameters) => {
                return Err(client("the credentials must come by HTTP Basic"));
            }
            _ => {}
        }
        let (id, secret) = match &self.basic {
            Some((id, secret)) if knobs.client_auth == Wanted::BasicRaw => {
                (id.clone(), secret.clone())
            }
            Some((id, secret)) => match (form::decoded(id), form::decoded(secret)) {
                (Ok(id), Ok(secret)) => (id, secret),
                _ => {
                    return Err(client(
                        "id and secret in the header must be form-encoded (RFC 6749 §2.3.1)",
                    ));
                }
            },
            None => {
                let secret = parameters.get("client_secret").cloned().unwrap_or_default();
                let id = id.cloned().ok_or_else(|| {
                    OAuthError::invalid_request("the parameter client_id is missing")
                })?;
                (id, secret)
            }
        };
        if id != config.client_id {
            return Err(client("this client is unknown"));
        }
        if secret != config.client_secret {
            return Err(client("the client's secret is wrong"));
        }
        Ok(())
    }
}

/// A parameter that must be there and not be empty.
pub(super) fn required<'a>(
    parameters: &'a BTreeMap<String, String>,
    name: &str,
) -> Result<&'a str, OAuthError> {
    let value = parameters.get(name).filter(|value| !value.is_empty());
    value
        .map(String::as_str)
        .ok_or_else(|| OAuthError::invalid_request(format!("the parameter {name} is missing")))
}
