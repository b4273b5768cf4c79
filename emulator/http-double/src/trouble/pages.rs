//! The pages of lists: which request is for the page after another one, and how a page names the next.

use crate::{call::RecordedCall, url::percent_decoded};
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use serde_json::Value;
use std::collections::HashMap;

/// Where bodies name the next page: its address, or a cursor for its request.
const NEXT: [&str; 9] = [
    "/next",
    "/@odata.nextLink",
    "/odata.nextLink",
    "/d/__next",
    "/nextLink",
    "/nextRecordsUrl",
    "/next_cursor",
    "/nextPageToken",
    "/links/next",
];

/// The page that was returned last, and how often each page was replaced by the one before it.
#[derive(Debug, Default)]
pub(super) struct Pages {
    before: Option<Page>,
    repeated: HashMap<String, u32>,
}

/// A page that was returned.
#[derive(Debug)]
struct Page {
    path: String,
    query: String,
    next: Option<Next>,
    headers: HeaderMap,
    body: Bytes,
}

/// How a page names the next one.
#[derive(Clone, Debug)]
pub(super) enum Next {
    /// The pointer of a member, and its value.
    Member(&'static str, Value),
    /// The `Link` header.
    Link(HeaderValue),
}

impl Pages {
    /// The page before, if the call asks for the page after it, and that one was not replaced so often yet.
    pub(super) fn repeat(&mut self, call: &RecordedCall, times: u32) -> Option<(HeaderMap, Bytes)> {
        let before = self.before.as_ref().filter(|page| page.is_before(call))?;
        let count = self.repeated.entry(call.path_and_query()).or_default();
        if *count >= times {
            return None;
        }
        *count += 1;
        Some((before.headers.clone(), before.body.clone()))
    }

    /// The name of the page that the call asks for, as the page before has named it.
    pub(super) fn own_name(&self, call: &RecordedCall) -> Option<Next> {
        let before = self.before.as_ref().filter(|page| page.is_before(call))?;
        before.next.clone()
    }

    /// Remembers a page as the service has returned it.
    pub(super) fn remember(
        &mut self,
        call: &RecordedCall,
        headers: &HeaderMap,
        body: &Value,
        bytes: &Bytes,
    ) {
        self.before = Some(Page {
            path: call.path.clone(),
            query: call.query.clone(),
            next: Next::of(headers, body),
            headers: headers.clone(),
            body: bytes.clone(),
        });
    }
}

impl Page {
    fn is_before(&self, call: &RecordedCall) -> bool {
        match &self.next {
            Some(Next::Member(_, value)) => names(&text(value), call),
            Some(Next::Link(value)) => {
                let links = String::from_utf8_lossy(value.as_bytes());
                links.split(',').any(|link| {
                    let target = link.trim().strip_prefix('<');
                    let target = target.and_then(|link| link.split_once('>'));
                    target.is_some_and(|(target, relation)| {
                        relation.contains("next") && names(target, call)
                    })
                })
            }
            None => self.path == call.path && has_grown(&self.query, &call.query),
        }
    }
}

impl Next {
    fn of(headers: &HeaderMap, body: &Value) -> Option<Self> {
        let member = NEXT.iter().find_map(|pointer| {
            let value = body.pointer(pointer)?;
            let is_name = value.as_str().is_some_and(|text| !text.is_empty()) || value.is_number();
            is_name.then(|| Self::Member(pointer, value.clone()))
        });
        let is_next = |value: &&HeaderValue| {
            let text = String::from_utf8_lossy(value.as_bytes());
            text.contains("rel=\"next\"") || text.contains("rel=next")
        };
        let link = || headers.get_all(header::LINK).iter().find(is_next).cloned();
        member.or_else(|| link().map(Self::Link))
    }

    /// Adds the name to a page that names no next one. Returns whether its body has changed.
    pub(super) fn add_to(self, headers: &mut HeaderMap, body: &mut Value) -> bool {
        if Self::of(headers, body).is_some() {
            return false;
        }
        match self {
            Self::Member(pointer, value) => put(body, pointer, value),
            Self::Link(value) => {
                headers.insert(header::LINK, value);
                false
            }
        }
    }
}

/// Whether an address or a cursor leads to this call.
fn names(next: &str, call: &RecordedCall) -> bool {
    let address = match next.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |path| &rest[path..]),
        None => next,
    };
    percent_decoded(address) == percent_decoded(&call.path_and_query())
        || pairs(&call.query).any(|(_, value)| percent_decoded(value) == next)
}

/// Whether a query differs from the one before it in one number, which is larger.
fn has_grown(before: &str, query: &str) -> bool {
    let mut grown = 0;
    for (name, value) in pairs(query) {
        let old = pairs(before).find(|(known, _)| *known == name);
        match old.map(|(_, old)| (old, old.parse::<u64>(), value.parse::<u64>())) {
            Some((old, ..)) if old == value => {}
            Some((_, Ok(old), Ok(new))) if new > old => grown += 1,
            _ => return false,
        }
    }
    grown == 1 && pairs(before).count() == pairs(query).count()
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Sets the value at a pointer whose parent is an object. Returns whether it is one.
fn put(body: &mut Value, pointer: &str, value: Value) -> bool {
    let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
    let members = body.pointer_mut(parent).and_then(Value::as_object_mut);
    members
        .map(|members| members.insert(name.to_owned(), value))
        .is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_grows_from_page_to_page() {
        for (before, query, is_next) in [
            ("page=1", "page=2", true),
            ("a=b&offset=0&limit=2", "a=b&offset=2&limit=2", true),
            ("page=2", "page=1", false),
            ("page=1", "page=1", false),
            ("page=1&limit=2", "page=2&limit=1", false),
            ("", "page=1", false),
            ("page=1&x=1", "page=2", false),
        ] {
            assert_eq!(has_grown(before, query), is_next, "{before} {query}");
        }
    }
}
