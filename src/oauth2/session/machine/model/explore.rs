//! The explorer: visits every state that a world can reach, breadth first, so that each counterexample is a shortest one.
//!
//! It is code of our own, because most promises are about the steps between the states, and no step may lead back. A
//! checker that sees only states would need all of that inside of them.

use super::{
    findings::{Finding, Property},
    run::after,
    settings::Settings,
    world::{Seen, World},
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

/// A step: the number of the state that it begins in, and its place among the steps from there.
type Step = (u32, u16);

/// What was explored.
pub(super) struct Explored {
    pub(super) states: usize,
    pub(super) steps: usize,
    pub(super) time: Duration,
    pub(super) seen: Seen,
    /// Whether a path leads back to a state on it, so that it has no end.
    pub(super) has_endless_path: bool,
    /// The first step that leads to each finding.
    found: BTreeMap<Finding, Step>,
    /// The first step that leads to each state.
    parents: Vec<Step>,
}

/// Visits every state. Two states with the same 64 bits of hash count as one: among ten million, that happens with a
/// probability of one in 400 000.
pub(super) fn explore(settings: &Settings) -> Explored {
    let began = Instant::now();
    let start = World::new(settings);
    let mut numbers = HashMap::from([(start.fingerprint(), 0)]);
    let mut open = VecDeque::from([start]);
    let mut parents = vec![(0, 0)];
    let (mut found, mut seen) = (BTreeMap::new(), Seen::default());
    let (mut edges, mut from) = (Vec::new(), 0_u32);
    while let Some(world) = open.pop_front() {
        let actions = world.actions();
        if actions.is_empty() && world.is_waited_for() {
            let finding = world.finding(Property::Answered);
            found.entry(finding).or_insert(parents[from as usize]);
        }
        for (index, action) in (0..).zip(actions) {
            let next = after(&world, settings, action, &mut seen);
            for finding in seen.findings.drain(..) {
                found.entry(finding).or_insert((from, index));
            }
            let new = parents.len() as u32;
            let to = *numbers.entry(next.fingerprint()).or_insert(new);
            if to == new {
                parents.push((from, index));
                open.push_back(next);
            }
            edges.push((from, to));
        }
        from += 1;
    }
    Explored {
        states: parents.len(),
        steps: edges.len(),
        has_endless_path: has_circle(parents.len(), &edges),
        time: began.elapsed(),
        seen,
        found,
        parents,
    }
}

/// Removes the states that nothing leads to, until none is left or the rest leads in circles. The edges are in the order
/// of their first state.
fn has_circle(states: usize, edges: &[(u32, u32)]) -> bool {
    let mut incoming = vec![0_u32; states];
    let mut first = vec![0_usize; states + 1];
    for (from, to) in edges {
        incoming[*to as usize] += 1;
        first[*from as usize + 1] += 1;
    }
    for state in 0..states {
        first[state + 1] += first[state];
    }
    let mut free: Vec<usize> = (0..states).filter(|state| incoming[*state] == 0).collect();
    let mut left = states;
    while let Some(state) = free.pop() {
        left -= 1;
        for (_, to) in &edges[first[state]..first[state + 1]] {
            let to = *to as usize;
            incoming[to] -= 1;
            if incoming[to] == 0 {
                free.push(to);
            }
        }
    }
    left != 0
}

impl Explored {
    pub(super) fn findings(&self) -> impl Iterator<Item = Finding> {
        self.found.keys().copied()
    }

    /// Returns the steps that lead to a finding, as text.
    pub(super) fn path(&self, settings: &Settings, finding: Finding) -> Vec<String> {
        let mut step = self.found[&finding];
        let mut steps = vec![step.1];
        while step.0 != 0 {
            step = self.parents[step.0 as usize];
            steps.push(step.1);
        }
        let mut seen = Seen {
            trace: Some(Vec::new()),
            ..Seen::default()
        };
        let mut world = World::new(settings);
        for index in steps.into_iter().rev() {
            let action = world.actions()[index as usize];
            world = after(&world, settings, action, &mut seen);
        }
        seen.trace.unwrap_or_default()
    }
}

#[test]
fn a_path_that_leads_back_is_endless() {
    assert!(!has_circle(4, &[(0, 1), (0, 2), (1, 3), (2, 3)]));
    assert!(has_circle(4, &[(0, 1), (1, 2), (2, 1), (2, 3)]));
    assert!(has_circle(1, &[(0, 0)]));
}
