//! Where a response redirects to.

use reqwest::{Response, StatusCode, Url, header::LOCATION};

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
