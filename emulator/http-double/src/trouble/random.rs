//! Trouble at random, from a seed.

use super::RandomTrouble;
use fastrand::Rng;

/// Draws what goes wrong with each call.
#[derive(Debug)]
pub(super) struct Dice {
    trouble: RandomTrouble,
    rng: Rng,
    /// How many calls in a row went wrong.
    in_a_row: u32,
}

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Draw {
    pub(super) failure: Option<Failure>,
    pub(super) empty_body: bool,
}

/// What goes wrong instead of a complete response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Failure {
    Status(u16),
    Limit,
    BrokenBody,
}

impl Dice {
    pub(super) fn new(trouble: RandomTrouble) -> Self {
        Self {
            rng: Rng::with_seed(trouble.seed),
            trouble,
            in_a_row: 0,
        }
    }

    /// Draws for the next call. Every call takes as many random numbers as any other.
    pub(super) fn draw(&mut self) -> Draw {
        let RandomTrouble {
            server_error,
            limit,
            broken_body,
            empty_body,
            max_in_a_row,
            ..
        } = self.trouble;
        let status = [500, 502, 503, 504][self.rng.usize(..4)];
        let mut happens = |probability: f64| self.rng.f64() < probability;
        let failures = [
            (happens(server_error), Failure::Status(status)),
            (happens(limit), Failure::Limit),
            (happens(broken_body), Failure::BrokenBody),
        ];
        let empty_body = happens(empty_body);
        let failure = failures.into_iter().find(|(happens, _)| *happens);
        let failure = failure.filter(|_| self.in_a_row < max_in_a_row);
        self.in_a_row = failure.map_or(0, |_| self.in_a_row + 1);
        Draw {
            failure: failure.map(|(_, failure)| failure),
            empty_body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(seed: u64) -> Vec<Draw> {
        let mut dice = Dice::new(RandomTrouble {
            seed,
            server_error: 0.4,
            limit: 0.4,
            broken_body: 0.4,
            empty_body: 0.5,
            max_in_a_row: 3,
        });
        (0..1000).map(|_| dice.draw()).collect()
    }

    #[test]
    fn a_seed_gives_the_same_trouble_again() {
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }

    #[test]
    fn failures_in_a_row_are_limited() {
        let draws = draws(1);
        let mut runs = draws.split(|draw| draw.failure.is_none());
        assert!(runs.clone().all(|run| run.len() <= 3));
        assert!(runs.any(|run| run.len() == 3));
        for failure in [Failure::Limit, Failure::BrokenBody, Failure::Status(502)] {
            assert!(draws.iter().any(|draw| draw.failure == Some(failure)));
        }
        assert!(draws.iter().any(|draw| draw.empty_body));
    }
}
