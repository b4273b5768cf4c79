//! `emulator run`: starts everything, sends messages, shows what the component makes of them, and judges it.

use crate::{
    child::{Output, Process, in_words},
    config::EmulatorConfig,
    emulator::Emulator,
    event::{Event, EventKind},
    input::fill_in,
    log::Events,
    provider::Provider,
    tally::Tally,
    timeline::Timeline,
};
use anyhow::Context;
use sailor::protocol::Headers;
use serde_json::{Value, json};
use std::{process::ExitStatus, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until, timeout},
};

/// What a component may take to end: a little more than the platform gives it.
const END_PATIENCE: Duration = Duration::from_secs(35);
/// How long stragglers are waited for once the process has ended.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// What to run.
pub(crate) struct Plan {
    pub(crate) emulator: EmulatorConfig,
    pub(crate) messages: Vec<Value>,
    pub(crate) headers: Headers,
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Until the component takes the first message: it may have to be built first.
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
    let emulator = start(plan.emulator).await?;
    timeline.plain(&banner(&emulator));
    for mut message in plan.messages {
        fill_in(&mut message, emulator.platform(), emulator.provider());
        emulator.send(&message, &plan.headers);
    }
    timeline.note(&format!("starts {}", plan.command.join(" ")));
    let mut env = component_env(&emulator);
    env.extend(plan.env);
    let (process, output) = Process::start(&plan.command, &env)?;
    let mut session = Session { process, output, events: emulator.events(), tally: Tally::default(), timeline };

    let ending = session.until_settled(plan.start_timeout, plan.timeout).await?;
    session.end(&ending).await?;
    let ok = session.judge(&ending);
    emulator.shutdown().await;
    Ok(ok)
}

/// Starts an emulator whose step knows the platform's address.
pub(crate) async fn start(config: EmulatorConfig) -> anyhow::Result<Emulator> {
    let (flow, mut step) = (config.flow.clone(), config.step.clone());
    let emulator = Emulator::start(config).await?;
    let (platform, provider) = (emulator.platform(), emulator.provider());
    fill_in(&mut step.config, platform, provider);
    fill_in(&mut step.snapshot, platform, provider);
    platform.set_step(&flow, step);
    Ok(emulator)
}

/// Where it listens.
pub(crate) fn banner(emulator: &Emulator) -> String {
    let (broker, platform, provider) = (emulator.broker().addr(), emulator.platform().url(), emulator.provider().url());
    format!("emulator: broker at {broker}, platform at {platform}, OAuth2 provider at {provider}, state in memory only")
}

/// What the platform sets, and for samples the platform's address and how to reach the provider.
pub(crate) fn component_env(emulator: &Emulator) -> Vec<(String, String)> {
    let mut env = emulator.env();
    env.push(("EMULATOR_URL".into(), emulator.platform().url()));
    env.extend(provider_env(emulator.provider()));
    env
}

/// The variables that a component.json can name for the provider: `{{PROVIDER_URL}}` and its client.
pub(crate) fn provider_env(provider: &Provider) -> [(String, String); 3] {
    [
        ("PROVIDER_URL".into(), provider.url()),
        ("PROVIDER_CLIENT_ID".into(), provider.client_id().into()),
        ("PROVIDER_CLIENT_SECRET".into(), provider.client_secret().into()),
    ]
}

struct Session<'a> {
    process: Process,
    output: Output,
    events: Events,
    tally: Tally,
    timeline: &'a Timeline,
}

impl Session<'_> {
    async fn until_settled(&mut self, start_timeout: Duration, timeout: Duration) -> anyhow::Result<Ending> {
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let (mut deadline, mut late) = (Instant::now() + start_timeout, ("took no message", start_timeout));
        loop {
            tokio::select! {
                Some(event) = self.events.next() => {
                    if event.kind == EventKind::Delivered && self.tally.delivered == 0 {
                        (deadline, late) = (Instant::now() + timeout, ("did not settle all messages", timeout));
                    }
                    self.take(&event);
                    if self.tally.settled() {
                        return Ok(Ending::Settled);
                    }
                }
                Some(line) = self.output.line() => self.timeline.component(&line),
                status = self.process.ended() => return Ok(Ending::Exited(status?)),
                () = sleep_until(deadline) => return Ok(Ending::TimedOut(late.0, late.1)),
                _ = interrupt.recv() => return Ok(Ending::Interrupted),
                _ = terminate.recv() => return Ok(Ending::Interrupted),
            }
        }
    }

    /// Ends the component and shows what it still has to say.
    async fn end(&mut self, ending: &Ending) -> anyhow::Result<()> {
        let status = match ending {
            Ending::Exited(status) => Some(*status),
            ending => {
                let why = match ending {
                    Ending::Settled => "all messages are settled".to_owned(),
                    Ending::TimedOut(what, limit) => format!("the component {what} within {} s", limit.as_secs()),
                    _ => "interrupted".to_owned(),
                };
                self.timeline.note(&format!("{why}: ends the component with SIGTERM"));
                self.process.terminate();
                self.drained(END_PATIENCE).await?
            }
        };
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
        self.timeline.note(&match status {
            Some(status) => format!("the component ended with {}", in_words(status)),
            None => format!("the component did not end within {} s: killed", END_PATIENCE.as_secs()),
        });
        Ok(())
    }

    /// Shows everything until the process has ended; after `patience` it is killed, and the status is none.
    async fn drained(&mut self, patience: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + patience;
        loop {
            tokio::select! {
                Some(event) = self.events.next() => self.take(&event),
                Some(line) = self.output.line() => self.timeline.component(&line),
                status = self.process.ended() => return status.map(Some),
                () = sleep_until(deadline) => {
                    self.process.kill().await?;
                    return Ok(None);
                }
            }
        }
    }

    fn take(&mut self, event: &Event) {
        self.tally.count(event);
        self.timeline.event(event);
    }

    fn judge(&self, ending: &Ending) -> bool {
        let tally = &self.tally;
        let ok = tally.settled() && tally.faultless() && !matches!(ending, Ending::Interrupted);
        if matches!(ending, Ending::Exited(_)) && !tally.settled() {
            self.timeline.note("the component ended before all messages were settled; it printed at last:");
            self.timeline.tail(self.output.tail());
        }
        let summary = tally.in_words();
        self.timeline.note(&if ok { summary } else { format!("FAILED: {summary}") });
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
