//! Composite requests: several requests in the body of one.

use super::{
    error::ErrorResponse,
    response::{Request, SalesforceResult, json_response},
    routes::dispatch,
    state::State,
};
use axum::{
    body::to_bytes,
    http::{HeaderMap, HeaderName, HeaderValue},
};
use futures_util::FutureExt;
use http_double::{ServiceRequest, percent_decoded};
use serde_json::{Map, Value, json};

const MAX_PARTS: usize = 25;
/// Of these, the most that may be queries.
const MAX_QUERIES: usize = 5;

pub(super) fn respond(state: &mut State, request: &Request) -> SalesforceResult {
    let body = request.json()?;
    let parts = body["compositeRequest"].as_array();
    let parts = parts.ok_or_else(|| invalid("compositeRequest is missing"))?;
    let is_query = |part: &&Value| {
        part["url"]
            .as_str()
            .is_some_and(|url| url.contains("/query"))
    };
    if parts.len() > MAX_PARTS || parts.iter().filter(is_query).count() > MAX_QUERIES {
        return Err(invalid("Limits exceeded in the composite request"));
    }
    let parts: Result<Vec<Value>, ErrorResponse> = parts
        .iter()
        .map(|part| part_response(state, request, part))
        .collect();
    json_response(json!({ "compositeResponse": parts? }))
}

fn invalid(message: &str) -> ErrorResponse {
    ErrorResponse::new(400, "INVALID_INPUT", message)
}

fn part_response(state: &mut State, outer: &Request, part: &Value) -> Result<Value, ErrorResponse> {
    let text = |name: &str| {
        let text = part[name].as_str().filter(|text| !text.is_empty());
        text.ok_or_else(|| invalid(&format!("{name} is missing")))
    };
    let reference = text("referenceId")?;
    let response = match dispatch(state, &inner(outer, text("method")?, text("url")?, part)) {
        Ok(response) => response,
        Err(error) => axum::response::IntoResponse::into_response(error),
    };
    let status = response.status().as_u16();
    // All responses of the stand-in are in memory.
    let body = to_bytes(response.into_body(), usize::MAX).now_or_never();
    let body = body.and_then(Result::ok).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(
        json!({ "body": body, "httpHeaders": {}, "httpStatusCode": status, "referenceId": reference }),
    )
}

/// One of the requests, as if it were sent by itself.
fn inner(outer: &Request, method: &str, url: &str, part: &Value) -> ServiceRequest {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let own = part["httpHeaders"].as_object();
    ServiceRequest {
        method: method.to_owned(),
        url: outer.url.clone(),
        path: path.to_owned(),
        length: url.len(),
        query: pairs
            .map(|(name, value)| {
                (
                    percent_decoded(name),
                    percent_decoded(&value.replace('+', " ")),
                )
            })
            .collect(),
        headers: own.map(headers).unwrap_or_default(),
        body: part["body"].to_string().into(),
    }
}

fn headers(own: &Map<String, Value>) -> HeaderMap {
    let header = |(name, value): (&String, &Value)| {
        let name = HeaderName::try_from(name).ok()?;
        Some((name, HeaderValue::from_str(value.as_str()?).ok()?))
    };
    own.iter().filter_map(header).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use std::collections::BTreeMap;

    /// The status and the body of the response to these parts.
    fn composite(parts: &[Value]) -> (u16, Value) {
        let body = json!({ "compositeRequest": parts }).to_string();
        let request = Request {
            version: "60.0".to_owned(),
            parts: ServiceRequest {
                method: "POST".to_owned(),
                url: String::new(),
                path: String::new(),
                length: 0,
                query: BTreeMap::new(),
                headers: HeaderMap::new(),
                body: body.into(),
            },
        };
        let response = respond(&mut State::new(), &request);
        let response = response.unwrap_or_else(IntoResponse::into_response);
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).now_or_never();
        let body = serde_json::from_slice(&body.unwrap().unwrap()).unwrap();
        (status, body)
    }

    fn part(path: &str) -> Value {
        json!({ "method": "GET", "url": format!("/services/data/v60.0/{path}"), "referenceId": "a" })
    }

    #[test]
    fn each_part_has_a_response_of_its_own() {
        let query = |field: &str| part(&format!("query?q=SELECT%20{field}+FROM%20Account"));
        let (status, body) = composite(&[query("Id"), query("Nope"), part("limits")]);
        let parts = body["compositeResponse"].as_array().unwrap();
        let statuses: Vec<&Value> = parts.iter().map(|part| &part["httpStatusCode"]).collect();
        assert_eq!(
            (status, statuses),
            (200, vec![&json!(200), &json!(400), &json!(200)])
        );
        assert_eq!(parts[0]["body"]["totalSize"], 0);
        assert_eq!(parts[1]["body"][0]["errorCode"], "INVALID_FIELD");
    }

    #[test]
    fn too_many_parts_are_refused() {
        let query = part("query?q=SELECT%20Id%20FROM%20Account");
        let mut unnamed = query.clone();
        unnamed["referenceId"] = json!("");
        for parts in [vec![part("limits"); 26], vec![query; 6], vec![unnamed]] {
            assert_eq!(composite(&parts).0, 400, "{}", parts.len());
        }
    }
}
