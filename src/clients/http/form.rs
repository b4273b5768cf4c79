//! Encodings of requests that reqwest does not have.

use base64_simd::STANDARD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Url, header::HeaderValue};
use std::collections::BTreeMap;

/// What stays unescaped in a form.
const FORM_ENCODE_SET: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');

/// Encodes a text as in a form.
pub(crate) fn form_encoded(text: &str) -> String {
    let encoded = utf8_percent_encode(text, FORM_ENCODE_SET).to_string();
    encoded.replace("%20", "+")
}

/// Returns the value of `Authorization` for HTTP Basic (RFC 7617).
pub(crate) fn basic_auth(id: &str, secret: &str) -> Option<HeaderValue> {
    let encoded = BASE64.encode_to_string(format!("{id}:{secret}"));
    sensitive(&format!("Basic {encoded}"))
}

/// Returns the value of a header that no log shows; `None` if it contains characters that are not allowed in a header.
pub(crate) fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Returns the URL with these parameters in its query, each of them once.
pub(crate) fn with_query(url: &Url, params: &BTreeMap<String, String>) -> Url {
    let pairs = url.query_pairs().into_owned();
    let kept: Vec<_> = pairs
        .filter(|(name, _)| !params.contains_key(name))
        .collect();
    let mut url = url.clone();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(kept)
        .extend_pairs(params);
    url
}
