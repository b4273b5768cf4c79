//! Two programs as replicas of one step, as in a rolling update and its roll-back: ours, and the Node sailor or another
//! build of ours.

use crate::{
    carry_out::carry_out,
    fault::Fault,
    queues::Order,
    replica::Program,
    report::Figures,
    stage::{FLOW, STEP, Setup, Stage},
    work::Work,
};
use anyhow::{Context as _, bail, ensure};
use emulator::provider::Knobs;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_secs(30);
/// How long a rebound waits: long enough to stop one replica and to start the other.
const DELAY: Duration = Duration::from_secs(2);
/// How often a message is rebounded.
const REBOUNDS: i64 = 2;

/// After so many requests the access tokens expire.
const PER_TOKEN: usize = 50;

/// The pairs of programs.
pub struct Pair {
    /// The component `scripted`.
    pub scripted: [Program; 2],
    /// The component that sends requests with access tokens.
    pub requests: [Program; 2],
}

/// Runs the checks, and prints a line for each. A quick run leaves out those that take longest.
///
/// # Errors
/// When a check fails.
pub async fn mixed(stage: &mut Stage, pair: &Pair, quick: bool) -> anyhow::Result<()> {
    let [ours, other] = &pair.scripted;
    println!(
        "| {} and {} as replicas of one step | result |\n|---|---|",
        ours.name, other.name
    );
    let mut broken = Vec::new();
    let mut line = |check: &str, result: anyhow::Result<String>| match result {
        Ok(text) => println!("| {check} | {text} |"),
        Err(error) => {
            println!("| {check} | **no**: {error:#} |");
            broken.push(check.to_owned());
        }
    };
    line("one queue", one_queue(stage, pair).await);
    if !quick {
        line("connections closed 1/s", closed(stage, pair).await);
        line("tokens that rotate", tokens(stage, pair).await);
    }
    line("rolling update and roll-back", rolling(stage, pair).await);
    for (from, to) in [(0, 1), (1, 0)] {
        let names = format!("{} to {}", pair.scripted[from].name, pair.scripted[to].name);
        let programs = [pair.scripted[from].clone(), pair.scripted[to].clone()];
        line(
            &format!("rebounds, {names}"),
            rebounds(stage, programs.clone()).await,
        );
        line(
            &format!("snapshot, {names}"),
            snapshot(stage, programs).await,
        );
    }
    if !broken.is_empty() {
        bail!("not as expected: {}", broken.join(", "));
    }
    Ok(())
}

fn setup(programs: &[Program; 2]) -> Setup {
    Setup {
        programs: programs.to_vec(),
        prefetch: 10,
        function: "script",
        arguments: Vec::new(),
        variables: Vec::new(),
        reads_output: true,
        is_fast: true,
    }
}

async fn one_queue(stage: &mut Stage, pair: &Pair) -> anyhow::Result<String> {
    let setup = setup(&pair.scripted);
    let mut run = stage.run(&setup).await?;
    run.start(&setup).await?;
    Work::Echo(5).send(&mut run, 2_000).await?;
    run.wait(PATIENCE).await;
    let shares = run.watch.seen().by_container.clone();
    let figures = run.end(0).await?;
    all_done(&figures, 0)?;
    ensure!(shares.len() == 2, "only one of them worked: {shares:?}");
    Ok(format!("{} messages: {}", figures.messages, parts(&shares)))
}

/// A message that the other replica has worked on may come back to this one, as with two replicas of the same program.
async fn closed(stage: &mut Stage, pair: &Pair) -> anyhow::Result<String> {
    let times = 3;
    let setup = setup(&pair.scripted);
    let mut run = stage.run(&setup).await?;
    run.start(&setup).await?;
    Work::Echo(20).send(&mut run, 3_000).await?;
    carry_out(&Fault::Close(times), &mut run).await?;
    run.wait(PATIENCE).await;
    let figures = run.end(times).await?;
    let Figures {
        messages,
        lost,
        left,
        counts,
        ..
    } = &figures;
    // The Node sailor can hang with what it has, until it is ended.
    if pair.scripted.iter().all(|program| program.is_ours) {
        all_done(&figures, times * 20)?;
    }
    ensure!(*lost == 0, "{lost} lost");
    Ok(format!(
        "{messages} messages, {} worked on twice, {left} hung",
        counts.worked_twice
    ))
}

