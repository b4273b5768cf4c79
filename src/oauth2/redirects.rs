//! Redirects: which ones a request follows, and what it carries to the new location.
//!
//! The token, the module's headers and a body go only to origins that may receive the token. After a redirect to any
//! other origin, they are not sent any more. No request has a `Referer` header, because a URL can contain secrets.

use super::{Error, prepared_request::PreparedRequest, session::Access};
use crate::clients::http::Trail;
use reqwest::{
    Method, Request, Response, Url,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
};

/// Why a request has no response.
pub(super) enum SendError {
    NoResponse(reqwest::Error),
    /// A redirect was not followed.
    NotSent(Error),
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
            let Some(target) = trail.next(&response, self.idempotent) else {
                return Ok(response);
            };
            trail.is_bare |= !access.allows(&target);
            let redirected = if trail.is_bare {
                elsewhere(&target, trail, access)
            } else {
                self.within_allowed_origins(target, trail, access)
            };
            match redirected.map_err(SendError::NotSent)? {
                Some(request) => next = request,
                None => return Ok(response),
            }
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

/// Returns the request to an origin that may not receive the token.
fn elsewhere(target: &Url, trail: &Trail, access: &Access) -> Result<Option<Request>, Error> {
    let request = trail.bare_request(target).ok_or_else(|| {
        Error::NotSent(format!(
            "the API redirects to {}, which may not receive the token; allow it with `OAuth2::allow_origin`",
            target.origin().ascii_serialization()
        ))
    })?;
    Ok(access.uses_authorization_header().then_some(request))
}
