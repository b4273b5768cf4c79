//! `emulator run`: starts everything, sends messages, shows what the component makes of them, and judges it.

use crate::{
    child::{Output, Replicas, in_words},
    config::EmulatorConfig,
    emulator::Emulator,
    event::{Event, EventKind},
    keep::Keeper,
    log::Events,
    stage::Stage,
    standins::StandinName,
    story::Story,
    tally::Tally,
    timeline::Timeline,
};
use anyhow::Context;
use sailor::protocol::Headers;
use serde_json::{Value, json};
use std::{process::ExitStatus, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, sleep_until, timeout},
};

/// What a component may take to end: a little more than the platform gives it.
const END_PATIENCE: Duration = Duration::from_secs(35);
/// How long stragglers are waited for once the process has ended.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// What to run.
pub(crate) struct Plan {
    pub(crate) emulator: EmulatorConfig,
    /// The API beside it.
    pub(crate) standin: Option<StandinName>,
    pub(crate) messages: Vec<Value>,
    pub(crate) headers: Headers,
    /// Where changed keys go.
    pub(crate) keeper: Keeper,
    pub(crate) command: Vec<String>,
    /// How many processes of the component share the messages.
    pub(crate) replicas: usize,
    /// Tells what happens instead of the bare time line.
    pub(crate) story: Option<Story>,
    pub(crate) env: Vec<(String, String)>,
    /// Until the component takes the first message.
    pub(crate) start_timeout: Duration,
    /// From then on until all messages are settled.
    pub(crate) timeout: Duration,
}

