//! What became of each message, from the events that came out.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hasher as _},
    time::{Duration, Instant},
};

/// An event that the step has published.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The number of the message that it comes from.
    pub message: u64,
    /// Whether it is an error event.
    pub failed: bool,
    /// When the work began that it comes from, in milliseconds, and in which container.
    pub work: (i64, String),
    /// The event's own id, and which attempt to publish it this is.
    pub copy: (String, i64),
    /// Whether the broker has delivered it to this program before.
    pub redelivered: bool,
}

/// What became of all messages.
#[derive(Debug, Default)]
pub struct Tally {
    messages: HashMap<u64, Outcome>,
    longest_stall: Duration,
    last: Option<Instant>,
}

/// What became of one message. Works and copies are kept as hashes, since there can be millions.
#[derive(Debug, Default)]
struct Outcome {
    works: Vec<u64>,
    copies: Vec<u64>,
    /// Events that are no copies of others.
    events: Vec<u64>,
    failed: bool,
}

/// The figures of a tally.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that at least one event came from.
    pub done: usize,
    /// How often a message was worked on again.
    pub worked_twice: usize,
    /// How often an event was published again.
    pub published_twice: usize,
    /// Messages that an error event came from.
    pub failed: usize,
}

impl Tally {
    /// Adds an event that has arrived at `now`.
    pub fn add(&mut self, arrival: &Arrival, now: Instant) {
        let is_new = !self.messages.contains_key(&arrival.message);
        let outcome = self.messages.entry(arrival.message).or_default();
        // The Node sailor gives all events of a message one id, an error event too.
        let copy = hash(&(arrival.failed, &arrival.copy));
        // Its acknowledgement by this program was lost, so the broker has sent it again.
        if arrival.redelivered && outcome.copies.contains(&copy) {
            return;
        }
        outcome.copies.push(copy);
        insert(
            &mut outcome.events,
            hash(&(arrival.failed, &arrival.copy.0)),
        );
        insert(&mut outcome.works, hash(&arrival.work));
        outcome.failed |= arrival.failed;
        if is_new {
            let stall = self.last.map_or(Duration::ZERO, |last| now - last);
            self.longest_stall = self.longest_stall.max(stall);
            self.last = Some(now);
        }
    }

    /// How many messages are done.
    pub fn done(&self) -> usize {
        self.messages.len()
    }

    /// The longest time between two messages that were done one after the other.
    pub fn longest_stall(&self) -> Duration {
        self.longest_stall
    }

    /// The figures so far.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            done: self.done(),
            ..Counts::default()
        };
        for outcome in self.messages.values() {
            counts.worked_twice += outcome.works.len() - 1;
            counts.published_twice += outcome.copies.len() - outcome.events.len();
            counts.failed += usize::from(outcome.failed);
        }
        counts
    }
}

fn insert(set: &mut Vec<u64>, value: u64) {
    if !set.contains(&value) {
        set.push(value);
    }
}

fn hash(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(message: u64, start: i64, id: &str, retry: i64) -> Arrival {
        Arrival {
            message,
            failed: false,
            work: (start, "container".into()),
            copy: (id.into(), retry),
            redelivered: false,
        }
    }

    fn counts(arrivals: &[Arrival]) -> (usize, usize, usize) {
        let mut tally = Tally::default();
        for arrival in arrivals {
            tally.add(arrival, Instant::now());
        }
        let Counts {
            done,
            worked_twice,
            published_twice,
            ..
        } = tally.counts();
        (done, worked_twice, published_twice)
    }

    #[test]
    fn work_that_is_repeated_counts_as_twice() {
        let first = arrival(1, 100, "a", 0);
        assert_eq!(counts(&[first.clone(), arrival(1, 200, "b", 0)]), (1, 1, 0));
        // The same ids, as of a runtime that derives them from the incoming message.
        assert_eq!(counts(&[first.clone(), arrival(1, 200, "a", 0)]), (1, 1, 1));
        let elsewhere = Arrival {
            work: (100, "other".into()),
            ..arrival(1, 100, "b", 0)
        };
        assert_eq!(counts(&[first, elsewhere]), (1, 1, 0));
    }

    #[test]
    fn an_event_that_is_published_again_counts_as_twice() {
        let (first, again) = (arrival(1, 100, "a", 0), arrival(1, 100, "a", 1));
        assert_eq!(counts(&[first.clone(), again]), (1, 0, 1));
        assert_eq!(counts(&[first.clone(), first]), (1, 0, 1));
    }

    #[test]
    fn several_events_of_one_message_are_no_repeats() {
        assert_eq!(
            counts(&[arrival(1, 100, "a", 0), arrival(1, 100, "b", 0)]),
            (1, 0, 0)
        );
    }

    #[test]
    fn an_error_event_is_no_repeat_of_data() {
        let data = arrival(1, 100, "a", 0);
        let error = Arrival {
            failed: true,
            ..data.clone()
        };
        assert_eq!(counts(&[data, error]), (1, 0, 0));
    }

    #[test]
    fn a_redelivery_to_this_program_does_not_count() {
        let first = arrival(1, 100, "a", 0);
        let again = Arrival {
            redelivered: true,
            ..first.clone()
        };
        assert_eq!(counts(&[first, again.clone()]), (1, 0, 0));
        assert_eq!(counts(&[again]), (1, 0, 0));
    }

    #[test]
    fn the_longest_stall_lies_between_two_messages() {
        let mut tally = Tally::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        tally.add(&arrival(1, 1, "a", 0), at(10));
        tally.add(&arrival(2, 1, "b", 0), at(13));
        tally.add(&arrival(2, 1, "b", 1), at(20));
        tally.add(&arrival(3, 1, "c", 0), at(21));
        assert_eq!(tally.longest_stall(), Duration::from_secs(8));
    }
}
