//! The signals that ask the command to end.

use anyhow::Context as _;
use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus, task::Poll};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, SIGTERM, and the end of the terminal. Once it was made, they do not end the process by themselves any more.
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

/// Whether a process was ended by one of these signals.
pub(super) fn is_by(status: ExitStatus) -> bool {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    status
        .signal()
        .is_some_and(|signal| kinds.contains(&SignalKind::from_raw(signal)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_signal_that_asks_for_the_end_is_an_interruption() {
        for (raw, expected) in [
            (2, true),
            (15, true),
            (1, true),
            (9, false),
            (11, false),
            (256, false),
        ] {
            assert_eq!(is_by(ExitStatus::from_raw(raw)), expected, "{raw}");
        }
    }
}
