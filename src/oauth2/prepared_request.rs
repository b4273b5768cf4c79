//! A request that is ready to be sent, which redirects it follows, and what it carries to the new location.
//!
//! The token, the module's headers and a body go only to origins that may receive the token. After a redirect to any
//! other origin, they are not sent any more. No request has a `Referer` header, because a URL can contain secrets.

use super::{
    CredentialStore, Error,
    session::{Access, Session},
};
use crate::clients::http::{self, Repeatable, Trail};
use reqwest::{Method, Request, Response, Url, header::AUTHORIZATION};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// A request that is ready to be sent.
pub(super) struct PreparedRequest<'a> {
    pub(super) session: &'a Session,
    pub(super) store: &'a Arc<dyn CredentialStore>,
    /// Method and path, for errors.
    pub(super) label: String,
    pub(super) path: String,
    pub(super) request: Repeatable,
    pub(super) idempotent: bool,
    /// How often it was sent.
    pub(super) sent: AtomicU32,
}

/// Why a request has no response.
pub(super) enum SendError {
    NoResponse(http::NoResponse),
    /// A redirect was not followed.
    NotSent(Error),
}

impl PreparedRequest<'_> {
    /// Builds the request with the current URL and token.
    pub(super) fn next_request(
        &mut self,
        access: &Access,
        first_base: Option<&Url>,
    ) -> Result<Request, Error> {
        let is_spent = || Error::NotSent("its body is a stream and cannot be sent again".into());
        let mut request = self.request.take().ok_or_else(is_spent)?;
        let mut url = access.url(&self.path, first_base)?;
        if request.url().query().is_some() {
            url.query_pairs_mut()
                .extend_pairs(request.url().query_pairs());
        }
        *request.url_mut() = url;
        access.authorize(request.headers_mut())?;
        Ok(request)
    }

    /// Sends a request and follows redirects. A redirect that cannot be followed is the final response.
    pub(super) async fn follow(
        &self,
        request: Request,
        trail: &mut Trail,
        access: &Access,
    ) -> Result<Response, SendError> {
        let mut next = request;
        loop {
            let resends = self.sent.fetch_add(1, Ordering::Relaxed);
            let sent = http::execute(self.session.http(), next, resends).await;
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
        let mut request = match self.request.copy() {
            Some(copy) => copy,
            None if trail.outcome_only => Request::new(Method::GET, target.clone()),
            None => return Ok(None),
        };
        trail.turn(&mut request, target);
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
    // Servers and proxies do not know that another header contains a secret.
    let is_known = access.resolved.profile.token_header.name == AUTHORIZATION;
    Ok(is_known.then_some(request))
}
