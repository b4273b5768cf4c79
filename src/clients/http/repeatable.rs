//! A request that can be sent several times.

use futures_util::stream;
use reqwest::{
    Body, Client, Request,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
    multipart::Form,
};
use std::sync::Arc;

/// Stands for the API's URL until a request is sent.
pub(crate) const PLACEHOLDER_URL: &str = "http://address.invalid/";

/// Gives a request its body, from the start, for each attempt. A form also sets the headers about it.
pub(crate) type BodyFactory = Arc<dyn Fn(&mut Request) + Send + Sync>;

/// Returns the factory of a multipart form, which `open` creates for each attempt, and of the headers about it.
pub(crate) fn form_factory(
    client: Client,
    open: impl Fn() -> Form + Send + Sync + 'static,
) -> BodyFactory {
    Arc::new(move |request| {
        // Only a builder of requests knows the form's length.
        let with_form = client.post(PLACEHOLDER_URL).multipart(open());
        match with_form.build() {
            Ok(mut with_form) => {
                *request.body_mut() = with_form.body_mut().take();
                for name in [CONTENT_TYPE, CONTENT_LENGTH] {
                    request.headers_mut().remove(&name);
                    if let Some(value) = with_form.headers_mut().remove(&name) {
                        request.headers_mut().insert(name, value);
                    }
                }
            }
            // The request fails with this reason.
            Err(error) => {
                let failed = stream::iter([Err::<Vec<u8>, _>(error)]);
                *request.body_mut() = Some(Body::wrap_stream(failed));
            }
        }
    })
}

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
            open(&mut copy);
        }
        Some(copy)
    }

    /// Returns a copy, or else the request itself, once.
    pub(crate) fn take(&mut self) -> Option<Request> {
        self.copy().or_else(|| self.request.take())
    }
}
