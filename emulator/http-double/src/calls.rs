//! The calls of a double: recorded, and carried out with the faults that a test injects.

use crate::{
    call::RecordedCall,
    error::ErrorFormat,
    fault::Fault,
    log::Log,
    rules::{Rules, pattern},
    server::OpenCalls,
};
use axum::response::Response;
use tokio::sync::broadcast;

/// All calls of a double, and the faults for later calls. Patterns are regular expressions on [`RecordedCall::line`].
#[derive(Debug)]
pub struct Calls {
    log: Log<RecordedCall>,
    faults: Rules<Fault>,
    open: OpenCalls,
}

impl Calls {
    /// No calls yet. Those of `open` end with their server.
    #[must_use]
    pub fn new(open: OpenCalls) -> Self {
        Self {
            log: Log::default(),
            faults: Rules::default(),
            open,
        }
    }

    /// All calls so far, in order of arrival.
    #[must_use]
    pub fn all(&self) -> Vec<RecordedCall> {
        self.log.all()
    }

    /// The calls so far that match a pattern.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    #[must_use]
    pub fn matching(&self, pattern: &str) -> Vec<RecordedCall> {
        let pattern = self::pattern(pattern);
        self.log.matching(|call| pattern.is_match(&call.line()))
    }

    /// Waits until `count` calls that match a pattern are finished, and returns all of these. A call that hangs is
    /// finished. Cancel safe.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    pub async fn finished(&self, pattern: &str, count: usize) -> Vec<RecordedCall> {
        let pattern = self::pattern(pattern);
        let is_match = |call: &RecordedCall| call.is_finished() && pattern.is_match(&call.line());
        self.log.wait_for(count, is_match).await;
        self.log.matching(is_match)
    }

    /// Calls from now on, each when it is finished. A slow reader loses the oldest, and its `recv` says so.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<RecordedCall> {
        self.log.watch()
    }

    /// Injects faults into calls that match a pattern: one for each such call, then calls succeed again.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    pub fn inject_faults(&self, pattern: &str, faults: impl IntoIterator<Item = Fault>) {
        self.faults.add(pattern, faults);
    }

    /// Removes the injected faults that have not happened.
    pub fn clear_faults(&self) {
        self.faults.clear();
    }

    /// Records a call and carries it out with its fault. Returns no response when the connection is to be cut.
    pub async fn respond<E: ErrorFormat>(
        &self,
        call: RecordedCall,
        carry_out: impl AsyncFnOnce() -> Response,
    ) -> Option<Response> {
        let fault = self.faults.next(&call.line()).unwrap_or(Fault::Normal);
        let id = self.log.open(call);
        let hangs = fault == Fault::Hang;
        if hangs {
            // The call counts as finished now, so that a test that waits for it need not wait for the server's end.
            self.log.finish(id, |call| call.finish(None));
        }
        let response = self.open.run(fault.apply::<E>(carry_out)).await.flatten();
        if !hangs {
            let status = response.as_ref().map(|response| response.status().as_u16());
            self.log.finish(id, |call| call.finish(status));
        }
        response
    }
}
