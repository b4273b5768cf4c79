//! Addresses of requests.

use reqwest::{Method, Url};
use std::fmt::Display;

/// Returns the URL of a path below `base`.
pub(crate) fn join_path(base: &Url, path: &str) -> Result<Url, impl Display> {
    let base = base.as_str().trim_end_matches('/');
    let url = format!("{base}/{}", path.trim_start_matches('/'));
    Url::parse(&url)
}

/// Moves `url` from the origin of `first` to that of `base`, if it is there.
pub(crate) fn follow_base(url: &mut Url, first: &Url, base: &Url) {
    if url.origin() == first.origin() && first.origin() != base.origin() {
        let moved = url.set_scheme(base.scheme()).is_ok()
            && url.set_host(base.host_str()).is_ok()
            && url.set_port(base.port()).is_ok();
        debug_assert!(moved, "one base URL can replace another");
    }
}

/// Returns whether `host` is `domain` or one of its subdomains.
pub(crate) fn is_below(host: &str, domain: &str) -> bool {
    let sub = host.strip_suffix(domain);
    sub.is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
}

/// Returns the method and path of a request, without query and user-info, for errors.
pub(crate) fn request_label(method: &Method, path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| {
        rest.rsplit_once('@').map_or(path, |(_, rest)| rest)
    });
    format!("{method} {path}")
}
