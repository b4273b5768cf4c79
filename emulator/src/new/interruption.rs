//! The signals that ask the command to end.

use anyhow::Context as _;
use std::task::Poll;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, SIGTERM, and the end of the terminal. While it exists, they do not end the process by themselves.
pub(super) struct Interruption([Signal; 3]);

impl Interruption {
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listen =
            |kind, name: &str| signal(kind).with_context(|| format!("listening for {name}"));
        Ok(Self([
            listen(SignalKind::interrupt(), "SIGINT")?,
            listen(SignalKind::terminate(), "SIGTERM")?,
            listen(SignalKind::hangup(), "SIGHUP")?,
        ]))
    }

    /// Waits for the first of them. Cancel safe.
    pub(super) async fn comes(&mut self) {
        std::future::poll_fn(|cx| {
            let mut signals = self.0.iter_mut();
            let came = signals.any(|signal| signal.poll_recv(cx).is_ready());
            if came { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
