//! HTTP helpers that most components need in addition to [`AuthorizedClient`](crate::oauth2::AuthorizedClient): reading
//! a response with a limit, putting an id into a path, and checking credentials.

use crate::{clients::http, component::Verified, oauth2};
use reqwest::{Response, StatusCode};

/// Why the body of a response was not read.
///
/// ```
/// use sailor::http::{BodyError, read_body};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let response = reqwest::Response::from(::http::Response::new("a long response"));
/// let text = match read_body(response, 4).await {
///     Ok(body) => format!("{} bytes", body.len()),
///     Err(BodyError::TooLarge { max_bytes }) => format!("more than {max_bytes} bytes"),
///     Err(other) => other.to_string(),
/// };
/// assert_eq!(text, "more than 4 bytes");
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The body is longer than the limit. The rest of it was not read.
    #[error("the response is longer than {max_bytes} bytes")]
    TooLarge {
        /// The limit in bytes.
        max_bytes: usize,
    },
    /// The connection failed before the end of the body. The error does not contain the address.
    #[error("the response broke off: {}", http::reason(.0))]
    Interrupted(reqwest::Error),
}

/// Reads the body of a response into memory, at most `max_bytes` after decompression.
///
/// Parsed JSON takes several times the size of its text, and a process has little memory: set a limit for each
/// response, and stream larger ones.
///
/// ```
/// use sailor::http::{BodyError, read_body};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let response = || reqwest::Response::from(::http::Response::new("hello"));
/// assert_eq!(read_body(response(), 5).await.unwrap(), b"hello");
///
/// let error = read_body(response(), 4).await.unwrap_err();
/// assert!(matches!(error, BodyError::TooLarge { max_bytes: 4 }));
/// # }
/// ```
///
/// # Errors
/// Returns [`BodyError::TooLarge`] as soon as more than `max_bytes` have arrived, and [`BodyError::Interrupted`] if the
/// connection fails.
///
/// # Cancel safety
/// Not cancel safe: dropping the future drops what was read so far.
pub async fn read_body(mut response: Response, max_bytes: usize) -> Result<Vec<u8>, BodyError> {
    let interrupted = |error: reqwest::Error| BodyError::Interrupted(error.without_url());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(interrupted)? {
        if chunk.len() > max_bytes - body.len() {
            return Err(BodyError::TooLarge { max_bytes });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A text that cannot be one segment of a path: it is empty, `.` or `..`.
///
/// ```
/// let error = sailor::http::path_segment("..").unwrap_err();
/// assert_eq!(error.to_string(), "\"..\" cannot be part of a path");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be part of a path")]
pub struct InvalidSegment(String);

/// Encodes a text as one segment of a path (RFC 3986, section 3.3). All characters except letters, digits and `-._~`
/// are percent-encoded.
///
/// ```
/// use sailor::http::path_segment;
///
/// assert_eq!(path_segment("AAMk/+=")?, "AAMk%2F%2B%3D");
/// assert!(path_segment("..").is_err());
/// # Ok::<(), sailor::http::InvalidSegment>(())
/// ```
///
/// # Errors
/// Returns an error for an empty text, `.` and `..`: no encoding preserves them. For example, `/messages/..` becomes
/// `/`.
pub fn path_segment(text: &str) -> Result<String, InvalidSegment> {
    if matches!(text, "" | "." | "..") {
        Err(InvalidSegment(text.to_owned()))
    } else {
        Ok(http::segment(text))
    }
}

/// Converts the result of a request into the result of `verifyCredentials`.
///
/// A successful response verifies the credentials. They are refused if the account must be connected again, if a scope
/// is missing, or if the API responds with 401 or 403.
///
/// ```
/// use sailor::{Verified, http::verify, oauth2::Error};
///
/// assert_eq!(verify(Ok(()))?, Verified::Yes);
/// let refused = Error::ReauthRequired("the refresh token is revoked".to_owned());
/// assert!(matches!(verify::<()>(Err(refused))?, Verified::No(_)));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// Returns every other error unchanged: a busy API or a broken network does not show whether the credentials work.
pub fn verify<T>(result: Result<T, oauth2::Error>) -> Result<Verified, oauth2::Error> {
    match result {
        Ok(_) => Ok(Verified::Yes),
        Err(error) if refuses_credentials(&error) => Ok(Verified::No(error.to_string())),
        Err(error) => Err(error),
    }
}

fn refuses_credentials(error: &oauth2::Error) -> bool {
    match error {
        oauth2::Error::ReauthRequired(_)
        | oauth2::Error::InsufficientScope { .. }
        | oauth2::Error::TokenRejected(_) => true,
        _ => matches!(
            error.status(),
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth2::Error;
    use futures_util::stream;
    use reqwest::Body;
    use std::io;

    fn response(chunks: impl IntoIterator<Item = io::Result<&'static str>>) -> Response {
        let chunks: Vec<_> = chunks.into_iter().collect();
        ::http::Response::new(Body::wrap_stream(stream::iter(chunks))).into()
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_the_limit() {
        let chunks = || response([Ok("ab"), Ok(""), Ok("cd")]);
        assert_eq!(read_body(chunks(), 4).await.unwrap(), b"abcd");
        for max_bytes in [0, 1, 3] {
            let error = read_body(chunks(), max_bytes).await.unwrap_err();
            assert!(
                matches!(error, BodyError::TooLarge { max_bytes: limit } if limit == max_bytes),
                "{error}"
            );
        }
        assert_eq!(read_body(response([]), 0).await.unwrap(), b"");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        let broken = response([Ok("ab"), Err(io::Error::other("gone"))]);
        let error = read_body(broken, 100).await.unwrap_err();
        assert!(matches!(error, BodyError::Interrupted(_)), "{error}");
        assert!(error.to_string().contains("gone"), "{error}");
    }

    #[test]
    fn a_segment_has_only_unreserved_characters() {
        for (text, segment) in [
            ("a-b_c.d~1", "a-b_c.d~1"),
            ("a/b?c#d%", "a%2Fb%3Fc%23d%25"),
            ("...", "..."),
            ("ü ", "%C3%BC%20"),
        ] {
            assert_eq!(path_segment(text).unwrap(), segment);
        }
        for text in ["", ".", ".."] {
            let error = path_segment(text).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    fn status(status: u16) -> Error {
        Error::Status {
            request: "GET /me".into(),
            status: StatusCode::from_u16(status).unwrap(),
            body: String::new(),
            retry_after: None,
            repeatable: true,
        }
    }

    #[test]
    fn only_a_refusal_says_that_credentials_do_not_work() {
        for refused in [
            Error::ReauthRequired("revoked".into()),
            Error::TokenRejected("each".into()),
            Error::InsufficientScope {
                request: "GET /me".into(),
                scope: None,
            },
            status(401),
            status(403),
        ] {
            let reason = refused.to_string();
            assert_eq!(
                verify::<()>(Err(refused)).unwrap(),
                Verified::No(reason.clone()),
                "{reason}"
            );
        }
        for unknown in [
            Error::Config("no client id".into()),
            Error::NotSent("another host".into()),
            Error::Unavailable {
                reason: "down".into(),
                retry_after: None,
            },
            status(404),
            status(429),
            status(500),
        ] {
            let told = unknown.to_string();
            assert!(verify::<()>(Err(unknown)).is_err(), "{told}");
        }
        assert_eq!(verify(Ok("me")).unwrap(), Verified::Yes);
    }
}
