//! `emulator run`: starts everything, sends messages, shows what the component does, and decides whether it succeeded.

use crate::{
    child::{Output, Replicas, exit_description},
    config::EmulatorConfig,
    demo_notes::DemoNotes,
    emulator::Emulator,
    event::{Event, EventKind},
    event_log::Events,
    input::InputError,
    local_platform::LocalPlatform,
    progress::RunProgress,
    recording::Recorder,
    save_keys::KeyFile,
    standins::StandinName,
    timeline::Timeline,
    variables::Variables,
};
use anyhow::Context;
use sailor::protocol::Headers;
use serde_json::{Value, json};
use std::{path::PathBuf, process::ExitStatus, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a component may take to end: a little longer than on the platform.
const END_TIMEOUT: Duration = Duration::from_secs(35);
/// The time limit for the last events after the process has ended.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// What to run.
pub(crate) struct RunPlan {
    pub(crate) emulator: EmulatorConfig,
    /// The stand-in for an API.
    pub(crate) standin: Option<StandinName>,
    pub(crate) messages: Vec<Value>,
    pub(crate) headers: Headers,
    /// The file for changed keys.
    pub(crate) key_file: KeyFile,
    pub(crate) command: Vec<String>,
    /// How many processes of the component share the messages.
    pub(crate) replicas: usize,
    /// The file for a recording.
    pub(crate) record: Option<PathBuf>,
    /// Whether the component is started once more for its shutdown hook.
    pub(crate) shutdown: bool,
    /// Explains the time line.
    pub(crate) notes: Option<DemoNotes>,
    pub(crate) variables: Variables,
    /// Whether `{{…}}` in files is left as it is.
    pub(crate) no_placeholders: bool,
    /// Whether the messages are requests to the flow's webhook address, which expect a reply.
    pub(crate) is_webhook: bool,
    /// Until the component takes the first message.
    pub(crate) start_timeout: Duration,
    /// The time limit from the first delivery until all messages are settled.
    pub(crate) timeout: Duration,
}

/// Why the loop ended.
enum RunEnd {
    Settled,
    Exited(ExitStatus),
    TimedOut(&'static str, Duration),
    Interrupted,
    /// The sources have changed.
    Outdated,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every message was acknowledged without an error event.
    Succeeded,
    Failed,
    /// Somebody wanted it to end.
    Interrupted,
}

/// Runs the plan. It ends early when `outdated` is cancelled.
pub(crate) async fn run(
    plan: RunPlan,
    outdated: &CancellationToken,
    timeline: &Timeline,
) -> anyhow::Result<Outcome> {
    let config = plan.emulator.clone();
    let local = LocalPlatform::start(config, plan.standin, plan.no_placeholders).await?;
    timeline.plain(&local.banner());
    if let Some(note) = plan.variables.note() {
        timeline.plain(note);
    }
    let Started {
        processes,
        output,
        recorder,
        env,
    } = start(&plan, &local, timeline).await?;
    let mut run = RunLoop {
        processes,
        output,
        events: local.emulator.events(),
        progress: RunProgress::default(),
        expected: plan.messages.len(),
        key_file: plan.key_file,
        notes: plan.notes,
        recorder,
        timeline,
    };
    let limits = (plan.start_timeout, plan.timeout);
    let end = run.until_settled(limits, outdated).await?;
    run.end(&end).await?;
    let mut ok = true;
    if plan.shutdown {
        ok = match end {
            RunEnd::Settled => run.shutdown_hook(&plan.command, env, plan.timeout).await?,
            RunEnd::Exited(_) | RunEnd::TimedOut(..) => run.skip_shutdown_hook(),
            RunEnd::Interrupted | RunEnd::Outdated => true,
        };
    }
    ok = run.succeeded(&end, ok);
    if let Some(recorder) = run.recorder.take() {
        let written = recorder.finish(ok, &local);
        ok &= written.is_ok();
        timeline.note(&written.unwrap_or_else(|why| why));
    }
    run.report(ok);
    if let Some(notes) = &run.notes {
        ok &= notes.end(&local.emulator, timeline);
    }
    local.shutdown().await;
    Ok(match (end, ok) {
        (RunEnd::Interrupted, _) => Outcome::Interrupted,
        (_, true) => Outcome::Succeeded,
        (_, false) => Outcome::Failed,
    })
}

/// A started component.
struct Started {
    processes: Replicas,
    output: Output,
    recorder: Option<Recorder>,
    env: Vec<(String, String)>,
}

/// Starts the component and sends the messages.
async fn start(
    plan: &RunPlan,
    local: &LocalPlatform,
    timeline: &Timeline,
) -> anyhow::Result<Started> {
    let replicas = plan.replicas;
    let messages = filled_in(plan, local)?;
    let mut env = plan
        .variables
        .complete(local.component_env(), &local.placeholders())?;
    let mut recorder = match (&plan.record, &messages[..]) {
        (Some(path), [message]) => Some(Recorder::start(path, plan, local, message).await?),
        (Some(_), _) => {
            let text = "--record records one message: name one file with --message";
            return Err(InputError::new(text).into());
        }
        (None, _) => None,
    };
    if let Some(recorder) = &mut recorder {
        recorder.complete(&mut env);
    }
    let start = || {
        let command = plan.command.join(" ");
        timeline.note(&match replicas {
            1 => format!("starts {command}"),
            _ => format!("starts {command} {replicas} times"),
        });
        Replicas::start(replicas, &plan.command, &env)
    };
    if replicas == 1 {
        send(plan, local, &messages);
        let (processes, output) = start()?;
        return Ok(Started {
            processes,
            output,
            recorder,
            env,
        });
    }
    // Waits until all processes consume, so that each gets its share of the messages.
    let (processes, output) = start()?;
    consumed_by(&local.emulator, replicas, plan.start_timeout).await?;
    send(plan, local, &messages);
    Ok(Started {
        processes,
        output,
        recorder,
        env,
    })
}

/// The messages, with addresses in the place of placeholders.
fn filled_in(plan: &RunPlan, local: &LocalPlatform) -> Result<Vec<Value>, InputError> {
    let mut messages = plan.messages.clone();
    for message in &mut messages {
        local.fill_in("a message", message)?;
    }
    Ok(messages)
}

fn send(plan: &RunPlan, local: &LocalPlatform, messages: &[Value]) {
    let mut headers = Headers::new();
    if plan.is_webhook {
        let reply_key = local.emulator.topology().reply_key.as_str();
        headers.insert("reply_to".to_owned(), reply_key.into());
    }
    headers.extend(plan.headers.clone());
    for message in messages {
        local.emulator.send(message, &headers);
    }
}

/// Waits until this many consumers wait for messages.
async fn consumed_by(emulator: &Emulator, count: usize, limit: Duration) -> anyhow::Result<()> {
    let waiting = || {
        emulator
            .broker()
            .depth(&emulator.topology().input)
            .consumers
    };
    let all = async {
        // The broker has no event for this.
        while waiting() < count {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(limit, all).await.map_err(|_| {
        let (waiting, seconds) = (waiting(), limit.as_secs());
        anyhow::anyhow!("only {waiting} of {count} replicas waited for messages within {seconds} s")
    })
}

impl RunEnd {
    /// The reason to end a component that is still running.
    fn reason(&self) -> String {
        match self {
            Self::Settled => "all messages are settled".into(),
            Self::TimedOut(what, limit) => {
                format!("the component {what} within {} s", limit.as_secs())
            }
            Self::Exited(_) => "a replica has ended".into(),
            Self::Interrupted => "interrupted".into(),
            Self::Outdated => "a file has changed".into(),
        }
    }
}

struct RunLoop<'a> {
    processes: Replicas,
    output: Output,
    events: Events,
    progress: RunProgress,
    /// How many messages are sent.
    expected: usize,
    notes: Option<DemoNotes>,
    key_file: KeyFile,
    recorder: Option<Recorder>,
    timeline: &'a Timeline,
}

impl RunLoop<'_> {
    async fn until_settled(
        &mut self,
        (start_timeout, timeout): (Duration, Duration),
        outdated: &CancellationToken,
    ) -> anyhow::Result<RunEnd> {
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let (mut deadline, mut late) = (
            Instant::now() + start_timeout,
            ("took no message", start_timeout),
        );
        loop {
            tokio::select! {
                Some(event) = self.events.next() => {
                    if event.kind == EventKind::Delivered && self.progress.delivered == 0 {
                        (deadline, late) = (Instant::now() + timeout, ("did not settle all messages", timeout));
                    }
                    self.handle(&event);
                    if self.progress.sent >= self.expected && self.progress.settled() {
                        return Ok(RunEnd::Settled);
                    }
                }
                Some(line) = self.output.line() => self.timeline.component(&line),
                status = self.processes.ended() => return Ok(RunEnd::Exited(status?)),
                () = sleep_until(deadline) => return Ok(RunEnd::TimedOut(late.0, late.1)),
                () = outdated.cancelled() => return Ok(RunEnd::Outdated),
                _ = interrupt.recv() => return Ok(RunEnd::Interrupted),
                _ = terminate.recv() => return Ok(RunEnd::Interrupted),
            }
        }
    }

    /// Ends the component and shows the rest of its output.
    async fn end(&mut self, end: &RunEnd) -> anyhow::Result<()> {
        let mut statuses = Vec::new();
        if let RunEnd::Exited(status) = end {
            statuses.push(*status);
        }
        let mut killed = false;
        if !self.processes.is_empty() {
            let note = format!("{}: ends the component with SIGTERM", end.reason());
            self.timeline.note(&note);
            self.processes.terminate();
            killed = !self.drain(END_TIMEOUT, &mut statuses).await?;
        }
        self.show_remaining().await;
        for status in statuses {
            let status = exit_description(status);
            self.timeline
                .note(&format!("the component ended with {status}"));
        }
        if killed {
            let seconds = END_TIMEOUT.as_secs();
            self.timeline.note(&format!(
                "the component did not end within {seconds} s: killed"
            ));
        }
        Ok(())
    }

    /// Runs the shutdown hook in a process of its own, as the platform does. Returns whether it succeeded.
    async fn shutdown_hook(
        &mut self,
        command: &[String],
        mut env: Vec<(String, String)>,
        limit: Duration,
    ) -> anyhow::Result<bool> {
        let name = "ELASTICIO_HOOK_SHUTDOWN";
        env.retain(|(known, _)| known != name);
        env.push((name.to_owned(), "true".to_owned()));
        let text = format!("starts {} for the shutdown hook", command.join(" "));
        self.timeline.note(&text);
        (self.processes, self.output) = Replicas::start(1, command, &env)?;
        let mut statuses = Vec::new();
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let ended = tokio::select! {
            ended = self.drain(limit, &mut statuses) => ended?,
            _ = interrupt.recv() => {
                self.processes.kill().await?;
                self.timeline.note("interrupted: the shutdown hook is killed");
                return Ok(false);
            }
        };
        self.show_remaining().await;
        let succeeded = ended && statuses.iter().all(ExitStatus::success);
        self.timeline.note(&match statuses.first() {
            _ if succeeded => "the shutdown hook succeeded".to_owned(),
            Some(status) => format!("the shutdown hook ended with {}", exit_description(*status)),
            None => format!(
                "the shutdown hook did not end within {} s: killed",
                limit.as_secs()
            ),
        });
        if !succeeded {
            self.timeline.last_lines(self.output.last_lines());
        }
        Ok(succeeded)
    }

    /// A run that has failed leaves the step as it is.
    fn skip_shutdown_hook(&self) -> bool {
        self.timeline
            .note("the shutdown hook does not run: not all messages are settled");
        false
    }

    /// Shows the last output and events, which may not have arrived yet.
    async fn show_remaining(&mut self) {
        self.output
            .remaining(|line| self.timeline.component(line))
            .await;
        let _ = timeout(STRAGGLERS, async {
            while self.progress.connections > 0
                && let Some(event) = self.events.next().await
            {
                self.handle(&event);
            }
        })
        .await;
        while let Some(event) = self.events.try_next() {
            self.handle(&event);
        }
    }

    /// Shows everything until all processes have ended. Kills them after `limit` and returns false.
    async fn drain(
        &mut self,
        limit: Duration,
        statuses: &mut Vec<ExitStatus>,
    ) -> anyhow::Result<bool> {
        let deadline = Instant::now() + limit;
        while !self.processes.is_empty() {
            tokio::select! {
                Some(event) = self.events.next() => self.handle(&event),
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

    fn handle(&mut self, event: &Event) {
        self.progress.count(event);
        if let Some(recorder) = &mut self.recorder {
            recorder.note(event);
        }
        match &mut self.notes {
            Some(notes) => notes.note(event, self.timeline),
            None => self.timeline.event(event),
        }
        if let Err(error) = self.key_file.record(event) {
            self.timeline.note(&error);
        }
    }

    /// Decides about the run, and says why it was too short.
    fn succeeded(&self, end: &RunEnd, hook_succeeded: bool) -> bool {
        let progress = &self.progress;
        let is_complete = !matches!(end, RunEnd::Interrupted | RunEnd::Outdated);
        if matches!(end, RunEnd::Exited(_)) && !progress.settled() {
            self.timeline
                .note("the component ended before all messages were settled");
            self.timeline.last_lines(self.output.last_lines());
        }
        progress.settled() && progress.succeeded() && is_complete && hook_succeeded
    }

    fn report(&self, ok: bool) {
        let progress = &self.progress;
        let summary = progress.summary();
        self.timeline.note(&if ok {
            summary
        } else {
            format!("FAILED: {summary}")
        });
        self.timeline.result(&json!({
            "event": "result",
            "ok": ok,
            "messages": progress.sent,
            "acknowledged": progress.acked,
            "rejected": progress.rejected,
            "unsettled": progress.unsettled + progress.coming_back,
            "errors": progress.errors,
            "problems": progress.problems,
        }));
    }
}
