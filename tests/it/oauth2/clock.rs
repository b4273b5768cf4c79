//! A clock that moves only when a test moves it.

use std::{cell::Cell, future::Future, time::Duration};

/// A paused clock that does not move by itself. The runtime moves a paused clock whenever it is idle, which would end
/// every timeout of a socket at once, but not while a blocking task runs.
pub struct Clock {
    _stop: Option<std::sync::mpsc::Sender<()>>,
}

thread_local! {
    /// The runtime of this thread whose clock is paused.
    static STOPPED_ON: Cell<Option<tokio::runtime::Id>> = const { Cell::new(None) };
}

impl Clock {
    /// The real clock.
    pub fn real() -> Self {
        Self { _stop: None }
    }

    /// Pauses the clock of this runtime.
    pub fn paused() -> Self {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || stopped.recv());
        // A test can have several rigs, and a clock can be paused only once.
        let runtime = Some(tokio::runtime::Handle::current().id());
        if STOPPED_ON.replace(runtime) != runtime {
            tokio::time::pause();
        }
        Self { _stop: Some(stop) }
    }

    /// Moves the clock.
    pub async fn advance(&self, time: Duration) {
        tokio::time::advance(time).await;
    }

    /// Moves the clock, ten times as fast as a real one, until `work` is done.
    pub async fn drive<T>(&self, work: impl Future<Output = T>) -> T {
        self.drive_by(Duration::from_millis(50), work).await
    }

    /// Moves the clock by `step` every 5 ms of real time until `work` is done.
    pub async fn drive_by<T>(&self, step: Duration, work: impl Future<Output = T>) -> T {
        let ticking = async {
            loop {
                tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(5)))
                    .await
                    .unwrap();
                tokio::time::advance(step).await;
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            () = ticking => unreachable!("the clock ticks without an end"),
        }
    }
}