/// Why the loop ended.
enum Ending {
    Settled,
    Exited(ExitStatus),
    TimedOut(&'static str, Duration),
    Interrupted,
}

/// Runs the plan; true when every message was acknowledged without an error event.
pub(crate) async fn run(plan: Plan, timeline: &Timeline) -> anyhow::Result<bool> {
    let stage = Stage::start(plan.emulator, plan.standin).await?;
    let emulator = &stage.emulator;
    timeline.plain(&stage.banner());
    let expected = plan.messages.len();
    let send = || {
        for mut message in plan.messages {
            stage.fill_in(&mut message);
            emulator.send(&message, &plan.headers);
        }
    };
    let mut env = stage.component_env();
    env.extend(plan.env.into_iter().map(|(name, value)| {
        let mut value = Value::String(value);
        stage.fill_in(&mut value);
        (
            name,
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        )
    }));
    let replicas = plan.replicas;
    let start = || {
        let times = if replicas > 1 {
            format!(" {replicas} times")
        } else {
            String::new()
        };
        timeline.note(&format!("starts {}{times}", plan.command.join(" ")));
        Replicas::start(replicas, &plan.command, &env)
    };
    let started = if replicas == 1 {
        send();
        start()?
    } else {
        // All of them wait for messages before there are any, so that each gets its share.
        let started = start()?;
        consumed_by(emulator, replicas, plan.start_timeout).await?;
        send();
        started
    };
    let (processes, output) = started;
    let (events, tally, keeper, story) =
        (emulator.events(), Tally::default(), plan.keeper, plan.story);
    let mut session = Session {
        processes,
        output,
        events,
        tally,
        expected,
        keeper,
        story,
        timeline,
    };

    let ending = session
        .until_settled(plan.start_timeout, plan.timeout)
        .await?;
    session.end(&ending).await?;
    let mut ok = session.judge(&ending);
    if let Some(story) = &session.story {
        ok &= story.end(emulator, timeline);
    }
    stage.shutdown().await;
    Ok(ok)
}

/// Waits until as many consumers wait for messages.
async fn consumed_by(emulator: &Emulator, count: usize, patience: Duration) -> anyhow::Result<()> {
    let waiting = || {
        emulator
            .broker()
            .depth(&emulator.topology().input)
            .consumers
    };
    let all = async {
        // The broker tells no event for this.
        while waiting() < count {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(patience, all).await.map_err(|_| {
        let (waiting, seconds) = (waiting(), patience.as_secs());
        anyhow::anyhow!("only {waiting} of {count} replicas waited for messages within {seconds} s")
    })
}

struct Session<'a> {
    processes: Replicas,
    output: Output,
    events: Events,
    tally: Tally,
    /// How many messages there are.
    expected: usize,
    story: Option<Story>,
    keeper: Keeper,
    timeline: &'a Timeline,
}

impl Session<'_> {
    async fn until_settled(
        &mut self,
        start_timeout: Duration,
        timeout: Duration,
    ) -> anyhow::Result<Ending> {
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let (mut deadline, mut late) = (
            Instant::now() + start_timeout,
            ("took no message", start_timeout),
        );
        loop {
            tokio::select! {
                Some(event) = self.events.next() => {
                    if event.kind == EventKind::Delivered && self.tally.delivered == 0 {
                        (deadline, late) = (Instant::now() + timeout, ("did not settle all messages", timeout));
                    }
                    self.take(&event);
                    if self.tally.sent >= self.expected && self.tally.settled() {
                        return Ok(Ending::Settled);
                    }
                }
                Some(line) = self.output.line() => self.timeline.component(&line),
                status = self.processes.ended() => return Ok(Ending::Exited(status?)),
                () = sleep_until(deadline) => return Ok(Ending::TimedOut(late.0, late.1)),
                _ = interrupt.recv() => return Ok(Ending::Interrupted),
                _ = terminate.recv() => return Ok(Ending::Interrupted),
            }
        }
    }

    /// Ends the component and shows what it still has to say.
    async fn end(&mut self, ending: &Ending) -> anyhow::Result<()> {
        let mut statuses = Vec::new();
        if let Ending::Exited(status) = ending {
            statuses.push(*status);
        }
        let mut killed = false;
        if !self.processes.is_empty() {
            let why = match ending {
                Ending::Settled => "all messages are settled".to_owned(),
                Ending::TimedOut(what, limit) => {
                    format!("the component {what} within {} s", limit.as_secs())
                }
                Ending::Exited(_) => "a replica has ended".to_owned(),
                Ending::Interrupted => "interrupted".to_owned(),
            };
            self.timeline
                .note(&format!("{why}: ends the component with SIGTERM"));
            self.processes.terminate();
            killed = !self.drained(END_PATIENCE, &mut statuses).await?;
        }
        // What it wrote to its sockets and pipes at last may still be on its way.
        self.output.rest(|line| self.timeline.component(line)).await;
        let _ = timeout(STRAGGLERS, async {
            while self.tally.connections > 0
                && let Some(event) = self.events.next().await
            {
                self.take(&event);
            }
        })
        .await;
        while let Some(event) = self.events.try_next() {
            self.take(&event);
        }
        for status in statuses {
            self.timeline
                .note(&format!("the component ended with {}", in_words(status)));
        }
        if killed {
            self.timeline.note(&format!(
                "the component did not end within {} s: killed",
                END_PATIENCE.as_secs()
            ));
        }
        Ok(())
    }

    /// Shows everything until all processes have ended; after `patience` they are killed, and this is false.
    async fn drained(
        &mut self,
        patience: Duration,
        statuses: &mut Vec<ExitStatus>,
    ) -> anyhow::Result<bool> {
        let deadline = Instant::now() + patience;
        while !self.processes.is_empty() {
            tokio::select! {
                Some(event) = self.events.next() => self.take(&event),
                Some(line) = self.output.line() => self.timeline.component(&line),
                status = self.processes.ended() => statuses.push(status?),
                () = sleep_until(deadline) => {
                    self.processes.kill().await?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn take(&mut self, event: &Event) {
        self.tally.count(event);
        match &mut self.story {
            Some(story) => story.tell(event, self.timeline),
            None => self.timeline.event(event),
        }
        if let Err(error) = self.keeper.take(event) {
            self.timeline.note(&error);
        }
    }

    fn judge(&self, ending: &Ending) -> bool {
        let tally = &self.tally;
        let ok = tally.settled() && tally.faultless() && !matches!(ending, Ending::Interrupted);
        if matches!(ending, Ending::Exited(_)) && !tally.settled() {
            self.timeline
                .note("the component ended before all messages were settled; it printed at last:");
            self.timeline.tail(self.output.tail());
        }
        let summary = tally.in_words();
        self.timeline.note(&if ok {
            summary
        } else {
            format!("FAILED: {summary}")
        });
        self.timeline.result(&json!({
            "event": "result",
            "ok": ok,
            "messages": tally.sent,
            "acknowledged": tally.acked,
            "rejected": tally.rejected,
            "unsettled": tally.unsettled + tally.coming_back,
            "errors": tally.errors,
            "problems": tally.problems,
        }));
        ok
    }
}
