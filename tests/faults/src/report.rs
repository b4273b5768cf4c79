//! The table, and whether a row keeps what docs/guarantees.md promises.

use crate::{replica::Exits, rows::Promise, tally::Counts};
use std::time::Duration;

/// What became of the messages of one run.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// How many there were.
    pub messages: usize,
    /// How many faults were ordered.
    pub faults: usize,
    /// Messages that are in no queue, and that nothing came from.
    pub lost: usize,
    /// Messages that are still in a queue, although nothing has moved for long.
    pub left: usize,
    /// What came out.
    pub counts: Counts,
    /// The longest time in which no message was done.
    pub stall: Duration,
    /// How the processes have ended.
    pub exits: Exits,
    /// How many connections to the broker there have been.
    pub connections: usize,
    /// The texts of the first error events.
    pub errors: Vec<String>,
}

/// The head of the table.
pub const HEAD: &str = "\
| fault | sailor | messages | faults | lost | worked on twice | published twice | failed | hung | longest stall | exit |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|";

impl Figures {
    /// A line of the table.
    pub fn line(&self, row: &str, sailor: &str) -> String {
        let Self {
            messages,
            faults,
            lost,
            left,
            counts,
            stall,
            exits,
            ..
        } = self;
        let Counts {
            worked_twice,
            published_twice,
            failed,
            ..
        } = counts;
        let stall = stall.as_secs_f64();
        format!(
            "| {row} | {sailor} | {messages} | {faults} | {lost} | {worked_twice} | {published_twice} | {failed} | {left} \
             | {stall:.1} s | {exits} |"
        )
    }

    /// What is worse than promised.
    pub fn broken(&self, promise: &Promise) -> Vec<String> {
        let mut broken = Vec::new();
        let mut at_most = |figure: usize, limit: usize, what: &str| {
            if figure > limit {
                broken.push(format!("{figure} {what} instead of at most {limit}"));
            }
        };
        at_most(self.lost, promise.lost, "lost");
        at_most(self.left, 0, "hung");
        at_most(
            self.counts.worked_twice,
            promise.worked_twice,
            "worked on twice",
        );
        at_most(self.counts.failed, promise.failed, "failed");
        if promise.clean_exits && !self.exits.are_clean() {
            broken.push(format!("ended: {}", self.exits));
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Promise = Promise {
        lost: 0,
        worked_twice: 0,
        failed: 0,
        clean_exits: true,
    };

    #[test]
    fn every_figure_is_held_against_the_promise() {
        let good = Figures {
            messages: 10,
            ..Figures::default()
        };
        assert!(good.broken(&STRICT).is_empty());
        let counts = Counts {
            worked_twice: 2,
            failed: 3,
            ..Counts::default()
        };
        let mut bad = Figures {
            lost: 1,
            left: 4,
            counts,
            ..good
        };
        bad.exits.hung = 1;
        assert_eq!(
            bad.broken(&STRICT),
            [
                "1 lost instead of at most 0",
                "4 hung instead of at most 0",
                "2 worked on twice instead of at most 0",
                "3 failed instead of at most 0",
                "ended: had to be killed",
            ]
        );
        let lenient = Promise {
            lost: 0,
            worked_twice: 2,
            failed: 3,
            clean_exits: false,
        };
        assert_eq!(bad.broken(&lenient).len(), 2);
    }
}
