//! Whether the broker takes no events, because it has an alarm for memory or disk.

use crate::{
    codes,
    monitoring::{Waiting, Waits},
};
use std::{future::pending, time::Duration};
use tokio::time::{Instant, sleep_until};

/// A block that lasts is in the log every five minutes.
const REMINDER: Duration = Duration::from_secs(300);

pub(super) struct Blocked {
    waits: Waits,
    block: Option<Block>,
}

/// A block that has not ended.
struct Block {
    _waiting: Waiting,
    since: Instant,
    next_reminder: Instant,
}

impl Blocked {
    pub(super) fn new(waits: Waits) -> Self {
        Self { waits, block: None }
    }

    /// Notes whether the broker blocks.
    pub(super) fn set(&mut self, is_blocked: bool) {
        if !is_blocked {
            self.block = None;
            return;
        }
        let now = Instant::now();
        let waits = &self.waits;
        self.block.get_or_insert_with(|| Block {
            _waiting: waits.begin(),
            since: now,
            next_reminder: now + REMINDER,
        });
    }

    /// Warns each time that a block has lasted five more minutes. Never resolves.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn remind(&mut self) {
        let Some(block) = &mut self.block else {
            return pending().await;
        };
        loop {
            sleep_until(block.next_reminder).await;
            block.next_reminder += REMINDER;
            tracing::warn!(
                code = %codes::BROKER_BLOCKED,
                seconds = block.since.elapsed().as_secs(),
                "The broker still blocks publishing; waiting."
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        captured_log::CapturedLog,
        monitoring::{Metrics, WaitReason},
    };
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn a_block_that_lasts_is_told_every_five_minutes() {
        let log = CapturedLog::begin();
        let waits = Metrics::default().waits.of(WaitReason::Blocked).clone();
        let mut blocked = Blocked::new(waits);
        let ten_minutes = Duration::from_secs(601);
        assert!(timeout(ten_minutes, blocked.remind()).await.is_err());
        assert_eq!(log.text(), "");
        // It may be told twice, and is one block.
        blocked.set(true);
        blocked.set(true);
        for _ in 0..601 {
            // The task does other things meanwhile.
            let _ = timeout(Duration::from_secs(1), blocked.remind()).await;
        }
        let line = "The broker still blocks publishing; waiting.";
        assert_eq!(log.count(&[line]), 2, "{}", log.text());
        log.assert_one(&[line, "broker-blocked", "seconds=600"]);
        blocked.set(false);
        assert!(timeout(ten_minutes, blocked.remind()).await.is_err());
        assert_eq!(log.count(&[line]), 2, "{}", log.text());
    }
}
