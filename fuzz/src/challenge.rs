//! `WWW-Authenticate`.

use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
use sailor::internals::read_challenges;

/// Any bytes that HTTP allows in a header, in one header for each line.
pub fn challenges(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    for (scheme, error) in read_challenges(&headers) {
        assert!(!scheme.is_empty() && scheme == scheme.to_ascii_lowercase());
        assert!(error.is_none_or(|error| !error.is_empty()));
    }
}

/// A challenge that is written by the rules is found, whatever its values are and whatever stands before it.
pub fn written(data: &[u8]) {
    let (realm, rest) = crate::split_text(data);
    let (error, _) = crate::split_text(rest);
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let header = format!(
        "Basic realm=\"{}\", Bearer error=\"{}\"",
        quoted(&realm),
        quoted(&error)
    );
    let Ok(value) = HeaderValue::from_bytes(header.as_bytes()) else {
        return;
    };
    let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, value)]);
    let expected = Some(error).filter(|error| !error.is_empty());
    let challenges = read_challenges(&headers);
    assert_eq!(
        challenges,
        [("basic".to_owned(), None), ("bearer".to_owned(), expected)]
    );
}
