//! Redirects: where a response leads to, and with which method (RFC 9110 section 15.4).

use reqwest::{
    Method, Request, Response, StatusCode, Url,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION},
};
use std::time::Duration;

/// How many redirects a request follows.
const MAX_REDIRECTS: u32 = 10;

/// A request while it follows redirects.
pub(crate) struct Trail {
    method: Method,
    has_body: bool,
    timeout: Option<Duration>,
    redirects: u32,
    /// The server processed the request, and the response is that to the request for its outcome.
    pub(crate) outcome_only: bool,
    /// A redirect has left the servers that may see what the request carries.
    pub(crate) is_bare: bool,
}

impl Trail {
    pub(crate) fn new(request: &Request) -> Self {
        Self {
            method: request.method().clone(),
            has_body: request.body().is_some(),
            timeout: request.timeout().copied(),
            redirects: 0,
            outcome_only: false,
            is_bare: false,
        }
    }

    fn only_reads(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    /// Returns where the request goes next. `None` if the response is final: it is no redirect, there were too many, or the
    /// request would be carried out twice and is not idempotent.
    pub(crate) fn next(&mut self, response: &Response, idempotent: bool) -> Option<Url> {
        let target = redirect_target(response).filter(|_| self.redirects < MAX_REDIRECTS)?;
        self.redirects += 1;
        match response.status() {
            StatusCode::SEE_OTHER if !self.only_reads() => {
                (self.outcome_only, self.method) = (true, Method::GET);
            }
            // Some servers have processed the request before this redirect, others have not.
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND
                if !self.only_reads() && !idempotent =>
            {
                return None;
            }
            _ => {}
        }
        Some(target)
    }

    /// Turns a request to its next target. If the server processed the request, it becomes one for the outcome.
    pub(crate) fn turn(&self, request: &mut Request, target: Url) {
        *request.url_mut() = target;
        if self.outcome_only {
            *request.method_mut() = Method::GET;
            *request.body_mut() = None;
            for about_body in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
                request.headers_mut().remove(about_body);
            }
        }
    }

    /// Returns the request without headers; `None` if it has a method other than GET and HEAD, or a body.
    pub(crate) fn bare_request(&self, target: &Url) -> Option<Request> {
        if !self.only_reads() || (self.has_body && !self.outcome_only) {
            return None;
        }
        let mut request = Request::new(self.method.clone(), target.clone());
        *request.timeout_mut() = self.timeout;
        Some(request)
    }
}

/// Returns whether this status redirects to another location.
pub(crate) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Returns the target of a redirect, without user name and password: a redirect must not supply credentials.
pub(crate) fn redirect_target(response: &Response) -> Option<Url> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let mut target = response.url().join(location).ok()?;
    let is_redirect = is_redirect(response.status());
    let is_followed = is_redirect && matches!(target.scheme(), "http" | "https");
    target.set_username("").ok()?;
    target.set_password(None).ok()?;
    is_followed.then_some(target)
}
