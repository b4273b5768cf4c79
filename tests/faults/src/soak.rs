//! A step under a mix of messages and faults for a long time: does it keep its memory and its files?

use crate::{
    carry_out,
    fault::{Fault, Service},
    queues::Order,
    relay::Traffic,
    replica::Program,
    report::Figures,
    stage::{Run, Setup, Stage},
};
use anyhow::{Context as _, bail};
use sailor_bench::process;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

const MINUTE: Duration = Duration::from_secs(60);
/// How many messages are put into the queue in a second.
const RATE: u64 = 100;
/// No more are sent while so many are not done.
const OPEN: u64 = 2_000;
/// How much more memory the last third of the time may take than the second, in percent.
const GROWTH: f64 = 5.0;
/// How long nothing may move at the end before the remaining messages count as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// The figures of the process at one time.
#[derive(Clone, Copy, Debug)]
struct Sample {
    resident: u64,
    proportional: u64,
    files: usize,
    threads: usize,
}

/// Runs for so many minutes, and prints a line for each.
///
/// # Errors
/// When the process ends or grows, or a message is lost, hangs or is worked on twice.
pub async fn soak(stage: &mut Stage, program: Program, minutes: u64) -> anyhow::Result<()> {
    let setup = Setup {
        programs: vec![program],
        prefetch: 10,
        function: "script",
        arguments: Vec::new(),
        variables: Vec::new(),
        reads_output: true,
        is_fast: true,
    };
    let mut run = stage.run(&setup).await?;
    feed(&mut run).await?;
    run.start(&setup).await?;
    let id = run.replicas[0].id().context("the process has ended")?;
    println!(
        "| minute | RSS | PSS | open files | threads | messages | not done | worked on twice | faults |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    );
    let mut samples = Vec::new();
    let mut faults = 0;
    for minute in 1..=minutes {
        let (of_minute, more) = one_minute(&mut run, id, faults).await?;
        faults += more;
        let Sample {
            resident,
            proportional,
            files,
            threads,
        } = middle(&of_minute);
        let open = run.messages - run.done();
        let twice = run.watch.seen().tally.counts().worked_twice;
        println!(
            "| {minute} | {:.1} MB | {:.1} MB | {files} | {threads} | {} | {open} | {twice} | {faults} |",
            megabytes(resident),
            megabytes(proportional),
            run.done(),
        );
        samples.push(of_minute);
    }
    run.wait(PATIENCE).await;
    let figures = run.end(faults).await?;
    judge(&samples, &figures)
}

/// Sends messages, orders faults and takes samples for a minute.
async fn one_minute(
    run: &mut Run<'_>,
    id: u32,
    before: usize,
) -> anyhow::Result<(Vec<Sample>, usize)> {
    let start = Instant::now();
    let mut samples = Vec::new();
    let mut faults = 0;
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while start.elapsed() < MINUTE {
        seconds.tick().await;
        feed(run).await?;
        samples.push(sample(id).context("the process has ended")?);
        // One fault about every six seconds.
        if samples.len() % 6 == 0 {
            faults += carry_out::carry_out(&fault(before + faults), run).await?;
        }
    }
    Ok((samples, faults))
}

/// Faults that the process survives, one after the other.
fn fault(number: usize) -> Fault {
    let seconds = Duration::from_secs;
    let faults = [
        Fault::Close(1),
        Fault::Tear(1),
        Fault::Stall(seconds(2)),
        Fault::Tear(1),
        Fault::Freeze(seconds(2)),
        Fault::Service(Service::Api, Traffic::Refused, seconds(2)),
        Fault::Tear(1),
        Fault::Alarm(seconds(2)),
        Fault::Close(1),
        Fault::StopApp(1, seconds(2)),
    ];
    faults[number % faults.len()].clone()
}

async fn feed(run: &mut Run<'_>) -> anyhow::Result<()> {
    let open = run.next - run.done() as u64;
    let count = RATE.min(OPEN.saturating_sub(open));
    run.send(count, order).await
}

/// Most messages are small, some are large; some fail, and some emit several events.
fn order(number: u64) -> Order {
    let size = match number % 100 {
        99 => 1 << 20,
        90..=98 => 100 << 10,
        60..=89 => 10 << 10,
        _ => 1 << 10,
    };
    let script = match number % 50 {
        7 => json!([["throw", "as it was told to"]]),
        17 => json!([["updateSnapshot", { "number": number }], ["echo"]]),
        27 => json!([["many", 5], ["echo"]]),
        37 => json!([["updateKeys", { "number": number }], ["echo"]]),
        _ => json!([["sleep", number % 30], ["echo"]]),
    };
    let body = json!({ "number": number, "script": script, "pad": "x".repeat(size) });
    Order {
        number,
        body,
        object: None,
    }
}

fn sample(id: u32) -> anyhow::Result<Sample> {
    Ok(Sample {
        resident: process::resident_memory(id)?,
        proportional: process::proportional_memory(id)?,
        files: process::open_files(id)?,
        threads: process::threads(id)?,
    })
}

/// The median of each figure.
fn middle(samples: &[Sample]) -> Sample {
    fn median<T: Ord + Copy>(samples: &[Sample], figure: impl Fn(&Sample) -> T) -> T {
        let mut figures: Vec<T> = samples.iter().map(figure).collect();
        figures.sort_unstable();
        figures[figures.len() / 2]
    }
    Sample {
        resident: median(samples, |sample| sample.resident),
        proportional: median(samples, |sample| sample.proportional),
        files: median(samples, |sample| sample.files),
        threads: median(samples, |sample| sample.threads),
    }
}

/// Compares the last third of the time with the second.
fn judge(minutes: &[Vec<Sample>], figures: &Figures) -> anyhow::Result<()> {
    let third = minutes.len() / 3;
    let mut broken = Vec::new();
    if third > 0 {
        let second = middle(&minutes[third..minutes.len() - third].concat());
        let last = middle(&minutes[minutes.len() - third..].concat());
        let growth = (last.resident as f64 / second.resident as f64 - 1.0) * 100.0;
        println!(
            "\nThe last third in comparison with the second: RSS {growth:+.1} %, open files {} and {}.",
            second.files, last.files
        );
        if growth > GROWTH {
            broken.push(format!("memory has grown by {growth:.1} %"));
        }
        if last.files > second.files {
            broken.push(format!("open files: {} after {}", last.files, second.files));
        }
    }
    let Figures {
        messages,
        lost,
        left,
        counts,
        exits,
        stall,
        ..
    } = figures;
    println!(
        "{messages} messages: {lost} lost, {} worked on twice, {} published twice, {left} hung; longest stall {:.1} s; exit {exits}.",
        counts.worked_twice,
        counts.published_twice,
        stall.as_secs_f64()
    );
    if *lost > 0 || *left > 0 || counts.worked_twice > 0 || !exits.are_clean() {
        broken.push("messages or the exit are not as promised".into());
    }
    if !broken.is_empty() {
        bail!("{}", broken.join("; "));
    }
    Ok(())
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