/// The second replica starts, the first one stops, and the same backwards.
async fn rolling(stage: &mut Stage, pair: &Pair) -> anyhow::Result<String> {
    let setup = setup(&pair.scripted);
    let mut run = stage.run(&setup).await?;
    Work::Echo(20).send(&mut run, 4_000).await?;
    let mut current = run.replica(&setup, 1);
    let mut exits = Vec::new();
    for next in [0, 1, 0] {
        run.consumed_by(1).await?;
        sleep(Duration::from_secs(1)).await;
        let replacement = run.replica(&setup, next);
        run.consumed_by(2).await?;
        exits.push(std::mem::replace(&mut current, replacement).stop().await?);
    }
    run.replicas.push(current);
    run.wait(PATIENCE).await;
    let shares = run.watch.seen().by_container.clone();
    let figures = run.end(0).await?;
    all_done(&figures, 0)?;
    ensure!(shares.len() == 2, "only one of them worked: {shares:?}");
    for exit in exits {
        ensure!(exit.are_clean(), "exit: {exit}");
    }
    Ok(format!(
        "{} messages: {}, worked on twice: 0",
        figures.messages,
        parts(&shares)
    ))
}

/// One program rebounds messages. The other one gets them when they return, rebounds them again, and reports that the limit
/// is reached.
async fn rebounds(stage: &mut Stage, programs: [Program; 2]) -> anyhow::Result<String> {
    let count = 20;
    let variables = vec![
        (
            "ELASTICIO_REBOUND_INITIAL_EXPIRATION",
            DELAY.as_millis().to_string(),
        ),
        ("ELASTICIO_REBOUND_LIMIT", REBOUNDS.to_string()),
    ];
    let setup = Setup {
        variables,
        ..setup(&programs)
    };
    let mut run = stage.run(&setup).await?;
    let first = run.replica(&setup, 0);
    let script = json!([["rebound", "come back later"]]);
    run.send(count, |number| Order::script(number, &script))
        .await?;
    until("the first rebounds", || {
        run.watch
            .seen()
            .rebounds
            .get(&1)
            .is_some_and(|seen| *seen as u64 == count)
    })
    .await?;
    let exits = first.stop().await?;
    ensure!(exits.are_clean(), "exit: {exits}");
    let second = run.replica(&setup, 1);
    run.replicas.push(second);
    run.wait(PATIENCE).await;
    let rebounds = run.watch.seen().rebounds.clone();
    let shares = run.watch.seen().by_container.clone();
    let figures = run.end(0).await?;
    let expected: BTreeMap<_, _> = (1..=REBOUNDS)
        .map(|iteration| (iteration, count as usize))
        .collect();
    ensure!(rebounds == expected, "rebounds by iteration: {rebounds:?}");
    ensure!(
        figures.counts.failed as u64 == count && figures.left == 0,
        "{figures:?}"
    );
    ensure!(
        shares.keys().eq(["container-1"]),
        "error events by container: {shares:?}"
    );
    Ok(format!(
        "{count} messages: iteration 1 from the first, 2 and the error event from the second"
    ))
}

