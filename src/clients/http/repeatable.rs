//! A request that can be sent several times.

use reqwest::{Body, Request};
use std::sync::Arc;

/// Creates a body from its start, for each attempt.
pub(crate) type BodyFactory = Arc<dyn Fn() -> Body + Send + Sync>;

/// A request that can be sent several times, unless its body is a stream that nothing opens again.
pub(crate) struct Repeatable {
    /// `None` after the request was sent, if it cannot be sent again.
    request: Option<Request>,
    body: Option<BodyFactory>,
}

impl Repeatable {
    pub(crate) fn new(request: Request, body: Option<BodyFactory>) -> Self {
        Self {
            request: Some(request),
            body,
        }
    }

    /// Returns whether the request can still be sent.
    pub(crate) fn is_left(&self) -> bool {
        self.request.is_some()
    }

    /// Returns the request with its body from the start; `None` if it cannot be sent again.
    pub(crate) fn copy(&self) -> Option<Request> {
        let mut copy = self.request.as_ref()?.try_clone()?;
        if let Some(open) = &self.body {
            *copy.body_mut() = Some(open());
        }
        Some(copy)
    }

    /// Returns a copy, or else the request itself, once.
    pub(crate) fn take(&mut self) -> Option<Request> {
        self.copy().or_else(|| self.request.take())
    }
}
