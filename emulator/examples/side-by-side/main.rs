//! The same messages on two sailors: the Node sailor with a component from the platform's documentation, and ours with
//! the reference component. `scripts/side-by-side` runs it, and docs/oauth2-side-by-side.md shows the results.

use anyhow::{Context, bail, ensure};
use clap::Parser;
use emulator::{
    Emulator, EmulatorConfig, EventKind,
    platform::Step,
    provider::{Knobs, ProviderEventKind},
};
use rustix::process::{Pid, Signal, kill_process};
use sailor::protocol::Headers;
use serde_json::{Value, json};
use std::{
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// A run that takes this long counts as hanging.
const PATIENCE: Duration = Duration::from_secs(120);
const ACCOUNT: &str = "side-by-side";

/// Sends the same messages through the Node sailor and through ours, and prints the results.
#[derive(Parser)]
struct Options {
    /// The `node_modules` folder with elasticio-sailor-nodejs.
    #[arg(long)]
    node_modules: PathBuf,
    /// The reference component's binary.
    #[arg(long, default_value = "target/debug/component")]
    component: PathBuf,
    /// How many messages a run has.
    #[arg(long, default_value_t = 100)]
    messages: usize,
    /// All access tokens expire after this many successful API requests.
    #[arg(long, default_value_t = 25)]
    expire_after: usize,
    /// Show the output of the sailors.
    #[arg(long)]
    logs: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let sailors = [
        Sailor::node(&options.node_modules)?,
        Sailor::ours(&options.component)?,
    ];
    println!(
        "| provider | prefetch | sailor | done | failed | API requests | refreshes | of them refused | stored credential |"
    );
    println!("|---|--:|---|--:|--:|--:|--:|--:|---|");
    for (provider, knobs) in providers() {
        for prefetch in [1, 10] {
            for sailor in &sailors {
                let counts = run(sailor, knobs.clone(), prefetch, &options)
                    .await
                    .with_context(|| {
                        format!(
                            "{} with prefetch {prefetch}, provider: {provider}",
                            sailor.name
                        )
                    })?;
                println!("| {provider} | {prefetch} | {} | {counts} |", sailor.name);
            }
        }
    }
    Ok(())
}

fn providers() -> [(&'static str, Knobs); 3] {
    [
        ("keeps the refresh token", Knobs::default()),
        (
            "keeps it, and does not repeat it",
            Knobs {
                omit_refresh_token: true,
                ..Knobs::default()
            },
        ),
        ("rotates, revokes all on reuse", Knobs::rotating()),
    ]
}

/// A sailor with its component.
struct Sailor {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<PathBuf>,
    folder: PathBuf,
}

impl Sailor {
    fn node(modules: &Path) -> anyhow::Result<Self> {
        let script = found(&modules.join("elasticio-sailor-nodejs/run.js"))?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/side-by-side/component");
        Ok(Self {
            name: "Node",
            program: "node".into(),
            arguments: vec![script],
            folder,
        })
    }

    fn ours(component: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            name: "ours",
            program: found(component)?,
            arguments: vec!["run".into()],
            folder: ".".into(),
        })
    }

    fn command(
        &self,
        variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> Command {
        let mut command = Command::new(&self.program);
        // Node is found over PATH; nothing else of this process's environment is inherited.
        command
            .args(&self.arguments)
            .current_dir(&self.folder)
            .env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .envs(variables)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

fn found(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize().with_context(|| {
        format!(
            "{} is missing; scripts/side-by-side provides it",
            path.display()
        )
    })
}

/// The results of one run.
#[derive(Default)]
struct Counts {
    done: usize,
    failed: usize,
    requests: usize,
    refreshes: usize,
    refused: usize,
    /// Whether the stored credential can be refreshed at the end.
    spendable: bool,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            done,
            failed,
            requests,
            refreshes,
            refused,
            spendable,
        } = self;
        let stored = if *spendable { "good" } else { "lost" };
        write!(
            f,
            "{done} | {failed} | {requests} | {refreshes} | {refused} | {stored}"
        )
    }
}

/// One run, on a new emulator.
async fn run(
    sailor: &Sailor,
    knobs: Knobs,
    prefetch: u16,
    options: &Options,
) -> anyhow::Result<Counts> {
    let emulator = connected(knobs, prefetch).await?;
    for n in 0..options.messages {
        let body = json!({ "method": "POST", "path": "/echo/contacts", "body": { "number": n } });
        emulator.send(&json!({ "headers": {}, "body": body }), &Headers::new());
    }
    let provider = emulator.provider();
    let variables = [
        ("OAUTH_CLIENT_ID", provider.client_id().to_owned()),
        ("OAUTH_CLIENT_SECRET", provider.client_secret().to_owned()),
        ("OAUTH_AUTH_URI", provider.authorize_url()),
        ("OAUTH_TOKEN_URI", provider.token_url()),
        ("LOG_LEVEL", "info".to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let mut command = sailor.command(emulator.env().into_iter().chain(variables));
    if !options.logs {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    let mut process = command
        .spawn()
        .with_context(|| format!("starting {}", sailor.program.display()))?;

    tokio::select! {
        settled = timeout(PATIENCE, all_settled(&emulator, options)) => settled.context("messages stay unsettled")??,
        status = process.wait() => bail!("the sailor ended early with {}; --logs shows why", status?),
    }
    stop(&mut process).await?;
    let counts = counted(&emulator);
    emulator.shutdown().await;
    ensure!(
        counts.done + counts.failed == options.messages,
        "a message is neither done nor failed, or both"
    );
    Ok(counts)
}

/// Stops it cleanly, so that a sailor can save its tokens.
async fn stop(process: &mut Child) -> anyhow::Result<()> {
    let id = process
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw)
        .context("the sailor ended")?;
    kill_process(id, Signal::TERM).context("stopping the sailor")?;
    timeout(PATIENCE, process.wait())
        .await
        .context("the sailor does not end")??;
    Ok(())
}

/// An emulator whose step has a valid access token at first.
async fn connected(knobs: Knobs, prefetch: u16) -> anyhow::Result<Emulator> {
    let mut config = EmulatorConfig {
        prefetch,
        next_step: true,
        ..EmulatorConfig::default()
    };
    config.provider.knobs = knobs;
    config.step.function = "makeRequest".into();
    let (flow, step) = (config.flow.clone(), config.step.clone());
    let emulator = Emulator::start(config).await?;
    let provider = emulator.provider();
    let mut keys = serde_json::Map::new();
    keys.insert("baseUrl".into(), provider.api_url().into());
    keys.insert("oauth".into(), provider.issue().into());
    let mut fields = keys.clone();
    fields.insert("_account".into(), ACCOUNT.into());
    emulator.platform().set_account(ACCOUNT, keys);
    emulator.platform().set_step(
        &flow,
        Step {
            config: fields.into(),
            ..step
        },
    );
    Ok(emulator)
}

/// Waits until every message is acknowledged or rejected, and lets access tokens expire.
async fn all_settled(emulator: &Emulator, options: &Options) -> anyhow::Result<()> {
    let mut events = emulator.events();
    let (mut open, mut succeeded) = (options.messages, 0);
    while open > 0 {
        let event = events.next().await.context("the emulator has stopped")?;
        match event.kind {
            EventKind::ApiCall if event.body["status"] == 200 => {
                succeeded += 1;
                if succeeded % options.expire_after == 0 {
                    emulator.provider().expire_access_tokens();
                }
            }
            EventKind::Acked | EventKind::Rejected => open -= 1,
            // Its first delivery is acknowledged, but it is delivered again later.
            EventKind::Rebound => open += 1,
            _ => {}
        }
    }
    Ok(())
}

fn counted(emulator: &Emulator) -> Counts {
    let mut counts = Counts::default();
    let mut events = emulator.events();
    while let Some(event) = events.try_next() {
        match event.kind {
            EventKind::Data => counts.done += 1,
            EventKind::Error => counts.failed += 1,
            _ => {}
        }
    }
    for entry in emulator.provider().log() {
        match entry.kind {
            ProviderEventKind::ApiCall(_) => counts.requests += 1,
            ProviderEventKind::TokenCall(call) => {
                counts.refreshes += 1;
                counts.refused += usize::from(call.request.status != Some(200));
            }
            _ => {}
        }
    }
    let account = emulator.platform().account(ACCOUNT).unwrap_or_default();
    let stored = account
        .get("oauth")
        .and_then(|oauth| oauth.get("refresh_token"))
        .and_then(Value::as_str);
    counts.spendable = stored.is_some_and(|token| emulator.provider().is_spendable(token));
    counts
}
