//! How bodies arrive: whole or in part, slowly, in chunks.

use super::SlowBody;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use std::{collections::VecDeque, io};
use tokio::{task::yield_now, time::sleep};

/// How a body is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sending {
    pub(super) slow: Option<SlowBody>,
    /// How many bytes arrive before the connection ends.
    pub(super) broken_after: Option<usize>,
    pub(super) chunked: bool,
}

impl Sending {
    /// The body, and whether it has a `Content-Length`, which is that of all bytes.
    pub(super) fn body(self, bytes: Bytes) -> (Body, bool) {
        if self == Self::default() {
            return (bytes.into(), true);
        }
        let breaks = self.broken_after.filter(|after| *after < bytes.len());
        let arriving = bytes.slice(..breaks.unwrap_or(bytes.len()));
        let size = match self.slow {
            Some(slow) => slow.bytes.get() as usize,
            None => arriving.len().max(1),
        };
        let mut pieces: VecDeque<io::Result<Bytes>> = arriving
            .chunks(size)
            .map(|piece| Ok(arriving.slice_ref(piece)))
            .collect();
        if breaks.is_some() {
            pieces.push_back(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let pause = self.slow.map(|slow| slow.pause);
        let body = stream::unfold((pieces, true), move |(mut pieces, is_first)| async move {
            let piece = pieces.pop_front()?;
            if let Some(pause) = pause.filter(|_| !is_first) {
                sleep(pause).await;
            }
            if piece.is_err() {
                // The server sends what it has only when it must wait.
                yield_now().await;
            }
            Some((piece, (pieces, false)))
        });
        (Body::from_stream(body), !self.chunked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use std::{num::NonZeroU32, time::Duration};
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn there_is_a_pause_between_the_pieces() {
        let slow = SlowBody {
            bytes: NonZeroU32::MIN.saturating_add(1),
            pause: Duration::from_secs(3),
        };
        for (broken_after, pauses) in [(None, 2), (Some(3), 2), (Some(2), 1)] {
            let start = Instant::now();
            let sending = Sending {
                slow: Some(slow),
                broken_after,
                chunked: false,
            };
            let (body, has_length) = sending.body(Bytes::from_static(b"12345"));
            let read = to_bytes(body, usize::MAX).await;
            assert_eq!((read.is_err(), has_length), (broken_after.is_some(), true));
            assert_eq!(start.elapsed(), slow.pause * pauses);
        }
    }
}
