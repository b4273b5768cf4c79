//! Simulations: the engine and the AMQP adapter, as two replicas, with a broker in memory (`broker/amqp/simulated`), one
//! thread and a paused clock. One seed decides everything: the messages, what the module does on each, when each frame
//! moves, and what fails. So a seed that breaks a promise breaks it each time.
//!
//! `plan` chooses the settings and the messages, `world` the faults. `replica` starts, stops and kills processes, and
//! `module` is their component. `model` is told everything that happens, and notes what breaks a promise of
//! docs/guarantees.md.
//!
//! `SAILOR_SIMULATION_SEEDS` is the number of seeds. `SAILOR_TEST_SEED` runs one of them, and prints all that happens.

mod contents;
mod log;
mod model;
mod module;
mod plan;
mod replica;
mod world;

use crate::{
    broker::amqp::simulated::{Sabotage, SimulatedBroker, Simulation},
    protocol::Cipher,
};
use contents::Contents;
use fastrand::Rng;
use model::{Counts, Model, SharedModel};
use plan::{Content, Plan};
use reqwest::dns::{Name, Resolve, Resolving};
use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use world::World;

/// How many seeds are tried if the environment does not say.
const SEEDS: u64 = 200;
/// The largest message of the broker, in bytes.
const MAX_MESSAGE: usize = 128 * 1024;

/// What came of one seed.
struct Simulated {
    seed: u64,
    trace: Vec<String>,
    wrong: Vec<String>,
    counts: Counts,
}

/// A platform API that is slow, and then cannot be reached: its name is looked up for a while, without a result.
struct Unreachable;

impl Resolve for Unreachable {
    fn resolve(&self, _: Name) -> Resolving {
        // The generator of this thread, which the seed has set.
        let pause = Duration::from_millis(fastrand::u64(0..3_000));
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            Err(io::Error::from(io::ErrorKind::NotFound).into())
        })
    }
}

fn unreachable_api() -> reqwest::Client {
    crate::clients::tls::choose_cryptography();
    reqwest::Client::builder()
        .dns_resolver(Arc::new(Unreachable))
        .build()
        .unwrap()
}

/// Runs one seed.
fn simulate(seed: u64, sabotage: Option<Sabotage>, http: &reqwest::Client) -> Simulated {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    // The delays of reconnects have jitter from this generator.
    fastrand::seed(seed);
    runtime.block_on(async {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::new(&mut rng);
        let is_garbage = |content: &Content| matches!(content, Content::Garbage);
        let garbage = plan
            .classes
            .iter()
            .filter(|class| is_garbage(&class.content));
        let garbage = garbage.map(|class| class.number).collect();
        let cipher = Cipher::new("password", "iv=any16_symbols").unwrap();
        let contents = Contents::new(cipher, garbage);
        let model = SharedModel::new(Model::new(contents.clone(), plan.unbound_is_error));
        let observer = {
            let model = model.clone();
            move |observed| model.lock().observe(observed)
        };
        let broker = SimulatedBroker::new(rng.u64(..), MAX_MESSAGE, sabotage, observer);
        let _simulation = Simulation::of(broker.clone());
        let _log = log::watch(&model);
        let world = World::new(plan, rng, model.clone(), broker, contents, http.clone());
        world.run().await;
        let mut model = model.lock();
        Simulated {
            seed,
            trace: std::mem::take(&mut model.trace),
            wrong: std::mem::take(&mut model.wrong),
            counts: model.counts,
        }
    })
}

/// Runs seeds on all processors, until `enough` says so.
fn simulate_all(
    seeds: std::ops::Range<u64>,
    sabotage: Option<Sabotage>,
    enough: impl Fn(&Simulated) -> bool + Sync,
) -> Vec<Simulated> {
    let (next, done) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    let work = || {
        let http = unreachable_api();
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds.end {
                return;
            }
            let mut simulated = simulate(seed, sabotage, &http);
            if enough(&simulated) {
                next.store(seeds.end, Relaxed);
            }
            if simulated.wrong.is_empty() {
                simulated.trace.clear();
            }
            done.lock().unwrap().push(simulated);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    done.into_inner().unwrap()
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

#[test]
fn every_seed_keeps_every_promise() {
    let began = Instant::now();
    let seeds = match variable("SAILOR_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("SAILOR_SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    let shows_all = seeds.end - seeds.start == 1;
    let all = simulate_all(seeds, None, |simulated| {
        if shows_all {
            println!("{}", simulated.trace.join("\n"));
        }
        false
    });
    let sum = |count: fn(&Counts) -> u64| all.iter().map(|one| count(&one.counts)).sum::<u64>();
    println!(
        "{} seeds: {} events, {} messages, {} runs, {} of them repeats, {} equal messages settled without processing, \
         {} cuts, {} lost verdicts, {} ended processes, {:.1} s",
        all.len(),
        sum(|counts| counts.events),
        sum(|counts| counts.messages),
        sum(|counts| counts.runs),
        sum(|counts| counts.repeats),
        sum(|counts| counts.unworked),
        sum(|counts| counts.cuts),
        sum(|counts| counts.lost_verdicts),
        sum(|counts| counts.ends),
        began.elapsed().as_secs_f32()
    );
    let failed: Vec<_> = all.iter().filter(|one| !one.wrong.is_empty()).collect();
    for one in &failed {
        println!("SAILOR_TEST_SEED={}: {}", one.seed, one.wrong.join("; "));
    }
    let seeds: Vec<u64> = failed.iter().map(|one| one.seed).collect();
    assert!(
        failed.is_empty(),
        "repeat each with SAILOR_TEST_SEED: {seeds:?}"
    );
}

#[test]
fn a_seed_replays_exactly() {
    let http = unreachable_api();
    for seed in 0..12 {
        let [first, second] = [(); 2].map(|()| simulate(seed, None, &http).trace);
        let difference = first.iter().zip(&second).position(|(a, b)| a != b);
        if let Some(at) = difference {
            panic!("seed {seed}: {} is now {}", first[at], second[at]);
        }
        assert_eq!(first.len(), second.len(), "seed {seed}");
        assert!(first.len() > 50, "seed {seed} does nothing");
    }
}

/// Runs the seeds with a mistake, and checks that one of them finds it.
fn assert_caught(sabotage: Sabotage, words: &str) {
    let is_caught = |one: &Simulated| one.wrong.iter().any(|wrong| wrong.contains(words));
    let all = simulate_all(0..SEEDS, Some(sabotage), is_caught);
    let caught = all.iter().find(|one| is_caught(one));
    let caught = caught.unwrap_or_else(|| panic!("{sabotage:?} is not found"));
    println!(
        "{sabotage:?} is found by seed {}: {}",
        caught.seed,
        caught.wrong.join("; ")
    );
}

#[test]
fn an_acknowledgement_before_the_confirms_is_caught() {
    assert_caught(Sabotage::Confirm, "whose events are not confirmed");
}

#[test]
fn a_forgotten_redelivered_flag_is_caught() {
    assert_caught(Sabotage::Redelivered, "works on class");
}

#[test]
fn a_dropped_return_is_caught() {
    assert_caught(Sabotage::Return, "whose events are not confirmed");
}
