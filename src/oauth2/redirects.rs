//! Redirects: which ones a request follows, and what it carries to the new location.
//!
//! The token, the module's headers and a body go only to origins that may receive the token. After a redirect to any
//! other origin, they are not sent any more. No request has a `Referer` header, because a URL can contain secrets.

use super::{Error, prepared_request::PreparedRequest, session::Access};
use reqwest::{
    Method, Request, Response, StatusCode, Url,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION},
};
use std::time::Duration;

/// How many redirects a request follows.
const MAX_REDIRECTS: u32 = 10;

/// The response at the end of all redirects.
pub(super) struct FinalResponse {
    pub(super) response: Response,
    /// A redirect left the origins that may receive the token, so the response says nothing about it.
    pub(super) left_allowed_origins: bool,
    /// The API processed the request, and this is the response to the request for its outcome.
    pub(super) outcome_only: bool,
}

/// Why a request has no response.
pub(super) enum SendError {
    /// With `outcome_only`, the request for the outcome has no response.
    NoResponse {
        error: reqwest::Error,
        outcome_only: bool,
    },
    /// A redirect was not followed.
    NotSent(Error),
}

/// The state of a request while it follows redirects.
struct Trail {
    method: Method,
    has_body: bool,
    timeout: Option<Duration>,
    redirects: u32,
    left_allowed_origins: bool,
    outcome_only: bool,
}

impl Trail {
    fn new(request: &Request) -> Self {
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
        access: &Access,
    ) -> Result<FinalResponse, SendError> {
        let mut trail = Trail::new(&request);
        let mut next = request;
        loop {
            let sent = self.session.http().execute(next).await;
            let response = sent.map_err(|error| SendError::NoResponse {
                error,
                outcome_only: trail.outcome_only,
            })?;
            let redirected = self.redirected_request(&response, &mut trail, access);
            let Some(request) = redirected.map_err(SendError::NotSent)? else {
                return Ok(FinalResponse {
                    response,
                    left_allowed_origins: trail.left_allowed_origins,
                    outcome_only: trail.outcome_only,
                });
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
        let target = target(response).filter(|_| trail.redirects < MAX_REDIRECTS);
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

    /// Returns the request to an origin that may receive the token: the same request, or a request for its outcome.
    /// `None` if its body cannot be sent again.
    fn within_allowed_origins(
        &self,
        target: Url,
        trail: &Trail,
        access: &Access,
    ) -> Result<Option<Request>, Error> {
        let mut request = if trail.outcome_only {
            self.outcome_request(target)
        } else {
            let Some(mut again) = self.request.as_ref().and_then(Request::try_clone) else {
                return Ok(None);
            };
            *again.url_mut() = target;
            if let Some(open) = &self.body {
                *again.body_mut() = Some(open());
            }
            again
        };
        access.authorize(request.headers_mut())?;
        Ok(Some(request))
    }

    /// Builds the request for the outcome of a request that the API processed.
    fn outcome_request(&self, target: Url) -> Request {
        let mut request = Request::new(Method::GET, target);
        if let Some(sent) = &self.request {
            *request.timeout_mut() = sent.timeout().copied();
            *request.headers_mut() = sent.headers().clone();
            for about_body in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
                request.headers_mut().remove(about_body);
            }
        }
        request
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

/// The target of a redirect.
pub(super) fn target(response: &Response) -> Option<Url> {
    if !is_redirect(response.status()) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let mut target = response
        .url()
        .join(location)
        .ok()
        .filter(|target| matches!(target.scheme(), "http" | "https"))?;
    // A redirect must not supply credentials.
    target
        .set_username("")
        .and_then(|()| target.set_password(None))
        .ok()?;
    Some(target)
}

/// Returns whether this status redirects to another location.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}
