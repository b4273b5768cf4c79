//! The parts of a response: its body with a limit, as bytes, text or JSON, and its headers.

use crate::{
    clients::http,
    formats::{
        charset::decode_text_lossy,
        json::{JsonError, parse_json},
    },
};
use reqwest::{
    Response,
    header::{HeaderMap, HeaderName, SET_COOKIE},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

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
    /// The body is not the expected JSON.
    #[error("the response is {0}")]
    Json(#[from] JsonError),
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

/// Reads the body of a response as JSON, as [`parse_json`] does: whatever its media type is called, in any character set,
/// and an empty body as `null`.
///
/// ```
/// use sailor::http::read_json;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// # let response = reqwest::Response::from(::http::Response::new("\u{feff}[1, 2]"));
/// let numbers: Vec<u32> = read_json(response, 1 << 20).await?;
/// assert_eq!(numbers, [1, 2]);
/// # Ok(()) }
/// ```
///
/// # Errors
/// Returns the same errors as [`read_body`], and [`BodyError::Json`] if the body is not JSON or does not fit `T`.
///
/// # Cancel safety
/// Not cancel safe: dropping the future drops what was read so far.
pub async fn read_json<T: DeserializeOwned>(
    response: Response,
    max_bytes: usize,
) -> Result<T, BodyError> {
    let content_type = http::content_type(&response);
    let body = read_body(response, max_bytes).await?;
    Ok(parse_json(&body, content_type.as_deref())?)
}

/// Reads the body of a response as text, as [`decode_text_lossy`] does.
///
/// # Errors
/// Returns the same errors as [`read_body`].
///
/// # Cancel safety
/// Not cancel safe: dropping the future drops what was read so far.
pub async fn read_text(response: Response, max_bytes: usize) -> Result<String, BodyError> {
    let content_type = http::content_type(&response);
    let body = read_body(response, max_bytes).await?;
    Ok(decode_text_lossy(&body, content_type.as_deref()).into_owned())
}

/// Returns the headers of a response as JSON texts, by their names in lower case. Values that are not UTF-8 are Latin-1.
///
/// The values of a repeated header are joined with a comma (RFC 9110, section 5.3). Those of `Set-Cookie` cannot be joined:
/// several of them are a list.
///
/// ```
/// use reqwest::header::{HeaderMap, HeaderValue, LINK, SET_COOKIE};
/// use serde_json::json;
///
/// let mut headers = HeaderMap::new();
/// for (name, value) in [(SET_COOKIE, "a=1"), (SET_COOKIE, "b=2"), (LINK, "<1>"), (LINK, "<2>")] {
///     headers.append(name, HeaderValue::from_static(value));
/// }
/// let headers = sailor::http::headers_as_json(&headers);
/// assert_eq!(headers["set-cookie"], json!(["a=1", "b=2"]));
/// assert_eq!(headers["link"], "<1>, <2>");
/// ```
#[must_use]
pub fn headers_as_json(headers: &HeaderMap) -> Map<String, Value> {
    let value_of = |name: &HeaderName| {
        let values = headers.get_all(name).iter();
        let mut values: Vec<String> = values
            .map(|value| decode_text_lossy(value.as_bytes(), None).into_owned())
            .collect();
        match (name, values.len()) {
            (_, 1) => values.remove(0).into(),
            (&SET_COOKIE, _) => values.into(),
            _ => values.join(", ").into(),
        }
    };
    headers
        .keys()
        .map(|name| (name.to_string(), value_of(name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
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
}
