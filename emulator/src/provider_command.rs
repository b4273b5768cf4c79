//! `emulator provider`: only the OAuth2 provider, for anything that needs tokens.

use crate::{
    event::Event,
    provider::{Provider, ProviderConfig},
    timeline::Timeline,
    up::write,
};
use anyhow::Context;
use serde_json::Value;
use std::{path::Path, time::Instant};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::broadcast::error::RecvError,
};

/// Starts the provider, prints how to reach it, and shows what happens to its tokens until SIGINT or SIGTERM.
pub(crate) async fn run(
    config: ProviderConfig,
    issue: Option<&Path>,
    timeline: &Timeline,
) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let (start, port) = (Instant::now(), config.port);
    let provider = Provider::start(config).await.with_context(|| {
        format!(
            "the OAuth2 provider cannot listen on port {port} of 127.0.0.1; port 0 takes a free one"
        )
    })?;
    print_banner(&provider, timeline);
    let mut events = provider.watch();
    if let Some(path) = issue {
        issue_to(&provider, path)?;
        let (what, path) = ("first tokens", path.display());
        timeline.plain(&format!("  {what:<22} {path}"));
    }
    timeline.plain("Ctrl-C ends it.");
    loop {
        let mut event = tokio::select! {
            event = events.recv() => match event {
                Ok(event) => Event::from_provider(&event),
                Err(RecvError::Lagged(count)) => Event::lost(count),
                Err(RecvError::Closed) => break,
            },
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        event.at = start.elapsed();
        timeline.event(&event);
    }
    provider.shutdown().await;
    Ok(())
}

fn print_banner(provider: &Provider, timeline: &Timeline) {
    timeline.plain(&format!(
        "OAuth2 provider at {}, state in memory only",
        provider.url()
    ));
    for (what, value) in [
        ("authorization endpoint", provider.authorize_url()),
        ("token endpoint", provider.token_url()),
        ("revocation endpoint", provider.revoke_url()),
        ("API", provider.api_url() + "/me, /items, /echo/…"),
        ("client id", provider.client_id().to_owned()),
        ("client secret", provider.client_secret().to_owned()),
    ] {
        timeline.plain(&format!("  {what:<22} {value}"));
    }
}

fn issue_to(provider: &Provider, path: &Path) -> anyhow::Result<()> {
    let tokens = Value::from(provider.issue()).to_string();
    write(path, &tokens)
        .with_context(|| format!("the tokens cannot be written to {}", path.display()))
}
