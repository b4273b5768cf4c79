//! Looks at the body of a response before its reader does.

use super::{reason, redacted_url};
use crate::codes;
use ::http::response::Parts;
use futures_util::{StreamExt, stream};
use reqwest::{Body, Response, ResponseBuilderExt};
use std::{io, mem, time::Duration};
use tokio::time::timeout;

/// How many bytes of an error's body are read.
const ERROR_LIMIT: usize = 64 * 1024;
/// How long the start of a body is waited for.
const PEEK_TIME: Duration = Duration::from_secs(10);

/// Reads at most the first `limit` bytes of a response's body as text, for at most ten seconds. Returns them with a
/// response whose body is still complete.
pub(crate) async fn peek(mut response: Response, limit: usize) -> (Response, String) {
    let head = take_head(&mut response);
    let mut read = Vec::new();
    let reading = async {
        let mut left = limit;
        while left > 0
            && let Some(chunk) = response.chunk().await.transpose()
        {
            left = chunk
                .as_ref()
                .map_or(0, |bytes| left.saturating_sub(bytes.len()));
            read.push(chunk);
        }
    };
    // What comes later is still in the body.
    if timeout(PEEK_TIME, reading).await.is_err() {
        tracing::warn!(
            code = %codes::RESPONSE_SLOW,
            seconds = PEEK_TIME.as_secs(),
            url = redacted_url(response.url()),
            "The start of a response, which may say what its status means, did not come in time. What has come counts."
        );
    }
    let start = read
        .iter()
        .flatten()
        .flat_map(|chunk| chunk.iter().copied())
        .take(limit)
        .collect::<Vec<_>>();
    let body = stream::iter(read).chain(response.bytes_stream());
    let response = ::http::Response::from_parts(head, Body::wrap_stream(body)).into();
    (response, String::from_utf8_lossy(&start).into_owned())
}

/// Reads as much of an error's body as says what it means, as [`peek`] does: 64 KiB. Bodies of errors are at most so long in
/// the field (a batch of 200 results), and so much for each of the requests at the same time does not fill the memory.
pub(crate) async fn peek_error(response: Response) -> (Response, String) {
    peek(response, ERROR_LIMIT).await
}

/// Reads a response into memory and gives its connection back: at most `limit` bytes, and for at most `time`. The body
/// of a response that was not read to its end ends with an error.
pub(crate) async fn detached(mut response: Response, limit: usize, time: Duration) -> Response {
    let head = take_head(&mut response);
    let mut kept = Vec::new();
    let reading = async {
        while let Some(chunk) = response.chunk().await? {
            kept.extend_from_slice(&chunk);
            if kept.len() > limit {
                return Ok(false);
            }
        }
        Ok::<_, reqwest::Error>(true)
    };
    let why_not_whole = match timeout(time, reading).await {
        Ok(Ok(true)) => None,
        Ok(Ok(false)) => Some(format!("it has more than {limit} bytes")),
        Ok(Err(error)) => Some(reason(&error)),
        Err(_) => Some(format!("it did not come within {} s", time.as_secs_f32())),
    };
    kept.truncate(limit);
    let body = match why_not_whole {
        None => Body::from(kept),
        Some(why) => {
            let rest = io::Error::other(format!("the rest of the response was not kept: {why}"));
            Body::wrap_stream(stream::iter([Ok(kept), Err(rest)]))
        }
    };
    ::http::Response::from_parts(head, body).into()
}

/// Takes everything but the body. The address stays with it.
pub(super) fn take_head(response: &mut Response) -> Parts {
    let url = ::http::Response::builder().url(response.url().clone());
    let mut head = url.body(()).unwrap_or_default().into_parts().0;
    head.status = response.status();
    head.version = response.version();
    head.headers = mem::take(response.headers_mut());
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::captured_log::CapturedLog;
    use futures_util::stream::pending;
    use tokio::time::Instant;

    const URL: &str = "https://api.test/items?page=2";

    /// A response with this body, which does not end unless `ends`.
    fn response(chunks: &[&'static str], ends: bool) -> Response {
        let chunks: Vec<io::Result<&str>> = chunks.iter().map(|chunk| Ok(*chunk)).collect();
        let body = if ends {
            Body::wrap_stream(stream::iter(chunks))
        } else {
            Body::wrap_stream(stream::iter(chunks).chain(pending()))
        };
        let head = ::http::Response::builder().status(401).header("x-id", "7");
        head.url(URL.parse().unwrap()).body(body).unwrap().into()
    }

    fn assert_head(response: &Response) {
        let shown = (response.status().as_u16(), response.url().as_str());
        assert_eq!(shown, (401, URL));
        assert_eq!(response.headers()["x-id"], "7");
    }

    #[tokio::test]
    async fn a_response_is_complete_after_a_look_at_its_start() {
        for (limit, start) in [(3, "abc"), (4, "abcd"), (9, "abcdef"), (0, "")] {
            let (response, seen) = peek(response(&["ab", "cd", "ef"], true), limit).await;
            assert_eq!(seen, start);
            assert_head(&response);
            assert_eq!(response.text().await.unwrap(), "abcdef", "{limit}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_does_not_come_is_not_waited_for() {
        let (log, start) = (CapturedLog::begin(), Instant::now());
        let (mut response, seen) = peek(response(&["ab"], false), 9).await;
        assert_eq!(start.elapsed(), Duration::from_secs(10));
        // Without the query, which can have secrets.
        log.assert_one(&[
            "The start of a response",
            "seconds=10 url=\"https://api.test/items\"",
        ]);
        assert_eq!(seen, "ab");
        assert_eq!(response.chunk().await.unwrap().unwrap(), "ab");
    }

    #[tokio::test]
    async fn a_detached_response_is_in_memory() {
        let response = detached(response(&["ab", "cd"], true), 4, Duration::from_secs(5)).await;
        assert_head(&response);
        assert_eq!(response.content_length(), Some(4));
        assert_eq!(response.text().await.unwrap(), "abcd");
    }

    #[tokio::test(start_paused = true)]
    async fn a_detached_response_that_is_cut_ends_with_an_error() {
        let too_long = "was not kept: it has more than 3 bytes";
        for (chunks, ends, limit, seconds, told) in [
            (&["abc", "d"][..], true, 3, 0, too_long),
            (&["abcdef"], true, 3, 0, too_long),
            (
                &["abc"],
                false,
                9,
                5,
                "was not kept: it did not come within 5 s",
            ),
        ] {
            let start = Instant::now();
            let mut response =
                detached(response(chunks, ends), limit, Duration::from_secs(5)).await;
            assert_eq!(start.elapsed().as_secs(), seconds);
            assert_eq!(response.chunk().await.unwrap().unwrap(), "abc");
            let error = response.chunk().await.unwrap_err();
            assert!(format!("{error:?}").contains(told), "{error:?}");
        }
    }
}
