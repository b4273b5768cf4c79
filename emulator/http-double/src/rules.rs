//! Rules for later calls, by the pattern of their request line.

use regex_lite::Regex;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Items that calls use up one by one: faults, or work to do before a response.
#[derive(Debug)]
pub struct Rules<T>(Mutex<Vec<Rule<T>>>);

#[derive(Debug)]
struct Rule<T> {
    pattern: Regex,
    waiting: VecDeque<T>,
}

impl<T> Default for Rules<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Rules<T> {
    /// Adds a rule: each call that matches takes one of these.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    pub fn add(&self, pattern: &str, items: impl IntoIterator<Item = T>) {
        self.lock().push(Rule {
            pattern: self::pattern(pattern),
            waiting: items.into_iter().collect(),
        });
    }

    /// The item for a call with this request line: from the matching rule that was added first.
    #[must_use]
    pub fn next(&self, line: &str) -> Option<T> {
        let mut rules = self.lock();
        let rule = rules.iter_mut().find(|rule| rule.pattern.is_match(line));
        let item = rule.and_then(|rule| rule.waiting.pop_front());
        rules.retain(|rule| !rule.waiting.is_empty());
        item
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Rule<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A regular expression on `METHOD /path?query`.
///
/// # Panics
/// When it is not valid: a mistake in the test, which should show immediately.
#[must_use]
pub fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| panic!("{text:?} is not a regular expression: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_used_up_in_the_order_they_were_added() {
        let rules = Rules::default();
        rules.add("GET /a", [1, 2]);
        rules.add("GET", [3]);
        let taken =
            ["GET /b", "GET /a", "POST /a", "GET /a", "GET /a"].map(|line| rules.next(line));
        assert_eq!(taken, [Some(3), Some(1), None, Some(2), None]);
        rules.add("GET", [4]);
        rules.clear();
        assert_eq!(rules.next("GET /a"), None);
    }
}
