//! Limits how long the body of a response may take, without cutting off large files.

use super::peek::take_head;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use reqwest::{Body, Response};
use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};

/// How long a body may keep its reader waiting, whatever its length.
const TIME: Duration = Duration::from_secs(15 * 60);
/// For so many bytes, it may take a second longer.
const BYTES_PER_SECOND: u32 = 64 * 1024;

/// Limits the time that a reader waits for the body: to `still` for the next part, and to 15 minutes and a second for every
/// 64 KiB for all of it. So a file that comes at that rate is never cut off, and a body that comes byte by byte ends. The
/// reader's own time does not count.
pub(super) fn paced_within(mut response: Response, still: Duration) -> Response {
    let head = take_head(&mut response);
    let body = Body::wrap(Paced {
        body: response.into(),
        left: TIME,
        still,
        waiting: None,
    });
    ::http::Response::from_parts(head, body).into()
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the response came too slowly: it took 15 minutes, and a second for every 64 KiB; `timeout` sets another limit"
)]
struct TooSlow;

#[derive(Debug, thiserror::Error)]
#[error("nothing of the response came for {} s; `timeout` sets another limit", .0.as_secs_f32())]
struct Still(Duration);

struct Paced {
    body: Body,
    /// How much longer the reader waits.
    left: Duration,
    /// How long it waits for the next part.
    still: Duration,
    /// When the reader began to wait, and the end of that.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            let limit = self.left.min(self.still);
            let waiting = self
                .waiting
                .get_or_insert_with(|| (Instant::now(), Box::pin(sleep(limit))));
            ready!(waiting.1.as_mut().poll(cx));
            let error = if self.left <= self.still {
                TooSlow.into()
            } else {
                Still(self.still).into()
            };
            return Poll::Ready(Some(Err(error)));
        };
        if let Some((since, _)) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, Bytes::len) as u32;
            self.left += Duration::from_secs(1) * length / BYTES_PER_SECOND;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::error::with_causes, *};
    use futures_util::{StreamExt, stream};
    use reqwest::ResponseBuilderExt;
    use std::io;

    fn paced(response: Response) -> Response {
        paced_within(response, Duration::from_secs(60))
    }

    /// A response of this many chunks, with this delay before each.
    fn response(chunks: usize, length: usize, delay: Duration) -> Response {
        let chunk = Bytes::from(vec![b'x'; length]);
        let chunks = stream::repeat(chunk)
            .take(chunks)
            .then(move |chunk| async move {
                sleep(delay).await;
                Ok::<_, io::Error>(chunk)
            });
        ::http::Response::new(Body::wrap_stream(chunks)).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_byte_by_byte_ends_with_an_error() {
        for seconds in [1, 30, 59] {
            let (start, delay) = (Instant::now(), Duration::from_secs(seconds));
            let error = paced(response(10_000, 1, delay)).bytes().await.unwrap_err();
            let shown = with_causes(&error);
            assert!(
                shown.contains("15 minutes") && shown.contains("`timeout`"),
                "{shown}"
            );
            let took = start.elapsed().as_secs();
            assert!((900..905).contains(&took), "{seconds}: {took}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_ends_after_a_minute() {
        for seconds in [61, 3600] {
            let (start, delay) = (Instant::now(), Duration::from_secs(seconds));
            let error = paced(response(2, 1, delay)).bytes().await.unwrap_err();
            let shown = with_causes(&error);
            assert!(
                shown.contains("nothing of the response came for 60 s")
                    && shown.contains("`timeout`"),
                "{shown}"
            );
            assert_eq!(start.elapsed().as_secs(), 60);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_file_at_a_fair_rate_is_never_cut_off() {
        let start = Instant::now();
        let file = paced(response(1000, 1 << 20, Duration::from_secs(15)));
        assert_eq!(file.bytes().await.unwrap().len(), 1000 << 20);
        assert!(start.elapsed() > Duration::from_secs(4 * 3600));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_slow_reader_does_not_count() {
        let mut file = paced(response(10, 10, Duration::from_secs(20)));
        while let Some(chunk) = file.chunk().await.unwrap() {
            assert_eq!(chunk.len(), 10);
            sleep(Duration::from_secs(600)).await;
        }
    }

    #[tokio::test]
    async fn a_limited_response_has_its_length_and_address() {
        let url = "https://api.test/file".parse().unwrap();
        let whole = ::http::Response::builder().url(url).body("abc").unwrap();
        let response = paced(whole.into());
        assert_eq!(response.content_length(), Some(3));
        assert_eq!(response.url().path(), "/file");
        assert_eq!(response.text().await.unwrap(), "abc");
    }
}