/// One program stores a snapshot. The other one starts with it, and updates it.
async fn snapshot(stage: &mut Stage, programs: [Program; 2]) -> anyhow::Result<String> {
    let setup = setup(&programs);
    let mut run = stage.run(&setup).await?;
    let stored = json!({ "position": 1, "nested": { "kept": true } });
    let first = run.replica(&setup, 0);
    run.send(1, |number| {
        Order::script(number, &json!([["snapshot", stored], ["echo"]]))
    })
    .await?;
    until("the snapshot", || {
        run.watch.seen().snapshots.len() == 1 && run.done() == 1
    })
    .await?;
    first.stop().await?;
    let emitted = run.watch.seen().snapshots[0].clone();
    ensure!(emitted == stored, "the snapshot event holds {emitted}");
    // The platform stores what the event holds.
    run.platform.set_snapshot(FLOW, STEP, emitted);
    let second = run.replica(&setup, 1);
    run.replicas.push(second);
    let script = json!([["updateSnapshot", { "position": 2 }], ["echo"]]);
    run.send(1, |number| Order::script(number, &script)).await?;
    until("the update", || {
        run.watch.seen().snapshots.len() == 2 && run.done() == 2
    })
    .await?;
    let (update, echo) = {
        let seen = run.watch.seen();
        (
            seen.snapshots[1].clone(),
            seen.data[1]["body"]["snapshot"].clone(),
        )
    };
    run.end(0).await?;
    let merged = json!({ "position": 2, "nested": { "kept": true } });
    ensure!(
        echo == stored || echo == merged,
        "the second program starts with {echo}"
    );
    Ok(format!(
        "read; the event of an update holds {}",
        compact(&update)
    ))
}

/// The Node sailor does not know the lock, and neither do modules that refresh by themselves.
async fn tokens(stage: &mut Stage, pair: &Pair) -> anyhow::Result<String> {
    let mut texts = Vec::new();
    let [ours, other] = &pair.requests;
    for programs in [[ours.clone(), ours.clone()], [ours.clone(), other.clone()]] {
        let names = format!("{} and {}", programs[0].name, programs[1].name);
        let strict = programs.iter().all(|program| program.is_ours);
        let setup = Setup {
            function: "makeRequest",
            ..setup(&programs)
        };
        let mut run = stage.run(&setup).await?;
        run.provider.knobs(|knobs| *knobs = Knobs::rotating());
        run.start(&setup).await?;
        Work::Requests.send(&mut run, 1_000).await?;
        let (start, mut expired) = (Instant::now(), 0);
        while run.done() < run.messages && start.elapsed() < PATIENCE {
            if run.done() >= expired + PER_TOKEN {
                expired = run.done();
                run.provider.expire_access_tokens();
            }
            sleep(Duration::from_millis(5)).await;
        }
        let refreshes = run.provider.refreshes();
        let figures = run.end(0).await?;
        let Figures {
            messages,
            lost,
            counts,
            ..
        } = &figures;
        ensure!(*lost == 0, "{names}: {lost} lost");
        ensure!(
            !strict || counts.failed == 0,
            "{names}: {:?}",
            figures.errors
        );
        texts.push(format!(
            "{names}: {} of {messages} failed, {refreshes} refreshes",
            counts.failed
        ));
    }
    Ok(texts.join("; "))
}

fn all_done(figures: &Figures, worked_twice: usize) -> anyhow::Result<()> {
    let Figures {
        lost,
        left,
        counts,
        errors,
        ..
    } = figures;
    ensure!(*lost == 0 && *left == 0, "{lost} lost, {left} hung");
    ensure!(counts.failed == 0, "{} failed: {errors:?}", counts.failed);
    let twice = counts.worked_twice;
    ensure!(
        twice <= worked_twice,
        "{twice} worked on twice instead of at most {worked_twice}"
    );
    Ok(())
}

async fn until(what: &str, reached: impl Fn() -> bool) -> anyhow::Result<()> {
    let waiting = async {
        while !reached() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .with_context(|| format!("{what}: not in time"))
}

fn parts(shares: &BTreeMap<String, usize>) -> String {
    let shares: Vec<_> = shares.values().map(usize::to_string).collect();
    shares.join(" + ")
}

fn compact(value: &Value) -> String {
    format!("`{value}`")
}
