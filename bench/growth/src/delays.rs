//! Computes what the delays between attempts to connect mean for many steps: how soon all are back after the broker was
//! away, and how many attempts it gets meanwhile.

use std::{fmt::Write as _, time::Duration};

/// A step has one connection to consume and one to publish.
const CONNECTIONS: usize = 2;

/// Delays as the sailor has them: each doubles the one before up to a limit, and chance at most doubles it again.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    /// How long chance delays the first attempt, at most.
    pub spread: Duration,
    /// The delay before the second attempt, without chance.
    pub first: Duration,
    /// The longest delay, without chance.
    pub longest: Duration,
}

/// What an outage looks like for the broker and for the steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The seconds until half of the steps consume again.
    pub half: f64,
    /// The seconds until all of them do.
    pub all: f64,
    /// The most attempts in one second, at the beginning.
    pub at_first: usize,
    /// The attempts per second in the second half of the outage.
    pub away: usize,
    /// The most attempts in one second after it was back.
    pub back: usize,
}

impl Delays {
    /// What happens to so many steps in an outage of this length. Attempts take no time.
    #[must_use]
    pub fn outage(&self, steps: usize, outage: Duration) -> Outcome {
        // The same numbers in each run.
        let mut random = fastrand::Rng::with_seed(7);
        let outage = outage.as_secs_f64();
        let (mut attempts, mut back) = (Vec::new(), Vec::new());
        for connection in 0..CONNECTIONS * steps {
            let mut at = self.spread.as_secs_f64() * random.f64();
            let mut delay = self.first;
            while at < outage {
                attempts.push(at);
                at += delay.as_secs_f64() * (1.0 + random.f64());
                delay = (2 * delay).min(self.longest);
            }
            attempts.push(at);
            // The publishing connection is not waited for.
            if connection < steps {
                back.push(at - outage);
            }
        }
        back.sort_by(f64::total_cmp);
        let most = |from: f64, to: f64| busiest_second(&attempts, from, to);
        let second_half = outage / 2.0..outage;
        let late = attempts.iter().filter(|at| second_half.contains(*at));
        let late = late.count() as f64 / (outage / 2.0);
        Outcome {
            half: back.get(steps / 2).copied().unwrap_or_default(),
            all: back.last().copied().unwrap_or_default(),
            at_first: most(0.0, 5.0),
            away: late.round() as usize,
            back: most(outage, f64::INFINITY),
        }
    }
}

fn busiest_second(attempts: &[f64], from: f64, to: f64) -> usize {
    let mut counts = Vec::new();
    for attempt in attempts
        .iter()
        .filter(|attempt| (from..to).contains(*attempt))
    {
        let second = (attempt - from) as usize;
        counts.resize(counts.len().max(second + 1), 0);
        counts[second] += 1;
    }
    counts.into_iter().max().unwrap_or_default()
}

/// A table in Markdown: for each limit of the delays, outage and number of steps, what happens.
#[must_use]
pub fn table(first: Duration, spread: Duration) -> String {
    let mut text = "| longest delay | outage | steps | half consume after | all | attempts/s at first | away | back |\n\
        |--:|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for longest in [15_000, 5_000, 2_500, 1_000] {
        for outage in [10, 60] {
            for steps in [100, 1_000] {
                let longest = Duration::from_millis(longest);
                let delays = Delays {
                    spread,
                    first,
                    longest,
                };
                let outcome = delays.outage(steps, Duration::from_secs(outage));
                let _ = writeln!(
                    text,
                    "| {:.0} s | {outage} s | {steps} | {:.1} s | {:.1} s | {} | {} | {} |",
                    (2 * longest).as_secs_f64(),
                    outcome.half,
                    outcome.all,
                    outcome.at_first,
                    outcome.away,
                    outcome.back,
                );
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_back_after_twice_the_longest_delay() {
        let delays = Delays {
            spread: Duration::ZERO,
            first: Duration::from_millis(100),
            longest: Duration::from_secs(5),
        };
        let outcome = delays.outage(1_000, Duration::from_secs(600));
        assert!((9.0..=10.0).contains(&outcome.all), "{outcome:?}");
        assert!(outcome.half < outcome.all / 2.0, "{outcome:?}");
        // 2 000 connections, with 7.5 s between two attempts of each.
        assert!((255..280).contains(&outcome.away), "{outcome:?}");
        assert!(outcome.at_first >= 2_000, "{outcome:?}");
        assert_eq!(delays.outage(1_000, Duration::from_secs(600)), outcome);
    }
}
