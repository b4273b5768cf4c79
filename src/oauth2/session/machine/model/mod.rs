//! Explores the machine: every order of the events of several processes, with the failures that `settings` names.
//!
//! `run` calls [`Machine::step`](super::Machine::step), as the driver does, with records that are two numbers (`record`).
//! `session`, `outside`, `store` and `provider` are the world around it. `explore` visits every state of that world,
//! `findings` names what must hold in each, and `table` says what is explored and which counterexamples are found.
//! docs/oauth2.md explains them.
//!
//! `cargo test -p elasticio-sailor --lib -- --nocapture machine::model` prints what was explored, the pairs of state and
//! event, and the counterexamples.

mod explore;
mod findings;
mod outside;
mod pairs;
mod process;
mod provider;
mod record;
mod run;
mod session;
mod settings;
mod store;
mod table;
mod text;
mod world;

use explore::{Explored, explore};
use findings::{
    Counterexample, Finding,
    Property::{self, OneSpender, Spendable},
};
use settings::{Lock, Settings};
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    thread,
};

/// Explores each, on all processors.
fn explore_all(list: &[Settings]) -> Vec<(&Settings, Explored)> {
    let (open, done) = (Mutex::new(list.iter()), Mutex::new(Vec::new()));
    let next = || open.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(settings) = next() {
            let explored = explore(settings);
            println!(
                "{:58} {:>8} states {:>9} steps {:>6.1} s",
                settings.name,
                explored.states,
                explored.steps,
                explored.time.as_secs_f32()
            );
            done.lock().unwrap().push((settings, explored));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    done.into_inner().unwrap()
}

/// Returns what was found and not expected, or expected and not found.
fn surprises(settings: &Settings, explored: &Explored) -> Vec<String> {
    let name = settings.name;
    let mut surprises = Vec::new();
    for finding in explored.findings() {
        if !finding.is_explained(settings.expected) {
            let path = explored.path(settings, finding).join("\n");
            surprises.push(format!("{name}: {finding:?}\n{path}"));
        }
    }
    for expected in settings.expected {
        if !explored.findings().any(|finding| finding.is(*expected)) {
            surprises.push(format!("{name}: {expected:?} is not found"));
        }
    }
    if explored.has_endless_path {
        surprises.push(format!("{name}: a path has no end"));
    }
    surprises
}

/// Prints the shortest path to each counterexample, once.
fn show(all: &[(&Settings, Explored)]) {
    let mut shown: Vec<Counterexample> = Vec::new();
    for (settings, explored) in all {
        for finding in explored.findings() {
            let is_it = |expected: &&Counterexample| finding.is(**expected);
            if let Some(expected) = settings.expected.iter().find(is_it)
                && !shown.contains(expected)
            {
                println!("\n{expected:?}, as in: {}", settings.name);
                println!("{}", explored.path(settings, finding).join("\n"));
                shown.push(*expected);
            }
        }
    }
}

fn check(list: &[Settings]) -> BTreeSet<pairs::Pair> {
    let all = explore_all(list);
    show(&all);
    let wrong = all
        .iter()
        .flat_map(|(settings, explored)| surprises(settings, explored));
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let states: usize = all.iter().map(|(_, explored)| explored.states).sum();
    println!("\n{states} states of {} explorations\n", all.len());
    all.iter()
        .flat_map(|(_, explored)| explored.seen.pairs.iter().copied())
        .collect()
}

#[test]
fn two_replicas_keep_every_promise() {
    let visited = check(
        &[
            table::WITH_LOCK,
            table::WITHOUT_LOCK,
            table::WITH_CALLS,
            table::OTHERS,
        ]
        .concat(),
    );
    let wrong = pairs::check(&visited);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "it takes minutes; scripts/long model runs it"]
fn three_replicas_keep_every_promise() {
    let one_more = |settings: &Settings| Settings {
        replicas: settings.replicas + 1,
        // There are many more orders, above all without the lock.
        parallel: 1,
        requests: if settings.lock == Lock::Shared { 2 } else { 1 },
        ..*settings
    };
    let lists = [table::WITH_LOCK, table::WITHOUT_LOCK, table::WITH_CALLS];
    let list: Vec<Settings> = lists.concat().iter().map(one_more).collect();
    check(&list);
}

#[test]
#[ignore = "it takes minutes; scripts/long model runs it"]
fn longer_paths_keep_every_promise() {
    check(table::LONG);
}

/// Explores with a swallowed effect, and checks that the property fails and that nothing explains it.
fn check_mutation(settings: &Settings, property: Property) {
    let explored = explore(settings);
    let finding = Finding {
        property,
        causes: Default::default(),
    };
    assert!(
        explored.findings().any(|found| found == finding),
        "{property:?} holds"
    );
    println!("{property:?} fails {}", settings.name);
    println!("{}", explored.path(settings, finding).join("\n"));
    let whole = Settings {
        sabotage: None,
        ..*settings
    };
    let holds = explore(&whole).findings().all(|found| found != finding);
    assert!(holds, "{property:?} does not depend on it");
}

#[test]
fn without_the_second_look_two_spend_one_token() {
    check_mutation(&table::WITHOUT_REREAD, OneSpender);
}

#[test]
fn without_the_merge_the_refresh_token_is_lost() {
    check_mutation(&table::WITHOUT_MERGE, Spendable);
}

#[test]
fn without_the_fence_two_spend_one_token() {
    check_mutation(&table::WITHOUT_FENCE, OneSpender);
}
