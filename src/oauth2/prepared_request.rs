//! A request that is ready to be sent, as often as necessary.

use super::{
    CredentialStore, Error,
    session::{Access, Session},
};
use reqwest::{Request, Url};
use std::sync::Arc;

/// Creates a body from its start, for each attempt.
pub(super) type BodyFactory = Arc<dyn Fn() -> reqwest::Body + Send + Sync>;

/// A request that is ready to be sent.
pub(super) struct PreparedRequest<'a> {
    pub(super) session: &'a Session,
    pub(super) store: &'a Arc<dyn CredentialStore>,
    /// Method and path, for errors.
    pub(super) label: String,
    pub(super) path: String,
    /// `None` after the request was sent, if it cannot be sent again.
    pub(super) request: Option<Request>,
    pub(super) body: Option<BodyFactory>,
    pub(super) idempotent: bool,
}

impl PreparedRequest<'_> {
    pub(super) fn is_repeatable(&self) -> bool {
        self.request.is_some()
    }

    /// Returns the request with its body from the start; `None` if it cannot be sent again.
    pub(super) fn copy(&self) -> Option<Request> {
        let mut copy = self.request.as_ref()?.try_clone()?;
        if let Some(open) = &self.body {
            *copy.body_mut() = Some(open());
        }
        Some(copy)
    }

    /// Builds the request with the current URL and token.
    pub(super) fn next_request(
        &mut self,
        access: &Access,
        first_base: Option<&Url>,
    ) -> Result<Request, Error> {
        let next = self.copy().or_else(|| self.request.take());
        let is_spent = || Error::NotSent("its body is a stream and cannot be sent again".into());
        let mut request = next.ok_or_else(is_spent)?;
        let mut url = access.url(&self.path, first_base)?;
        if request.url().query().is_some() {
            url.query_pairs_mut()
                .extend_pairs(request.url().query_pairs());
        }
        *request.url_mut() = url;
        access.authorize(request.headers_mut())?;
        Ok(request)
    }
}
