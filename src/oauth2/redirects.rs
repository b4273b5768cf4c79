//! Redirects: which ones a request follows, and what it carries to the new location.
//!
//! The token, the module's headers and a body go only to origins that may receive the token. After a redirect to any
//! other origin, they are not sent any more. No request has a `Referer` header, because a URL can contain secrets.

use super::{Error, prepared_request::PreparedRequest, session::Access};
use crate::clients::http::redirect_target;
use reqwest::{
    Method, Request, Response, StatusCode, Url,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
};
use std::time::Duration;

/// How many redirects a request follows.
const MAX_REDIRECTS: u32 = 10;

/// Why a request has no response.
pub(super) enum SendError {
    NoResponse(reqwest::Error),
    /// A redirect was not followed.
    NotSent(Error),
}

/// A request while it follows redirects.
pub(super) struct Trail {
    method: Method,
    has_body: bool,
    timeout: Option<Duration>,
    redirects: u32,
    /// A redirect left the origins that may receive the token, so the response says nothing about it.
    pub(super) left_allowed_origins: bool,
    /// The API processed the request, and the response is that to the request for its outcome.
    pub(super) outcome_only: bool,
}

impl Trail {
    pub(super) fn new(request: &Request) -> Self {
        Self {
            method: request.method().clone(),
            has_body: request.body().is_some(),
            timeout: request.timeout().copied(),
            redirects: 0,
            left_allowed_origins: false,
            outcome_only: false,
        }
    }

    fn only_reads(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }
}

impl PreparedRequest<'_> {
    /// Sends a request and follows redirects. A redirect that cannot be followed is the final response.
    pub(super) async fn follow(
        &self,
        request: Request,
        trail: &mut Trail,
        access: &Access,
    ) -> Result<Response, SendError> {
        let mut next = request;
        loop {
            let sent = self.session.http().execute(next).await;
            let response = sent.map_err(SendError::NoResponse)?;
            let redirected = self.redirected_request(&response, trail, access);
            let Some(request) = redirected.map_err(SendError::NotSent)? else {
                return Ok(response);
            };
            next = request;
        }
    }

    /// Returns the request that follows a redirect; `None` if the response is not a redirect, or if it is not followed.
    fn redirected_request(
        &self,
        response: &Response,
        trail: &mut Trail,
        access: &Access,
    ) -> Result<Option<Request>, Error> {
        let target = redirect_target(response).filter(|_| trail.redirects < MAX_REDIRECTS);
        let Some(target) = target else {
            return Ok(None);
        };
        trail.redirects += 1;
        match response.status() {
            StatusCode::SEE_OTHER if !trail.only_reads() => {
                (trail.outcome_only, trail.method) = (true, Method::GET);
            }
            // Some servers have processed the request before this redirect, others have not.
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND
                if !trail.only_reads() && !self.idempotent =>
            {
                return Ok(None);
            }
            _ => {}
        }
        trail.left_allowed_origins |= !access.allows(&target);
        if trail.left_allowed_origins {
            elsewhere(target, trail, access)
        } else {
            self.within_allowed_origins(target, trail, access)
        }
    }

    /// Returns the request to an origin that may receive the token: the same request, or a request for the outcome of one
    /// that the API processed. `None` if its body cannot be sent again.
    fn within_allowed_origins(
        &self,
        target: Url,
        trail: &Trail,
        access: &Access,
    ) -> Result<Option<Request>, Error> {
        let mut request = match self.copy() {
            Some(copy) => copy,
            None if trail.outcome_only => Request::new(Method::GET, target.clone()),
            None => return Ok(None),
        };
        *request.url_mut() = target;
        if trail.outcome_only {
            *request.method_mut() = Method::GET;
            *request.body_mut() = None;
            for about_body in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
                request.headers_mut().remove(about_body);
            }
        }
        access.authorize(request.headers_mut())?;
        Ok(Some(request))
    }
}

/// Builds the request to an origin that may not receive the token: a GET or HEAD without headers.
fn elsewhere(target: Url, trail: &Trail, access: &Access) -> Result<Option<Request>, Error> {
    if !trail.only_reads() || (trail.has_body && !trail.outcome_only) {
        return Err(Error::NotSent(format!(
            "the API redirects to {}, which may not receive the token; allow it with `OAuth2::allow_origin`",
            target.origin().ascii_serialization()
        )));
    }
    if !access.uses_authorization_header() {
        return Ok(None);
    }
    let mut request = Request::new(trail.method.clone(), target);
    *request.timeout_mut() = trail.timeout;
    Ok(Some(request))
}
