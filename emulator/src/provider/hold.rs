//! Calls that wait until a test releases them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The endpoints that faults and holds are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Token,
    Revoke,
    Api,
}

impl Endpoint {
    /// A regular expression on the request line of its calls.
    pub(super) fn pattern(self) -> &'static str {
        match self {
            Self::Token => r"^\S+ /token",
            Self::Revoke => r"^\S+ /revoke",
            Self::Api => r"^\S+ /api/",
        }
    }
}

/// Where a call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoldPoint {
    /// Before it is carried out.
    Before,
    /// After that, before its response.
    After,
}

/// All holds.
#[derive(Default)]
pub(super) struct Holds(Mutex<Vec<Arc<HeldCalls>>>);

struct HeldCalls {
    endpoint: Endpoint,
    point: HoldPoint,
    count: watch::Sender<usize>,
    released: CancellationToken,
}

/// Calls wait while this lives, all at the same point.
#[derive(Debug)]
pub struct Hold {
    count: watch::Receiver<usize>,
    released: CancellationToken,
}

impl Hold {
    /// Waits until `count` calls are held. Cancel safe.
    pub async fn held(&self, count: usize) {
        // The sender lives until the hold is released, which `self` prevents.
        let _ = self.count.clone().wait_for(|&held| held >= count).await;
    }

    /// Releases all calls, as dropping does.
    pub fn release(self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.released.cancel();
    }
}

impl Holds {
    pub(super) fn add(&self, endpoint: Endpoint, point: HoldPoint) -> Hold {
        let (count, released) = (watch::Sender::new(0), CancellationToken::new());
        let hold = Hold {
            count: count.subscribe(),
            released: released.clone(),
        };
        let calls = HeldCalls {
            endpoint,
            point,
            count,
            released,
        };
        self.lock().push(calls.into());
        hold
    }

    /// Waits as long as calls of this endpoint are held at this point.
    pub(super) async fn pass(&self, endpoint: Endpoint, point: HoldPoint) {
        for calls in self.active(endpoint, point) {
            calls.count.send_modify(|count| *count += 1);
            calls.released.cancelled().await;
        }
    }

    fn active(&self, endpoint: Endpoint, point: HoldPoint) -> Vec<Arc<HeldCalls>> {
        let mut holds = self.lock();
        holds.retain(|calls| !calls.released.is_cancelled());
        holds
            .iter()
            .filter(|calls| calls.endpoint == endpoint && calls.point == point)
            .cloned()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<HeldCalls>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
