//! Applies trouble to the calls of a double.

use super::{
    EmptyList, Encoding, Limit, LimitStyle, Trouble,
    body::Sending,
    pages::Pages,
    random::{Dice, Draw, Failure},
    text::{contains_id, cut_texts, encoded, has_empty_list, without_empty_lists, written},
};
use crate::{
    call::RecordedCall,
    error::{ErrorFormat, json_response},
    fault::with_retry_after,
    rules::pattern,
    url::percent_decoded,
};
use axum::{
    body::{Body, to_bytes},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE},
        response::Parts,
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::FutureExt;
use regex_lite::Regex;
use serde_json::{Value, json};
use std::{
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// Applies [`Trouble`] to the calls of a double. Doubles have one; a test sets the trouble there.
#[derive(Debug)]
pub struct Troublemaker(Mutex<State>);

/// The trouble, and what it has come to.
#[derive(Debug)]
struct State {
    trouble: Trouble,
    calls: Regex,
    failing_calls: Option<Regex>,
    /// The calls so far.
    called: u32,
    /// The successful responses to GET so far.
    responded: u32,
    dice: Option<Dice>,
    pages: Pages,
}

impl Default for Troublemaker {
    fn default() -> Self {
        Self::new(Trouble::default())
    }
}

impl Troublemaker {
    /// Applies this trouble.
    ///
    /// # Panics
    /// When a pattern is not a regular expression.
    #[must_use]
    pub fn new(trouble: Trouble) -> Self {
        Self(State::new(trouble).into())
    }

    /// Applies this trouble from now on. What happened before is forgotten: its counts, pages and random numbers begin
    /// anew.
    ///
    /// # Panics
    /// When a pattern is not a regular expression.
    pub fn set(&self, trouble: Trouble) {
        let state = State::new(trouble);
        *self.state() = state;
    }

    /// The response to a call, with this trouble. `carry_out` is what the service does; calls that are refused are not
    /// carried out. Bodies must be in memory, as those of all doubles are.
    pub fn respond<E: ErrorFormat>(
        &self,
        call: &RecordedCall,
        carry_out: impl FnOnce() -> Response,
    ) -> Response {
        let before = self.state().before::<E>(call);
        match before {
            Before::Untroubled => carry_out(),
            Before::Refused(response) => response,
            Before::Drawn(draw) => {
                let response = carry_out();
                self.state().after::<E>(call, draw, response)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is decided before a call is carried out.
enum Before {
    /// The trouble is not about this call.
    Untroubled,
    Refused(Response),
    Drawn(Draw),
}

impl State {
    fn new(trouble: Trouble) -> Self {
        Self {
            calls: pattern(&trouble.calls),
            failing_calls: trouble.failing_calls.as_deref().map(pattern),
            dice: trouble.random.map(Dice::new),
            trouble,
            called: 0,
            responded: 0,
            pages: Pages::default(),
        }
    }

    fn before<E: ErrorFormat>(&mut self, call: &RecordedCall) -> Before {
        let line = call.line();
        if self.trouble == Trouble::default() || !self.calls.is_match(&line) {
            return Before::Untroubled;
        }
        self.called += 1;
        let draw = self.dice.as_mut().map(Dice::draw).unwrap_or_default();
        let length = call.path_and_query().len();
        let max_url = self.trouble.max_url;
        let limit = self.trouble.limit;
        let failing = self.failing_calls.as_ref();
        Before::Refused(if max_url.is_some_and(|max| length > max) {
            too_long()
        } else if failing.is_some_and(|failing| failing.is_match(&line)) || self.is_failing(call) {
            self.failure::<E>()
        } else if let Some(limit) = limit.filter(|limit| is_due(self.called, limit.every)) {
            limited::<E>(limit)
        } else {
            match draw.failure {
                Some(Failure::Status(status)) => random_error::<E>(status),
                Some(Failure::Limit) => limited::<E>(RANDOM_LIMIT),
                _ => return Before::Drawn(draw),
            }
        })
    }

    /// Whether the path of a call has a failing id.
    fn is_failing(&self, call: &RecordedCall) -> bool {
        let mut segments = call.path.split('/').map(percent_decoded);
        call.method == "GET" && segments.any(|segment| self.trouble.failing_ids.contains(&segment))
    }

    fn failure<E: ErrorFormat>(&self) -> Response {
        let status = self.trouble.failing_status.unwrap_or(500);
        E::error(status, "internal_error", "the service has failed")
    }

    /// What becomes of the response to a call that was carried out.
    fn after<E: ErrorFormat>(
        &mut self,
        call: &RecordedCall,
        draw: Draw,
        response: Response,
    ) -> Response {
        if call.method != "GET" || !response.status().is_success() {
            return response;
        }
        self.responded += 1;
        let (mut parts, body) = response.into_parts();
        let Some(Ok(mut bytes)) = to_bytes(body, usize::MAX).now_or_never() else {
            let mistake = "the body of this response is not in memory, so no trouble applies to it";
            return (StatusCode::INTERNAL_SERVER_ERROR, mistake).into_response();
        };
        if let Ok(body) = serde_json::from_slice(&bytes) {
            if contains_id(&body, &self.trouble.failing_ids) {
                return self.failure::<E>();
            }
            bytes = self.json(call, draw, &mut parts, body, bytes);
        }
        let broken = self.trouble.broken_body;
        let broken = broken.filter(|broken| is_due(self.responded, broken.every));
        let broken = broken.map(|broken| broken.after);
        let random = (draw.failure == Some(Failure::BrokenBody)).then_some(bytes.len() / 2);
        let sending = Sending {
            slow: self.trouble.slow_body,
            broken_after: broken.or(random),
            chunked: self.trouble.chunked,
        };
        sent(parts, bytes, sending)
    }

    /// The bytes of a JSON body.
    fn json(
        &mut self,
        call: &RecordedCall,
        draw: Draw,
        parts: &mut Parts,
        body: Value,
        bytes: Bytes,
    ) -> Bytes {
        let mut page = self.page(call, parts, body, bytes);
        let trouble = &self.trouble;
        if has_empty_list(&page.body) {
            let random = draw.empty_body.then_some(EmptyList::EmptyBody);
            match trouble.empty_list.or(random) {
                Some(EmptyList::Missing) => {
                    without_empty_lists(&mut page.body);
                    page.is_changed = true;
                }
                Some(EmptyList::EmptyBody) => return Bytes::new(),
                Some(EmptyList::NoContent) => {
                    parts.status = StatusCode::NO_CONTENT;
                    parts.headers.remove(CONTENT_TYPE);
                    return Bytes::new();
                }
                None => {}
            }
        }
        if !trouble.half_surrogates.is_empty() {
            cut_texts(&mut page.body, &trouble.half_surrogates);
            page.is_changed = true;
        }
        let mut bytes = page.bytes();
        if let Some(encoding) = trouble.encoding {
            bytes = encoded(&String::from_utf8_lossy(&bytes), encoding).into();
        }
        if let Some(value) = content_type(trouble, &parts.headers) {
            parts.headers.remove(CONTENT_TYPE);
            parts
                .headers
                .extend(value.map(|value| (CONTENT_TYPE, value)));
        }
        bytes
    }

    /// The page that is returned: this one, or the one before it.
    fn page(&mut self, call: &RecordedCall, parts: &mut Parts, body: Value, bytes: Bytes) -> Page {
        let mut page = Page {
            body,
            bytes,
            is_changed: false,
        };
        if let Some((headers, bytes)) = self.pages.repeat(call, self.trouble.repeat_pages) {
            parts.headers = headers;
            page.body = serde_json::from_slice(&bytes).unwrap_or_default();
            page.bytes = bytes;
            return page;
        }
        let next = self.trouble.last_page_names_itself;
        let next = next.then(|| self.pages.own_name(call)).flatten();
        self.pages
            .remember(call, &parts.headers, &page.body, &page.bytes);
        if let Some(next) = next {
            page.is_changed = next.add_to(&mut parts.headers, &mut page.body);
        }
        page
    }
}

/// A JSON body.
struct Page {
    body: Value,
    /// What the service has returned.
    bytes: Bytes,
    /// The body differs from that.
    is_changed: bool,
}

impl Page {
    fn bytes(self) -> Bytes {
        if self.is_changed {
            written(&self.body).into()
        } else {
            self.bytes
        }
    }
}

const RANDOM_LIMIT: Limit = Limit {
    every: NonZeroU32::MIN,
    style: LimitStyle::Forbidden,
    retry_after: 0,
};

/// Whether the `count`-th is one of every so many.
fn is_due(count: u32, every: NonZeroU32) -> bool {
    count.is_multiple_of(every.get())
}

/// The new `Content-Type`; none in it is no header, and none is the old one.
fn content_type(trouble: &Trouble, headers: &HeaderMap) -> Option<Option<HeaderValue>> {
    if let Some(content_type) = &trouble.content_type {
        let value = Some(content_type).filter(|text| !text.is_empty());
        return Some(value.and_then(|text| HeaderValue::from_str(text).ok()));
    }
    if trouble.encoding != Some(Encoding::Latin1) {
        return None;
    }
    let old = headers.get(CONTENT_TYPE);
    let old = old.and_then(|value| value.to_str().ok());
    let media_type = old.and_then(|value| value.split(';').next());
    let media_type = media_type.unwrap_or("application/json");
    Some(HeaderValue::try_from(format!("{media_type};charset=ISO-8859-1")).ok())
}

fn sent(mut parts: Parts, bytes: Bytes, sending: Sending) -> Response {
    let length = bytes.len();
    let (body, has_length) = sending.body(bytes);
    parts.headers.remove(CONTENT_LENGTH);
    if has_length && parts.status != StatusCode::NO_CONTENT {
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, body)
}

fn too_long() -> Response {
    let page = Body::from("<h1>414 URI Too Long</h1>");
    (
        StatusCode::URI_TOO_LONG,
        [(CONTENT_TYPE, "text/html")],
        page,
    )
        .into_response()
}

fn random_error<E: ErrorFormat>(status: u16) -> Response {
    E::error(status, "internal_error", "the service has failed at random")
}

fn limited<E: ErrorFormat>(limit: Limit) -> Response {
    let message = "too many requests";
    match limit.style {
        LimitStyle::TooManyRequests => with_retry_after(E::throttled(), limit.retry_after),
        LimitStyle::Forbidden => {
            let error = E::error(403, "limit_exceeded", message);
            with_retry_after(error, limit.retry_after)
        }
        LimitStyle::Google => {
            let reason = "rateLimitExceeded";
            let detail = json!({ "domain": "usageLimits", "reason": reason, "message": message });
            let error = json!({ "code": 403, "message": message, "errors": [detail] });
            json_response(403, &json!({ "error": error }))
        }
        LimitStyle::Github => {
            let message = "API rate limit exceeded for user ID 1.";
            let mut response = json_response(403, &json!({ "message": message }));
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let reset = now.unwrap_or_default().as_secs() + u64::from(limit.retry_after);
            let headers = response.headers_mut();
            headers.insert("x-ratelimit-limit", 5000.into());
            headers.insert("x-ratelimit-remaining", 0.into());
            headers.insert("x-ratelimit-reset", reset.into());
            response
        }
    }
}
