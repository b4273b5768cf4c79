//! The rest of the API: records that change, listed with every kind of paging; subscriptions to webhooks; a file; any
//! status.

use super::form;
use axum::{
    Json,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_double::RecordedCall;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// How many records a page has unless the request says otherwise.
const LIMIT: usize = 2;
/// Bytes that are not text.
const FILE: &[u8] = b"\x89PNG\r\n\x1a\n\x00\xff";

pub(super) struct Sample {
    pub(super) records: Vec<Value>,
    pub(super) subscriptions: BTreeMap<String, Value>,
    subscribed: usize,
}

impl Default for Sample {
    /// Five records, two of which changed in the same instant.
    fn default() -> Self {
        let record = |(id, hour)| json!({"id": id, "name": format!("Record {id}"), "updated_at": format!("2026-01-31T{hour:02}:00:00Z")});
        let records = [(1, 8), (2, 9), (3, 9), (4, 10), (5, 11)]
            .map(record)
            .into();
        Self {
            records,
            subscriptions: BTreeMap::new(),
            subscribed: 0,
        }
    }
}

impl Sample {
    /// None when this API has no such resource.
    pub(super) fn respond(&mut self, call: &RecordedCall) -> Option<Response> {
        let path: Vec<&str> = call.path.strip_prefix("/api/")?.split('/').collect();
        let response = match (call.method.as_str(), &*path) {
            ("GET", ["records"]) => self.list(call, None),
            ("GET", ["records", "pages"]) => self.list(call, Some(Paging::Page)),
            ("GET", ["records", "offsets"]) => self.list(call, Some(Paging::Offset)),
            ("GET", ["records", "cursors"]) => self.list(call, Some(Paging::Cursor)),
            ("GET", ["records", "links"]) => self.list(call, Some(Paging::Link)),
            ("GET", ["records", "headers"]) => self.list(call, Some(Paging::Header)),
            ("POST", ["webhooks"]) => self.subscribe(call),
            ("DELETE", ["webhooks", id]) => match self.subscriptions.remove(*id) {
                Some(_) => Ok(StatusCode::NO_CONTENT.into_response()),
                None => Err((404, format!("there is no subscription {id}"))),
            },
            ("GET", ["files", name]) => {
                let disposition = format!("attachment; filename=\"{name}\"");
                let headers = [
                    (header::CONTENT_TYPE, "image/png"),
                    (header::CONTENT_DISPOSITION, &disposition),
                ];
                Ok((headers, FILE).into_response())
            }
            (_, ["status", code]) => match code
                .parse()
                .ok()
                .and_then(|code| StatusCode::from_u16(code).ok())
            {
                Some(status) if status.as_u16() >= 200 => {
                    Ok((status, Json(json!({"status": code}))).into_response())
                }
                _ => Err((400, format!("{code} is not a status from 200"))),
            },
            _ => return None,
        };
        Some(response.unwrap_or_else(|(status, reason)| {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, Json(json!({"error": reason}))).into_response()
        }))
    }

    /// Records in stored order: `updated_since` gives those that changed later, `updated_from` those
    /// that did not change earlier, and the header `x-updated-since` is like the first.
    fn list(&self, call: &RecordedCall, paging: Option<Paging>) -> Result<Response, (u16, String)> {
        let mut query: BTreeMap<String, String> = form::read(&call.query)
            .map_err(|reason| (400, reason))?
            .into_iter()
            .collect();
        let place = paging
            .map(|paging| number(query.remove(paging.parameter()), paging.first()))
            .transpose()?;
        let limit = match paging {
            Some(_) => number(query.get("limit").cloned(), LIMIT)?,
            None => usize::MAX,
        };
        let known = ["updated_since", "updated_from", "limit"];
        if let Some(name) = query.keys().find(|name| !known.contains(&name.as_str())) {
            return Err((400, format!("there is no parameter {name} here")));
        }
        let header = call
            .headers
            .get("x-updated-since")
            .and_then(|value| value.to_str().ok());
        let later = query.get("updated_since").map(String::as_str).or(header);
        let from = query.get("updated_from").map(String::as_str);
        let is_asked = |record: &&Value| {
            let changed = record["updated_at"].as_str().unwrap_or_default();
            later.is_none_or(|later| changed > later) && from.is_none_or(|from| changed >= from)
        };
        let found: Vec<&Value> = self.records.iter().filter(is_asked).collect();
        let start = match (paging, place) {
            (Some(Paging::Page), Some(page)) => page.saturating_sub(1).saturating_mul(limit),
            (_, place) => place.unwrap_or_default(),
        };
        let records: Vec<&&Value> = found.iter().skip(start).take(limit).collect();
        let end = start.saturating_add(records.len());
        let mut body = json!({"records": records});
        let mut headers = HeaderMap::new();
        if let Some(paging) = paging.filter(|_| end < found.len()) {
            paging.name_next(end, &call.path, query, &mut body, &mut headers);
        }
        Ok((headers, Json(body)).into_response())
    }

    fn subscribe(&mut self, call: &RecordedCall) -> Result<Response, (u16, String)> {
        let mut subscription: Map<String, Value> = serde_json::from_slice(&call.body)
            .map_err(|_| (400, "a subscription must be a JSON object".to_owned()))?;
        if !subscription.get("url").is_some_and(Value::is_string) {
            return Err((400, "a subscription needs a \"url\"".to_owned()));
        }
        self.subscribed += 1;
        let id = format!("webhook-{}", self.subscribed);
        self.subscriptions
            .insert(id.clone(), subscription.clone().into());
        subscription.insert("id".to_owned(), id.into());
        Ok((StatusCode::CREATED, Json(subscription)).into_response())
    }
}

/// A kind of paging.
#[derive(Clone, Copy)]
enum Paging {
    Page,
    Offset,
    Cursor,
    Link,
    Header,
}

impl Paging {
    fn parameter(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Offset => "offset",
            Self::Cursor => "cursor",
            Self::Link | Self::Header => "at",
        }
    }

    fn first(self) -> usize {
        usize::from(matches!(self, Self::Page))
    }

    /// Adds the address of the next page, which begins with the record `at`.
    fn name_next(
        self,
        at: usize,
        path: &str,
        query: BTreeMap<String, String>,
        body: &mut Value,
        headers: &mut HeaderMap,
    ) {
        let query = query
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()));
        let address = format!(
            "{path}?{}",
            form::write(query.chain([("at", at.to_string())]))
        );
        match self {
            Self::Page | Self::Offset => {}
            Self::Cursor => body["next_cursor"] = at.to_string().into(),
            Self::Link => body["next"] = address.into(),
            Self::Header => {
                let links = format!("<{path}>; rel=\"first\", <{address}>; rel=\"next\"");
                headers.extend(links.parse().ok().map(|links| (header::LINK, links)));
            }
        }
    }
}

fn number(text: Option<String>, default: usize) -> Result<usize, (u16, String)> {
    text.map_or(Ok(default), |text| {
        text.parse()
            .map_err(|_| (400, format!("{text:?} is not a number")))
    })
}
